"""What an operation is given besides the samples: what is known of the windows, and random numbers by position.

An operation is a pure function `(x_BCT, missing_BCT, about, draws) → (x_BCT, missing_BCT)` of all rows at once;
what it leaves where samples are missing is not looked at. Which rows it is for is decided by who calls it.

Shapes: B batch, C channels, T time, E electrodes, N numbers a row.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

import torch
from torch import Tensor

from ..randomness import normal, uniform
from .electrodes import potentials

MV_PER_DEVIATION = 0.25
"""About the deviation of an ECG in mV: so much noise in mV is as large as the signal, in any modality."""


@dataclass(frozen=True)
class Draws:
    """Random numbers of rows, each a function of seed, epoch, position, stream and purpose alone."""

    seed: int
    epoch: int
    positions_B: Tensor
    stream: str
    purpose: str

    def uniform(self, what: str, numbers: int = 1) -> Tensor:
        """Uniform numbers in [0, 1), [B, N], of this stream alone."""
        purpose = f"{self.purpose} {self.stream} {what}"
        return uniform(self.seed, self.epoch, self.positions_B, purpose, numbers)

    def normal(self, what: str, numbers: int) -> Tensor:
        """Standard normal numbers [B, N] of this stream alone."""
        purpose = f"{self.purpose} {self.stream} {what}"
        return normal(self.seed, self.epoch, self.positions_B, purpose, numbers)

    def together(self, what: str, numbers: int = 1) -> Tensor:
        """Uniform numbers [B, N] that all streams share: signals of one time stay aligned in time."""
        return uniform(self.seed, self.epoch, self.positions_B, f"{self.purpose} {what}", numbers)


@dataclass(frozen=True)
class About:
    """The windows before any operation: `rest_BC1` is the mean of each channel, `deviation_B11` that of all
    channels around their means: one for a window, so that leads keep their proportions."""

    modality: str
    channels: tuple[str, ...]
    rate_hz: float
    rest_BC1: Tensor
    deviation_B11: Tensor
    strength: float

    @cached_property
    def millivolt_B11(self) -> Tensor:
        """What a noise of 1 mV is in these windows: itself in an ECG, in others as many deviations as there."""
        if self.modality == "ecg":
            return torch.ones_like(self.deviation_B11)
        return self.deviation_B11 / MV_PER_DEVIATION

    @cached_property
    def electrodes_CE(self) -> Tensor:
        """How channels add up what is measured at electrodes."""
        like = self.rest_BC1
        return potentials(self.modality, self.channels, like.device, like.dtype)


Operation: TypeAlias = Callable[[Tensor, Tensor, About, Draws], tuple[Tensor, Tensor]]


def rest_and_deviation(x_BCT: Tensor, missing_BCT: Tensor) -> tuple[Tensor, Tensor]:
    """Mean of each channel [B, C, 1] and deviation of each window [B, 1, 1], of what is there; 0 where nothing is."""
    there_BCT = (~missing_BCT).to(x_BCT.dtype)
    rest_BC1 = (x_BCT * there_BCT).sum(2, keepdim=True) / there_BCT.sum(2, keepdim=True).clamp_min(
        1
    )
    squares_B11 = ((x_BCT - rest_BC1) * there_BCT).square().sum((1, 2), keepdim=True)
    return rest_BC1, (squares_B11 / there_BCT.sum((1, 2), keepdim=True).clamp_min(1)).sqrt()
