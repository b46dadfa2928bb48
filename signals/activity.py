"""Activity counts from the motion of a wrist, as the sleep-accel paper's published code makes them.

Walch et al., SLEEP 42:zsz180 (2019), after Borazio et al. (ICHI 2014): z at 50 Hz, band-passed 3 to 11 Hz
(Butterworth of order 5, both ways), its absolute value in 128 bins over 0 to 5 g numbered from 1, the
largest of every second, summed over 15 s, (sum − 18) · 3.07 and no less than 0.

Ours differs in two things: the 15 s are counted from second 0 of the recording, so that sums and sleep
epochs share their edges, and where the motion is missing for more than 2 s the counts are missing too
(the published code draws a line through the gap and counts rest).

Shapes: N samples, E epochs.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy import signal as dsp

from .series import Series
from .types import Signal

RATE_HZ = 50
NEEDED_HZ = 25.0
"""Slower motion does not hold the band up to 11 Hz, and has no counts."""
LONGEST_GAP_S = 2.0
"""Shorter gaps are bridged by a straight line, in which nothing moves."""
EDGE_S = 0.1
"""So much of a second may lie before the first sample, or after the last."""
SUM_S = 15
"""The time of one published sum."""

_BAND_HZ = (3.0, 11.0)
_EDGES_G = np.linspace(0, 5, 129)
_AT_REST = 18
_GAIN = 3.07


def activity_counts(motion: Series | Signal, epoch_s: int = SUM_S) -> Signal:
    """Counts of every `epoch_s` (a multiple of 15 s, whose sums are added) from motion in g with a `z`.

    The `Signal` begins at a multiple of `epoch_s`; an epoch without motion from end to end is NaN. Raises
    `ValueError` where there is no channel z, the motion is too slow (`NEEDED_HZ`), or `epoch_s` does not fit.
    """
    if epoch_s < SUM_S or epoch_s % SUM_S:
        raise ValueError(f"epoch_s must be a multiple of {SUM_S} s, not {epoch_s}")
    found_hz = motion_rate_hz(motion)
    if found_hz < NEEDED_HZ:
        raise ValueError(
            f"activity counts need motion at {NEEDED_HZ:g} Hz or more, not at {found_hz:.3g} Hz"
        )
    times_s, z_g = _vertical(motion)
    if not len(times_s):
        raise ValueError("activity counts need motion: every sample of z is missing")
    begin = math.floor(times_s[0] / epoch_s)
    epochs = math.floor(times_s[-1] / epoch_s) + 1 - begin
    largest_g = np.full(epochs * epoch_s, np.nan)
    gaps = np.flatnonzero(np.diff(times_s) > LONGEST_GAP_S) + 1
    for piece_s, piece_g in zip(np.split(times_s, gaps), np.split(z_g, gaps), strict=True):
        first, last = math.ceil(piece_s[0] - EDGE_S), math.floor(piece_s[-1] + EDGE_S)
        if last > first:
            grid_s = first + np.arange((last - first) * RATE_HZ) / RATE_HZ
            wave_g = np.abs(_band_passed(np.interp(grid_s, piece_s, piece_g)))
            at = first - begin * epoch_s
            largest_g[at : at + last - first] = wave_g.reshape(-1, RATE_HZ).max(axis=1)
    # The bin of the largest is the largest bin.
    bins = np.where(np.isnan(largest_g), np.nan, np.digitize(largest_g, _EDGES_G))
    sums = bins.reshape(-1, SUM_S).sum(axis=1)
    counts = ((sums - _AT_REST) * _GAIN).clip(0).reshape(epochs, -1).sum(axis=1)
    samples = counts[None].astype(np.float32)
    return Signal("counts", samples, 1 / epoch_s, ("counts",), start_s=float(begin * epoch_s))


def motion_rate_hz(motion: Series | Signal) -> float:
    """The usual rate: that of a `Signal`, or of a series' median interval (0 for a single value)."""
    if isinstance(motion, Signal):
        return motion.rate_hz
    usual_s = float(np.median(np.diff(motion.times_s))) if len(motion.times_s) > 1 else math.inf
    return 1 / usual_s if usual_s > 0 else math.inf


def _vertical(motion: Series | Signal) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Times [N] and z [N] in g, of the samples that are there."""
    if "z" not in motion.channels:
        raise ValueError(f"activity counts need the channel z, not {list(motion.channels)}")
    if isinstance(motion, Signal):
        z_g = motion.select(("z",)).physical()[0]
        times_s = motion.start_s + np.arange(len(z_g)) / motion.rate_hz
    else:
        z_g, times_s = motion.values[motion.channels.index("z")], motion.times_s
    there = np.isfinite(z_g)
    return times_s[there], z_g[there].astype(np.float64)


def _band_passed(z_g: NDArray[np.float64]) -> NDArray[np.float64]:
    """3 to 11 Hz, without phase; `padlen` is that of the published call."""
    sections = dsp.butter(5, _BAND_HZ, "bandpass", fs=RATE_HZ, output="sos")
    wave_g: NDArray[np.float64] = dsp.sosfiltfilt(sections, z_g, padlen=33)
    return wave_g
