"""Unevenly sampled series, such as a watch's heart rate, and how they are put on an even grid.

Shapes: C channels, N values, T time on the grid.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .preprocessing import Preprocessing
from .types import Signal
from .vocabulary import channel_id

MOST_POINTS = 1 << 28
"""A month of motion at 100 Hz: times that would need a longer grid are damaged, or dates."""

USUAL_GAP = 5.0
"""A gap is longer than usual from so many median intervals on."""


@dataclass(frozen=True)
class Series:
    """Values of one modality at uneven times of a recording.

    `times_s` float64 [N] never falls; `values` float32 [C, N] are physical units at these times. With
    `spans_s` [N] a value is the total over the time from `times_s` on for so long (steps in an
    interval). Raises `ValueError` on shapes that do not fit, times that fall, an unknown channel.
    """

    modality: str
    channels: tuple[str, ...]
    times_s: NDArray[np.float64]
    values: NDArray[np.float32]
    spans_s: NDArray[np.float64] | None = None

    def __post_init__(self) -> None:
        for channel in self.channels:
            channel_id(self.modality, channel)
        if self.values.shape != (len(self.channels), len(self.times_s)):
            raise ValueError(
                f"{self.modality}: values {self.values.shape} do not fit {len(self.channels)} "
                f"channels at {len(self.times_s)} times; expected [channels, times]"
            )
        if not len(self.times_s) or not np.isfinite(self.times_s).all():
            raise ValueError(
                f"{self.modality}: a series needs at least one time, all of them finite"
            )
        if (np.diff(self.times_s) < 0).any():
            raise ValueError(
                f"{self.modality}: the times of a series must not fall; sort them first"
            )
        if self.spans_s is not None and (
            self.spans_s.shape != self.times_s.shape or not (self.spans_s > 0).all()
        ):
            raise ValueError(f"{self.modality}: expected one span above 0 s for every value")


def on_grid(series: Series, how: Preprocessing) -> Signal:
    """The series as a `Signal` whose times are whole multiples of its sampling interval.

    - Values become straight lines between neighbours, on a grid as fine as `how.rate_hz` and as the
      median interval, so that `preprocess` can filter what is then taken out. Where two neighbours
      are further apart than `how.longest_gap_s` the grid is missing (NaN) between them, but for the
      points nearest to the two.
    - Totals over spans are shared out evenly over their span and summed in each interval of
      `how.rate_hz`; before the first and after the last span the grid is missing, between spans it
      is 0.

    Raises `ValueError` where the grid would have more than `MOST_POINTS`.
    """
    if series.spans_s is not None:
        return _totals(series, series.spans_s, how.rate_hz)
    times_s, first = np.unique(series.times_s, return_index=True)
    values = series.values[:, first]
    usual_s = float(np.median(np.diff(times_s))) if len(times_s) > 1 else 1 / how.rate_hz
    finer = max(1.0, 1 / usual_s / how.rate_hz - 0.01)
    _check_length(series, finer)
    rate_hz = how.rate_hz * math.ceil(finer)
    _check_length(series, (times_s[-1] - times_s[0]) * rate_hz)
    # A grid point lies inside the series; a lone value is one point, to the nearest.
    begin = math.ceil(times_s[0] * rate_hz - 1e-6)
    end = max(begin + 1, math.floor(times_s[-1] * rate_hz + 1e-6) + 1)
    grid_s = np.arange(begin, end) / rate_hz
    samples = np.stack([_lines(grid_s, times_s, row, how.longest_gap_s or USUAL_GAP * usual_s)
                        for row in values])  # fmt: skip
    return Signal(series.modality, samples, rate_hz, series.channels, start_s=begin / rate_hz)


def _check_length(series: Series, points: float) -> None:
    if not points <= MOST_POINTS:
        raise ValueError(
            f"{series.modality}: {len(series.times_s)} values would need a grid of {points:.3g} points, "
            f"expected at most {MOST_POINTS}: times are damaged, or far closer or further apart than "
            "seconds of a recording; mend them"
        )


def _lines(
    grid_s: NDArray[np.float64],
    times_s: NDArray[np.float64],
    row: NDArray[np.float32],
    gap_s: float,
) -> NDArray[np.float32]:
    """One channel on the grid [T], NaN inside long gaps."""
    there = np.isfinite(row)
    if not there.any():
        return np.full(len(grid_s), np.nan, np.float32)
    times_s, row = times_s[there], row[there]
    samples = np.interp(grid_s, times_s, row, left=np.nan, right=np.nan).astype(np.float32)
    after = np.searchsorted(times_s, grid_s, side="left").clip(1, max(1, len(times_s) - 1))
    if len(times_s) > 1:
        inside = (grid_s > times_s[after - 1]) & (grid_s < times_s[after])
        samples[inside & (times_s[after] - times_s[after - 1] > gap_s)] = np.nan
    # A value that stands alone between two points of the grid is not lost: it is at the nearest.
    step_s = grid_s[1] - grid_s[0] if len(grid_s) > 1 else 1.0
    nearest = np.rint((times_s - grid_s[0]) / step_s).astype(int).clip(0, len(grid_s) - 1)
    lost = np.isnan(samples[nearest])
    samples[nearest[lost]] = row[lost]
    return samples


def _totals(series: Series, spans_s: NDArray[np.float64], rate_hz: float) -> Signal:
    """Totals per interval of the grid."""
    ends_s = series.times_s + spans_s
    _check_length(series, (ends_s.max() - series.times_s[0]) * rate_hz)
    begin, end = math.floor(series.times_s[0] * rate_hz), math.ceil(ends_s.max() * rate_hz)
    edges_s = np.arange(begin, max(end, begin + 1) + 1) / rate_hz
    samples = np.zeros((len(series.channels), len(edges_s) - 1), np.float64)
    # The running total of one span is a ramp; the sum of ramps at the edges, differenced.
    for row, values in zip(samples, series.values, strict=True):
        rates = np.nan_to_num(values.astype(np.float64)) / spans_s
        row[:] = np.diff(_ramps(edges_s, series.times_s, rates) - _ramps(edges_s, ends_s, rates))
    return Signal(
        series.modality,
        samples.clip(0).astype(np.float32),
        rate_hz,
        series.channels,
        start_s=begin / rate_hz,
    )


def _ramps(
    at_s: NDArray[np.float64], from_s: NDArray[np.float64], slopes: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The sum over all i of slopes[i] · max(0, at − from[i])."""
    order = np.argsort(from_s, kind="stable")
    starts, slopes = from_s[order], slopes[order]
    count = np.searchsorted(starts, at_s, side="right")
    slope = np.append(0.0, np.cumsum(slopes))[count]
    level = np.append(0.0, np.cumsum(slopes * starts))[count]
    ramps: NDArray[np.float64] = slope * at_s - level
    return ramps
