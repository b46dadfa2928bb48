"""Bland–Altman analysis: bias and limits of agreement, also with several records a subject.

With several, the errors of one subject are alike, and their plain standard deviation is too small. The
variance of a single error is made of two parts, within and between subjects, from a one-way analysis of
variance (Bland & Altman, Stat Methods Med Res 8:135, 1999, section 5.3, and J Biopharm Stat 17:571,
2007, section 3: the true value varies from record to record). With mean squares B between and W within
and the divisor m (of n records of N in subject i: (N² − Σ n²) / ((S − 1) N)), it is B/m + (1 − 1/m) W.
With one record a subject this is the ordinary variance.

Intervals of the limits are Zou's (Stat Methods Med Res 22:630, 2013), which join the interval of the
bias with that of the variance (χ² of each mean square); they are not symmetric. For the bias he takes
the normal quantile, we Student's with S − 1 degrees of freedom: subjects are often few.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import chi2
from scipy.stats import t as student

from .arrays import Floats, Subjects, check_pairs
from .figure import Figure

# 95 % of normal errors lie within this many standard deviations.
_WIDTH = 1.96


@dataclass(frozen=True)
class Agreement:
    """`bias` and both limits with intervals, in the unit of the errors (output − truth).

    `within_sd` and `between_sd` are the two parts of `sd`; where subjects differ less than chance has
    them differ, `between_sd` is 0. `within_sd` is NaN with one record a subject.
    """

    bias: Figure
    lower: Figure
    upper: Figure
    sd: float
    within_sd: float
    between_sd: float

    def __str__(self) -> str:
        return (
            f"bias {self.bias.text(2)}, limits of agreement {self.lower.text(2)} and "
            f"{self.upper.text(2)}; {self.bias.subjects} subjects, {self.bias.records} records"
        )


def bland_altman(
    truth_N: Floats, output_N: Floats, subjects_N: Subjects, level: float = 0.95
) -> Agreement:
    """95 % limits of agreement, with intervals at `level`. Raises `ValueError` below three subjects."""
    check_pairs(truth_N, output_N, subjects_N)
    error_N = (output_N - truth_N).astype(np.float64)
    _, subject_N, count_S = np.unique(subjects_N, return_inverse=True, return_counts=True)
    subjects, records = len(count_S), len(error_N)
    if subjects < 3:
        raise ValueError(f"limits of agreement need at least 3 subjects, found {subjects}")
    bias = float(error_N.mean())
    mean_S = np.bincount(subject_N, error_N) / count_S
    between = float((count_S * (mean_S - bias) ** 2).sum() / (subjects - 1))
    freedom = records - subjects
    within = float(((error_N - mean_S[subject_N]) ** 2).sum() / freedom) if freedom else 0.0
    each = (records**2 - (count_S**2).sum()) / ((subjects - 1) * records)
    parts = ((between / each, subjects - 1), ((1 - 1 / each) * within, freedom))
    variance = parts[0][0] + parts[1][0]
    spread = max(0.0, (between - within) / each)
    # Var(mean of all records) from the two parts; with equally many records a subject, B / N.
    bias_variance = (spread * (count_S**2).sum() / records + within) / records
    half = float(student.ppf((1 + level) / 2, subjects - 1)) * np.sqrt(bias_variance)
    sd = float(np.sqrt(variance))
    sd_low, sd_high = _sd_interval(parts, variance, level)
    # An upper limit is low where the bias or the spread is.
    near = float(np.hypot(half, _WIDTH * (sd - sd_low)))
    far = float(np.hypot(half, _WIDTH * (sd_high - sd)))

    def figure(value: float, below: float, above: float) -> Figure:
        return Figure(value, value - below, value + above, level, subjects, records)

    return Agreement(
        bias=figure(bias, float(half), float(half)),
        lower=figure(bias - _WIDTH * sd, far, near),
        upper=figure(bias + _WIDTH * sd, near, far),
        sd=sd,
        within_sd=float(np.sqrt(within)) if freedom else float("nan"),
        between_sd=float(np.sqrt(spread if freedom else variance)),
    )


def _sd_interval(
    parts: tuple[tuple[float, int], ...], variance: float, level: float
) -> tuple[float, float]:
    """Interval of √(sum of parts), each (its variance, degrees of freedom): Zou's MOVER."""
    below = above = 0.0
    for part, freedom in parts:
        if freedom:
            low = float(chi2.ppf((1 - level) / 2, freedom))
            high = float(chi2.ppf((1 + level) / 2, freedom))
            below += (part * (1 - freedom / high)) ** 2
            above += (part * (freedom / low - 1)) ** 2
    smallest = max(0.0, variance - float(np.sqrt(below)))
    return float(np.sqrt(smallest)), float(np.sqrt(variance + np.sqrt(above)))
