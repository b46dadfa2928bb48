"""Errors of estimated numbers: MAE, RMSE, mean error ± SD, correlation; pooled and by subject.

Every metric follows from sums over each subject's records, so a bootstrap over subjects only adds up
theirs. An error is output − truth.

Shape suffixes: N records (windows), S subjects, D draws of the bootstrap.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .arrays import Floats, Subjects, check_pairs, ratio
from .intervals import Statistic


@dataclass(frozen=True)
class Sums:
    """Over the records of each subject [S]: their count, |errors|, errors, outputs, squares and products.

    But for `count` and `absolute` they are of values less their mean over all records (`mean_…`): squares
    of large offsets would lose their digits.
    """

    ids: NDArray[Any]
    count: Floats
    absolute: Floats
    error: Floats
    error_square: Floats
    truth: Floats
    truth_square: Floats
    output: Floats
    output_square: Floats
    product: Floats
    mean_error: float
    mean_truth: float
    mean_output: float


def sums(truth_N: Floats, output_N: Floats, subjects_N: Subjects) -> Sums:
    """The sums by subject, ids sorted. Raises `ValueError` on numbers that are not finite."""
    check_pairs(truth_N, output_N, subjects_N)
    ids, subject_N = np.unique(subjects_N, return_inverse=True)
    error_N = output_N - truth_N
    means = [float(values.mean()) for values in (error_N, truth_N, output_N)]
    e_N, x_N, y_N = error_N - means[0], truth_N - means[1], output_N - means[2]
    parts = (np.ones_like(e_N), np.abs(error_N), e_N, e_N**2, x_N, x_N**2, y_N, y_N**2, x_N * y_N)
    of_S = [np.bincount(subject_N, part).astype(np.float64) for part in parts]
    return Sums(ids, *of_S, *means)  # type: ignore[arg-type] # nine arrays, then three numbers


Metric = Callable[[Sums, Floats], Floats]
"""(sums by subject, weights of the subjects [D, S]) → [D]."""


def mae(of: Sums, weights_DS: Floats) -> Floats:
    """Mean absolute error, [D]."""
    return ratio(weights_DS @ of.absolute, weights_DS @ of.count)


def rmse(of: Sums, weights_DS: Floats) -> Floats:
    """Root of the mean squared error, [D]."""
    count_D = weights_DS @ of.count
    about_D = ratio(weights_DS @ of.error, count_D)
    square_D = ratio(weights_DS @ of.error_square, count_D)
    return np.sqrt(np.maximum(square_D + 2 * of.mean_error * about_D + of.mean_error**2, 0.0))


def mean_error(of: Sums, weights_DS: Floats) -> Floats:
    """Mean error (bias), [D]."""
    return ratio(weights_DS @ of.error, weights_DS @ of.count) + of.mean_error


def sd_error(of: Sums, weights_DS: Floats) -> Floats:
    """Standard deviation of the errors, with n − 1; [D], NaN for a single record."""
    count_D = weights_DS @ of.count
    square_D = weights_DS @ of.error_square - ratio((weights_DS @ of.error) ** 2, count_D)
    return np.sqrt(np.where(count_D > 1, ratio(np.maximum(square_D, 0.0), count_D - 1), np.nan))


def correlation(of: Sums, weights_DS: Floats) -> Floats:
    """Pearson's correlation, [D]; NaN where either does not vary.

    Over several subjects it mixes differences between people with changes within them, and the first
    alone can make it high: read it by subject.
    """
    count_D = weights_DS @ of.count
    x_D, y_D = weights_DS @ of.truth, weights_DS @ of.output
    xx_D = weights_DS @ of.truth_square - ratio(x_D**2, count_D)
    yy_D = weights_DS @ of.output_square - ratio(y_D**2, count_D)
    xy_D = weights_DS @ of.product - ratio(x_D * y_D, count_D)
    # What rounding leaves of a constant is not variation.
    varies_D = (
        xx_D > 1e-12 * _squares(of.truth_square, x_D, of.mean_truth, weights_DS, count_D)
    ) & (yy_D > 1e-12 * _squares(of.output_square, y_D, of.mean_output, weights_DS, count_D))
    both_D = np.where(varies_D, np.sqrt(np.abs(xx_D * yy_D)), 0.0)
    return np.clip(ratio(xy_D, both_D), -1.0, 1.0)


def _squares(
    square_S: Floats, sum_D: Floats, mean: float, weights_DS: Floats, count_D: Floats
) -> Floats:
    """Σ value², from the sums about the mean."""
    return np.asarray(weights_DS @ square_S + 2 * mean * sum_D + mean**2 * count_D)


METRICS: dict[str, Metric] = {
    "mae": mae,
    "rmse": rmse,
    "mean_error": mean_error,
    "sd_error": sd_error,
    "correlation": correlation,
}
"""What is reported of every estimated number."""


def pooled(metric: Metric, of: Sums) -> Statistic:
    """A metric of all subjects' records together, for `intervals`: one row of weights a subject."""
    return lambda weights_DS: metric(of, weights_DS)


def summary(truth_N: Floats, output_N: Floats) -> dict[str, float]:
    """All metrics of all records together; NaN where one is not defined."""
    of = sums(truth_N, output_N, np.zeros(len(truth_N)))
    return {name: float(metric(of, np.ones((1, 1)))[0]) for name, metric in METRICS.items()}


def by_subject(metric: Metric, of: Sums) -> Floats:
    """The metric of each subject's records alone [S].

    Their mean is what is published of heart rate: the MAE of each subject, averaged over subjects, so
    that a long recording counts no more than a short one. `intervals.mean_of` of the values gives its
    interval (`sampled(…, per_subject=True)`).
    """
    return metric(of, np.eye(len(of.ids)))
