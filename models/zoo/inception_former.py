"""InceptionFormer: convolution in the early stages, attention in the late ones, for 12-lead ECG (2024).

12.45 M parameters and 2.14 G multiply-adds (without the products of attention) for 12 × 1,000 samples. It was
published as a table of stages; what the table does not say follows from its counts, stage by stage, and from its
smaller variants (first three stages 3.64 M, two last blocks 8.25 M, all widths halved 3.13 M):

- Stem: 64 × 1,000 (the text beside the table says 128, the table and its counts 64) and 36.72 K parameters; only
  these are known. Read as an inception module: 1×1 to a quarter of the width, then 20, 40 or 80 samples, beside a
  pooled branch, with biases: 36,720.
- A convolution block has 4d² + 18d parameters: a perceptron of ratio 2 (4d² + 3d), two norms (4d), and 11d for the
  depthwise mixing. The multiply-adds (no biases, 4 for each value of a norm) say that this is 10 weights and a
  bias for each map. Read as quarters of 7, 9, 11 and 13 samples.
- An attention block has 8d² + 11d: attention with biases and a perceptron of ratio 2.
- Stage 3 alternates them. Between stages a convolution of kernel 3 and stride 2. No code of position: the author
  lists that as a fault, and it is kept.

Shape suffixes: B batch, C channels, T time, K maps, N steps, D width.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from ..layers import Block, initialise
from .base import Classifier, same_conv

STEM_KERNELS = (20, 40, 80)
MIXING_KERNELS = (7, 9, 11, 13)
HEADS = 8
MLP_RATIO = 2


class Stem(nn.Module):
    """Three scales and a pooled branch, a quarter of the width each."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        quarter = width // 4
        self.branches = nn.ModuleList(
            nn.Sequential(
                nn.Conv1d(channels, quarter, 1),
                same_conv(quarter, quarter, kernel, bias=True),
            )
            for kernel in STEM_KERNELS
        )
        self.pooled = nn.Sequential(nn.MaxPool1d(3, 1, 1), nn.Conv1d(channels, quarter, 1))

    def forward(self, x_BCT: Tensor) -> Tensor:
        """[B, C, T] → [B, width, T]."""
        parts = [branch(x_BCT) for branch in self.branches]
        return torch.cat([*parts, self.pooled(x_BCT)], dim=1)


class Mixing(nn.Module):
    """Depthwise convolution, each quarter of the maps with its own length."""

    def __init__(self, width: int) -> None:
        super().__init__()
        quarter = width // 4
        self.convolutions = nn.ModuleList(
            nn.Conv1d(quarter, quarter, kernel, padding=kernel // 2, groups=quarter)
            for kernel in MIXING_KERNELS
        )

    def forward(self, x_BKN: Tensor) -> Tensor:
        """[B, K, N] → [B, K, N]."""
        quarters = x_BKN.chunk(4, dim=1)
        parts = [conv(part) for conv, part in zip(self.convolutions, quarters, strict=True)]
        return torch.cat(parts, dim=1)


class ConvolutionBlock(nn.Module):
    """Depthwise mixing along time, then a perceptron over the maps (after InceptionNeXt, Yu et al. 2024)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        hidden = MLP_RATIO * width
        self.mixing = nn.Sequential(nn.BatchNorm1d(width), Mixing(width))
        self.mlp = nn.Sequential(
            nn.BatchNorm1d(width),
            nn.Conv1d(width, hidden, 1),
            nn.GELU(),
            nn.Conv1d(hidden, width, 1),
        )

    def forward(self, x_BKN: Tensor) -> Tensor:
        """[B, K, N] → [B, K, N]."""
        x_BKN = x_BKN + self.mixing(x_BKN)
        out: Tensor = x_BKN + self.mlp(x_BKN)
        return out


class AttentionBlock(Block):
    """A transformer block that takes maps."""

    def __init__(self, width: int) -> None:
        super().__init__(width, HEADS, MLP_RATIO)
        self.apply(initialise)

    def forward(
        self, x_BKN: Tensor, attend_BN: Tensor | None = None, weight_B2: Tensor | None = None
    ) -> Tensor:
        """[B, K, N] → [B, K, N]."""
        return super().forward(x_BKN.transpose(1, 2), attend_BN, weight_B2).transpose(1, 2)


class InceptionFormer(Classifier):
    """`widths` and `depths` of up to four stages: two of convolution, one mixed, one of attention."""

    shortest = max(STEM_KERNELS)

    def __init__(
        self,
        channels: int,
        outputs: int,
        *,
        widths: tuple[int, ...] = (64, 128, 256, 512),
        depths: tuple[int, ...] = (2, 4, 8, 4),
    ) -> None:
        if not 1 <= len(widths) == len(depths) <= 4 or any(w % HEADS for w in widths):
            raise ValueError(
                f"widths (multiples of {HEADS}) and depths need an equal number of stages, one to four: "
                f"widths={widths}, depths={depths}"
            )
        super().__init__(channels, outputs, widths[-1])
        self.stem = Stem(channels, widths[0])
        self.stages = nn.ModuleList(
            self.stage(s, width, depth)
            for s, (width, depth) in enumerate(zip(widths, depths, strict=True))
        )
        self.fusions = nn.ModuleList(
            nn.Conv1d(narrow, wide, 3, 2, 1) for narrow, wide in pairwise(widths)
        )

    @staticmethod
    def stage(index: int, width: int, depth: int) -> nn.Sequential:
        """Blocks of stage `index`, counted from 0."""
        attention = (index == 3 or (index == 2 and block % 2 == 1) for block in range(depth))
        return nn.Sequential(
            *(AttentionBlock(width) if a else ConvolutionBlock(width) for a in attention)
        )

    def embed(self, x_BCT: Tensor) -> Tensor:
        """[B, C, T] → [B, D], the mean over T / 8 steps."""
        x_BKN = self.stages[0](self.stem(x_BCT))
        for fusion, stage in zip(self.fusions, self.stages[1:], strict=True):
            x_BKN = stage(fusion(x_BKN))
        map_BKN: Tensor = self.last_map(x_BKN)
        return map_BKN.mean(dim=2)
