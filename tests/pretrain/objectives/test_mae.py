"""The masked autoencoder against ST-MEM's definition, written out lead by lead."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import pytest
import torch
from torch import Tensor

from biofm.configuration import ConfigParser
from biofm.models.decoder import DecoderConfig
from biofm.models.encoder import EncoderConfig
from biofm.models.layers import time_code
from biofm.models.masks import keep_some
from biofm.models.tokenizer import PatchConfig
from biofm.models.vit import ViTEncoder
from biofm.pretrain.mae_run import Config
from biofm.pretrain.objectives.mae import MAE, MAEConfig
from biofm.signals import LEADS_12, MISSING
from biofm.signals.windows import Batch, Windows

STREAM = "ecg-250hz"


def st_mem(size: Literal["tiny", "small", "base"] = "tiny", depth: int | None = 2) -> MAE:
    torch.manual_seed(0)
    patch = PatchConfig(rate_hz=250.0, samples=75, span="lead", separators=True, scale="window")
    return MAE(
        ViTEncoder(EncoderConfig(size=size, depth=depth, patch=patch)),
        MAEConfig(mask_ratio=0.75, target="patch", decoder=DecoderConfig(256, 4, 4)),
        STREAM,
    )


def joint() -> MAE:
    torch.manual_seed(0)
    patch = PatchConfig(rate_hz=250.0, samples=50)
    decoder = DecoderConfig(dim=64, depth=1, heads=4)
    return MAE(ViTEncoder(EncoderConfig(depth=2, patch=patch)), MAEConfig(decoder=decoder), STREAM)


def make_batch(rows: int = 4, first: int = 0, epoch: int = 0) -> Batch:
    generator = torch.Generator().manual_seed(1)
    samples = torch.randint(-3000, 3000, (16, 12, 2250), dtype=torch.int16, generator=generator)[
        first : first + rows
    ]
    windows = Windows(
        "ecg", 250.0, LEADS_12, samples, torch.full((rows, 12), 1e-3), torch.zeros(rows, 12)
    )
    positions = torch.arange(first, first + rows)
    return Batch({STREAM: windows}, 7, epoch, positions, positions, positions)


@pytest.mark.parametrize(("size", "parameters"), [("base", 88_501_985), ("small", 24_607_073)])
def test_parameters_are_st_mems(size: Literal["small", "base"], parameters: int) -> None:
    """The published 88,534,753 and 24,627,553 add two fixed tables of 32 positions, computed here."""
    with torch.device("meta"):
        objective = st_mem(size, None)
    assert sum(p.numel() for p in objective.parameters()) == parameters
    width = {"base": 768, "small": 384}[size]
    published = {"base": 88_534_753, "small": 24_627_553}[size]
    assert parameters + 32 * (width + 256) == published


def decode_lead_by_lead(objective: MAE, batch: Batch) -> Tensor:
    """The decoder as the paper draws it: one lead after the other."""
    windows = batch.streams[STREAM]
    encoder = objective.encoder
    assert isinstance(encoder, ViTEncoder)
    patches = encoder.tokenizer.patches(windows)
    tokens = encoder.tokenizer(windows, patches)
    mask = objective.draw_mask(batch, patches)
    encoded = encoder.encode(tokens, mask.keep).view(len(batch), 12, -1, 192)
    decoder, times = objective.decoder, objective.encoder.tokenizer.times_s(30, torch.device("cpu"))
    leads = []
    for lead in range(12):
        x = decoder.embed(encoded[:, lead])
        rows = []
        for b in range(len(x)):
            full = decoder.mask_token.repeat(30, 1)
            full[mask.keep[b, lead]] = x[b, 1:-1]
            full = full + time_code(times, full.shape[-1])
            rows.append(torch.cat([x[b, :1], full, x[b, -1:]]))
        leads.append(decoder.head(decoder.blocks(torch.stack(rows))[:, 1:-1]))
    return torch.stack(leads, dim=1)


def test_folded_leads_equal_the_loop_over_leads_and_so_do_their_gradients() -> None:
    objective, batch = st_mem(), make_batch()
    seen = objective.reconstruct(batch)
    slow = decode_lead_by_lead(objective, batch)
    torch.testing.assert_close(seen.prediction, slow, rtol=1e-4, atol=1e-5)
    names = ("decoder.mask_token", "encoder.tokenizer.separator", "decoder.embed.weight")
    parameters = [dict(objective.named_parameters())[n] for n in names]
    fast_gradients = torch.autograd.grad(seen.prediction.square().mean(), parameters)
    slow_gradients = torch.autograd.grad(slow.square().mean(), parameters)
    for one, two in zip(fast_gradients, slow_gradients, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-3, atol=1e-6)


def test_loss_is_the_mean_error_over_hidden_patches_alone() -> None:
    objective, batch = st_mem(), make_batch()
    seen = objective.reconstruct(batch)
    outcome = objective(batch)
    errors = (seen.prediction - seen.target).square().mean(dim=-1)
    expected = errors[seen.mask.hidden].mean()
    torch.testing.assert_close(outcome.loss_sum / outcome.targets, expected)
    assert seen.mask.hidden.sum() == 4 * 12 * 23  # 7 of 30 patches are kept
    assert outcome.targets == objective.count(batch)


def test_each_lead_draws_its_own_mask_and_rows_keep_theirs_in_any_batch() -> None:
    objective, batch = st_mem(), make_batch(rows=6)
    windows = batch.streams[STREAM]
    patches = objective.encoder.tokenizer.patches(windows)
    masked = objective.draw_mask(batch, patches).hidden
    assert len({tuple(row.tolist()) for row in masked.flatten(0, 1)}) == 6 * 12
    other = make_batch(rows=2, first=3)
    again = objective.draw_mask(
        other, objective.encoder.tokenizer.patches(other.streams[STREAM])
    ).hidden
    assert torch.equal(masked[3:5], again)
    next_epoch = objective.draw_mask(make_batch(rows=6, epoch=1), patches).hidden
    assert not torch.equal(masked, next_epoch)


def test_joint_tokens_hide_instants_and_half_the_leads_of_those_that_stay() -> None:
    objective, batch = joint(), make_batch()
    mask = objective.reconstruct(batch).mask
    instants = mask.visible.any(dim=1)
    assert (instants.sum(dim=-1) == 22).all()  # 45 patches, half of them, rounded down
    assert (mask.visible.sum(dim=1).masked_select(instants) == 6).all()
    assert torch.equal(mask.hidden, ~mask.visible)


@pytest.mark.parametrize("make", [st_mem, joint])
def test_hidden_samples_never_reach_the_encoder(make: Callable[[], MAE]) -> None:
    objective = make()
    batch = make_batch(rows=2)
    windows = batch.streams[STREAM]
    patches = objective.encoder.tokenizer.patches(windows)
    mask = objective.draw_mask(batch, patches)
    before = objective.encoder.hide(windows, patches, mask).tokens
    patches.values_BCNP[mask.hidden] = 1e3
    torch.testing.assert_close(before, objective.encoder.hide(windows, patches, mask).tokens)


@pytest.mark.parametrize("make", [st_mem, joint])
def test_missing_samples_are_neither_input_nor_target(make: Callable[[], MAE]) -> None:
    objective = make()
    batch = make_batch()
    windows = batch.streams[STREAM]
    windows.samples[0, :, :1000] = MISSING
    windows.samples[1, 4] = MISSING
    windows.samples[2, 2, 10:60] = MISSING
    windows.samples[3] = MISSING
    outcome = objective(batch)
    assert outcome.loss_sum.isfinite()
    assert outcome.targets == objective.count(batch)
    seen = objective.reconstruct(batch)
    mask, patches = seen.mask, seen.patches
    assert mask.attend is not None
    assert not (mask.hidden & ~patches.present_BCN).any()
    assert not (mask.visible & mask.hidden).any()
    assert not (mask.visible & ~patches.present_BCN).any()
    outcome.loss_sum.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in objective.parameters())


def test_complete_windows_in_a_batch_with_gaps_are_masked_as_they_would_be_alone() -> None:
    objective, batch = st_mem(), make_batch()
    alone = objective.reconstruct(batch).mask.hidden
    batch.streams[STREAM].samples[0, :, :300] = MISSING
    beside = objective.reconstruct(batch).mask.hidden
    assert torch.equal(alone[1:], beside[1:])


def test_normalised_targets_have_zero_mean_and_unit_deviation_over_recorded_samples() -> None:
    objective, batch = st_mem(), make_batch()
    batch.streams[STREAM].samples[2, 2, 10:40] = MISSING
    patches = objective.encoder.tokenizer.patches(batch.streams[STREAM])
    mean, deviation = objective.target_scale(patches)
    target = (patches.values_BCNP - mean) / deviation
    valid = patches.valid_BCNP[2, 2, 0]
    assert abs(float(target[2, 2, 0][valid].mean())) < 1e-4
    assert float(target[2, 2, 0][valid].std(correction=0)) == pytest.approx(1.0, abs=1e-3)


def test_it_overfits_four_windows() -> None:
    """A model that cannot learn four windows by heart has a bug."""
    objective = joint()
    generator = torch.Generator().manual_seed(0)
    time = torch.arange(2250) / 250
    frequency, phase = (
        0.8 + torch.rand(4, 1, 1, generator=generator),
        torch.rand(4, 12, 1, generator=generator),
    )
    waves = (1000 * torch.sin(2 * torch.pi * (frequency * time + phase))).to(torch.int16)
    windows = Windows("ecg", 250.0, LEADS_12, waves, torch.full((4, 12), 1e-3), torch.zeros(4, 12))
    positions = torch.arange(4)
    optimizer = torch.optim.AdamW(objective.parameters(), lr=2e-3)
    losses = []
    for epoch in range(120):
        outcome = objective(Batch({STREAM: windows}, 0, epoch, positions, positions, positions))
        loss = outcome.loss_sum / outcome.targets
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert sum(losses[-5:]) / 5 < 0.35 * losses[0]


@pytest.mark.parametrize("ratio", [0.16, 0.4, 0.5, 0.75, 0.8])
@pytest.mark.parametrize("patches", [20, 30, 75])
def test_a_row_keeps_as_many_patches_beside_rows_with_gaps_as_alone(
    ratio: float, patches: int
) -> None:
    noise = torch.rand(3, 2, patches, generator=torch.Generator().manual_seed(0))
    whole = torch.ones(3, 2, patches, dtype=torch.bool)
    gaps = whole.clone()
    gaps[0, 0, :7] = False
    _, _, alone = keep_some(noise, whole, ratio, complete=True)
    _, _, beside = keep_some(noise, gaps, ratio, complete=False)
    assert torch.equal(alone[1:], beside[1:])
    assert not (beside & ~gaps).any()


def test_a_window_of_one_patch_is_refused() -> None:
    patch = PatchConfig(rate_hz=250.0, samples=2250)
    objective = MAE(ViTEncoder(EncoderConfig(depth=1, patch=patch)), MAEConfig(), STREAM)
    with pytest.raises(ValueError, match="a window of one patch leaves nothing to hide"):
        objective(make_batch())


def test_the_shipped_st_mem_configuration_is_the_published_model() -> None:
    parser = ConfigParser()
    parser.add_config(Config)
    config = parser.config(Config, parser.values(["--config", "pretrain/st_mem_ptbxl"]))
    with torch.device("meta"):
        objective = MAE(ViTEncoder(config.model), config.objective, STREAM)
    assert sum(p.numel() for p in objective.parameters()) == 88_501_985
    assert (config.objective.mask_ratio, config.objective.target) == (0.75, "patch")
