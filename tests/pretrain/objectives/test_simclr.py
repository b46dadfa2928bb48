"""SimCLR against NT-Xent of its views, embedded one by one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from biofm.configuration import ConfigParser
from biofm.models.encoder import EncoderConfig
from biofm.models.make_encoder import make_encoder
from biofm.models.tokenizer import PatchConfig
from biofm.pretrain.objectives.simclr import SimCLR, SimCLRConfig
from biofm.pretrain.objectives.two_views import two_views
from biofm.pretrain.simclr_run import Config
from biofm.signals import LEADS_12, MISSING
from biofm.signals.windows import Batch, Windows

STREAM = "ecg-100hz"
BACKBONES: dict[str, EncoderConfig] = {
    "vit": EncoderConfig(depth=1, patch=PatchConfig(samples=50)),
    "vit of leads": EncoderConfig(depth=1, patch=PatchConfig(samples=100, span="lead")),
    "xresnet": EncoderConfig("xresnet", patch=PatchConfig(samples=32)),
    "lstm": EncoderConfig("lstm", depth=1, patch=PatchConfig(samples=50)),
    "s4": EncoderConfig("s4", depth=1, patch=PatchConfig(samples=50)),
    "s4_causal": EncoderConfig("s4_causal", depth=1, patch=PatchConfig(samples=50)),
    "clocs": EncoderConfig("clocs", patch=PatchConfig(samples=400, span="lead", scale="window")),
}


def objective_of(backbone: str = "vit") -> SimCLR:
    torch.manual_seed(0)
    return SimCLR(make_encoder(BACKBONES[backbone]), SimCLRConfig(), STREAM)


def make_batch(rows: int = 5, *, complete: bool = True) -> Batch:
    generator = torch.Generator().manual_seed(1)
    samples = torch.randint(-3000, 3000, (rows, 12, 1000), dtype=torch.int16, generator=generator)
    scale, offset = torch.full((rows, 12), 1e-3), torch.zeros(rows, 12)
    windows = Windows("ecg", 100.0, LEADS_12, samples, scale, offset, complete)
    positions = torch.arange(rows)
    return Batch({STREAM: windows}, 7, 0, positions, positions, positions)


def rows_of(windows: Windows, rows: slice) -> Windows:
    samples, scale, offset = (x[rows] for x in (windows.samples, windows.scale, windows.offset))
    return replace(windows, samples=samples, scale=scale, offset=offset)


@torch.no_grad()
def slow_loss(objective: SimCLR, batch: Batch, rows: list[int]) -> float:
    """Mean over both views of these rows of −log of the share that the other view has."""
    views, B = two_views(batch, STREAM, objective.config.views), len(batch)
    z = [
        objective.head(objective.encoder(rows_of(views, slice(v, v + 1))))[0].double()
        for v in range(2 * B)
    ]
    kept = rows + [B + row for row in rows]
    losses = []
    for v in kept:
        alike = {w: torch.cosine_similarity(z[v], z[w], dim=0) / 0.1 for w in kept if w != v}
        share = alike[(v + B) % (2 * B)].exp() / sum(a.exp() for a in alike.values())
        losses.append(-float(share.log()))
    return sum(losses) / len(losses)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_the_loss_is_its_definition(backbone: str) -> None:
    objective, batch = objective_of(backbone).eval(), make_batch()
    with torch.no_grad():
        outcome = objective(batch)
    assert outcome.targets == objective.count(batch) == 5
    expected = slow_loss(objective, batch, list(range(5)))
    assert float(outcome.loss_sum / 5) == pytest.approx(expected, rel=1e-3)


def test_a_row_that_is_missing_is_nobodys_negative_and_does_not_count() -> None:
    objective, batch = objective_of().eval(), make_batch(complete=False)
    batch.streams[STREAM].samples[1] = MISSING
    batch.streams[STREAM].samples[2, :, :600] = MISSING
    outcome = objective(batch)
    assert outcome.targets == objective.count(batch) == 4
    expected = slow_loss(objective, batch, [0, 2, 3, 4])
    assert float(outcome.loss_sum.detach() / 4) == pytest.approx(expected, rel=1e-4)
    outcome.loss_sum.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in objective.parameters())


@pytest.mark.parametrize("backbone", BACKBONES)
def test_every_backbone_gets_gradients(backbone: str) -> None:
    objective = objective_of(backbone).train()
    batch = make_batch(complete=False)
    batch.streams[STREAM].samples[0, 3] = MISSING
    objective(batch).loss_sum.backward()
    without = {n for n, p in objective.named_parameters() if p.grad is None}
    assert not without
    assert all(p.grad is not None and p.grad.isfinite().all() for p in objective.parameters())


def test_batches_of_one_row_and_of_missing_rows_have_a_loss_of_zero_negatives() -> None:
    objective = objective_of().eval()
    assert float(objective(make_batch(1)).loss_sum.detach()) == pytest.approx(0.0, abs=1e-5)
    batch = make_batch(2, complete=False)
    batch.streams[STREAM].samples.fill_(MISSING)
    outcome = objective(batch)
    assert float(outcome.loss_sum.detach()) == float(outcome.targets) == 0


def test_it_learns_to_tell_eight_windows_apart() -> None:
    """Each is a wave of its own frequency, with its own axis."""
    objective, batch = objective_of().train(), make_batch(8)
    time, frequency = torch.arange(1000) / 100, torch.linspace(1, 8, 8).view(8, 1, 1)
    axis = torch.randn(8, 12, 1, generator=torch.Generator().manual_seed(3))
    waves = 500 * axis * torch.sin(2 * torch.pi * frequency * time)
    batch.streams[STREAM].samples.copy_(waves.to(torch.int16))
    optimizer = torch.optim.AdamW(objective.parameters(), lr=1e-3)
    losses = []
    for epoch in range(12):
        outcome = objective(replace(batch, epoch=epoch))
        loss = outcome.loss_sum / outcome.targets
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert sum(losses[-3:]) / 3 < 0.7 * losses[0]


@pytest.mark.parametrize(
    ("fields", "message"),
    [({"temperature": 0.0}, "temperature must be above 0"), ({"dim": 0}, "hidden and dim")],
)
def test_impossible_configurations_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SimCLRConfig(**fields)


def test_the_shipped_configuration_is_read() -> None:
    parser = ConfigParser()
    parser.add_config(Config)
    config = parser.config(Config, parser.values(["--config", "pretrain/simclr_ptbxl"]))
    assert config.optim.micro_batch is None
    assert str(config.run.out) == "runs/simclr_ptbxl"
