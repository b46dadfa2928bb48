"""Descent of many clients at once is that of each by itself, written out with autograd."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from biofm.federated.learners import Head, Learner, Params, SmallModel
from biofm.federated.local import (
    Batches,
    Descent,
    Part,
    best_on_validation,
    chosen,
    descend,
    loss_of,
    outputs_of,
    spread,
    validation_loss,
)
from biofm.federated.participants import stacked

WIDTH, CLASSES = 5, 3
COUNTS = (9, 4, 23)
"""Windows of the clients, none like another."""
HEAD = Head(WIDTH, CLASSES, 4)
HOW = Descent(rate=0.3, decay=0.01, momentum=0.8, pull=0.2)


def parts(seed: int, *, quantities: bool = False) -> list[Part]:
    random = torch.Generator().manual_seed(seed)
    found = []
    for count in COUNTS:
        x = torch.randn(count, WIDTH, generator=random)
        weight = torch.rand(count, generator=random) + 0.5
        truth = torch.randint(0, CLASSES, (count,), generator=random)
        if quantities:
            truth = torch.randn(count, CLASSES, generator=random)
            truth[::3, 1] = torch.nan
        found.append(Part({"x": x}, truth, weight))
    return found


def drawn(seed: int, steps: int, batch: int = 6) -> Batches:
    random = torch.Generator().manual_seed(seed)
    rows = torch.stack([torch.randint(0, n, (steps, batch), generator=random) for n in COUNTS])
    return Batches(rows, torch.ones(len(COUNTS), steps))


def begun(seed: int) -> Params:
    """Parameters of their own for each client."""
    each = [HEAD.initial(seed + c) for c in range(len(COUNTS))]
    random = torch.Generator().manual_seed(seed)
    return {
        k: torch.stack([e[k] for e in each])
        + 0.1 * torch.randn((len(each), *v.shape), generator=random)
        for k, v in each[0].items()
    }


def by_hand(
    how: Descent,
    trained: Sequence[str],
    params: Params,
    anchor: Params,
    part: Part,
    rows_SB: Tensor,
    active_S: Tensor,
) -> tuple[Params, float]:
    """One client, with torch's own optimizer; the pull is a term of the loss, as in the papers."""
    leaves = {k: v.clone().requires_grad_(k in trained) for k, v in params.items()}
    moving = [leaves[k] for k in trained]
    optimizer = torch.optim.SGD(moving, how.rate, momentum=how.momentum, weight_decay=how.decay)
    losses = []
    for rows, active in zip(rows_SB, active_S, strict=True):
        if not active:
            continue
        x = part.inputs["x"][rows]
        hidden = F.relu(x @ leaves["hidden.weight"].T + leaves["hidden.bias"])
        logits = hidden @ leaves["output.weight"].T + leaves["output.bias"]
        weight, truth = part.weight[rows], part.truth[rows]
        if truth.is_floating_point():
            each = torch.stack(
                [(o - t).abs()[t.isfinite()].mean() for o, t in zip(logits, truth, strict=True)]
            )
        else:
            each = F.cross_entropy(logits, truth, reduction="none")
        loss = (each * weight).sum() / weight.sum()
        losses.append(loss.item())
        far = sum(((leaves[k] - anchor[k]) ** 2).sum() for k in trained)
        optimizer.zero_grad()
        (loss + how.pull / 2 * far).backward()  # type: ignore[no-untyped-call] # torch says nothing of it
        optimizer.step()
    return {k: v.detach() for k, v in leaves.items()}, sum(losses) / max(len(losses), 1)


@pytest.mark.parametrize("quantities", [False, True])
@pytest.mark.parametrize("trained", [tuple(HEAD.initial(0)), ("output.weight", "output.bias")])
def test_many_clients_descend_as_each_would(trained: tuple[str, ...], quantities: bool) -> None:
    each, params, anchor = parts(0, quantities=quantities), begun(1), begun(2)
    batches = drawn(3, steps=7)
    # One client makes all its steps, one half of them, one none.
    batches.active[1, 4:] = 0
    batches.active[2, :] = 0
    found, loss_C = descend(HEAD, HOW, trained, params, anchor, stacked(each), batches)
    for c in range(len(COUNTS)):
        plain, loss = by_hand(
            HOW,
            trained,
            chosen(params, c),
            chosen(anchor, c),
            each[c],
            batches.rows[c],
            batches.active[c],
        )
        assert found.keys() == plain.keys()
        for key, value in plain.items():
            torch.testing.assert_close(found[key][c], value, rtol=0, atol=2e-6)
            assert torch.equal(found[key][c], params[key][c]) == (key not in trained or c == 2)
        assert loss_C[c].item() == pytest.approx(loss, abs=1e-6)


@pytest.mark.parametrize("change", [{"momentum": 0.0}, {"pull": 0.0}, {"decay": 0.0}])
def test_every_term_of_descent_matters(change: dict[str, float]) -> None:
    """So that the agreement above is one of all of them."""
    arguments = (list(begun(1)), begun(1), begun(2), stacked(parts(0)), drawn(3, 7))
    full, _ = descend(HEAD, HOW, *arguments)
    less, _ = descend(HEAD, replace(HOW, **change), *arguments)
    assert not torch.allclose(full["output.weight"], less["output.weight"], atol=1e-4)


def test_a_client_among_bigger_ones_is_as_if_alone() -> None:
    train, validation, params = parts(0), parts(1), begun(2)
    batches = drawn(3, steps=6)

    def best(some: slice) -> tuple[Params, Tensor]:
        return best_on_validation(
            HEAD,
            HOW,
            list(params),
            chosen(params, some),
            chosen(params, some),
            stacked(train[some]),
            stacked(validation[some]),
            chosen(batches, some),
            every=2,
        )

    together, step_C = best(slice(None))
    for c in range(len(COUNTS)):
        alone, step = best(slice(c, c + 1))
        assert step.item() == step_C[c]
        for key, value in alone.items():
            torch.testing.assert_close(together[key][c], value[0], rtol=0, atol=1e-6)


class Undefined(Head):
    """A head that says no number of windows of zeros, as an encoder may of padding."""

    def outputs(self, params: Params, inputs: dict[str, Tensor]) -> Tensor:
        blank = (inputs["x"] == 0).all(dim=-1, keepdim=True)
        return torch.where(blank, torch.nan, super().outputs(params, inputs))


def test_what_is_said_of_padding_does_not_matter() -> None:
    params, padded = begun(0), stacked(parts(0))
    wanted = validation_loss(HEAD, params, padded)
    assert wanted.isfinite().all()
    assert torch.equal(validation_loss(Undefined(WIDTH, CLASSES, 4), params, padded), wanted)


class Counter(Learner):
    """Says how many steps were made: its slope is always the same, and it is best where `truth` says."""

    vectorised = True

    def initial(self, seed: int) -> Params:
        return {"x": torch.zeros(1)}

    def outputs(self, params: Params, inputs: dict[str, Tensor]) -> Tensor:
        return params["x"] * inputs["one"]


def test_the_best_step_on_validation_is_kept() -> None:
    def aims(*values: float) -> Part:
        return Part(
            {"one": torch.ones(len(values), 1, 1)},
            torch.tensor(values).view(-1, 1, 1),
            torch.ones(len(values), 1),
        )

    begin = spread(Counter().initial(0), 6)
    # The train part is beyond reach, so that each of 10 steps goes up by the rate of 1.
    train = aims(*[1e6] * 6)
    validation = aims(-3.0, 0.0, 4.1, 6.0, 7.0, 99.0)
    batches = Batches(torch.zeros(6, 10, 1, dtype=torch.int64), torch.ones(6, 10))
    found, step_C = best_on_validation(
        Counter(), Descent(1.0, 0.0), ["x"], begin, begin, train, validation, batches, every=4
    )
    # Looked at are the steps 0, 4, 8 and 10; where two are as good, the earlier one.
    assert step_C.tolist() == [0, 0, 4, 4, 8, 10]
    assert found["x"].view(-1).tolist() == [0, 0, 4, 4, 8, 10]


@pytest.mark.parametrize("learner", [HEAD, SmallModel({"hr": (1, 40)}, CLASSES)])
def test_losses_and_outputs_are_those_of_each_client(
    learner: Learner, monkeypatch: pytest.MonkeyPatch
) -> None:
    # More clients than are looked at together.
    monkeypatch.setattr("biofm.federated.local.VALIDATED_AT_ONCE", 2)
    random = torch.Generator().manual_seed(0)
    name, shape = ("x", (WIDTH,)) if learner is HEAD else ("hr", (1, 40))
    each = [
        Part(
            {name: torch.randn(n, *shape, generator=random)},
            torch.zeros(n, dtype=torch.int64),
            torch.ones(n),
        )
        for n in COUNTS
    ]
    params = {
        k: torch.randn(len(COUNTS), *v.shape, generator=random)
        for k, v in learner.initial(0).items()
    }
    padded = stacked(each)
    outputs_CNK = outputs_of(learner, params, padded.inputs)
    loss_C = validation_loss(learner, params, padded)
    for c, part in enumerate(each):
        own = chosen(params, c)
        wanted = learner.outputs(own, part.inputs)
        torch.testing.assert_close(outputs_CNK[c, : COUNTS[c]], wanted, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(
            loss_C[c], F.cross_entropy(wanted, part.truth), rtol=1e-5, atol=1e-5
        )
        torch.testing.assert_close(loss_of(learner, own, part), loss_C[c], rtol=1e-5, atol=1e-5)
