"""Models on one task, judged on exactly the same rows and in the same draws of the test subjects.

Shape suffixes: N rows of the test truth, K classes or quantities.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from .draws import Draws
from .figure import Figure
from .intervals import Statistic, figures, paired_differences
from .judging import Judged, averaged, draws_for, statistics
from .multilabel import counted_classes
from .rounds import Truth
from .scores import Scores
from .tasks import Task


@dataclass(frozen=True)
class Row:
    """One line of a table: what it is, its seeds, what it reached on validation, and its figures."""

    name: str
    seeds: int
    validation: float
    figures: dict[str, Figure]


@dataclass(frozen=True)
class Comparison:
    """The rows, and by how much the first one surpasses each other: other row → figure → difference."""

    rows: list[Row]
    differences: dict[str, dict[str, Figure]]


def counted_columns(task: Task, train: Truth, test: Truth) -> tuple[NDArray[np.intp], str]:
    """(places of the classes that enter a macro figure, which those are and why others are not).

    Raises `ValueError` where none is left.
    """
    if task.kind != "multilabel":
        return np.arange(len(test.classes)), f"{len(test.classes)}: {', '.join(test.classes)}"
    counted = counted_classes(
        test.classes,
        (train.values, train.subjects),
        (test.values, test.subjects),
        task.least_subjects,
    )
    if not counted.kept:
        raise ValueError(f"no class is left to judge by: {counted}")
    return counted.columns, str(counted)


def of_columns(truth: Truth, columns: NDArray[np.intp]) -> Truth:
    """The truth of some classes (multilabel) or quantities."""
    if truth.values.ndim == 1:
        return truth
    classes = tuple(truth.classes[k] for k in columns)
    return replace(truth, values=truth.values[:, columns], classes=classes)


def compare(
    task: Task,
    test: Truth,
    validation: Truth,
    rows: Mapping[str, Sequence[Scores]],
    columns: NDArray[np.intp],
) -> Comparison:
    """Every row's figures, the mean over its seeds, and how far the first row is ahead of each other."""
    test, validation = of_columns(test, columns), of_columns(validation, columns)
    draws = draws_for(task, test.values, test.subjects)
    found = {name: _row(task, test, validation, seeds, columns) for name, seeds in rows.items()}
    lines = [
        Row(
            name,
            len(rows[name]),
            float(np.mean([seed.chosen for seed in rows[name]])),
            {figure: figures(statistic, draws)[0] for figure, statistic in of.items()},
        )
        for name, of in found.items()
    ]
    first, *others = found
    return Comparison(lines, {o: _ahead(found[first], found[o], draws) for o in others})


def _row(
    task: Task,
    test: Truth,
    validation: Truth,
    seeds: Sequence[Scores],
    columns: NDArray[np.intp],
) -> dict[str, Statistic]:
    def of_seed(one: Scores) -> dict[str, Statistic]:
        said = Judged(one.test[:, columns], validation.values, one.validation[:, columns])
        return statistics(task, test.classes, test.values, test.subjects, said)

    return averaged([of_seed(one) for one in seeds])


def _ahead(
    one: Mapping[str, Statistic], other: Mapping[str, Statistic], draws: Draws
) -> dict[str, Figure]:
    return {name: paired_differences(one[name], other[name], draws)[0] for name in one}
