"""Area under the ROC curve and average precision, for many weightings of the same records at once.

A bootstrap draw is a weighting of the records (how often each was drawn). Scores are sorted once a
class; every draw then costs one cumulative sum, in all about 50 times less than recomputing the
figure on the drawn records.

Shape suffixes: N records, K classes, P positives of a class, D draws.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .arrays import Bools, Floats, check_scores, ratio

OneClass = Callable[[Bools, Floats, Floats], Floats]


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
    columns = [figure(truth_NK[:, k], score_NK[:, k], weights) for k in range(truth_NK.shape[1])]
    values_DK = np.stack(columns, axis=1)
    return values_DK[0] if weights_DN is None else values_DK


def _auroc(truth_N: Bools, score_N: Floats, weights_DN: Floats) -> Floats:
    positive_P, negative = np.flatnonzero(truth_N), np.flatnonzero(~truth_N)
    if not len(positive_P) or not len(negative):
        return np.full(len(weights_DN), np.nan)
    negative = negative[np.argsort(score_N[negative], kind="stable")]
    # Weight of the negatives below each place in their order.
    below = _cumulative(weights_DN[:, negative])
    first_P = np.searchsorted(score_N[negative], score_N[positive_P], side="left")
    last_P = np.searchsorted(score_N[negative], score_N[positive_P], side="right")
    won_DP = (below[:, first_P] + below[:, last_P]) / 2
    weight_DP = weights_DN[:, positive_P]
    return ratio((weight_DP * won_DP).sum(axis=1), weight_DP.sum(axis=1) * below[:, -1])


def _average_precision(truth_N: Bools, score_N: Floats, weights_DN: Floats) -> Floats:
    if not truth_N.any():
        return np.full(len(weights_DN), np.nan)
    order = np.argsort(-score_N, kind="stable")
    # Places where a run of equal scores ends: only there is a threshold possible.
    ends = np.append(np.flatnonzero(np.diff(score_N[order])) + 1, len(order))
    found = _cumulative(weights_DN[:, order] * truth_N[order])[:, ends]
    called = _cumulative(weights_DN[:, order])[:, ends]
    gained = np.diff(found, axis=1, prepend=0.0)
    precision = np.divide(found, called, out=np.zeros_like(found), where=called > 0)
    return ratio((gained * precision).sum(axis=1), found[:, -1])


def _cumulative(weights_DN: Floats) -> Floats:
    """[D, N] → [D, N + 1]: the sum of the first 0, 1, … N columns."""
    sums = np.zeros((weights_DN.shape[0], weights_DN.shape[1] + 1))
    np.cumsum(weights_DN, axis=1, out=sums[:, 1:])
    return sums
