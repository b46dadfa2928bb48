"""Transformer blocks and computed positions.

Shape suffixes: B batch, L tokens, D width, H heads.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

POSITIONS_PER_S = 10
"""Steps of the position code in one second: 0.1 s, finer than any wave of the ECG."""


def time_code(time_s: Tensor, dim: int) -> Tensor:
    """Sine–cosine code [..., dim] of times in seconds (Vaswani et al. 2017): computed, never stored.

    Because it takes seconds and not token numbers, windows of other lengths and patches of other lengths
    keep their meaning.
    """
    frequency = torch.exp(
        torch.arange(dim // 2, device=time_s.device, dtype=torch.float32)
        * (-math.log(10_000) * 2 / dim)
    )
    angle = time_s[..., None].float() * POSITIONS_PER_S * frequency
    return torch.cat([angle.sin(), angle.cos()], dim=-1)


class Attention(nn.Module):
    """Multi-head self-attention on PyTorch's fused kernel."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        if dim % heads:
            raise ValueError(f"the width {dim} is not a multiple of the {heads} heads")
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.out = nn.Linear(dim, dim)

    def forward(self, x_BLD: Tensor, attend_BL: Tensor | None = None) -> Tensor:
        """[B, L, D] → [B, L, D]; `attend_BL` is False for tokens that nobody may look at."""
        B, L, D = x_BLD.shape
        q, k, v = self.qkv(x_BLD).view(B, L, 3, self.heads, D // self.heads).permute(2, 0, 3, 1, 4)
        mask = None if attend_BL is None else attend_BL[:, None, None, :]
        y_BHLD = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        out: Tensor = self.out(y_BHLD.transpose(1, 2).reshape(B, L, D))
        return out


class Block(nn.Module):
    """Pre-norm transformer block (Xiong et al. 2020): attention, then a two-layer perceptron."""

    def __init__(self, dim: int, heads: int, mlp_ratio: float = 4.0) -> None:
        super().__init__()
        self.norm_1 = nn.LayerNorm(dim)
        self.attention = Attention(dim, heads)
        self.norm_2 = nn.LayerNorm(dim)
        hidden = int(dim * mlp_ratio)
        self.mlp = nn.Sequential(nn.Linear(dim, hidden), nn.GELU(), nn.Linear(hidden, dim))

    def forward(
        self, x_BLD: Tensor, attend_BL: Tensor | None = None, weight_B2: Tensor | None = None
    ) -> Tensor:
        """[B, L, D] → [B, L, D]; `weight_B2` are factors on the two branches of each row."""
        attention_BLD = self.attention(self.norm_1(x_BLD), attend_BL)
        if weight_B2 is not None:
            attention_BLD = attention_BLD * weight_B2[:, 0, None, None]
        x_BLD = x_BLD + attention_BLD
        mlp_BLD = self.mlp(self.norm_2(x_BLD))
        if weight_B2 is not None:
            mlp_BLD = mlp_BLD * weight_B2[:, 1, None, None]
        out: Tensor = x_BLD + mlp_BLD
        return out


class Blocks(nn.Module):
    """A stack of blocks with the final norm: what encoder and decoder share, and what is compiled."""

    def __init__(self, dim: int, depth: int, heads: int, mlp_ratio: float = 4.0) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Block(dim, heads, mlp_ratio) for _ in range(depth))
        self.norm = nn.LayerNorm(dim)
        self.apply(initialise)

    def forward(
        self,
        x_BLD: Tensor,
        attend_BL: Tensor | None = None,
        weight_BM2: Tensor | None = None,
        *,
        normed: bool = True,
    ) -> Tensor:
        """[B, L, D] → [B, L, D], with the final norm where `normed`.

        `weight_BM2` are factors on the two branches of each of the M blocks.
        """
        for number, block in enumerate(self.blocks):
            x_BLD = block(x_BLD, attend_BL, None if weight_BM2 is None else weight_BM2[:, number])
        return self.norm(x_BLD) if normed else x_BLD


def initialise(module: nn.Module) -> None:
    """Xavier-uniform weights and zero biases, as masked autoencoders are trained (He et al. 2022)."""
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
