"""MobileNetV2 with one-dimensional convolutions (Sandler et al., CVPR 2018, table 2).

With 12 channels and 9 outputs 2.19 M parameters, 96.6 M multiply-adds for 1,000 samples.

Shape suffixes: B batch, C channels, T time, K maps, N steps, D features.
"""

from __future__ import annotations

from torch import Tensor, nn

from .base import Classifier, conv_norm, initialise

STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
"""Expansion, width, number of blocks, stride of the first."""
LAST = 1280


class InvertedResidual(nn.Module):
    """Widen by 1×1, convolve each map on its own, narrow by 1×1 without activation."""

    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = inputs * expansion
        body: list[nn.Module] = []
        if expansion != 1:
            body += [*conv_norm(inputs, wide, 1), nn.ReLU6(inplace=True)]
        body += [*conv_norm(wide, wide, 3, stride, groups=wide), nn.ReLU6(inplace=True)]
        self.body = nn.Sequential(*body, *conv_norm(wide, outputs, 1))
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x_BKN: Tensor) -> Tensor:
        """[B, inputs, N] → [B, outputs, ⌈N / stride⌉]."""
        y_BKN: Tensor = self.body(x_BKN)
        return x_BKN + y_BKN if self.residual else y_BKN


class MobileNetV2(Classifier):
    """The reference for small devices."""

    def __init__(self, channels: int, outputs: int) -> None:
        super().__init__(channels, outputs, width=LAST)
        layers: list[nn.Module] = [*conv_norm(channels, 32, 3, 2), nn.ReLU6(inplace=True)]
        width = 32
        for expansion, wider, depth, stride in STAGES:
            for block in range(depth):
                layers.append(
                    InvertedResidual(width, wider, stride if block == 0 else 1, expansion)
                )
                width = wider
        self.layers = nn.Sequential(*layers, *conv_norm(width, LAST, 1), nn.ReLU6(inplace=True))
        self.dropout = nn.Dropout(0.2)
        self.apply(initialise)

    def embed(self, x_BCT: Tensor) -> Tensor:
        """[B, C, T] → [B, 1280], the mean over T / 32 steps."""
        map_BKN: Tensor = self.last_map(self.layers(x_BCT))
        out: Tensor = self.dropout(map_BKN.mean(dim=2))
        return out
