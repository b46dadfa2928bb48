"""Windows of any modalities at any rates → one tensor of channels, for models that read [B, C, T].

Shape suffixes: B batch, C channels of all modalities, T time at the highest rate, N samples.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from ..signals.windows import Windows

LEAST_SPREAD = 1e-6
"""A channel that never moves is divided by 1: its spread says nothing."""


class StackedInput(nn.Module):
    """Channels in a fixed order, each with mean 0 and deviation 1 as in training; missing samples are 0.

    `channels` are (modality, name, rate in Hz). `fit` measures mean and deviation. Raises `ValueError` for
    windows without one of the modalities or channels, or of another rate.
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
        parts: list[Tensor] = []
        missing: list[Tensor] = []
        by_modality = {windows.modality: windows for windows in streams.values()}
        used = {modality: rate for modality, _, rate in self.channels}
        for modality, rate_hz in used.items():
            windows = by_modality.get(modality)
            if windows is None or windows.rate_hz != rate_hz:
                found = ", ".join(f"{m} at {w.rate_hz:g} Hz" for m, w in by_modality.items())
                raise ValueError(
                    f"this model reads {modality} at {rate_hz:g} Hz, but the windows hold {found or 'nothing'}"
                )
        T = max(by_modality[modality].samples.shape[2] for modality in used)
        for modality in used:
            windows = by_modality[modality]
            rows = self._rows(windows)
            for found_BCN, to in zip(windows.physical(), (parts, missing), strict=True):
                # A list as an index would make a GPU wait.
                if rows != list(range(len(windows.channels))):
                    found_BCN = found_BCN[:, rows]
                to.append(_on_grid(found_BCN, windows.rate_hz, self.rate_hz, T))
        return torch.cat(parts, dim=1), torch.cat(missing, dim=1)

    def _rows(self, windows: Windows) -> list[int]:
        """Where this model's channels of a modality stand in the windows."""
        wanted = [name for modality, name, _ in self.channels if modality == windows.modality]
        if unknown := [name for name in wanted if name not in windows.channels]:
            raise ValueError(
                f"this model reads {windows.modality} {', '.join(unknown)}, but the windows hold "
                f"{', '.join(windows.channels)}"
            )
        return [windows.channels.index(name) for name in wanted]


def _on_grid(x_BCN: Tensor, rate_hz: float, grid_hz: float, length: int) -> Tensor:
    """The nearest of the samples at `length` times of a faster grid: slow channels become steps, nothing is
    invented. A slow channel may end up to a sample early: its last one then holds."""
    N = x_BCN.shape[2]
    if rate_hz == grid_hz and length == N:
        return x_BCN
    middle_T = torch.arange(length, device=x_BCN.device, dtype=torch.float64) + 0.5
    index_T = (middle_T * (rate_hz / grid_hz)).long().clamp_max(N - 1)
    return x_BCN.index_select(2, index_T)
