"""Several labels at once: which classes count, thresholds chosen on validation, F1, Fβ and Gβ.

Shape suffixes: N records, K classes, D draws of the bootstrap. Called means score ≥ threshold.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from .arrays import Bools, Floats, Subjects, check_scores, ratio

LEAST_SUBJECTS = 10
"""A class enters a macro figure with at least this many positive subjects in train and in test."""

ThresholdRule = Literal["max_f1", "max_g2"]
"""What a class's threshold maximises on validation: F1, or the CPSC benchmark's Gβ with β = 2."""


@dataclass(frozen=True)
class CountedClasses:
    """Which classes a macro figure is the mean of; both lists belong beside the figure.

    `kept` and `dropped` are names; `subjects` says for each class how many subjects have it in train and
    in test; `columns` are the places of the kept ones.
    """

    kept: tuple[str, ...]
    dropped: tuple[str, ...]
    subjects: dict[str, tuple[int, int]]
    columns: NDArray[np.intp]

    def __str__(self) -> str:
        kept = f"{len(self.kept)} classes counted: {', '.join(self.kept) or 'none'}"
        if not self.dropped:
            return kept
        few = ", ".join(
            f"{name} ({train} in train, {test} in test)"
            for name, (train, test) in self.subjects.items()
            if name in self.dropped
        )
        return f"{kept}; {len(self.dropped)} dropped, with too few subjects with or without: {few}"


def counted_classes(
    names: Sequence[str],
    train: tuple[Bools, Subjects],
    test: tuple[Bools, Subjects],
    least: int = LEAST_SUBJECTS,
) -> CountedClasses:
    """The classes that `least` subjects have, and `least` subjects lack, in train as in test.

    `train` and `test` are (truth [N, K], subjects [N]). A subject with and without the class in
    different records counts on both sides.
    """
    sides = []
    for truth_NK, subjects_N in (train, test):
        if truth_NK.shape != (len(subjects_N), len(names)):
            raise ValueError(
                f"expected a truth of shape [{len(subjects_N)} records, {len(names)} classes], "
                f"found {truth_NK.shape}"
            )
        sides += [
            [len(np.unique(subjects_N[column])) for column in side.T]
            for side in (truth_NK, ~truth_NK)
        ]
    enough = np.array(sides).min(axis=0) >= least
    return CountedClasses(
        kept=tuple(name for name, keep in zip(names, enough, strict=True) if keep),
        dropped=tuple(name for name, keep in zip(names, enough, strict=True) if not keep),
        subjects=dict(zip(names, zip(sides[0], sides[2], strict=True), strict=True)),
        columns=np.flatnonzero(enough),
    )


ROUNDING = 1e-12
"""Values that differ by less are equal."""


def best_thresholds(truth_NK: Bools, score_NK: Floats, rule: ThresholdRule = "max_f1") -> Floats:
    """Thresholds [K] that maximise the rule class by class. Give validation records, never test.

    Of several that are equally good the highest, which calls the fewest records. A class without a
    positive gets infinity: it is never called.
    """
    check_scores(truth_NK, score_NK)
    weights_N = _label_weights(truth_NK) if rule == "max_g2" else np.ones(len(truth_NK))
    missed_cost = 2.0 if rule == "max_g2" else 1.0
    found_cost = 1.0 if rule == "max_g2" else 2.0
    thresholds_K = np.full(truth_NK.shape[1], np.inf)
    for k in range(truth_NK.shape[1]):
        order = np.argsort(-score_NK[:, k], kind="stable")
        score_N, truth_N, weight_N = score_NK[order, k], truth_NK[order, k], weights_N[order]
        if not truth_N.any():
            continue
        # The last of each run of equal scores: what is called there is all of the run.
        last = np.append(np.flatnonzero(np.diff(score_N)), len(score_N) - 1)
        found = np.cumsum(weight_N * truth_N)
        false = np.cumsum(weight_N * ~truth_N)
        hit, wrong, missed = found[last], false[last], found[-1] - found[last]
        value = found_cost * hit / (found_cost * hit + wrong + missed_cost * missed)
        # From high to low scores the first, so the highest threshold; sums of thirds are equal but for rounding.
        best = np.argmax(value >= value.max() - ROUNDING)
        thresholds_K[k] = score_N[last[best]]
    return thresholds_K


def f1(truth_NK: Bools, called_NK: Bools, weights_DN: Floats | None = None) -> Floats:
    """F1 of each class, 2 TP / (2 TP + FP + FN): [K], or [D, K] under weights.

    NaN where a class neither occurs nor is called.
    """
    rows_DN = np.ones((1, len(truth_NK))) if weights_DN is None else weights_DN
    hit, wrong, missed = _outcomes(truth_NK, called_NK, rows_DN)
    f1_DK = ratio(2 * hit, 2 * hit + wrong + missed)
    return f1_DK[0] if weights_DN is None else f1_DK


def f2_g2(
    truth_NK: Bools, called_NK: Bools, weights_DN: Floats | None = None
) -> tuple[Floats, Floats]:
    """Fβ and Gβ of each class with β = 2, as the ICBEB 2018 benchmark has them: [K], or [D, K].

    Each record counts 1 / (its number of true labels, at least 1); Fβ = 5 TP / (5 TP + FP + 4 FN) and
    Gβ = TP / (TP + FP + 2 FN) (Strodthoff et al., IEEE JBHI 25:1519, 2021, section II-E). The
    benchmark's figures are their means over the classes.
    """
    rows_DN = np.ones((1, len(truth_NK))) if weights_DN is None else weights_DN
    hit, wrong, missed = _outcomes(truth_NK, called_NK, rows_DN * _label_weights(truth_NK))
    f_DK = ratio(5 * hit, 5 * hit + wrong + 4 * missed)
    g_DK = ratio(hit, hit + wrong + 2 * missed)
    return (f_DK[0], g_DK[0]) if weights_DN is None else (f_DK, g_DK)


def sensitivity(truth_NK: Bools, called_NK: Bools, weights_DN: Floats) -> Floats:
    """Share of the records with each class that were called, [D, K]; NaN where there are none."""
    hit, _, missed = _outcomes(truth_NK, called_NK, weights_DN)
    return ratio(hit, hit + missed)


def specificity(truth_NK: Bools, called_NK: Bools, weights_DN: Floats) -> Floats:
    """Share of the records without each class that were not called, [D, K]; NaN where there are none."""
    return sensitivity(~truth_NK, ~called_NK, weights_DN)


def _outcomes(
    truth_NK: Bools, called_NK: Bools, weights_DN: Floats
) -> tuple[Floats, Floats, Floats]:
    """Weights of true positives, false positives and false negatives, each [D, K]."""
    if truth_NK.shape != called_NK.shape or {truth_NK.dtype, called_NK.dtype} != {np.dtype(bool)}:
        raise ValueError(
            f"expected boolean arrays of one shape, found {truth_NK.dtype} {truth_NK.shape} and "
            f"{called_NK.dtype} {called_NK.shape}"
        )
    pairs = (truth_NK & called_NK, ~truth_NK & called_NK, truth_NK & ~called_NK)
    hit, wrong, missed = (weights_DN @ pair.astype(np.float64) for pair in pairs)
    return hit, wrong, missed


def _label_weights(truth_NK: Bools) -> Floats:
    return np.asarray(1.0 / np.maximum(truth_NK.sum(axis=1), 1))
