"""Errors of estimated numbers: MAE, RMSE, mean error ± SD, correlation; pooled and by subject.

The metrics take weights of the records, for `intervals`. An error is output − truth.

Shape suffixes: N records (windows), S subjects, D draws of the bootstrap.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .arrays import Floats, Subjects, check_pairs, ratio

Metric = Callable[[Floats, Floats, Floats], Floats]
"""(truth [N], output [N], weights [D, N]) → [D]."""


def mae(truth_N: Floats, output_N: Floats, weights_DN: Floats) -> Floats:
    """Mean absolute error, [D]."""
    return ratio(weights_DN @ np.abs(output_N - truth_N), weights_DN.sum(axis=1))


def rmse(truth_N: Floats, output_N: Floats, weights_DN: Floats) -> Floats:
    """Root of the mean squared error, [D]."""
    return np.sqrt(ratio(weights_DN @ (output_N - truth_N) ** 2, weights_DN.sum(axis=1)))


def mean_error(truth_N: Floats, output_N: Floats, weights_DN: Floats) -> Floats:
    """Mean error (bias), [D]."""
    return ratio(weights_DN @ (output_N - truth_N), weights_DN.sum(axis=1))


def sd_error(truth_N: Floats, output_N: Floats, weights_DN: Floats) -> Floats:
    """Standard deviation of the errors, with n − 1; [D], NaN for a single record."""
    error_N = output_N - truth_N
    total_D = weights_DN.sum(axis=1)
    # About the plain mean first: squares of large offsets would lose their digits.
    error_N = error_N - error_N.mean()
    square_D = weights_DN @ error_N**2 - ratio((weights_DN @ error_N) ** 2, total_D)
    spread_D = ratio(np.maximum(square_D, 0.0), total_D - 1)
    return np.sqrt(np.where(total_D > 1, spread_D, np.nan))


def correlation(truth_N: Floats, output_N: Floats, weights_DN: Floats) -> Floats:
    """Pearson's correlation, [D]; NaN where either does not vary.

    Over several subjects it mixes differences between people with changes within them, and the first
    alone can make it high: read it by subject.
    """
    total_D = weights_DN.sum(axis=1)
    x_N, y_N = truth_N - truth_N.mean(), output_N - output_N.mean()
    x_D, y_D = weights_DN @ x_N, weights_DN @ y_N

    def spread(a_N: Floats, b_N: Floats, a_D: Floats, b_D: Floats) -> Floats:
        return np.asarray(weights_DN @ (a_N * b_N) - ratio(a_D * b_D, total_D))

    xx_D, yy_D = spread(x_N, x_N, x_D, x_D), spread(y_N, y_N, y_D, y_D)
    # What rounding leaves of a constant is not variation.
    varies_D = (xx_D > 1e-12 * (weights_DN @ truth_N**2)) & (
        yy_D > 1e-12 * (weights_DN @ output_N**2)
    )
    both_D = np.where(varies_D, np.sqrt(np.abs(xx_D * yy_D)), 0.0)
    return np.clip(ratio(spread(x_N, y_N, x_D, y_D), both_D), -1.0, 1.0)


METRICS: dict[str, Metric] = {
    "mae": mae,
    "rmse": rmse,
    "mean_error": mean_error,
    "sd_error": sd_error,
    "correlation": correlation,
}
"""What is reported of every estimated number."""


def summary(truth_N: Floats, output_N: Floats) -> dict[str, float]:
    """All metrics of all records together; NaN where one is not defined."""
    check_pairs(truth_N, output_N, truth_N)
    ones = np.ones((1, len(truth_N)))
    return {name: float(metric(truth_N, output_N, ones)[0]) for name, metric in METRICS.items()}


def by_subject(
    metric: Metric, truth_N: Floats, output_N: Floats, subjects_N: Subjects
) -> tuple[NDArray[Any], Floats]:
    """(ids [S], sorted; the metric of each subject's records [S]).

    Their mean is what is published of heart rate: the MAE of each subject, averaged over subjects, so
    that a long recording counts no more than a short one. `intervals.mean_of` of the values, with
    `Draws.per_subject()`, gives its interval.
    """
    check_pairs(truth_N, output_N, subjects_N)
    ids, subject_N = np.unique(subjects_N, return_inverse=True)
    values = []
    for subject in range(len(ids)):
        rows = np.flatnonzero(subject_N == subject)
        values.append(metric(truth_N[rows], output_N[rows], np.ones((1, len(rows))))[0])
    return ids, np.array(values, dtype=np.float64)
