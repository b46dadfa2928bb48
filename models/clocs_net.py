"""CLOCS's convolutional net for a stretch of one lead (Kiyasseh, Zhu & Clifton, ICML 2021, arXiv 2005.13249).

Three times convolution (kernel 7, stride 3), batch norm, ReLU, maximum over pairs, drop-out; 4, 16, 32 maps. Then one
linear layer over all that is left: 320 numbers of 2,500 samples (5 s at 500 Hz).

Shape suffixes: X stretches, P samples, D width.
"""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn

KERNEL, STRIDE, POOL = 7, 3, 2
WIDTHS = (1, 4, 16, 32)
DROPOUT = 0.1
LEAST = 388
"""Samples of the shortest stretch of which a step is left."""


class ClocsNet(nn.Module):
    """[X, samples] → [X, dim]. Raises `ValueError` for stretches of which nothing would be left."""

    def __init__(self, samples: int, dim: int) -> None:
        super().__init__()
        if samples < LEAST:
            raise ValueError(
                f"patch.samples: CLOCS's net needs stretches of {LEAST} samples or more (its paper has 2500), "
                f"not {samples}: raise it, and the window with it, or choose another backbone"
            )
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise(WIDTHS):
            layers += [
                nn.Conv1d(inputs, outputs, KERNEL, STRIDE),
                nn.BatchNorm1d(outputs),
                nn.ReLU(inplace=True),
                nn.MaxPool1d(POOL),
                nn.Dropout(DROPOUT),
            ]
        self.convolutions = nn.Sequential(*layers)
        self.embed = nn.Linear(WIDTHS[-1] * steps(samples), dim)

    def forward(self, x_XP: Tensor) -> Tensor:
        """Scaled samples of one lead → embeddings [X, D]."""
        out: Tensor = self.embed(self.convolutions(x_XP[:, None]).flatten(1))
        return out


def steps(samples: int) -> int:
    """How many steps are left of so many samples."""
    for _ in WIDTHS[1:]:
        samples = ((samples - KERNEL) // STRIDE + 1) // POOL
    return samples
