"""What the reader hands over and models take: a batch of equally long windows, int16 until they are changed.

Shape suffixes: B batch, C channels, T time.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from .types import MISSING


@dataclass(frozen=True)
class Windows:
    """Windows of one modality at one rate: `samples` int16 [B, C, T], `scale` and `offset` [B, C].

    `complete` says that no sample is missing, where the reader knows it: models then need no masks,
    and a GPU need not be asked.

    Once `changed`, `samples` are floating point in physical units, NaN where missing; scale and offset are past.
    """

    modality: str
    rate_hz: float
    channels: tuple[str, ...]
    samples: Tensor
    scale: Tensor
    offset: Tensor
    complete: bool = False

    def to(self, device: torch.device | str) -> Windows:
        """The same on another device; the copies do not block where the memory is pinned."""
        move = {
            k: getattr(self, k).to(device, non_blocking=True)
            for k in ("samples", "scale", "offset")
        }
        return replace(self, **move)

    def physical(self) -> tuple[Tensor, Tensor]:
        """(float32 [B, C, T] in physical units, 0 where missing; bool [B, C, T], where missing)."""
        if self.samples.is_floating_point():
            if self.complete:
                return self.samples, torch.zeros_like(self.samples, dtype=torch.bool)
            missing_BCT = self.samples.isnan()
            return self.samples.masked_fill(missing_BCT, 0.0), missing_BCT
        x_BCT = self.samples.to(torch.float32) * self.scale[..., None] + self.offset[..., None]
        if self.complete:
            return x_BCT, torch.zeros_like(self.samples, dtype=torch.bool)
        missing_BCT = self.samples == MISSING
        return x_BCT.masked_fill_(missing_BCT, 0.0), missing_BCT

    def changed(self, x_BCT: Tensor, missing_BCT: Tensor, complete: bool) -> Windows:
        """Windows of which these are the physical samples; where `complete`, nothing is missing."""
        samples = x_BCT if complete else x_BCT.masked_fill(missing_BCT, torch.nan)
        return replace(self, samples=samples, complete=complete)


@dataclass(frozen=True)
class Batch:
    """A micro-batch: windows by stream name (`ecg-100hz`), and where each row stands in the run.

    `positions` int64 [B] are the rows' places in the epoch's order: with `seed` and `epoch` they
    decide every random choice about a row (`signals.randomness`). `rows` int64 [B] are rows of the
    shard index; `subjects` int64 [B] number the subjects of the index; `anchors` int64 [B] are rows
    of the reader's table of anchors where windows stand at annotations. The last micro-batch of an
    evaluation may be short, and a rank may get an empty one: B is then 0.
    """

    streams: dict[str, Windows]
    seed: int
    epoch: int
    positions: Tensor
    rows: Tensor
    subjects: Tensor
    anchors: Tensor | None = None

    def __len__(self) -> int:
        return len(self.positions)

    def to(self, device: torch.device | str) -> Batch:
        """The same on another device."""
        return replace(
            self,
            streams={k: w.to(device) for k, w in self.streams.items()},
            positions=self.positions.to(device, non_blocking=True),
            rows=self.rows.to(device, non_blocking=True),
            subjects=self.subjects.to(device, non_blocking=True),
            anchors=None if self.anchors is None else self.anchors.to(device, non_blocking=True),
        )


def crop(windows: Windows, start_s: float | Tensor, length_s: float) -> Windows:
    """A stretch of each window; `start_s` is one time for all rows, or one for each [B].

    It begins at the nearest sample. The caller sees to it that it lies inside the window, but for the one sample
    that rounding may add: it is then moved back. Raises `ValueError` where it holds no sample, or more than there are.
    """
    B, C, T = windows.samples.shape
    length = round(length_s * windows.rate_hz)
    if not 0 < length <= T:
        raise ValueError(
            f"a stretch of {length_s:g} s holds {length} samples of {windows.modality} at {windows.rate_hz:g} Hz, "
            f"and the windows have {T}: choose a length between one sample and {T / windows.rate_hz:g} s"
        )
    if not isinstance(start_s, Tensor):
        start_s = torch.full((B,), start_s, dtype=torch.float64, device=windows.samples.device)
    first_B = (start_s.double() * windows.rate_hz).round().long().clamp(0, T - length)
    index_BT = first_B[:, None] + torch.arange(length, device=first_B.device)
    samples = windows.samples.gather(2, index_BT[:, None].expand(B, C, length))
    return replace(windows, samples=samples)


def with_channels(windows: Windows, channels: tuple[str, ...]) -> Windows:
    """The same with exactly these channels, in this order; those that it lacks are missing."""
    B, _, T = windows.samples.shape
    samples = windows.samples.new_full((B, len(channels), T), MISSING)
    scale, offset = (x.new_zeros(B, len(channels)) for x in (windows.scale, windows.offset))
    for place, name in enumerate(channels):
        if name in windows.channels:
            row = windows.channels.index(name)
            samples[:, place] = windows.samples[:, row]
            scale[:, place], offset[:, place] = windows.scale[:, row], windows.offset[:, row]
    complete = windows.complete and set(channels) <= set(windows.channels)
    return replace(
        windows, channels=channels, samples=samples, scale=scale, offset=offset, complete=complete
    )


def chosen_rows(windows: Windows, rows: slice) -> Windows:
    """Some windows of a batch."""
    parts = {k: getattr(windows, k)[rows] for k in ("samples", "scale", "offset")}
    return replace(windows, **parts)
