"""Attention against its definition, the block's size, and the code of time."""

from __future__ import annotations

import torch

from biofm.models.layers import Attention, Block, time_code


def test_attention_equals_softmax_of_scaled_products() -> None:
    torch.manual_seed(0)
    attention = Attention(dim=12, heads=3)
    x = torch.randn(2, 5, 12)
    q, k, v = attention.qkv(x).chunk(3, dim=-1)
    parts = []
    for head in range(3):
        s = slice(4 * head, 4 * head + 4)
        weights = (q[..., s] @ k[..., s].transpose(1, 2) / 4**0.5).softmax(-1)
        parts.append(weights @ v[..., s])
    torch.testing.assert_close(attention(x), attention.out(torch.cat(parts, -1)))


def test_nobody_looks_at_padding() -> None:
    torch.manual_seed(0)
    block = Block(dim=12, heads=3)
    x = torch.randn(1, 6, 12)
    attend = torch.tensor([[True, True, True, True, False, False]])
    changed = x.clone()
    changed[:, 4:] = 100.0
    torch.testing.assert_close(block(x, attend)[:, :4], block(changed, attend)[:, :4])
    torch.testing.assert_close(block(x, attend)[:, :4], block(x[:, :4]))


def test_vit_base_block_has_the_published_size() -> None:
    assert sum(p.numel() for p in Block(768, 12).parameters()) == 7_087_872


def test_time_code_knows_seconds_and_not_token_numbers() -> None:
    a, b = time_code(torch.tensor([0.3, 0.6, 0.9]), 32), time_code(torch.tensor([0.9]), 32)
    torch.testing.assert_close(a[2:], b)
    assert torch.pdist(time_code(torch.arange(0, 60, 0.1), 64)).min() > 0.1
