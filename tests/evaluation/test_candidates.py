"""Heads that train side by side: as each would alone, judged on the way, the best moment kept."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, nn

from biofm.evaluation.candidates import LEAST_STEPS, LOOKS, Best, Setting, train_candidates

SETTINGS = (Setting(1e-3, 0.0, 0.0), Setting(1e-2, 0.1, 0.0), Setting(1e-1, 10.0, 0.0))
X = torch.randn(96, 5, generator=torch.Generator().manual_seed(0))
Y = X @ torch.tensor([1.0, -2.0, 0.0, 0.5, 0.0])


def heads(count: int) -> list[nn.Module]:
    torch.manual_seed(1)
    first = nn.Linear(5, 1)
    copies: list[nn.Module] = []
    for _ in range(count):
        copies.append(nn.Linear(5, 1))
        copies[-1].load_state_dict(first.state_dict())
    return copies


def train(settings: Sequence[Setting], scores: list[list[float]] | None = None) -> Best:
    """Fit a line; judged by its error, or as `scores` say, look by look."""
    made = heads(len(settings))
    torch.manual_seed(2)

    def errors(places: Tensor) -> Tensor:
        return torch.stack([(head(X[places])[:, 0] - Y[places]).square().mean() for head in made])

    def judge() -> list[float]:
        assert not any(head.training for head in made)
        if scores is not None:
            return scores.pop(0)
        return (-errors(torch.arange(96))).tolist()

    return train_candidates(made, settings, lambda: torch.randperm(96).split(32), errors, judge)  # type: ignore[no-untyped-call]


def test_each_ends_where_it_would_alone() -> None:
    together = train(SETTINGS)
    alone = [train([setting]) for setting in SETTINGS]
    best = max(alone, key=lambda one: one.validation)
    assert together.setting == best.setting == SETTINGS[1]
    assert (together.step, together.validation) == (best.step, best.validation)
    for ours, theirs in zip(together.head.parameters(), best.head.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_the_best_moment_of_the_best_head_is_kept() -> None:
    scores = [[0.5, 0.4]] * LOOKS
    scores[3] = [0.6, 0.9]
    scores[7] = [0.9, 0.1]  # as good, and later
    best = train(SETTINGS[:2], list(scores))
    assert best.setting == SETTINGS[1]
    assert best.validation == 0.9
    assert best.step == 4 * LEAST_STEPS // LOOKS
    # Kept as it was then, though training went on.
    last = train(SETTINGS[:2], [[0.0, float(at)] for at in range(LOOKS)])
    kept, end = next(best.head.parameters()), next(last.head.parameters())
    assert not torch.equal(kept, end)


def test_a_validation_that_never_tells_is_refused() -> None:
    with pytest.raises(ValueError, match="validation has no class on both sides"):
        train(SETTINGS[:1], [[float("nan")]] * LOOKS)
