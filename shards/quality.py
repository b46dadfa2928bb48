"""What can be wrong with a signal: missing, flat, clipped, or against physiology.

Shapes: C channels, T time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..signals import LEADS_12, MISSING, Signal

WAVES = ("ecg", "ppg", "resp", "eeg", "eog", "emg", "bp")
"""Modalities that move all the time: standing still, or at an extreme, they are not recorded well."""

CLIPPED_S = 0.01
"""A channel is clipped where it stands at its extreme for so long."""


@dataclass(frozen=True)
class SourceQuality:
    """Of one source signal before filtering, bool [C, T]: `still` says that the next sample is the
    same."""

    start_s: float
    rate_hz: float
    clipped: NDArray[np.bool_]
    still: NDArray[np.bool_]

    def shares(self, first_s: float, last_s: float) -> tuple[float, float]:
        """(share of channels that never move, share of clipped samples) between two times."""
        first, last = (
            max(0, round((at_s - self.start_s) * self.rate_hz)) for at_s in (first_s, last_s)
        )
        still, clipped = self.still[:, first : last - 1], self.clipped[:, first:last]
        if not clipped.size:
            return 0.0, 0.0
        return float(still.all(axis=1).mean()), float(clipped.mean())


def source_quality(signal: Signal) -> SourceQuality:
    """Where the source's samples stand still, and where they stand at an extreme in runs.

    Nowhere for modalities that may rest, such as a saturation of 97 %.
    """
    if signal.modality not in WAVES:
        nowhere = np.zeros((1, signal.samples.shape[1]), bool)
        return SourceQuality(signal.start_s, signal.rate_hz, nowhere, nowhere[:, 1:])
    stored = np.ascontiguousarray(signal.samples)
    digital = stored.dtype == np.int16
    present = stored != MISSING if digital else np.isfinite(stored)
    complete = bool(present.all())
    still = stored[:, 1:] == stored[:, :-1]
    if not complete:
        still |= ~(present[:, 1:] & present[:, :-1])
    end = np.iinfo(np.int16).max if digital else np.inf
    where = True if complete else present
    low = np.min(stored, axis=1, initial=end, where=where, keepdims=True)
    high = np.max(stored, axis=1, initial=-end, where=where, keepdims=True)
    extreme = ((stored == low) | (stored == high)) & (low < high)
    run = max(4, round(CLIPPED_S * signal.rate_hz))
    return SourceQuality(signal.start_s, signal.rate_hz, _runs(extreme, run), still)


def _runs(flags: NDArray[np.bool_], shortest: int) -> NDArray[np.bool_]:
    """The flags [C, T] that stand in runs of at least `shortest`."""
    kept = np.zeros_like(flags)
    for row in np.flatnonzero(flags.sum(axis=1) >= shortest):
        edges = np.flatnonzero(np.diff(flags[row], prepend=False, append=False))
        for first, last in edges.reshape(-1, 2):
            kept[row, first:last] = last - first >= shortest
    return kept


@dataclass(frozen=True)
class Physiology:
    """Of one 12-lead ECG: what its leads say about each other, and how large it is.

    `einthoven` is the size of I + III − II, `goldberger` the largest of aVR, aVL and aVF against
    their half sums of I, II and III; both relative to the size of the limb leads (root mean
    squares): 0 for leads that are what they are called, about 1 for any that are not.
    """

    einthoven: float
    goldberger: float
    peak_to_peak_mv: float


def physiology(samples: NDArray[np.float32], channels: Sequence[str]) -> Physiology | None:
    """Check an ECG [C, T] in mV; None where it has not all 12 leads or too little is there."""
    if not set(LEADS_12) <= set(channels):
        return None
    rows = samples[[channels.index(lead) for lead in LEADS_12]]
    rows = rows[:, np.isfinite(rows).all(axis=0)]
    if rows.shape[1] < 2:
        return None
    one, two, three, avr, avl, avf = rows[:6]
    size = float(np.sqrt((rows[:3] ** 2).mean()))
    if size < 1e-6:
        return None

    def relative(residual: NDArray[np.float32]) -> float:
        return float(np.sqrt((residual**2).mean())) / size

    goldberger = (avr + (one + two) / 2, avl - (one - three) / 2, avf - (two + three) / 2)
    high, low = np.percentile(rows, (99.9, 0.1), axis=1)
    return Physiology(
        einthoven=relative(one + three - two),
        goldberger=max(map(relative, goldberger)),
        peak_to_peak_mv=float(np.median(high - low)),
    )
