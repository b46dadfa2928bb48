"""Heart rate and activity around epochs of sleep, as columns of numbers.

- Heart rate: level, deviation and changes over 0.5 to 30 minutes before and after the epoch, as levels and
  against the hour around it; the deviation within ±285 s of heart rate filtered by a difference of Gaussians
  (120 s, and 600 s with weight 0.75), the feature of Walch et al. (SLEEP 42:zsz180, 2019).
- Activity counts: how many, over 2 to 30 minutes around the epoch and 5 before and after.

Shape suffixes: B windows, C channels, T time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter1d

from ..signals.windows import Windows
from .arrays import Floats

EPOCH_S = 30.0
REACH_S = 1800.0
"""Context before and after an epoch."""
STEP_S = 5.0
SPANS_MIN = (0.5, 1, 2, 5, 10, 20, 30)
"""Lengths of the stretches before and after an epoch, in minutes."""
COUNT_SPANS_MIN = (2, 5, 10, 30)
FILTER_REACH_S = 285
"""Walch et al. look so far to either side of an epoch."""

Columns = dict[str, Floats]


@dataclass(frozen=True)
class Stretches:
    """Windows of one channel, `values_BT` with NaN where missing; the epoch begins at sample `begin`."""

    values_BT: Floats
    begin: int
    end: int
    rate_hz: float

    @classmethod
    def of(cls, windows: Windows) -> Stretches:
        """Of windows that reach `REACH_S` to either side of an epoch; several channels are averaged.

        Watches report heart rate about every 5 s, and what lies between is drawn: samples become means
        of `STEP_S`, where they are more frequent.
        """
        x_BCT, missing_BCT = windows.physical()
        step = max(1, round(STEP_S * windows.rate_hz))
        rate_hz = windows.rate_hz / step
        steps = x_BCT.shape[2] // step
        shape = (*x_BCT.shape[:2], steps, step)
        x, there = (
            v[..., : steps * step].reshape(shape).double().sum(dim=(1, 3)).numpy()
            for v in (x_BCT, ~missing_BCT)
        )
        begin, end = (round(t * rate_hz) for t in (REACH_S, REACH_S + EPOCH_S))
        return cls(x / np.where(there, there, np.nan), begin, end, rate_hz)

    def mean(self, first: int, last: int, of: Floats | None = None) -> Floats:
        """The mean of what is there from sample `first` until before `last` [B]; NaN without any."""
        part = (self.values_BT if of is None else of)[:, max(0, first) : last]
        there = np.isfinite(part).sum(axis=1)
        total: Floats = np.nansum(part, axis=1) / np.where(there, there, np.nan)
        return total

    def deviation(self, first: int, last: int, of: Floats | None = None) -> Floats:
        """The standard deviation, likewise."""
        values = self.values_BT if of is None else of
        mean = self.mean(first, last, values)
        found: Floats = np.sqrt(self.mean(first, last, np.square(values - mean[:, None])))
        return found

    def samples(self, seconds: float) -> int:
        """A duration in samples."""
        return round(seconds * self.rate_hz)


def of_heart_rate(x: Stretches) -> Columns:
    """Heart rate around epochs, in bpm."""
    whole = x.mean(0, x.values_BT.shape[1])
    found = {"hr": x.mean(x.begin, x.end), "hr sd": x.deviation(x.begin, x.end)}
    found["hr against the hour"] = found["hr"] - whole
    found["hr sd of the hour"] = x.deviation(0, x.values_BT.shape[1])
    change_BT = np.diff(x.values_BT, axis=1, prepend=np.nan)
    for minutes in SPANS_MIN:
        span = x.samples(60 * minutes)
        before, after = (x.begin - span, x.begin), (x.end, x.end + span)
        around = (x.begin - span, x.end + span)
        found |= {
            f"hr {minutes:g} min before": x.mean(*before) - found["hr"],
            f"hr {minutes:g} min after": x.mean(*after) - found["hr"],
            f"hr {minutes:g} min around": x.mean(*around),
            f"hr sd {minutes:g} min before": x.deviation(*before),
            f"hr sd {minutes:g} min after": x.deviation(*after),
            f"hr sd {minutes:g} min around": x.deviation(*around),
            f"hr change {minutes:g} min around": np.sqrt(x.mean(*around, np.square(change_BT))),
        }
    filtered_BT = difference_of_gaussians(x.values_BT, x.rate_hz)
    reach = x.samples(FILTER_REACH_S)
    found["filtered hr"] = x.mean(x.begin, x.end, filtered_BT)
    found["filtered hr sd"] = x.deviation(x.begin - reach, x.end + reach, filtered_BT)
    return found


def of_counts(x: Stretches) -> Columns:
    """Activity counts around epochs, as logarithms of 1 + counts.

    Few, because more made it worse: kappa on validation groups of sixteen nights in four classes was 0.447
    without counts, 0.444 with 43 features of them, 0.460 with these.
    """
    log_BT = np.log1p(x.values_BT)
    found = {"counts": x.mean(x.begin, x.end, log_BT)}
    for minutes in COUNT_SPANS_MIN:
        span = x.samples(60 * minutes)
        found[f"counts {minutes:g} min around"] = x.mean(x.begin - span, x.end + span, log_BT)
    span = x.samples(300)
    found["counts 5 min before"] = x.mean(x.begin - span, x.begin, log_BT)
    found["counts 5 min after"] = x.mean(x.end, x.end + span, log_BT)
    return found


MAKERS: Mapping[str, Callable[[Stretches], Columns]] = {"hr": of_heart_rate, "counts": of_counts}
"""Modality → the features of its windows."""


def difference_of_gaussians(values_BT: Floats, rate_hz: float) -> Floats:
    """Slow changes without the slowest: smoothed over 120 s less 0.75 of the same over 600 s.

    Missing values count as their window's mean.
    """
    there_BT = np.isfinite(values_BT)
    count_B1 = there_BT.sum(axis=1, keepdims=True)
    mean_B1 = np.nansum(values_BT, axis=1, keepdims=True) / np.where(count_B1, count_B1, np.nan)
    level_BT = np.where(there_BT, values_BT - mean_B1, 0.0)
    narrow_BT = gaussian_filter1d(level_BT, 120 * rate_hz, axis=1, truncate=2)
    wide_BT = gaussian_filter1d(level_BT, 600 * rate_hz, axis=1, truncate=2)
    found: Floats = np.where(there_BT, narrow_BT - 0.75 * wide_BT, np.nan)
    return found
