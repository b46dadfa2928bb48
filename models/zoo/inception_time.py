"""InceptionTime (Ismail Fawaz et al., Data Mining and Knowledge Discovery 2020): one network of its ensemble.

Six inception modules with kernels of 10, 20 and 40 samples beside a max-pool, 32 maps each, a shortcut around every
three. As published, the 1×1 bottleneck is left out where there is one channel.

Shape suffixes: B batch, C channels, T time, K maps, D features.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .base import Classifier, conv_norm, initialise, same_conv

KERNELS = (10, 20, 40)
MAPS = 32
DEPTH = 6


class InceptionModule(nn.Module):
    """Convolutions of three lengths after a bottleneck, and a pooled branch, side by side."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        narrow = MAPS if inputs > 1 else inputs
        self.bottleneck = nn.Conv1d(inputs, narrow, 1, bias=False) if inputs > 1 else nn.Identity()
        self.convolutions = nn.ModuleList(
            same_conv(narrow, MAPS, kernel, bias=False) for kernel in KERNELS
        )
        self.pooled = nn.Sequential(nn.MaxPool1d(3, 1, 1), nn.Conv1d(inputs, MAPS, 1, bias=False))
        self.norm = nn.Sequential(nn.BatchNorm1d(4 * MAPS), nn.ReLU(inplace=True))

    def forward(self, x_BKT: Tensor) -> Tensor:
        """[B, inputs, T] → [B, 128, T]."""
        narrow_BKT = self.bottleneck(x_BKT)
        parts = [convolution(narrow_BKT) for convolution in self.convolutions]
        out: Tensor = self.norm(torch.cat([*parts, self.pooled(x_BKT)], dim=1))
        return out


class InceptionGroup(nn.Module):
    """Three modules and the shortcut around them."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        wide = 4 * MAPS
        self.body = nn.Sequential(*(InceptionModule(w) for w in (inputs, wide, wide)))
        self.shortcut = nn.Sequential(*conv_norm(inputs, wide, 1))
        self.activation = nn.ReLU(inplace=True)

    def forward(self, x_BKT: Tensor) -> Tensor:
        """[B, inputs, T] → [B, 128, T]."""
        out: Tensor = self.activation(self.body(x_BKT) + self.shortcut(x_BKT))
        return out


class InceptionTime(Classifier):
    """Full resolution throughout."""

    shortest = max(KERNELS)

    def __init__(self, channels: int, outputs: int) -> None:
        super().__init__(channels, outputs, width=4 * MAPS)
        self.groups = nn.Sequential(
            *(InceptionGroup(channels if g == 0 else 4 * MAPS) for g in range(DEPTH // 3))
        )
        self.apply(initialise)

    def embed(self, x_BCT: Tensor) -> Tensor:
        """[B, C, T] → [B, 128], the mean over T."""
        map_BKT: Tensor = self.last_map(self.groups(x_BCT))
        return map_BKT.mean(dim=2)
