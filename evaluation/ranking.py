"""Area under the ROC curve and average precision, for many weightings of the same records at once.

A bootstrap draw is a weighting of the records (how often each was drawn). Scores are sorted once a
class; every draw then costs one cumulative sum, in all some hundred times less than recomputing the
figure on the drawn records. Draws lie side by side in memory, so that one addition is of many draws.

Shape suffixes: N records, K classes, P positives of a class, M negatives, D draws.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from .arrays import Bools, Floats, check_scores, ratio

OneClass = Callable[[Bools, Floats, Floats], Floats]
"""(truth [N], scores [N], weights [N, D]) → [D]."""

# numpy adds up along an axis number by number; from so many draws on, row by row is three times as fast.
_MANY_DRAWS = 64


def auroc(truth_NK: Bools, score_NK: Floats, weights_DN: Floats | None = None) -> Floats:
    """AUROC of each class: [K], or [D, K] under weights; NaN where a class lacks one of both sides.

    It is the probability that a positive scores above a negative, ties counting half (Hanley &
    McNeil, Radiology 143:29, 1982).
    """
    return _each_class(_auroc, truth_NK, score_NK, weights_DN)


def average_precision(
    truth_NK: Bools, score_NK: Floats, weights_DN: Floats | None = None
) -> Floats:
    """Average precision (AUPRC without interpolation) of each class: [K], or [D, K] under weights.

    Σ (recall_i − recall_{i−1}) · precision_i over the distinct scores, as in scikit-learn; NaN where a
    class has no positive. Its value at chance is the share of positives.
    """
    return _each_class(_average_precision, truth_NK, score_NK, weights_DN)


def _each_class(
    figure: OneClass, truth_NK: Bools, score_NK: Floats, weights_DN: Floats | None
) -> Floats:
    check_scores(truth_NK, score_NK)
    weights = np.ones((1, len(truth_NK))) if weights_DN is None else weights_DN
    weights_ND = np.ascontiguousarray(weights.T)
    columns = [figure(truth_NK[:, k], score_NK[:, k], weights_ND) for k in range(truth_NK.shape[1])]
    values_DK = np.stack(columns, axis=1)
    return values_DK[0] if weights_DN is None else values_DK


def _auroc(truth_N: Bools, score_N: Floats, weights_ND: Floats) -> Floats:
    positive_P, negative_M = np.flatnonzero(truth_N), _by_score(~truth_N, score_N)
    if not len(positive_P) or not len(negative_M):
        return np.full(weights_ND.shape[1], np.nan)
    below = _cumulative(weights_ND[negative_M])
    first_P = np.searchsorted(score_N[negative_M], score_N[positive_P], side="left")
    last_P = np.searchsorted(score_N[negative_M], score_N[positive_P], side="right")
    weight_PD = weights_ND[positive_P]
    won_D = np.einsum("pd,pd->d", weight_PD, below[first_P] + below[last_P]) / 2
    return ratio(won_D, weight_PD.sum(axis=0) * below[-1])


def _average_precision(truth_N: Bools, score_N: Floats, weights_ND: Floats) -> Floats:
    positive_P, negative_M = _by_score(truth_N, -score_N), _by_score(~truth_N, -score_N)
    if not len(positive_P):
        return np.full(weights_ND.shape[1], np.nan)
    # What is called at a positive's score: all records of that score and above.
    weight_PD = weights_ND[positive_P]
    found, false = _cumulative(weight_PD), _cumulative(weights_ND[negative_M])
    last_P = np.searchsorted(-score_N[positive_P], -score_N[positive_P], side="right")
    hit_PD = found[last_P]
    wrong_PD = false[np.searchsorted(-score_N[negative_M], -score_N[positive_P], side="right")]
    called_PD = hit_PD + wrong_PD
    precision_PD = np.divide(hit_PD, called_PD, out=called_PD, where=called_PD > 0)
    return ratio(np.einsum("pd,pd->d", weight_PD, precision_PD), found[-1])


def _by_score(chosen_N: Bools, score_N: Floats) -> NDArray[np.intp]:
    """Rows of the chosen records, by rising score."""
    rows = np.flatnonzero(chosen_N)
    return rows[np.argsort(score_N[rows], kind="stable")]


def _cumulative(weights_ND: Floats) -> Floats:
    """[N, D] → [N + 1, D]: the sum of the first 0, 1, … N rows."""
    sums = np.zeros((weights_ND.shape[0] + 1, weights_ND.shape[1]))
    if weights_ND.shape[1] < _MANY_DRAWS:
        np.cumsum(weights_ND, axis=0, out=sums[1:])
    else:
        for row, weights_D in enumerate(weights_ND):
            np.add(sums[row], weights_D, out=sums[row + 1])
    return sums
