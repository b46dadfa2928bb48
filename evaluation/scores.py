"""What a fitted model said of a task's windows: the only thing that judging and reports ask of a model.

Shape suffixes: N rows of the test truth, M rows of the validation truth, K classes or quantities.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..files import write_aside
from .arrays import Floats


@dataclass(frozen=True)
class Scores:
    """Scores in the order of `rounds.Truth`: `test` [N, K] and `validation` [M, K].

    Probabilities of each class (multilabel), of exclusive classes (multiclass; a ridge head gives numbers
    that only rank), or estimates in the quantity's unit (regression). `chosen` is what the model reached
    on validation by the figure that its own choices were made by.
    """

    test: Floats
    validation: Floats
    chosen: float


def save_scores(file: Path, scores: Scores, terms: Mapping[str, Any]) -> None:
    """Write them at once or not at all. `terms` say in plain values all that decided them."""
    with write_aside(file) as aside, aside.open("wb") as out:
        np.savez(
            out,
            test=scores.test,
            validation=scores.validation,
            chosen=np.float64(scores.chosen),
            terms=np.array(json.dumps(dict(terms), sort_keys=True)),
        )


def load_scores(file: Path, terms: Mapping[str, Any]) -> Scores | None:
    """Scores that were made on these terms; None where there are none, or others."""
    try:
        with np.load(file, allow_pickle=False) as kept:
            if str(kept["terms"]) != json.dumps(dict(terms), sort_keys=True):
                return None
            return Scores(kept["test"], kept["validation"], float(kept["chosen"]))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):  # damaged: made again
        return None


def joined(rounds: Sequence[Scores]) -> Scores:
    """The scores of the rounds after one another, as `rounds.truth_of` joins their truth."""
    return Scores(
        np.concatenate([one.test for one in rounds]),
        np.concatenate([one.validation for one in rounds]),
        float(np.mean([one.chosen for one in rounds])),
    )
