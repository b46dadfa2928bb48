"""What flows: a `Signal` (channels of one modality at one rate) and a `Recording` (what was
recorded).

Shape suffixes: C channels, T time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

from .vocabulary import channel_id, unit

if TYPE_CHECKING:
    from .series import Series

MISSING = -32768
"""The int16 value of a missing sample, in WFDB's format 16 and in our shards alike."""

Samples: TypeAlias = NDArray[np.float32] | NDArray[np.int16]


@dataclass(frozen=True)
class Signal:
    """Channels of one modality on one even time grid.

    `samples` [C, T] is float32 in physical units (NaN is missing), or int16 with `scale` and
    `offset` (`physical = int16 · scale + offset`; `MISSING` is missing). Raises `ValueError` on a
    shape that does not fit the channels, an unknown channel name, or int16 without a scale.
    """

    modality: str
    samples: Samples
    rate_hz: float
    channels: tuple[str, ...]
    scale: NDArray[np.float32] | None = None
    offset: NDArray[np.float32] | None = None
    start_s: float = 0.0

    def __post_init__(self) -> None:
        for channel in self.channels:
            channel_id(self.modality, channel)
        if self.samples.ndim != 2 or self.samples.shape[0] != len(self.channels):
            raise ValueError(
                f"{self.modality}: samples {self.samples.shape} do not fit the "
                f"{len(self.channels)} channels {self.channels}; expected [channels, time]"
            )
        if len(set(self.channels)) != len(self.channels):
            raise ValueError(f"{self.modality}: a channel occurs twice in {self.channels}")
        if not self.rate_hz > 0:
            raise ValueError(f"{self.modality}: the rate must be above 0 Hz, not {self.rate_hz}")
        digital = self.samples.dtype == np.int16
        if digital != (self.scale is not None) or digital != (self.offset is not None):
            raise ValueError(
                f"{self.modality}: int16 samples need scale and offset, float32 ones neither"
            )
        if not digital and self.samples.dtype != np.float32:
            raise ValueError(
                f"{self.modality}: samples must be float32 or int16, not {self.samples.dtype}"
            )

    @property
    def unit(self) -> str:
        """The physical unit of the modality, such as mV."""
        return unit(self.modality)

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return float(self.samples.shape[1] / self.rate_hz)

    def physical(self) -> NDArray[np.float32]:
        """Samples [C, T] as float32 in physical units, missing ones NaN."""
        if self.scale is None or self.offset is None:
            return self.samples.astype(np.float32, copy=False)
        physical = self.samples.astype(np.float32)
        physical *= self.scale[:, None]
        physical += self.offset[:, None]
        physical[self.samples == MISSING] = np.nan
        return physical

    def select(self, channels: tuple[str, ...]) -> Signal:
        """The named channels, in that order. Raises `KeyError` naming those that are absent."""
        absent = [c for c in channels if c not in self.channels]
        if absent:
            raise KeyError(f"{self.modality} has no channel {absent}; it has {list(self.channels)}")
        rows = [self.channels.index(c) for c in channels]
        return replace(
            self,
            samples=self.samples[rows],
            channels=channels,
            scale=None if self.scale is None else self.scale[rows],
            offset=None if self.offset is None else self.offset[rows],
        )


@dataclass(frozen=True)
class Annotation:
    """Something in a recording: a sleep epoch, a beat, a rhythm, a window's heart rate.

    `code` is `<kind>:<what>` for a class (`stage:N2`, `beat:V`, `rhythm:AFIB`), and the kind alone
    for a number (`hr`, `sbp`), which is then in `value`, in the unit of its kind (bpm, mmHg).
    """

    onset_s: float
    duration_s: float
    code: str
    value: float | None = None


@dataclass(frozen=True)
class Recording:
    """One recording of one subject: what a reader yields.

    `subject` is unique across datasets (`ptbxl-11275`): splits and leakage checks compare it as it
    is. `series` are its unevenly sampled signals. `labels` maps a source's own codes to a value
    (PTB-XL: likelihood 0–100; other classes: 100; a measured quantity: its number). `age` is in
    years; 90 stands for every age above 89. `device` is a model of device, never the number of one;
    `site` is where it was recorded, as the source calls it, unique across datasets and no name of a
    subject (`ptbxl-site-2`). Names, birth dates and recording dates are never kept: `private` holds
    those that the files do show, so that the build can prove that they are not in its output.
    """

    dataset: str
    record: str
    subject: str
    signals: tuple[Signal, ...] = ()
    labels: Mapping[str, float] = field(default_factory=dict)
    annotations: tuple[Annotation, ...] = ()
    age: float | None = None
    sex: str | None = None
    fold: int | None = None
    series: tuple[Series, ...] = ()
    private: tuple[str, ...] = field(default=(), repr=False)
    device: str | None = None
    site: str | None = None

    def signal(self, modality: str) -> Signal:
        """The only signal of `modality`. Raises `KeyError` when there is none or more than one."""
        found = [s for s in self.signals if s.modality == modality]
        if len(found) != 1:
            have = [(s.modality, s.rate_hz) for s in self.signals]
            raise KeyError(
                f"{self.dataset} {self.record}: {len(found)} signals of {modality!r}; it has {have}"
            )
        return found[0]
