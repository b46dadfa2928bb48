"""Agreement of two scorings of sleep, epoch by epoch: pooled, by subject, and in coarser schemes.

Everything follows from the confusion matrix, so a bootstrap over subjects only adds up theirs.

Shape suffixes: N epochs, S subjects, K stages. A stage is its place in the scheme; −1 is unscored.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .arrays import Floats, Ints, Subjects, check_pairs, ratio
from .intervals import Statistic

UNSCORED = -1

Scheme = Mapping[str, Sequence[str]]
"""Stage → the codes it covers, as in `datasets.sleep_stages.STAGE_SETS`."""


def coarser(fine: Scheme, coarse: Scheme) -> NDArray[np.intp]:
    """[K]: the place in `coarse` of each stage of `fine`, for `merge`.

    Raises `ValueError` where a stage of `fine` does not lie in exactly one of `coarse`.
    """
    places = []
    for stage, codes in fine.items():
        within = [i for i, those in enumerate(coarse.values()) if set(codes) <= set(those)]
        if len(within) != 1:
            raise ValueError(
                f"expected {stage} ({', '.join(codes)}) in exactly one stage of {list(coarse)}, found "
                f"it in {len(within)}: stages can be merged, not split"
            )
        places += within
    return np.array(places, dtype=np.intp)


def merge(stages_N: Ints, coarse_K: NDArray[np.intp]) -> NDArray[np.intp]:
    """Stages in the coarser scheme; unscored epochs stay unscored."""
    return np.where(stages_N == UNSCORED, UNSCORED, coarse_K[stages_N])


def confusions(
    truth_N: Ints, output_N: Ints, subjects_N: Subjects, stages: int
) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """(ids [S], sorted; counts [S, K, K] by truth and output). The sum over subjects is the pooled one.

    Epochs with an unscored truth are left out; a subject without another counts nothing. Raises
    `ValueError` where a scored epoch has no output, or a stage is not in the scheme.
    """
    check_pairs(truth_N, output_N, subjects_N)
    ids, subject_N = np.unique(subjects_N, return_inverse=True)
    scored_N = truth_N != UNSCORED
    for name, values in (("truth", truth_N[scored_N]), ("output", output_N[scored_N])):
        if len(values) and (values.min() < 0 or values.max() >= stages):
            wrong = values[(values < 0) | (values >= stages)][0]
            raise ValueError(
                f"expected stages from 0 to {stages - 1} in the {name} of scored epochs, found {wrong}"
            )
    counts_SKK = np.zeros((len(ids), stages, stages), dtype=np.int64)
    np.add.at(counts_SKK, (subject_N[scored_N], truth_N[scored_N], output_N[scored_N]), 1)
    return ids, counts_SKK


def accuracy(confusion: NDArray[Any]) -> Floats:
    """Share of epochs scored alike; [..., K, K] → [...], NaN without an epoch."""
    return ratio(_diagonal(confusion).sum(axis=-1), _total(confusion))


def kappa(confusion: NDArray[Any]) -> Floats:
    """Cohen's kappa (Educ Psychol Meas 20:37, 1960); [..., K, K] → [...].

    NaN where both scorings hold one and the same stage throughout.
    """
    total = _total(confusion)
    observed = _diagonal(confusion).sum(axis=-1)
    chance = (_truth(confusion) * _output(confusion)).sum(axis=-1)
    # In counts, so that perfect agreement by chance alone is an exact 0 below.
    return ratio(total * observed - chance, total**2 - chance)


def f1_by_stage(confusion: NDArray[Any]) -> Floats:
    """F1 of each stage; [..., K, K] → [..., K], NaN where a stage is in neither scoring."""
    return ratio(2 * _diagonal(confusion), _truth(confusion) + _output(confusion))


def macro_f1(confusion: NDArray[Any]) -> Floats:
    """Mean F1 of the stages that occur in either scoring; [..., K, K] → [...]."""
    f1 = f1_by_stage(confusion)
    there = np.isfinite(f1)
    return ratio(np.where(there, f1, 0.0).sum(axis=-1), there.sum(axis=-1).astype(np.float64))


def sensitivity(confusion: NDArray[Any]) -> Floats:
    """Share of each stage's epochs that were found; [..., K, K] → [..., K], NaN where it is absent."""
    return ratio(_diagonal(confusion), _truth(confusion))


def specificity(confusion: NDArray[Any]) -> Floats:
    """Share of all other epochs not called so; [..., K, K] → [..., K], NaN where there are none."""
    other = _total(confusion)[..., None] - _truth(confusion)
    return ratio(other - (_output(confusion) - _diagonal(confusion)), other)


def pooled(metric: Callable[[NDArray[Any]], Floats], confusions_SKK: NDArray[Any]) -> Statistic:
    """A metric of all subjects' epochs together, for `intervals`: one row of weights a subject."""
    return lambda weights_DS: metric(np.tensordot(weights_DS, confusions_SKK, axes=1))


def _diagonal(confusion: NDArray[Any]) -> Floats:
    return np.diagonal(confusion, axis1=-2, axis2=-1).astype(np.float64)


def _truth(confusion: NDArray[Any]) -> Floats:
    return np.asarray(confusion.sum(axis=-1), dtype=np.float64)


def _output(confusion: NDArray[Any]) -> Floats:
    return np.asarray(confusion.sum(axis=-2), dtype=np.float64)


def _total(confusion: NDArray[Any]) -> Floats:
    return np.asarray(confusion.sum(axis=(-2, -1)), dtype=np.float64)
