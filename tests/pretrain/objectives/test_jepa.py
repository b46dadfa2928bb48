"""JEPA against its definition, row by row and token by token."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from biofm.configuration import ConfigParser
from biofm.models.decoder import DecoderConfig
from biofm.models.encoder import EncoderConfig
from biofm.models.make_encoder import make_encoder
from biofm.models.tokenizer import PatchConfig
from biofm.pretrain.jepa_run import Config
from biofm.pretrain.objectives.jepa import JEPA, JEPAConfig
from biofm.signals import LEADS_12, MISSING
from biofm.signals.windows import Batch, Windows

STREAM = "ecg-100hz"
BACKBONES: dict[str, EncoderConfig] = {
    "vit": EncoderConfig(depth=2, patch=PatchConfig(samples=20)),
    "vit of leads": EncoderConfig(
        depth=1, patch=PatchConfig(samples=50, span="lead", separators=True, scale="window")
    ),
    "xresnet": EncoderConfig("xresnet", patch=PatchConfig(samples=32)),
    "s4": EncoderConfig("s4", depth=1, patch=PatchConfig(samples=20)),
}


def objective_of(backbone: str = "vit", momentum: float = 0.5) -> JEPA:
    torch.manual_seed(0)
    predictor = DecoderConfig(dim=32, depth=1, heads=2)
    config = JEPAConfig(block_s=0.6, momentum=momentum, predictor=predictor)
    return JEPA(make_encoder(BACKBONES[backbone]), config, STREAM)


def make_batch(rows: int = 4, *, complete: bool = False) -> Batch:
    generator = torch.Generator().manual_seed(1)
    samples = torch.randint(-3000, 3000, (rows, 12, 1000), dtype=torch.int16, generator=generator)
    scale, offset = torch.full((rows, 12), 1e-3), torch.zeros(rows, 12)
    windows = Windows("ecg", 100.0, LEADS_12, samples, scale, offset, complete)
    positions = torch.arange(rows)
    return Batch({STREAM: windows}, 7, 0, positions, positions, positions)


def moved(objective: JEPA) -> JEPA:
    """One step on, so that encoder and slow copy differ."""
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in objective.encoder.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
    objective.after_step(0.5)
    return objective


def slow_loss(objective: JEPA, batch: Batch) -> tuple[float, int]:
    """(sum of the errors of hidden tokens, their number), with loops."""
    windows, encoder = batch.streams[STREAM], objective.encoder
    patches = encoder.tokenizer.patches(windows)
    mask = objective.draw_mask(batch, patches)
    seen = encoder.hide(windows, patches, mask)
    times = encoder.tokenizer.times_s(mask.hidden.shape[2], torch.device("cpu"))
    said = objective.predictor(seen.tokens, seen.keep, seen.attend, times, seen.separators)
    tokens, there = objective.slow.module.tokens(windows)
    kept = tokens[there].double()
    kept = (kept - kept.mean(1, keepdim=True)) / (
        kept.var(1, keepdim=True, correction=0) + 1e-5
    ).sqrt()
    kept = (kept - kept.mean(0)) / (kept.var(0, correction=0) + 1e-4).sqrt()
    targets = torch.zeros_like(tokens, dtype=torch.float64)
    targets[there] = kept
    targets, there = targets.view_as(said), there.view(said.shape[:3])
    total, number = 0.0, 0
    for b in range(said.shape[0]):
        for g in range(said.shape[1]):
            leads = range(12) if encoder.tokenizer.joint else [g]
            for n in range(said.shape[2]):
                if not any(bool(mask.hidden[b, lead, n]) for lead in leads):
                    continue
                assert there[b, g, n]
                error = (said[b, g, n].double() - targets[b, g, n]).abs()
                smooth = torch.where(error < 1, error.square() / 2, error - 0.5)
                total += float(smooth.mean())
                number += 1
    return total, number


@pytest.mark.parametrize("backbone", BACKBONES)
@pytest.mark.parametrize("missing", [False, True])
@torch.no_grad()
def test_the_loss_is_its_definition(backbone: str, missing: bool) -> None:
    objective = moved(objective_of(backbone)).eval()
    batch = make_batch(complete=not missing)
    if missing:
        samples = batch.streams[STREAM].samples
        samples[0, :, :400] = MISSING
        samples[1, 4] = MISSING
        samples[2] = MISSING
    outcome = objective(batch)
    total, number = slow_loss(objective, batch)
    assert outcome.targets == objective.count(batch) == number > 0
    assert float(outcome.loss_sum) == pytest.approx(total, rel=1e-4)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_gradients_reach_encoder_and_predictor_and_never_the_target(backbone: str) -> None:
    objective = moved(objective_of(backbone))
    batch = make_batch()
    batch.streams[STREAM].samples[0, :, :400] = MISSING
    objective(batch).loss_sum.backward()
    for name, parameter in objective.named_parameters():
        if name.startswith("slow."):
            assert parameter.grad is None, name
        else:
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all(), name
    gradient = objective.predictor.mask_token.grad
    assert gradient is not None
    assert float(gradient.norm()) > 0


def test_hidden_samples_reach_the_target_alone() -> None:
    objective, batch = objective_of().eval(), make_batch(2)
    windows = batch.streams[STREAM]
    patches = objective.encoder.tokenizer.patches(windows)
    mask = objective.draw_mask(batch, patches)
    with torch.no_grad():
        before = objective.encoder.hide(windows, patches, mask).tokens, objective.targets(windows)
        samples = windows.samples.view(2, 12, 50, 20)
        samples[mask.hidden] += 1000
        patches = objective.encoder.tokenizer.patches(windows)
        after = objective.encoder.hide(windows, patches, mask).tokens, objective.targets(windows)
    assert torch.equal(before[0], after[0])
    assert float((before[1] - after[1]).abs().max()) > 0.1


def test_targets_have_no_gradient() -> None:
    objective = objective_of("vit of leads")
    target: Tensor = objective.targets(make_batch().streams[STREAM])
    assert target.shape == (4, 12 * 20, 192)
    assert not target.requires_grad


def test_after_a_step_the_copy_has_followed_by_the_momentum_of_that_time() -> None:
    objective = objective_of(momentum=0.8)
    before = [p.clone() for p in objective.slow.parameters()]
    with torch.no_grad():
        for parameter in objective.encoder.parameters():
            parameter.add_(1)
    objective.after_step(0.5)
    for old, new in zip(before, objective.slow.parameters(), strict=True):
        torch.testing.assert_close(new, old + 0.1, rtol=0, atol=1e-5)
    frozen = [p.clone() for p in objective.slow.parameters()]
    objective.after_step(1.0)
    assert all(torch.equal(a, b) for a, b in zip(frozen, objective.slow.parameters(), strict=True))


def test_it_learns_to_say_what_is_hidden_of_leads_at_rest() -> None:
    """Eight windows whose leads stay at levels of their own: hidden parts are as the visible ones."""
    objective, batch = objective_of(momentum=0.99), make_batch(8)
    levels = torch.randn(8, 12, 1, generator=torch.Generator().manual_seed(3))
    batch.streams[STREAM].samples.copy_((250 * levels).to(torch.int16).expand(8, 12, 1000))
    learning = [p for p in objective.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(learning, lr=1e-3)
    losses, steps = [], 30
    for step in range(steps):
        outcome = objective(Batch(batch.streams, 0, step, *(batch.positions,) * 3))
        loss = outcome.loss_sum / outcome.targets
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        objective.after_step((step + 1) / steps)
        losses.append(loss.item())
    assert sum(losses[-5:]) / 5 < 0.7 * losses[0]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"mask_ratio": 0.0}, "mask_ratio must lie between 0 and 1"),
        ({"mask_ratio": 1.0}, "mask_ratio must lie between 0 and 1"),
        ({"block_s": 0.0}, "block_s must be above 0 s"),
        ({"momentum": 1.5}, "momentum must lie in"),
    ],
)
def test_impossible_configurations_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        JEPAConfig(**fields)


def test_backbones_that_know_the_past_alone_are_refused() -> None:
    with pytest.raises(ValueError, match="jepa takes s4, vit, xresnet, not lstm"):
        Config(model=EncoderConfig("lstm"))


def test_the_shipped_configuration_is_read() -> None:
    parser = ConfigParser()
    parser.add_config(Config)
    config = parser.config(Config, parser.values(["--config", "pretrain/jepa_ptbxl"]))
    assert (config.model.backbone, config.model.size, config.model.patch.samples) == (
        "vit",
        "mini",
        10,
    )
