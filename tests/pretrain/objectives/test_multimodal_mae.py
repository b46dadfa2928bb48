"""Masked autoencoding of several modalities: what is hidden stays hidden, and each modality counts alike."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from biofm.models.decoder import DecoderConfig
from biofm.models.fused import FusedConfig, FusedEncoder
from biofm.models.tokenizer import PatchConfig
from biofm.pretrain.objectives.multimodal_mae import MultimodalMAE, MultimodalMAEConfig
from biofm.signals.types import MISSING
from biofm.signals.windows import Batch, Windows

PATCHES = {
    "ecg": PatchConfig("ecg", ("I", "II"), 100.0, 50),
    "hr": PatchConfig("hr", ("hr",), 1.0, 2, unit=20.0),
}


def made(**fields: Any) -> MultimodalMAE:
    torch.manual_seed(0)
    config = MultimodalMAEConfig(decoder=DecoderConfig(dim=32, depth=1, heads=2), **fields)
    encoder = FusedEncoder(FusedConfig(PATCHES, depth=1))
    return MultimodalMAE(encoder, config, "ecg-100hz")


def batch(rows: int = 6) -> Batch:
    """The second row has no heart rate; of the third row's, half the samples."""
    streams = {}
    for m, patch in PATCHES.items():
        generator = torch.Generator().manual_seed(patch.samples)
        shape = (rows, len(patch.channels), round(10 * patch.rate_hz))
        samples = torch.randint(-3000, 3000, shape, dtype=torch.int16, generator=generator)
        scale, offset = torch.full(shape[:2], 1e-3), torch.zeros(shape[:2])
        streams[f"{m}-x"] = Windows(m, patch.rate_hz, patch.channels, samples, scale, offset)
    streams["hr-x"].samples[1] = MISSING
    streams["hr-x"].samples[2, :, 5:] = MISSING
    numbers = torch.arange(rows)
    return Batch(streams, 0, 0, numbers, numbers, numbers)


def slow_loss(objective: MultimodalMAE, given: Batch) -> tuple[float, int]:
    """One window, one modality, one sample after the other."""
    windows = objective.encoder.own(given.streams)
    patches = {m: objective.encoder.tokenizer(m).patches(w) for m, w in windows.items()}
    masks = objective.draw_masks(given, patches)
    times = {
        m: objective.encoder.tokenizer(m).times_s(p.present_BCN.shape[2], torch.device("cpu"))
        for m, p in patches.items()
    }
    said = objective.decoder(objective.encoder.hide(windows, patches, masks), times)
    total, targets = 0.0, 0
    for m, part in patches.items():
        guess = objective.as_channels(m, said[m], windows[m].channels)
        truth = objective.target(part)
        B, C, N, P = truth.shape
        for b in range(B):
            errors = [
                float(guess[b, c, n, p] - truth[b, c, n, p]) ** 2
                for c in range(C)
                for n in range(N)
                for p in range(P)
                if masks[m].hidden[b, c, n] and part.valid_BCNP[b, c, n, p]
            ]
            if errors:
                total, targets = total + sum(errors) / len(errors), targets + 1
    return total, targets


@torch.no_grad()
def test_every_window_of_a_modality_counts_once_however_many_samples_it_has() -> None:
    objective, given = made(modality_mask_ratio=0.5), batch()
    outcome = objective(given)
    total, targets = slow_loss(objective, given)
    assert float(outcome.targets) == float(objective.count(given)) == targets == 11
    assert float(outcome.loss_sum) == pytest.approx(total, rel=1e-4)


def test_what_is_hidden_never_enters_and_a_modality_may_be_hidden_as_a_whole() -> None:
    objective, given = made(modality_mask_ratio=0.6), batch(40)
    windows = objective.encoder.own(given.streams)
    patches = {m: objective.encoder.tokenizer(m).patches(w) for m, w in windows.items()}
    masks = objective.draw_masks(given, patches)
    gone = {m: ~masks[m].visible.flatten(1).any(dim=1) for m in masks}
    there = {m: p.present_BCN.flatten(1).any(dim=1) for m, p in patches.items()}
    assert any(bool((gone[m] & there[m]).any()) for m in masks)
    # Something is always left to say it from.
    assert not bool((gone["ecg"] & (gone["hr"] | ~there["hr"])).any())
    for m, mask in masks.items():
        assert not bool((mask.visible & mask.hidden).any())
        assert torch.equal(mask.visible | mask.hidden, patches[m].present_BCN)
    before = objective.encoder.hide(windows, patches, masks)
    for m, mask in masks.items():
        patches[m].values_BCNP[mask.hidden] = 1e3
    after = objective.encoder.hide(windows, patches, masks)
    for m in masks:
        torch.testing.assert_close(before[m].tokens, after[m].tokens)


def test_a_modality_hidden_as_a_whole_is_said_from_the_other() -> None:
    """The gradient of the heart rate's reconstruction reaches the ECG's samples."""
    objective, given = made(modality_mask_ratio=0.9), batch(8)
    windows = objective.encoder.own(given.streams)
    patches = {m: objective.encoder.tokenizer(m).patches(w) for m, w in windows.items()}
    masks = objective.draw_masks(given, patches)
    gone_B = ~masks["hr"].visible.flatten(1).any(dim=1) & patches["hr"].present_BCN.any(dim=2)[:, 0]
    assert bool(gone_B.any())
    leaf = patches["ecg"].values_BCNP.clone().requires_grad_()
    patches["ecg"] = replace(patches["ecg"], values_BCNP=leaf)
    times = {
        m: objective.encoder.tokenizer(m).times_s(p.present_BCN.shape[2], torch.device("cpu"))
        for m, p in patches.items()
    }
    said = objective.decoder(objective.encoder.hide(windows, patches, masks), times)
    said["hr"][gone_B].square().sum().backward()
    assert leaf.grad is not None
    assert bool(leaf.grad[gone_B].flatten(1).any(dim=1).all())


def test_masks_depend_on_the_position_alone_and_differ_between_modalities() -> None:
    patches = {m: PatchConfig(m, (m,), 1.0, 1) for m in ("hr", "spo2")}
    encoder = FusedEncoder(FusedConfig(patches, depth=1))
    objective = MultimodalMAE(encoder, MultimodalMAEConfig(modality_mask_ratio=0.0), "hr-1hz")
    samples = torch.zeros(4, 1, 20, dtype=torch.int16)
    scale, offset = torch.ones(4, 1), torch.zeros(4, 1)
    streams = {m: Windows(m, 1.0, (m,), samples, scale, offset) for m in patches}
    numbers = torch.arange(4)
    given = Batch(streams, 0, 0, numbers, numbers, numbers)
    cut = {m: encoder.tokenizer(m).patches(w) for m, w in streams.items()}
    one, again = objective.draw_masks(given, cut), objective.draw_masks(given, cut)
    assert torch.equal(one["hr"].hidden, again["hr"].hidden)
    assert not torch.equal(one["hr"].hidden, one["spo2"].hidden)


def test_it_overfits_a_batch() -> None:
    objective, given = made(), batch()
    optimizer = torch.optim.Adam(objective.parameters(), lr=3e-3)
    losses = []
    for _ in range(60):
        outcome = objective(given)
        losses.append(float(outcome.loss_sum / outcome.targets))
        optimizer.zero_grad()
        outcome.loss_sum.backward()
        optimizer.step()
    assert losses[-1] < 0.8 * losses[0]


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"mask_ratio": 1.0}, "mask_ratio must lie between 0 and 1"),
        ({"modality_mask_ratio": 1.0}, r"modality_mask_ratio must lie in \[0, 1\)"),
    ],
)
def test_shares_that_make_no_sense_are_refused(fields: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        MultimodalMAEConfig(**fields)
