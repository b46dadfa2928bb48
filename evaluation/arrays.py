"""The types that metrics take, what they demand of them, and the division they all need."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Ints = NDArray[np.integer[Any]]
Subjects = NDArray[Any]
"""One id a record, of any type that sorts: numbers or text."""


def check_scores(truth_NK: Bools, score_NK: Floats) -> None:
    """Raises `ValueError` unless both are [N, K] with N ≥ 1, the truth boolean and the scores finite."""
    if truth_NK.dtype != np.bool_:
        raise ValueError(f"expected a boolean truth, found {truth_NK.dtype}")
    if truth_NK.ndim != 2 or truth_NK.shape != score_NK.shape or not truth_NK.size:
        raise ValueError(
            "expected truth and scores of one shape [records, classes], found "
            f"{truth_NK.shape} and {score_NK.shape}"
        )
    if not np.isfinite(score_NK).all():
        row, column = np.argwhere(~np.isfinite(score_NK))[0]
        raise ValueError(f"expected finite scores, found {score_NK[row, column]} in row {row}")


def check_pairs(truth_N: NDArray[Any], output_N: NDArray[Any], subjects_N: Subjects) -> None:
    """Raises `ValueError` unless all three are of one length ≥ 1, and numbers among them finite."""
    shapes = [np.shape(a) for a in (truth_N, output_N, subjects_N)]
    if len(shapes[0]) != 1 or len(set(shapes)) != 1 or not shapes[0][0]:
        raise ValueError(
            f"expected truth, output and subjects of one length, found the shapes {shapes}"
        )
    for name, values in (("truth", truth_N), ("output", output_N)):
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            where = int(np.flatnonzero(~np.isfinite(values))[0])
            raise ValueError(
                f"expected finite numbers in {name}, found {values[where]} in row {where}"
            )


def ratio(above: Floats, below: Floats) -> Floats:
    """above / below, NaN where below is 0."""
    return np.divide(above, below, out=np.full_like(above, np.nan), where=below != 0)
