"""The learning rate, which weights decay, and what a step costs."""

from __future__ import annotations

import pytest
import torch

from biofm.models.decoder import DecoderConfig
from biofm.models.encoder import EncoderConfig
from biofm.models.tokenizer import PatchConfig
from biofm.models.vit import ViTEncoder
from biofm.pretrain.configuration import OptimConfig
from biofm.pretrain.loop import learning_rate, make_optimizer
from biofm.pretrain.objectives.mae import MAE, MAEConfig
from biofm.pretrain.throughput import flops_per_window
from biofm.signals import LEADS_12
from biofm.signals.windows import Batch, Windows


@pytest.mark.parametrize("warmup", [0.0, 0.05, 0.4, 2.0, 10.0])
def test_the_rate_rises_to_its_peak_and_falls_to_zero(warmup: float) -> None:
    optim = OptimConfig(lr=1e-3, epochs=10, warmup_epochs=warmup)
    rates = [learning_rate(step, 60, 6, optim) for step in range(60)]
    peak = max(rates)
    assert peak == pytest.approx(1e-3, rel=1e-2)
    assert peak <= 1e-3 * (1 + 1e-9)
    top = rates.index(peak)
    assert rates[:top] == sorted(rates[:top])
    assert rates[top:] == sorted(rates[top:], reverse=True)
    if warmup < 10:
        assert rates[-1] < 0.02e-3


def st_mem() -> MAE:
    patch = PatchConfig(rate_hz=250.0, samples=75, span="lead", separators=True, scale="window")
    decoder = DecoderConfig(256, 4, 4)
    return MAE(
        ViTEncoder(EncoderConfig(size="small", patch=patch)),
        MAEConfig(0.75, decoder=decoder),
        "ecg",
    )


def test_only_matrices_decay() -> None:
    objective = st_mem()
    decayed, spared = (g["params"] for g in make_optimizer(objective, OptimConfig()).param_groups)
    names = {id(p): n for n, p in objective.named_parameters()}
    assert all(p.ndim == 2 for p in decayed)
    assert {names[id(p)] for p in spared if p.ndim > 1} == {"encoder.tokenizer.channel_embedding"}
    assert {"encoder.tokenizer.separator", "decoder.mask_token"} <= {names[id(p)] for p in spared}
    assert len(decayed) + len(spared) == len(names)


def test_flops_agree_with_the_formula() -> None:
    """ViT-S, 108 tokens, and twelve leads of 32 in the decoder: products of matrices, and attention."""
    samples = torch.randint(-3000, 3000, (2, 12, 2250), dtype=torch.int16)
    windows = Windows(
        "ecg", 250.0, LEADS_12, samples, torch.full((2, 12), 1e-3), torch.zeros(2, 12)
    )
    rows = torch.arange(2)

    def blocks(tokens: int, dim: int, depth: int) -> int:
        return depth * (2 * tokens * 12 * dim**2 + 2 * 2 * tokens**2 * dim)

    forward = blocks(108, 384, 12) + 12 * blocks(32, 256, 4)
    forward += 2 * 360 * 75 * 384 + 2 * 108 * 384 * 256 + 2 * 360 * 256 * 75
    found = flops_per_window(st_mem(), Batch({"ecg": windows}, 0, 0, rows, rows, rows))
    assert found == pytest.approx(3 * forward, rel=1e-3)
