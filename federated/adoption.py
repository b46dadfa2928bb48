"""The rule of no harm: a client takes its own head only where its own validation speaks for it.

- **Fallback**: what the client would use otherwise, the model for all or its own small Base, whichever is right more
  often (or errs less) on its validation windows; ties go to the model for all.
- **Adopted** is the personal head where a one-sided t-test of its gain over the fallback on validation says so.
  Windows that follow one another are alike, so that what counts as independent are pieces of `piece_s` seconds (half
  blocks of the division), few as they are.
- The rule is fixed before any test window is looked at. **Harmed** is a client whose adopted model does worse on its
  test windows than its fallback; one that did not adopt cannot be.

Shape suffixes: N windows, K classes or quantities, P pieces.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student

from ..evaluation.arrays import Floats
from .keeping import Kept

Fallback = Literal["common", "base"]


@dataclass(frozen=True)
class Verdict:
    """What one client uses of one strategy, and why.

    `fallback` is None where there is neither a model for all nor a Base: the personal head is then used as it is.
    `gain` and `error` are of the personal head over the fallback on validation: share of windows, or mean absolute
    error in units of the quantities' deviation there. `test_gain` is that of what is used over the fallback on test:
    exactly 0 where the fallback itself is used.
    """

    subject: str
    strategy: str
    fallback: Fallback | None
    adopted: bool
    gain: float
    error: float
    test_gain: float

    @property
    def harmed(self) -> bool:
        """Whether the client adopted what does worse than its fallback on test."""
        return self.adopted and self.test_gain < 0


def verdict(of: Kept, base: Kept | None, confidence: float, piece_s: float) -> Verdict:
    """By the rule, with so much confidence. `base` is what the client kept of its own small model."""
    assert of.own is not None, "somebody unseen has nothing to adopt"
    candidates: dict[Fallback, dict[str, Floats]] = {}
    if of.common is not None:
        candidates["common"] = of.common
    if base is not None and base.own is not None:
        candidates["base"] = base.own
    if not candidates:
        return Verdict(
            of.subject, of.strategy, None, True, float("nan"), float("nan"), float("nan")
        )

    def right(said: dict[str, Floats], split: str) -> Floats:
        return goodness_N(of.truth[split], said[split], of.truth["validation"])

    means = {name: right(said, "validation").mean() for name, said in candidates.items()}
    fallback = max(candidates, key=lambda name: (means[name], name == "common"))
    ahead_N = right(of.own, "validation") - right(candidates[fallback], "validation")
    pieces_N = pieces(of.records["validation"], of.onset_s["validation"], piece_s)
    error = standard_error(ahead_N, pieces_N)
    gain = float(ahead_N.mean())
    needed = student.ppf(confidence, max(1, pieces_N.max()))
    # From a single piece nothing follows.
    adopted = bool(np.isfinite(error) and gain > needed * error)
    ahead = right(of.own, "test") - right(candidates[fallback], "test")
    return Verdict(
        of.subject,
        of.strategy,
        fallback,
        adopted,
        gain,
        error,
        float(ahead.mean()) if adopted else 0.0,
    )


def goodness_N(
    truth_N: NDArray[np.generic], said_NK: Floats, scale_N: NDArray[np.generic]
) -> Floats:
    """1 where the likeliest class is right [N]; of quantities, minus the mean absolute error.

    Errors are in units of each quantity's deviation in `scale_N`, so that several of them can be averaged.
    """
    if truth_N.ndim == 1:
        right: Floats = (said_NK.argmax(axis=1) == truth_N).astype(np.float64)
        return right
    deviation_K = np.nanstd(np.asarray(scale_N, np.float64), axis=0)
    wrong_NK = np.abs(said_NK - np.asarray(truth_N, np.float64)) / np.where(
        deviation_K > 0, deviation_K, 1.0
    )
    stated_NK = np.isfinite(wrong_NK)
    total: Floats = np.where(stated_NK, wrong_NK, 0.0).sum(axis=1)
    mean: Floats = total / np.maximum(stated_NK.sum(axis=1), 1)
    return -mean


def pieces(records_N: NDArray[np.str_], onset_s: Floats, piece_s: float) -> NDArray[np.intp]:
    """The piece of time that each window lies in [N], counted from a recording's first one; without times its own.

    Blocks of one part lie a whole number of blocks apart, so that none is cut in two.
    """
    if not np.isfinite(onset_s).all():
        return np.unique(records_N, return_inverse=True)[1].reshape(-1)
    _, record_N = np.unique(records_N, return_inverse=True)
    first_s = np.full(record_N.max(initial=-1) + 1, np.inf)
    np.minimum.at(first_s, record_N, onset_s)
    since_s = onset_s - first_s[record_N]
    both = np.stack([record_N, (since_s // piece_s).astype(np.intp)], axis=1)
    _, piece_N = np.unique(both, axis=0, return_inverse=True)
    return piece_N.reshape(-1)


def standard_error(values_N: Floats, pieces_N: NDArray[np.intp]) -> float:
    """Of the mean of values that are alike within pieces; infinite with a single piece."""
    count_P = np.bincount(pieces_N)
    number = len(count_P)
    if number < 2:
        return float("inf")
    # The ratio of two sums over pieces (Cochran, Sampling Techniques, 1977, section 6.3).
    left_P = np.bincount(pieces_N, values_N - values_N.mean())
    return float(np.sqrt((left_P**2).sum() * number / (number - 1)) / len(values_N))
