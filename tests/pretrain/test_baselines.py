"""The predictors that learn nothing, on signals whose answer is known."""

from __future__ import annotations

import pytest
import torch

from biofm.models.encoder import EncoderConfig
from biofm.models.tokenizer import PatchConfig
from biofm.models.vit import ViTEncoder
from biofm.pretrain.baselines import baselines
from biofm.pretrain.objectives.mae import MAE, MAEConfig
from biofm.signals import LEADS_12
from biofm.signals.windows import Batch, Windows


def batch(x_BCT: torch.Tensor) -> Batch:
    samples = (x_BCT * 1000).round().to(torch.int16)
    ones = torch.ones(len(samples), 12)
    windows = Windows("ecg", 100.0, LEADS_12, samples, ones * 1e-3, ones * 0)
    rows = torch.arange(len(samples))
    return Batch({"ecg": windows}, 0, 0, rows, rows, rows)


def found(x_BCT: torch.Tensor, lead_mask_ratio: float) -> dict[str, float]:
    config = MAEConfig(mask_ratio=0.5, lead_mask_ratio=lead_mask_ratio)
    encoder = ViTEncoder(EncoderConfig(depth=1, patch=PatchConfig(samples=10)))
    return baselines(MAE(encoder, config, "ecg"), [batch(x_BCT)], [batch(x_BCT)])


def test_leads_that_are_multiples_of_one_are_regressed_where_any_is_visible() -> None:
    generator = torch.Generator().manual_seed(0)
    source = torch.randn(8, 1, 1000, generator=generator)
    gains = torch.linspace(0.5, 2, 12)[None, :, None]
    losses = found(source * gains, lead_mask_ratio=0.5)
    # Two thirds of the hidden samples lie at instants with no visible lead, where it can only say 0.
    assert losses["ridge from visible leads"] == pytest.approx(2 / 3, abs=0.08)
    assert losses["patch mean"] == pytest.approx(0.9, abs=0.05)  # white noise: 1 − 1/10


def test_straight_lines_are_interpolated_between_what_is_visible() -> None:
    time = torch.linspace(-1, 1, 1000)
    slopes = torch.linspace(0.5, 2, 12)[None, :, None]
    losses = found((slopes * time).repeat(4, 1, 1), lead_mask_ratio=0.0)
    # Beyond the first and last visible sample it stays flat, so a little is left.
    assert losses["linear interpolation"] < 0.01
    assert losses["patch mean"] < 0.01
    assert losses["ridge from visible leads"] > 0.5
