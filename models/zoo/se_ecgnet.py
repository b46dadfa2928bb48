"""SE-ECGNet (Zhang et al., BIBM 2020; arXiv 2012.05510): two-dimensional, then one-dimensional, at three scales.

- Leads are the rows of an image with one channel. A stem (1 × 50, stride 2) and three blocks (1 × 15, stride 2)
  keep them apart, with the same weights for all.
- Three branches with kernels 3, 5 and 7: four blocks on the image; leads and maps become 32 · C maps; four blocks
  of stride 2 along time; mean. Squeeze and excitation (ratio 16) in every block.
- Published for 8 leads, where the branches are 256 wide. With other numbers of leads they are 32 · C wide. Here every
  block has its own shortcut convolution; the released code shares one among the blocks of a stage. 17.0 M parameters
  for 8 leads, 37.9 M for 12.

Shape suffixes: B batch, C leads, T time, K maps, N steps.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .base import Classifier, initialise

MAPS = 32
KERNELS = (3, 5, 7)
STEM, TRUNK = 50, 15
RATIO = 16
DROPOUT = 0.2


class Excitation(nn.Module):
    """Scale every map by what its mean and the others' say (Hu et al. 2018)."""

    def __init__(self, maps: int) -> None:
        super().__init__()
        hidden = max(1, maps // RATIO)
        self.gate = nn.Sequential(
            nn.Linear(maps, hidden), nn.ReLU(inplace=True), nn.Linear(hidden, maps), nn.Sigmoid()
        )

    def forward(self, x: Tensor) -> Tensor:
        """[B, K, …] → the same."""
        gate_BK: Tensor = self.gate(x.flatten(2).mean(dim=2))
        return x * gate_BK.view(*gate_BK.shape, *(1 for _ in x.shape[2:]))


def ready_conv(maps: int, kernel: int, stride: int = 1, dropout: float = 0.0) -> list[nn.Module]:
    """Norm, ReLU, dropout, convolution along the time of an image [B, K, C, N]."""
    return [
        nn.BatchNorm2d(maps),
        nn.ReLU(inplace=True),
        nn.Dropout(dropout),
        nn.Conv2d(maps, maps, (1, kernel), (1, stride), (0, kernel // 2), bias=False),
    ]


class Residual(nn.Module):
    """A body whose output is excited and added to its input, or to a 1×1 convolution of it with the stride."""

    def __init__(self, maps: int, body: list[nn.Module], stride: int = 1) -> None:
        super().__init__()
        self.body = nn.Sequential(*body, Excitation(maps))
        self.shortcut = nn.Sequential()
        if stride != 1:
            self.shortcut = nn.Sequential(
                nn.BatchNorm2d(maps), nn.ReLU(), nn.Conv2d(maps, maps, 1, (1, stride))
            )

    def forward(self, x: Tensor) -> Tensor:
        """[B, K, C, N] → [B, K, C, ⌈N / stride⌉]."""
        out: Tensor = self.shortcut(x) + self.body(x)
        return out


def three(maps: int, kernel: int, first_dropout: float) -> list[nn.Module]:
    """Three convolutions in a row; the first may go without dropout."""
    later = [layer for _ in range(2) for layer in ready_conv(maps, kernel, dropout=DROPOUT)]
    return ready_conv(maps, kernel, dropout=first_dropout) + later


class Branch(nn.Module):
    """One scale: four blocks that keep leads apart, four that join them and halve the time."""

    def __init__(self, leads: int, kernel: int) -> None:
        super().__init__()
        apart: list[nn.Module] = []
        for _ in range(4):
            apart += [Residual(MAPS, three(MAPS, kernel, 0.0)), nn.ReLU(inplace=True)]
        self.apart = nn.Sequential(*apart)
        wide = MAPS * leads
        joined: list[nn.Module] = []
        for _ in range(4):
            joined += [
                Residual(wide, ready_conv(wide, kernel, stride=2), stride=2),
                Residual(wide, three(wide, kernel, DROPOUT)),
                nn.ReLU(inplace=True),
            ]
        self.joined = nn.Sequential(*joined)

    def forward(self, x_BKCN: Tensor) -> Tensor:
        """[B, 32, C, N] → [B, 32 · C, N / 16]."""
        x_BKN = self.apart(x_BKCN).flatten(1, 2)
        out: Tensor = self.joined(x_BKN[:, :, None])[:, :, 0]
        return out


class SEECGNet(Classifier):
    """`features` are the means of the three branches, [B, 96 · C]."""

    shortest = STEM

    def __init__(self, channels: int, outputs: int) -> None:
        super().__init__(channels, outputs, width=len(KERNELS) * MAPS * channels)
        trunk: list[nn.Module] = [
            nn.Conv2d(1, MAPS, (1, STEM), (1, 2), bias=False),
            nn.BatchNorm2d(MAPS),
            nn.ReLU(inplace=True),
        ]
        for _ in range(3):
            block = Residual(MAPS, ready_conv(MAPS, TRUNK, stride=2), stride=2)
            trunk += [block, nn.ReLU(inplace=True)]
        self.trunk = nn.Sequential(*trunk)
        self.branches = nn.ModuleList(Branch(channels, kernel) for kernel in KERNELS)
        self.apply(initialise)

    def embed(self, x_BCT: Tensor) -> Tensor:
        """[B, C, T] → [B, 96 · C], the mean over T / 256 steps."""
        image_BKCN = self.trunk(x_BCT[:, None])
        branches_BKN = torch.cat([branch(image_BKCN) for branch in self.branches], dim=1)
        map_BKN: Tensor = self.last_map(branches_BKN)
        return map_BKN.mean(dim=2)
