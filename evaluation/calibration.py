"""Are probabilities what they say: reliability curves, expected calibration error, Brier score.

Bins are equally wide on [0, 1] (a bin holds its upper edge, the first also 0), or hold equally many
records ("adaptive"; equal probabilities stay together). The expected calibration error is Σ (share of
records in a bin) · |frequency − mean probability| (Guo et al., ICML 2017). It is biased upwards: an ideal
model's is above 0, the more so the fewer records a bin has, and a bootstrap adds to it. Compare models on
the same records, and read it beside the Brier score, which has no such bias.

Shape suffixes: N records, K classes, B bins, S subjects, D draws of the bootstrap.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .arrays import Bools, Floats, Ints, Subjects, ratio
from .intervals import Statistic

BINS = 15


@dataclass(frozen=True)
class Reliability:
    """One point a bin that holds records: `probability` [B] on average, `frequency` [B], `count` [B]."""

    probability: Floats
    frequency: Floats
    count: NDArray[np.int64]

    @property
    def ece(self) -> float:
        """Expected calibration error."""
        gap_B = np.abs(self.frequency - self.probability)
        return float((self.count * gap_B).sum() / self.count.sum())

    @property
    def largest_gap(self) -> float:
        """Maximum calibration error: the gap of the worst bin."""
        return float(np.abs(self.frequency - self.probability).max())


def reliability(
    truth_N: Bools, probability_N: Floats, bins: int = BINS, adaptive: bool = False
) -> Reliability:
    """The reliability curve of one class. Raises `ValueError` outside [0, 1]."""
    bin_N = bins_of(probability_N, bins, adaptive)
    if truth_N.shape != probability_N.shape:
        raise ValueError(f"expected one shape, found {truth_N.shape} and {probability_N.shape}")
    count_B = np.bincount(bin_N)
    there = count_B > 0
    return Reliability(
        probability=np.bincount(bin_N, probability_N)[there] / count_B[there],
        frequency=np.bincount(bin_N, truth_N.astype(np.float64))[there] / count_B[there],
        count=count_B[there],
    )


def top_label(truth_N: Ints, probability_NK: Floats) -> tuple[Bools, Floats]:
    """Of exclusive classes: (was the likeliest one right [N], its probability [N]), for `reliability`."""
    chosen_N = probability_NK.argmax(axis=1)
    return chosen_N == truth_N, probability_NK[np.arange(len(truth_N)), chosen_N]


def ece(
    truth_N: Bools,
    probability_N: Floats,
    subjects_N: Subjects,
    bins: int = BINS,
    adaptive: bool = False,
) -> Statistic:
    """Expected calibration error of one class, as a statistic of the subjects' weights [D, S] → [D].

    The bins are those of all records (`intervals.sampled(…, per_subject=True)`).
    """
    _, bin_N = np.unique(bins_of(probability_N, bins, adaptive), return_inverse=True)
    ids, subject_N = np.unique(subjects_N, return_inverse=True)
    gap_SB = np.zeros((len(ids), int(bin_N.max()) + 1))
    np.add.at(gap_SB, (subject_N, bin_N), truth_N - probability_N)
    count_S = np.bincount(subject_N).astype(np.float64)
    return lambda weights_DS: ratio(np.abs(weights_DS @ gap_SB).sum(axis=1), weights_DS @ count_S)


def brier(truth_N: Bools, probability_N: Floats) -> Floats:
    """Squared error of each record [N]; their mean is the Brier score of one class (0 to 1)."""
    _check_probabilities(probability_N)
    return np.asarray((probability_N - truth_N) ** 2)


def brier_exclusive(truth_N: Ints, probability_NK: Floats) -> Floats:
    """Of exclusive classes: the squared errors of each record summed over classes [N].

    Their mean is the score as Brier defined it (Mon Weather Rev 78:1, 1950): 0 to 2.
    """
    _check_probabilities(probability_NK)
    truth_NK = np.arange(probability_NK.shape[1]) == truth_N[:, None]
    return np.asarray(((probability_NK - truth_NK) ** 2).sum(axis=1))


def bins_of(probability_N: Floats, bins: int = BINS, adaptive: bool = False) -> NDArray[np.intp]:
    """The bin of each record, from 0. Raises `ValueError` outside [0, 1]."""
    _check_probabilities(probability_N)
    if bins < 1:
        raise ValueError(f"expected at least 1 bin, found {bins}")
    if adaptive:
        # The lowest rank of each value, so that equal ones share a bin.
        ranks_N = np.searchsorted(np.sort(probability_N), probability_N)
        return np.asarray(ranks_N * bins // len(probability_N))
    edges = np.linspace(0, 1, bins + 1)[1:-1]
    return np.searchsorted(edges, probability_N, side="left")


def _check_probabilities(probability: Floats) -> None:
    if not probability.size or not ((probability >= 0) & (probability <= 1)).all():
        raise ValueError("expected probabilities from 0 to 1")
