"""Intervals of any figure by bootstrap over subjects, and paired differences of two models.

- A statistic maps weightings of the records (`draws`: how often each subject was drawn) to values, many
  draws at once, so that it can sort its scores just once.
- **Limits**: bias-corrected and accelerated (Efron, JASA 82:171, 1987), with the tails of Student's t
  in place of the normal ones, as Hesterberg (Am Stat 69:371, 2015) does for small samples. The
  degrees of freedom come from the kurtosis of the jackknife values (O'Neill, Am Stat 68:282, 2014):
  the number of subjects less one where all matter alike, far fewer where a figure hangs on few. In
  600 simulated sets, nominal 95 %, these held the truth (percentile / BCa / ours): macro-AUROC of five
  classes over 150 subjects 94 / 94 / 95 %; AUROC of one class with 10 positive subjects 89 / 92 / 94 %
  (true value 0.856) and 77 / 88 / 90 % (0.983); accuracy over 16 subjects 93 / 93 / 96 %; a mean
  error over 15 skewed subjects 88 / 89 / 93 %; a standard deviation over 40 subjects 89 / 93 / 95 %.
- **The value is inside its interval.** It could fall out only where about 97 % of the draws lie on one
  side of it: that is a figure which rises when records repeat, such as the expected calibration error,
  and which is itself too high by as much. The quantiles of the draws are then mirrored at the value
  (the basic bootstrap), which undoes the bias, the interval is stretched to the value, and it is marked
  (`Figure.stretched`, `Figure.bias`).

Shape suffixes: N records, S subjects, D draws, J groups left out, M values of a statistic.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri
from scipy.stats import t as student

from .arrays import Bools, Floats, Ints, Subjects, ratio
from .draws import Draws
from .figure import Figure

Statistic = Callable[[Floats], Floats]
"""Weights of the records [D, N], or of the subjects, → values [D] or [D, M]."""

MAX_LEFT_OUT = 1000
"""The jackknife leaves out one subject at a time, or as many as make this number of groups."""

# Weights handed to a statistic at once: 32 MB as float64.
_CHUNK = 1 << 22
# Two sums of the same numbers in another order differ by less than this.
_ROUNDING = 1e-10


@dataclass(frozen=True)
class Sampled:
    """M values of a statistic: of all records [M], in each draw [D, M], with subjects left out [J, M].

    What is linear is done with these: means over classes and seeds, and the difference of two models. Both
    being in the same draws, that is paired: its interval is narrower than the two intervals make it look.
    """

    value_M: Floats
    drawn_DM: Floats
    left_JM: Floats
    draws: Draws

    def __sub__(self, other: Sampled) -> Sampled:
        return replace(
            self,
            value_M=self.value_M - other.value_M,
            drawn_DM=self.drawn_DM - other.drawn_DM,
            left_JM=self.left_JM - other.left_JM,
        )

    def mean(self) -> Sampled:
        """The mean of the M values, as one."""
        return replace(
            self,
            value_M=self.value_M.mean(keepdims=True),
            drawn_DM=self.drawn_DM.mean(axis=1, keepdims=True),
            left_JM=self.left_JM.mean(axis=1, keepdims=True),
        )

    def figures(self, level: float = 0.95) -> list[Figure]:
        """Each value with its interval.

        Raises `ValueError` where one is not finite on all records or in a draw: then something it needs
        was not among the sets that must occur.
        """
        for column, value in enumerate(self.value_M):
            undefined = int((~np.isfinite(self.drawn_DM[:, column])).sum())
            if undefined or not np.isfinite(value):
                raise ValueError(
                    f"figure {column} is {value} and not defined in {undefined} of "
                    f"{len(self.drawn_DM)} draws: leave its class out, or name in must_occur what it needs"
                )
        return [
            _figure(value, self.drawn_DM[:, m], self.left_JM[:, m], level, self.draws)
            for m, value in enumerate(self.value_M)
        ]


def sampled(statistic: Statistic, draws: Draws, *, per_subject: bool = False) -> Sampled:
    """The statistic on all records, in the draws, and with each group of subjects left out.

    `per_subject`: its weights are those of the subjects [D, S], in the order of their sorted ids.
    """
    row_N = np.arange(draws.subjects) if per_subject else draws.subject_N
    return Sampled(
        value_M=_values(statistic, np.ones((1, draws.subjects)), row_N)[0],
        drawn_DM=_values(statistic, draws.counts, row_N),
        left_JM=_values(statistic, _left_out(draws), row_N),
        draws=draws,
    )


def figures(statistic: Statistic, draws: Draws, level: float = 0.95) -> list[Figure]:
    """The statistic's values on the records as they are, each with its interval (`Sampled.figures`)."""
    return sampled(statistic, draws).figures(level)


def mean_of(values_N: Floats) -> Statistic:
    """The mean of values that need only be averaged: an error a record, a kappa a subject."""

    def statistic(weights_DN: Floats) -> Floats:
        return ratio(weights_DN @ values_N, weights_DN.sum(axis=1))

    return statistic


def share_of(above_N: Floats | Bools, below_N: Floats | Bools, subjects_N: Subjects) -> Statistic:
    """Σ above / Σ below over rows, as a statistic of the subjects' weights; NaN where nothing is below."""
    _, subject_N = np.unique(subjects_N, return_inverse=True)
    above_S = np.bincount(subject_N, above_N.astype(np.float64))
    below_S = np.bincount(subject_N, below_N.astype(np.float64))
    return lambda weights_DS: ratio(weights_DS @ above_S, weights_DS @ below_S)


def of_rows(metric: Callable[[NDArray[np.intp]], float]) -> Statistic:
    """Any metric of rows as a statistic: called once a draw with the rows drawn, repeated as drawn."""

    def statistic(weights_DN: Floats) -> Floats:
        rows_N = np.arange(weights_DN.shape[1])
        return np.array([metric(np.repeat(rows_N, w.astype(np.intp))) for w in weights_DN])

    return statistic


def _values(statistic: Statistic, weights_DS: NDArray[np.generic], subject_N: Ints) -> Floats:
    """[D, M], some draws at a time."""
    step = max(1, _CHUNK // len(subject_N))
    parts = []
    for start in range(0, len(weights_DS), step):
        weights_DN = weights_DS[start : start + step][:, subject_N].astype(np.float64)
        parts.append(statistic(weights_DN).reshape(len(weights_DN), -1))
    return np.concatenate(parts)


def _left_out(draws: Draws) -> NDArray[np.int32]:
    """Weights of the jackknife [J, S]: each row leaves out one group of subjects, mostly of one."""
    groups = min(draws.subjects, MAX_LEFT_OUT)
    group_S = np.random.default_rng(draws.seed).permutation(draws.subjects) % groups
    kept_JS: Bools = group_S != np.arange(groups)[:, None]
    return kept_JS.astype(np.int32)


def _figure(value: float, drawn_D: Floats, left_J: Floats, level: float, draws: Draws) -> Figure:
    low, high = _limits(value, drawn_D, left_J, level)
    rounding = _ROUNDING * max(1.0, abs(value))
    stretched = not low - rounding <= value <= high + rounding
    if stretched:
        upper, lower = np.quantile(drawn_D, [(1 + level) / 2, (1 - level) / 2])
        low, high = 2 * value - upper, 2 * value - lower
    return Figure(
        value=float(value),
        low=float(min(low, value)),
        high=float(max(high, value)),
        level=level,
        subjects=draws.subjects,
        records=len(draws.subject_N),
        bias=float(drawn_D.mean() - value),
        stretched=stretched,
    )


def _limits(value: float, drawn_D: Floats, left_J: Floats, level: float) -> tuple[float, float]:
    acceleration, freedom = _influence(left_J)
    width = student.ppf((1 + level) / 2, freedom) * np.sqrt((freedom + 1) / freedom)
    rounding = _ROUNDING * max(1.0, abs(value))
    below = (drawn_D < value - rounding).sum() + (np.abs(drawn_D - value) <= rounding).sum() / 2
    # A share of 0 or 1 is an infinite correction: D draws cannot tell it from half a draw.
    share = np.clip(below / len(drawn_D), 0.5 / len(drawn_D), 1 - 0.5 / len(drawn_D))
    middle = ndtri(share)
    places = []
    for step in (middle - width, middle + width):
        slope = 1 - acceleration * step
        places.append(ndtr(middle + step / slope) if slope > 0 else float(step > 0))
    low, high = np.quantile(drawn_D, places)
    return float(low), float(high)


def _influence(left_J: Floats) -> tuple[float, float]:
    """(acceleration, degrees of freedom) from the values with one group of subjects left out."""
    # A figure that is undefined without a subject tells nothing of that subject's influence.
    left_J = left_J[np.isfinite(left_J)]
    n = len(left_J)
    influence = left_J.mean() - left_J if n else np.zeros(1)
    square = (influence**2).sum()
    # Where nobody matters (all right, AUROC 1) the draws are all alike too.
    if n < 3 or square < _ROUNDING**2:
        return 0.0, float(max(n - 1, 1))
    acceleration = (influence**3).sum() / (6 * square**1.5)
    kurtosis = n * (influence**4).sum() / square**2
    freedom = 2 * n / max(kurtosis - (n - 3) / (n - 1), 2 / n)
    return float(acceleration), float(np.clip(freedom, 2, n - 1))
