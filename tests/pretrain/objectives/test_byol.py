"""BYOL against its definition, view by view."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from biofm.configuration import ConfigParser
from biofm.models.encoder import EncoderConfig
from biofm.models.make_encoder import make_encoder
from biofm.models.tokenizer import PatchConfig
from biofm.pretrain.byol_run import Config
from biofm.pretrain.objectives.byol import BYOL, BYOLConfig
from biofm.pretrain.objectives.two_views import two_views
from biofm.signals import LEADS_12, MISSING
from biofm.signals.windows import Batch, Windows

STREAM = "ecg-100hz"
BACKBONES: dict[str, EncoderConfig] = {
    "vit": EncoderConfig(depth=1, patch=PatchConfig(samples=50)),
    "xresnet": EncoderConfig("xresnet", patch=PatchConfig(samples=32)),
    "lstm": EncoderConfig("lstm", depth=1, patch=PatchConfig(samples=50)),
    "clocs": EncoderConfig("clocs", patch=PatchConfig(samples=400, span="lead", scale="window")),
}


def objective_of(backbone: str = "vit", momentum: float = 0.5) -> BYOL:
    torch.manual_seed(0)
    return BYOL(make_encoder(BACKBONES[backbone]), BYOLConfig(momentum=momentum), STREAM)


def moved(objective: BYOL) -> BYOL:
    """One step on, so that slow and fast differ."""
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in [*objective.encoder.parameters(), *objective.projector.parameters()]:
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
    objective.after_step(0.5)
    return objective


def make_batch(rows: int = 4, *, complete: bool = True) -> Batch:
    generator = torch.Generator().manual_seed(1)
    samples = torch.randint(-3000, 3000, (rows, 12, 1000), dtype=torch.int16, generator=generator)
    scale, offset = torch.full((rows, 12), 1e-3), torch.zeros(rows, 12)
    windows = Windows("ecg", 100.0, LEADS_12, samples, scale, offset, complete)
    positions = torch.arange(rows)
    return Batch({STREAM: windows}, 7, 0, positions, positions, positions)


def rows_of(windows: Windows, rows: slice) -> Windows:
    samples, scale, offset = (x[rows] for x in (windows.samples, windows.scale, windows.offset))
    return replace(windows, samples=samples, scale=scale, offset=offset)


@pytest.mark.parametrize("backbone", BACKBONES)
@torch.no_grad()
def test_the_loss_is_its_definition(backbone: str) -> None:
    objective, batch = moved(objective_of(backbone)).eval(), make_batch(complete=False)
    batch.streams[STREAM].samples[1] = MISSING
    batch.streams[STREAM].samples[2, :, :200] = MISSING
    views = two_views(batch, STREAM, objective.config.views)
    there = [0, 2, 3, 4, 6, 7]
    alone = {v: rows_of(views, slice(v, v + 1)) for v in there}
    slow = [objective.slow_projector.module(objective.slow_encoder.module(alone[v])) for v in there]
    targets = torch.cat(slow)
    targets = (targets - targets.mean(0)) / (targets.var(0, correction=0) + 1e-4).sqrt()
    total = 0.0
    for v in there:
        said = objective.predictor(objective.projector(objective.encoder(alone[v])))[0]
        target = targets[there.index((v + 4) % 8)]
        total += float((said / said.norm() - target / target.norm()).square().sum())
    outcome = objective(batch)
    assert outcome.targets == objective.count(batch) == 6
    assert float(outcome.loss_sum) == pytest.approx(total, rel=1e-4)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_gradients_reach_what_is_fast_and_never_what_is_slow(backbone: str) -> None:
    objective, batch = moved(objective_of(backbone)).train(), make_batch(complete=False)
    batch.streams[STREAM].samples[0, 3] = MISSING
    objective(batch).loss_sum.backward()
    for name, parameter in objective.named_parameters():
        if name.startswith("slow_"):
            assert parameter.grad is None, name
        else:
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all(), name


def test_both_copies_follow_and_at_the_end_they_stay() -> None:
    objective = objective_of(momentum=0.8)
    before = [p.clone() for p in objective.slow_projector.parameters()]
    with torch.no_grad():
        for parameter in objective.parameters():
            if parameter.requires_grad:
                parameter.add_(1)
    objective.after_step(0.5)
    for old, new in zip(before, objective.slow_projector.parameters(), strict=True):
        torch.testing.assert_close(new, old + 0.1, rtol=0, atol=1e-5)
    pairs = zip(objective.slow_encoder.parameters(), objective.encoder.parameters(), strict=True)
    for slow, fast in pairs:
        torch.testing.assert_close(slow, fast - 0.9, rtol=0, atol=1e-5)
    frozen = {k: v.clone() for k, v in objective.state_dict().items() if "num_batches" not in k}
    objective.after_step(1.0)
    assert all(torch.equal(frozen[k], objective.state_dict()[k]) for k in frozen)


def test_a_copy_takes_the_batch_statistics_that_its_source_has_gathered() -> None:
    objective, batch = objective_of("xresnet").train(), make_batch()
    objective(batch)
    objective.after_step(0.1)
    fast, slow = objective.encoder.state_dict(), objective.slow_encoder.module.state_dict()
    statistics = [k for k in fast if "running_" in k]
    assert statistics
    assert all(torch.equal(fast[k], slow[k]) for k in statistics)


def test_it_learns_to_say_the_other_view_of_eight_windows() -> None:
    """Their leads stay at levels of their own."""
    objective, batch = objective_of(momentum=0.99).train(), make_batch(8)
    levels = torch.randn(8, 12, 1, generator=torch.Generator().manual_seed(3))
    batch.streams[STREAM].samples.copy_((500 * levels).to(torch.int16).expand(8, 12, 1000))
    learning = [p for p in objective.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(learning, lr=1e-3)
    losses = []
    for epoch in range(20):
        outcome = objective(replace(batch, epoch=epoch))
        loss = outcome.loss_sum / outcome.targets
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        objective.after_step((epoch + 1) / 20)
        losses.append(loss.item())
    assert sum(losses[-3:]) / 3 < 0.7 * losses[0]


@pytest.mark.parametrize(
    ("fields", "message"),
    [({"momentum": -0.1}, "momentum must lie in"), ({"hidden": 0}, "hidden and dim")],
)
def test_impossible_configurations_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        BYOLConfig(**fields)


def test_the_shipped_configuration_is_read() -> None:
    parser = ConfigParser()
    parser.add_config(Config)
    config = parser.config(Config, parser.values(["--config", "pretrain/byol_ptbxl"]))
    assert str(config.run.out) == "runs/byol_ptbxl"
