"""Which test cases are shown as examples: by a rule, never by hand.

Shape suffixes: N rows of the test truth, K classes or quantities.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...arrays import Floats
from ...rounds import Truth
from ...scores import Scores
from ...tasks import Task

OF_A_KIND = 2


@dataclass(frozen=True)
class Example:
    """A row of the test truth, and why it is shown."""

    row: int
    why: str


def choose(task: Task, test: Truth, scores: Scores, columns: NDArray[np.intp]) -> list[Example]:
    """Two examples of each kind, of different classes and subjects where there are such.

    Of classes: the surest hits, and the surest mistakes. Of quantities: the closest estimate of the
    first one, the median one, and the farthest two.
    """
    if task.kind == "regression":
        return _by_error(test, scores, int(columns[0]))
    if task.kind == "multiclass":
        called_N = scores.test.argmax(axis=1)
        score_N = scores.test.max(axis=1)
        right_N = called_N == test.values
        order = np.argsort(-score_N, kind="stable")
        return [
            *_pick(test, ((n, called_N[n]) for n in order if right_N[n]), "Surest hit: {}"),
            *_pick(
                test,
                ((n, called_N[n]) for n in order if not right_N[n]),
                "Surest mistake: called {}",
            ),
        ]
    score_NK, truth_NK = scores.test[:, columns], test.values[:, columns]
    order = np.argsort(-score_NK, axis=None, kind="stable")
    pairs = list(zip(*np.unravel_index(order, score_NK.shape), strict=True))
    true = [(n, columns[k]) for n, k in pairs if truth_NK[n, k]]
    false = [(n, columns[k]) for n, k in pairs if not truth_NK[n, k]]
    return [
        *_pick(test, true, "Surest hit: {}"),
        *_pick(test, reversed(true), "Surest miss: {}"),
        *_pick(test, false, "Surest false alarm: {}"),
    ]


def _pick(test: Truth, pairs: Iterable[tuple[np.intp, np.intp]], why: str) -> list[Example]:
    """The first (row, class) of each class and subject."""
    found: list[Example] = []
    classes: set[int] = set()
    subjects: set[object] = set()
    for row, column in pairs:
        if len(found) == OF_A_KIND:
            break
        if int(column) not in classes and test.subjects[row] not in subjects:
            found.append(Example(int(row), why.format(test.classes[column])))
            classes.add(int(column))
            subjects.add(test.subjects[row])
    return found


def _by_error(test: Truth, scores: Scores, column: int) -> list[Example]:
    error_N: Floats = np.abs(scores.test[:, column] - test.values[:, column])
    order = np.argsort(error_N, kind="stable")[: int(np.isfinite(error_N).sum())]
    name = test.classes[column]
    chosen = {"Closest": order[:1], "Median error": order[(len(order) - 1) // 2 :][:1]}
    rows = {int(row[0]): f"{why}: {name}" for why, row in chosen.items() if len(row)}
    for row in order[::-1][:OF_A_KIND]:
        rows.setdefault(int(row), f"Farthest: {name}")
    return [Example(row, why) for row, why in rows.items()]
