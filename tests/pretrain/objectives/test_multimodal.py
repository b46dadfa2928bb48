"""Shared and private halves: each term against a slow reference, and who gets which gradient."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from biofm.configuration import parse
from biofm.models.encoder import EncoderConfig
from biofm.models.multimodal import MultimodalConfig, MultimodalEncoder
from biofm.models.tokenizer import PatchConfig
from biofm.pretrain.configuration import OptimConfig
from biofm.pretrain.loop import make_optimizer
from biofm.pretrain.multimodal_run import Config
from biofm.pretrain.objectives.multimodal import (
    SharedPrivate,
    SharedPrivateConfig,
    contrast,
    reverse,
)
from biofm.signals.types import MISSING
from biofm.signals.windows import Batch, Windows

TEMPERATURE = 0.5


def cosine(a: Sequence[float], b: Sequence[float]) -> float:
    dot = sum(x * y for x, y in zip(a, b, strict=True))
    return dot / math.sqrt(sum(x * x for x in a) * sum(y * y for y in b))


def slow_nt_xent(a: list[list[float]], b: list[list[float]]) -> float:
    """One embedding after the other, one rival after the other."""
    rows, n = a + b, len(a)
    if not n:
        return 0.0
    total = 0.0
    for i in range(2 * n):
        rivals = [j for j in range(2 * n) if j != i]
        weights = {j: math.exp(cosine(rows[i], rows[j]) / TEMPERATURE) for j in rivals}
        total -= math.log(weights[(i + n) % (2 * n)] / sum(weights.values()))
    return total / (2 * n)


def slow_contrast(z_RMVD: Tensor, there_RM: Tensor, config: SharedPrivateConfig) -> float:
    """The terms as the paper has them, in loops."""
    half = z_RMVD.shape[-1] // 2
    M, V = z_RMVD.shape[1:3]

    def rows(m: int, v: int, part: slice, others: tuple[int, ...] = ()) -> list[list[float]]:
        kept = [r for r in range(len(z_RMVD)) if all(there_RM[r, k] for k in (m, *others))]
        return [z_RMVD[r, m, v, part].tolist() for r in kept]

    shared, private = slice(0, half), slice(half, 2 * half)
    between, within, angles = [], [], []

    def overlap(a: list[list[float]], b: list[list[float]]) -> float:
        found = [max(0.0, cosine(x, y)) for x, y in zip(a, b, strict=True)]
        return sum(found) / max(1, len(found))

    for a, b in itertools.combinations(range(M), 2):
        for v in range(V):
            between.append(slow_nt_xent(rows(a, v, shared, (b,)), rows(b, v, shared, (a,))))
            angles.append(overlap(rows(a, v, private, (b,)), rows(b, v, private, (a,))))
    for m in range(M):
        within.append(slow_nt_xent(rows(m, 0, private), rows(m, 1, private)))
        angles += [overlap(rows(m, v, shared), rows(m, v, private)) for v in range(V)]
    means = [sum(found) / len(found) for found in (between, within, angles)]
    weights = (config.shared, config.private, config.orthogonal)
    return sum(weight * mean for weight, mean in zip(weights, means, strict=True))


@pytest.mark.parametrize("modalities", [2, 3])
def test_the_terms_agree_with_loops(modalities: int) -> None:
    generator = torch.Generator().manual_seed(modalities)
    z_RMVD = torch.randn(6, modalities, 2, 8, generator=generator, dtype=torch.float64)
    there_RM = torch.rand(6, modalities, generator=generator) < 0.7
    for weights in ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.2, 0.4, 0.2)):
        config = SharedPrivateConfig(*weights, temperature=TEMPERATURE)
        found = float(contrast(z_RMVD, there_RM, config))
        assert found == pytest.approx(slow_contrast(z_RMVD, there_RM, config), rel=1e-6)


def test_a_modality_that_nobody_has_adds_nothing_and_is_finite() -> None:
    z_RMVD = torch.randn(4, 2, 2, 8, dtype=torch.float64).requires_grad_()
    there_RM = torch.tensor([[True, False]] * 4)
    contrast(z_RMVD, there_RM, SharedPrivateConfig()).backward()  # type: ignore[no-untyped-call]
    assert z_RMVD.grad is not None
    assert bool(z_RMVD.grad.isfinite().all())
    assert not z_RMVD.grad[:, 1].any()
    assert z_RMVD.grad[:, 0].any()


def test_the_adversarys_gradient_is_turned_around() -> None:
    x = torch.tensor([1.0, -2.0], requires_grad=True)
    torch.autograd.backward(3 * reverse(x, 0.5).sum())
    assert x.grad is not None
    assert x.grad.tolist() == [-1.5, -1.5]


def made(subjects: int = 5, **fields: Any) -> SharedPrivate:
    torch.manual_seed(0)
    encoders = {
        "ecg": EncoderConfig(depth=1, patch=PatchConfig("ecg", ("II",), 100.0, 50)),
        "hr": EncoderConfig(depth=1, patch=PatchConfig("hr", ("hr",), 1.0, 2, unit=20.0)),
    }
    encoder = MultimodalEncoder(MultimodalConfig(encoders, dim=16))
    objective = SharedPrivate(encoder, SharedPrivateConfig(**fields), "ecg-100hz")
    train: Any = SimpleNamespace(subjects=subjects)
    objective.begin(train)
    return objective


def batch(rows: int = 6, hr_missing: int = 2) -> Batch:
    generator = torch.Generator().manual_seed(0)

    def windows(modality: str, channels: tuple[str, ...], rate: int) -> Windows:
        samples = torch.randint(
            -3000, 3000, (rows, 1, 10 * rate), dtype=torch.int16, generator=generator
        )
        scale, offset = torch.full((rows, 1), 1e-3), torch.zeros(rows, 1)
        return Windows(modality, float(rate), channels, samples, scale, offset)

    streams = {"ecg-100hz": windows("ecg", ("II",), 100), "hr-1hz": windows("hr", ("hr",), 1)}
    streams["hr-1hz"].samples[:hr_missing] = MISSING
    numbers = torch.arange(rows)
    return Batch(streams, 0, 0, numbers, numbers, numbers % 5)


def test_targets_are_the_windows_that_have_anything() -> None:
    objective, given = made(), batch()
    given.streams["ecg-100hz"].samples[0] = MISSING
    outcome = objective(given)
    assert float(outcome.targets) == float(objective.count(given)) == 5.0
    assert bool(outcome.loss_sum.isfinite())


def test_the_adversary_learns_against_the_encoder_and_only_in_training() -> None:
    objective, given = made(subject=1.0), batch()
    z_BMD = torch.randn(6, 2, 16, requires_grad=True)
    there_BM = torch.ones(6, 2, dtype=torch.bool)
    loss = objective.unmasked(z_BMD, there_BM, given.subjects)
    torch.autograd.backward(loss)
    assert z_BMD.grad is not None
    optimizer = torch.optim.SGD(objective.adversary.parameters(), lr=0.02)  # type: ignore[union-attr]
    optimizer.step()
    with torch.no_grad():
        assert float(objective.unmasked(z_BMD, there_BM, given.subjects)) < float(loss)
        # A step down the encoder's gradient makes who it is harder to say.
        before = float(objective.unmasked(z_BMD, there_BM, given.subjects))
        after = float(objective.unmasked(z_BMD - 0.1 * z_BMD.grad, there_BM, given.subjects))
        assert after > before
    whole = objective.train()(given).loss_sum
    without = made(subject=0.0)
    assert without.adversary is None
    assert float(without(given).loss_sum) < float(whole)
    torch.testing.assert_close(
        objective.eval()(given).loss_sum, without.eval()(given).loss_sum, rtol=1e-4, atol=1e-4
    )


def test_the_adversary_learns_ten_times_as_fast() -> None:
    objective = made()
    groups = make_optimizer(objective, OptimConfig()).param_groups
    scale = {id(p): group["lr_scale"] for group in groups for p in group["params"]}
    for name, parameter in objective.named_parameters():
        assert scale[id(parameter)] == (10.0 if name.startswith("adversary.") else 1.0)
    assert len(scale) == len(list(objective.parameters()))


def test_it_overfits_a_batch() -> None:
    objective, given = made(subject=0.0), batch(hr_missing=0)
    optimizer = torch.optim.Adam(objective.parameters(), lr=3e-3)
    losses = []
    for _ in range(40):
        outcome = objective(given)
        losses.append(float(outcome.loss_sum / outcome.targets))
        optimizer.zero_grad()
        outcome.loss_sum.backward()
        optimizer.step()
    assert losses[-1] < 0.75 * losses[0]


def test_the_change_of_a_view_depends_on_the_position_alone() -> None:
    objective, given = made().eval(), batch()
    first = objective(given).loss_sum
    assert torch.equal(first, objective(given).loss_sum)
    assert not torch.equal(first, objective(replace(given, epoch=1)).loss_sum)


def test_the_modalities_come_from_the_config(tmp_path: Path) -> None:
    config = parse(Config, ["--config", "pretrain/multimodal_mesa"])
    assert set(config.model.encoders) == set(config.data.channels) == {"ecg", "ppg", "hr"}


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"shared": -1.0}, "shared must be 0 or more"),
        ({"shared": 0.0, "private": 0.0}, "nothing else tells windows apart"),
        ({"temperature": 0.0}, "temperature must be above 0"),
    ],
)
def test_weights_that_make_no_sense_are_refused(fields: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        SharedPrivateConfig(**fields)
