"""The score of the PhysioNet/CinC Challenges 2020 and 2021, with their official table of weights.

The table says how much credit an output earns for a label (a harmless confusion earns some). It is not
shipped and never approximated: without it there is no such score. It is `weights.csv` of
github.com/physionetchallenges/evaluation-2021 (26 classes) or evaluation-2020, BSD-2-Clause.

A record with labels T and outputs O earns Σ W[j, k] / max(|T ∪ O|, 1) over j in T, k in O. The sum over
records is scaled so that always answering sinus rhythm scores 0 and the truth scores 1; where these two
earn equally, the score is 0 (Perez Alday et al., Physiol Meas 41:124003, 2020, section 3.3; Reyna et
al., CinC 2021). Negative scores are possible.

Shape suffixes: N records, K classes, D draws of the bootstrap.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..datasets.snomed import SCORED_2020
from .arrays import Bools, Floats

WHERE = (
    "download weights.csv from github.com/physionetchallenges/evaluation-2021 (or -2020) and give "
    "its path"
)
SINUS_RHYTHM = "426783006"

# Codes that both years score as one diagnosis. The table of 2020 gives each its own row; that of 2021
# names them together, as in `284470004|63593006`.
_ONE_DIAGNOSIS = [frozenset(codes) for codes in SCORED_2020.values() if len(codes) > 1]


@dataclass(frozen=True)
class ChallengeWeights:
    """The table in the order of a task's classes: `weights` [K, K] by label and output; `sinus` a column."""

    weights: Floats
    sinus: int


def read_weights(path: Path | None, classes: Mapping[str, Sequence[str]]) -> ChallengeWeights:
    """The official table, put in the order of `classes` (name → SNOMED CT codes).

    Raises `FileNotFoundError` without a table; `ValueError` where the file is not such a table or its
    classes are not exactly those given.
    """
    if path is None:
        raise FileNotFoundError(
            f"the Challenge's score needs its official table of weights: {WHERE}"
        )
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; {WHERE}")
    names, values = _table(path)
    rows: dict[frozenset[str], int] = {}
    for row, codes in enumerate(names):
        first = rows.setdefault(codes, row)
        same = np.array_equal(values[first], values[row])
        if not same or not np.array_equal(values[:, first], values[:, row]):
            raise ValueError(
                f"{path}: rows {first + 1} and {row + 1} are one diagnosis and have other weights; "
                + WHERE
            )
    wanted = [frozenset(codes) for codes in classes.values()]
    if set(wanted) != set(rows):
        missing = [name for name, codes in classes.items() if frozenset(codes) not in rows]
        unused = sorted("|".join(sorted(codes)) for codes in set(rows) - set(wanted))
        raise ValueError(
            f"{path}: the classes differ from the task's: not in the table {missing}, only there "
            f"{unused}; the table of 2021 goes with 26 classes, that of 2020 with 24"
        )
    order = [rows[codes] for codes in wanted]
    sinus = [k for k, codes in enumerate(wanted) if SINUS_RHYTHM in codes]
    if not sinus:
        raise ValueError(f"{path}: no class for sinus rhythm ({SINUS_RHYTHM}); {WHERE}")
    return ChallengeWeights(values[np.ix_(order, order)], sinus[0])


def challenge_score(
    truth_NK: Bools,
    output_NK: Bools,
    table: ChallengeWeights,
    weights_DN: Floats | None = None,
) -> Floats:
    """The score: an array without axes, or [D] under weights of the records.

    Every record of the evaluation belongs in, also those with none of the scored labels.
    """
    shape = (len(truth_NK), len(table.weights))
    if truth_NK.shape != shape or output_NK.shape != shape:
        raise ValueError(
            f"expected truth and output of shape {shape}, found {truth_NK.shape}, {output_NK.shape}"
        )
    sinus_NK = np.zeros_like(truth_NK)
    sinus_NK[:, table.sinus] = True
    inactive_N = _earned(truth_NK, sinus_NK, table)
    # Differences record by record: where truth and sinus rhythm earn equally they are exactly 0.
    gained_N = _earned(truth_NK, output_NK, table) - inactive_N
    possible_N = _earned(truth_NK, truth_NK, table) - inactive_N
    rows_DN = np.ones((1, len(truth_NK))) if weights_DN is None else weights_DN
    gained_D, possible_D = rows_DN @ gained_N, rows_DN @ possible_N
    score_D = np.divide(gained_D, possible_D, out=np.zeros_like(gained_D), where=possible_D != 0)
    return score_D[0] if weights_DN is None else score_D


def _earned(truth_NK: Bools, output_NK: Bools, table: ChallengeWeights) -> Floats:
    """What each record earns, [N]."""
    either_N = np.maximum((truth_NK | output_NK).sum(axis=1), 1)
    credit_N: Floats = ((truth_NK @ table.weights) * output_NK).sum(axis=1) / either_N
    return credit_N


def _table(path: Path) -> tuple[list[frozenset[str]], Floats]:
    """(the codes of each row, the numbers) of a square table with equal names in rows and columns."""
    with path.open(newline="", encoding="utf-8-sig", errors="replace") as file:
        cells = [[cell.strip() for cell in row] for row in csv.reader(file) if row]
    names = cells[0][1:] if cells else []
    if not names or [row[0] for row in cells[1:]] != names or len(set(names)) != len(names):
        raise ValueError(f"{path}: expected equal names in its first row and first column; {WHERE}")
    try:
        values = np.array([[float(cell) for cell in row[1:]] for row in cells[1:]])
    except ValueError as error:
        raise ValueError(f"{path}: expected numbers between the names: {error}; {WHERE}") from error
    if values.shape != (len(names), len(names)) or not np.isfinite(values).all():
        raise ValueError(
            f"{path}: expected {len(names)} finite numbers in each of {len(names)} rows; {WHERE}"
        )
    return [_diagnosis(name) for name in names], values


def _diagnosis(name: str) -> frozenset[str]:
    codes = frozenset(code.strip() for code in name.split("|"))
    return next((one for one in _ONE_DIAGNOSIS if codes <= one), codes)
