"""Windows of any modalities at any rates → one tensor of channels, for models that read [B, C, T].

Shape suffixes: B batch, C channels of all modalities, T time at the highest rate, N samples.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..signals.windows import Windows

LEAST_SPREAD = 1e-6
"""A channel that never moves is divided by 1: its spread says nothing."""


class StackedInput(nn.Module):
    """Channels in a fixed order, each with mean 0 and deviation 1 as in training; missing samples are 0.

    `channels` are (modality, name, rate in Hz). `fit` measures mean and deviation. Raises `ValueError` for
    windows without one of the modalities, or of another rate.
    """

    mean: Tensor
    spread: Tensor

    def __init__(self, channels: tuple[tuple[str, str, float], ...]) -> None:
        super().__init__()
        self.channels = channels
        self.rate_hz = max(rate for _, _, rate in channels)
        self.register_buffer("mean", torch.zeros(len(channels)))
        self.register_buffer("spread", torch.ones(len(channels)))

    def forward(self, streams: Mapping[str, Windows]) -> Tensor:
        """Streams by any name → float32 [B, C, T]."""
        x_BCT, missing_BCT = self._stack(streams)
        x_BCT = (x_BCT - self.mean[:, None]) / self.spread[:, None]
        return x_BCT.masked_fill(missing_BCT, 0.0)

    def fit(self, batches: Iterable[Mapping[str, Windows]]) -> None:
        """Take mean and deviation of each channel from what is recorded in these windows."""
        sums = torch.zeros(3, len(self.channels), dtype=torch.float64)
        for streams in batches:
            x_BCT, missing_BCT = self._stack(streams)
            there_BCT = ~missing_BCT
            x_BCT = x_BCT.double() * there_BCT
            sums += torch.stack(
                [part.sum(dim=(0, 2)).double().cpu() for part in (there_BCT, x_BCT, x_BCT.square())]
            )
        count, mean = sums[0].clamp_min(1), sums[1] / sums[0].clamp_min(1)
        spread = (sums[2] / count - mean.square()).clamp_min(0).sqrt()
        self.mean.copy_(mean)
        self.spread.copy_(spread.where(spread > LEAST_SPREAD, 1.0))

    def _stack(self, streams: Mapping[str, Windows]) -> tuple[Tensor, Tensor]:
        """(physical units [B, C, T], where missing [B, C, T])."""
        parts, missing = [], []
        by_modality = {windows.modality: windows for windows in streams.values()}
        seconds = {w.samples.shape[2] / w.rate_hz for w in streams.values()}
        T = round(min(seconds) * self.rate_hz)
        for modality in dict.fromkeys(modality for modality, _, _ in self.channels):
            wanted = [(name, rate) for m, name, rate in self.channels if m == modality]
            windows = by_modality.get(modality)
            if windows is None or any(rate != windows.rate_hz for _, rate in wanted):
                found = {m: f"{w.rate_hz:g} Hz" for m, w in by_modality.items()}
                raise ValueError(
                    f"this model reads {modality} at {wanted[0][1]:g} Hz, but the windows hold {found}"
                )
            rows = [windows.channels.index(name) for name, _ in wanted]
            x_BCN, missing_BCN = windows.physical()
            parts.append(_at_length(x_BCN[:, rows], T))
            missing.append(_at_length(missing_BCN[:, rows].float(), T) > 0.5)
        return torch.cat(parts, dim=1), torch.cat(missing, dim=1)


def _at_length(x_BCN: Tensor, length: int) -> Tensor:
    """The nearest sample at each of `length` times: slow channels become steps, nothing is invented."""
    return x_BCN if x_BCN.shape[2] == length else F.interpolate(x_BCN, length, mode="nearest-exact")
