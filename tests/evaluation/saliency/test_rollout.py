"""Attention rollout against plain loops, and what must hold for any attention."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from biofm.evaluation.saliency.rollout import (
    attention_rollout,
    attention_weights,
    encoder_importance,
    lead_shares,
    recorded_attention,
    rolled_out,
    spread_patches,
)
from biofm.models.encoder import EncoderConfig
from biofm.models.layers import Attention
from biofm.models.tokenizer import PatchConfig
from biofm.models.vit import ViTEncoder
from biofm.signals import LEADS_12, MISSING
from biofm.signals.windows import Windows

KINDS: list[dict[str, Any]] = [
    {},
    {"span": "lead"},
    {"span": "lead", "separators": True, "scale": "window"},
    {"span": "lead", "separators": True, "positions": 12},
]


def made(seed: int = 0, **patch: Any) -> ViTEncoder:
    torch.manual_seed(seed)
    config = EncoderConfig(depth=3, patch=PatchConfig(samples=20, **patch))
    encoder = ViTEncoder(config).eval()
    with torch.no_grad():  # sharper than at the beginning of training, where all tokens look alike
        for block in encoder.blocks.blocks:
            assert isinstance(block.attention, Attention)
            block.attention.qkv.weight *= 3
    return encoder


def ecg(samples: int = 210, channels: int = 4) -> Windows:
    draw = torch.Generator().manual_seed(1)
    digital = torch.randint(-900, 900, (2, channels, samples), dtype=torch.int16, generator=draw)
    shape = (2, channels)
    names = LEADS_12[:channels]
    return Windows("ecg", 100.0, names, digital, torch.full(shape, 1e-3), torch.zeros(shape))


def by_hand(attentions: list[Tensor], row: int, out: int, to: int) -> float:
    """Sum over all paths from an output token down to an input token, one block after the other."""
    if not attentions:
        return float(out == to)
    *before, last = attentions
    total = 0.0
    for through in range(last.shape[1]):
        step = (float(last[row, out, through]) + float(out == through)) / 2
        total += step * by_hand(before, row, through, to)
    return total


def test_it_is_the_sum_over_paths_and_rows_sum_to_one() -> None:
    torch.manual_seed(0)
    attentions = [torch.rand(2, 4, 4).softmax(dim=-1) for _ in range(3)]
    found = rolled_out(attentions)
    for row in range(2):
        for out in range(4):
            for to in range(4):
                expected = by_hand(attentions, row, out, to)
                assert float(found[row, out, to]) == pytest.approx(expected, abs=1e-6)
    torch.testing.assert_close(found.sum(dim=-1), torch.ones(2, 4))


def test_weights_are_those_of_pytorchs_own_attention() -> None:
    torch.manual_seed(0)
    mine = Attention(24, 3)
    theirs = nn.MultiheadAttention(24, 3, batch_first=True)
    with torch.no_grad():
        theirs.in_proj_weight.copy_(mine.qkv.weight)
        theirs.in_proj_bias.copy_(mine.qkv.bias)
    x = torch.randn(2, 7, 24)
    attend = torch.ones(2, 7, dtype=torch.bool)
    attend[1, 4:] = False
    _, expected = theirs(x, x, x, key_padding_mask=~attend, average_attn_weights=False)
    torch.testing.assert_close(attention_weights(mine, x, attend), expected)


@pytest.mark.parametrize("patch", KINDS)
def test_what_is_recorded_gives_what_the_fused_kernel_gives(patch: dict[str, Any]) -> None:
    encoder, windows = made(**patch), ecg()
    outputs: list[Tensor] = []
    first = encoder.blocks.blocks[0].attention
    assert isinstance(first, Attention)
    given: list[Tensor] = []
    first.register_forward_pre_hook(lambda _m, args: given.append(args[0]))
    first.register_forward_hook(lambda _m, _a, out: outputs.append(out))
    with torch.no_grad(), recorded_attention(encoder) as seen:
        encoder(windows)
        weights = attention_weights(first, given[0])
        value = first.qkv(given[0]).view(*given[0].shape[:2], 3, 3, 64)[:, :, 2].transpose(1, 2)
        slow = first.out((weights @ value).transpose(1, 2).flatten(2))
    torch.testing.assert_close(slow, outputs[0], rtol=1e-4, atol=1e-5)
    assert len(seen) == 3
    for attention in seen:
        torch.testing.assert_close(attention.sum(dim=-1), torch.ones(attention.shape[:2]))
    with torch.no_grad():
        encoder(windows)
    assert len(seen) == 3  # the hooks are gone


@pytest.mark.parametrize("patch", KINDS)
def test_shapes_sums_and_missing_parts(patch: dict[str, Any]) -> None:
    encoder, windows = made(**patch), ecg()
    joint = encoder.tokenizer.joint
    rollout = attention_rollout(encoder, windows)
    assert rollout.shape == (2, 1 if joint else 4, 10)
    total = rollout.sum(dim=(1, 2))
    if encoder.config.patch.separators:
        assert (total < 0.999).all()
        assert (total > 0.3).all()
    else:
        torch.testing.assert_close(total, torch.ones(2))
    samples = windows.samples.clone()
    samples[0, :, 40:80] = MISSING  # two patches
    windows = replace(windows, samples=samples)
    importance = encoder_importance(encoder, windows)
    assert importance.shape == windows.samples.shape
    assert not importance[0, :, 40:80].any()
    assert (importance[0, :, :40] > 0).all()
    assert not importance[:, :, 200:].any()  # shorter than a patch: never read
    assert (importance[1, :, :200] > 0).all()


@pytest.mark.parametrize("patch", KINDS[:2])
def test_randomised_weights_change_the_map(patch: dict[str, Any]) -> None:
    """Adebayo et al., NeurIPS 2018: a map that does not depend on the weights explains nothing."""
    windows = ecg()
    one, same, other = (
        encoder_importance(made(seed, **patch), windows)[:, :, :200].flatten(1)
        for seed in (0, 0, 1)
    )
    assert torch.equal(one, same)
    correlation = torch.corrcoef(torch.stack([one[0], other[0]]))[0, 1]
    assert abs(float(correlation)) < 0.7


def test_a_lead_that_the_encoder_ignores_has_no_share() -> None:
    encoder = copy.deepcopy(made())
    with torch.no_grad():
        encoder.tokenizer.embed.weight[:, 2 * 20 : 3 * 20] = 0  # the third lead
        encoder.tokenizer.hidden_embedding[2] = 0
    found = lead_shares(encoder, ecg())
    torch.testing.assert_close(found.sum(dim=1), torch.ones(2))
    assert not found[:, 2].any()
    assert (found[:, [0, 1, 3]] > 0.05).all()


def test_patches_are_spread_over_their_samples() -> None:
    values = torch.tensor([[[1.0, 2.0]]])
    assert spread_patches(values, 7, 3).tolist() == [[[1, 1, 1, 2, 2, 2, 0]]]
