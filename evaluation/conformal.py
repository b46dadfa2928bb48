"""Conformal sets: instead of one answer, a set that holds the truth in 1 − α of all cases.

Split conformal prediction: how unusual the truth looks is measured on calibration records, and the
⌈(n + 1)(1 − α)⌉-th smallest of the n measures is the limit. The promise holds on average over records
that are exchangeable with the calibration records: another population, or several records a subject,
weakens it, so `quality` measures the coverage on test.

- LAC: 1 − p(truth); the smallest sets on average, and empty ones where nothing is likely (Sadinle et al.,
  JASA 114:223, 2019).
- APS: probability of everything likelier than the truth plus a random part of its own; larger sets where
  the case is hard (Romano et al., NeurIPS 2020). The random part makes the coverage exact.
- Several labels at once: LAC for each label's presence and its absence apart, so the promise holds for
  those who have the label as for those who do not. A set with both means undecided.

Shape suffixes: N records, K classes.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .arrays import Bools, Floats, Ints, check_scores


@dataclass(frozen=True)
class SetQuality:
    """What sets are worth on test records: `coverage`, their mean `size`, and shares by how many they hold.

    `single` is the share of records with exactly one answer, `empty` with none.
    """

    coverage: float
    size: float
    single: float
    empty: float


def limit(measures_N: Floats, alpha: float) -> float:
    """The ⌈(n + 1)(1 − α)⌉-th smallest measure; infinity where n is too small for that α."""
    if not 0 < alpha < 1:
        raise ValueError(f"alpha must lie between 0 and 1, not {alpha}")
    # 0.1 and its like are no binary fractions: without the rounding, 10 · 0.9 could be called 10.
    rank = int(np.ceil(round((len(measures_N) + 1) * (1 - alpha), 9)))
    return float(np.sort(measures_N)[rank - 1]) if rank <= len(measures_N) else float("inf")


def lac_sets(truth_N: Ints, probability_NK: Floats, test_MK: Floats, alpha: float = 0.1) -> Bools:
    """Sets [M, K] for the test probabilities, calibrated on (truth, probabilities)."""
    measures_N = 1 - _of_truth(truth_N, probability_NK)
    return np.asarray(1 - test_MK <= limit(measures_N, alpha))


def aps_sets(
    truth_N: Ints,
    probability_NK: Floats,
    test_MK: Floats,
    alpha: float = 0.1,
    *,
    seed: int,
    name: str,
) -> Bools:
    """Sets [M, K] as in `lac_sets`; `seed` and `name` fix the random parts, of all records in order."""
    random = np.random.default_rng((seed, zlib.crc32(name.encode())))
    measures_NK = _mass_before(probability_NK, random.random(len(probability_NK)))
    test_measures_MK = _mass_before(test_MK, random.random(len(test_MK)))
    return np.asarray(test_measures_MK <= limit(_of_truth(truth_N, measures_NK), alpha))


def label_sets(
    truth_NK: Bools, probability_NK: Floats, test_MK: Floats, alpha: float = 0.1
) -> Bools:
    """[M, K, 2] for several labels at once: may the label be absent (0), may it be present (1)?

    A label with too few calibration records on a side (fewer than 1/α − 1) never excludes that side.
    """
    check_scores(truth_NK, probability_NK)
    sets_MK2 = np.empty((*test_MK.shape, 2), dtype=bool)
    for k in range(truth_NK.shape[1]):
        for side in (0, 1):
            rows = truth_NK[:, k] == bool(side)
            measures = _unlike(probability_NK[rows, k], side)
            sets_MK2[:, k, side] = _unlike(test_MK[:, k], side) <= limit(measures, alpha)
    return sets_MK2


def quality(truth_M: Ints, sets_MK: Bools) -> SetQuality:
    """Coverage and size of sets on test records with the truth [M]; of one label, give [M, 2]."""
    if not len(truth_M):
        raise ValueError("no test record")
    size_M = sets_MK.sum(axis=1)
    return SetQuality(
        coverage=float(_of_truth(truth_M, sets_MK).mean()),
        size=float(size_M.mean()),
        single=float((size_M == 1).mean()),
        empty=float((size_M == 0).mean()),
    )


def _of_truth(truth_N: Ints, values_NK: NDArray[Any]) -> NDArray[Any]:
    if values_NK.ndim != 2 or truth_N.shape != values_NK.shape[:1]:
        raise ValueError(
            f"expected truth [N] and [N, K], found {truth_N.shape} and {values_NK.shape}"
        )
    return values_NK[np.arange(len(truth_N)), truth_N]


def _mass_before(probability_NK: Floats, random_N: Floats) -> Floats:
    """Of each class: the probability of all likelier ones and a random part of its own, [N, K]."""
    order_NK = np.argsort(-probability_NK, axis=1, kind="stable")
    sorted_NK = np.take_along_axis(probability_NK, order_NK, axis=1)
    before_NK = np.cumsum(sorted_NK, axis=1) - sorted_NK + random_N[:, None] * sorted_NK
    measures_NK = np.empty_like(probability_NK)
    np.put_along_axis(measures_NK, order_NK, before_NK, axis=1)
    return measures_NK


def _unlike(probability: Floats, side: int) -> Floats:
    """How unlike the label's presence (1) or absence (0) a probability is."""
    return 1 - probability if side else probability
