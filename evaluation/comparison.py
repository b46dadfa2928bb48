"""Models on one task, judged on exactly the same rows and in the same draws of the test subjects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from .figure import Figure
from .intervals import Sampled
from .judging import Columns, averaged, draws_for, judged, one_hot, overall, refused
from .multilabel import CountedClasses, counted_classes
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
    """The rows, and by how much the first one surpasses each other: other row → figure → difference.

    `refused` says of figures that the task names, and that are not among those of the rows, why.
    """

    rows: list[Row]
    differences: dict[str, dict[str, Figure]]
    refused: dict[str, str] = field(default_factory=dict)


def counted(task: Task, train: Truth, test: Truth) -> CountedClasses:
    """Which classes have enough subjects in train and in test; of quantities all of them.

    Raises `ValueError` for a quantity that nobody in one of both states.
    """
    if task.kind == "regression":
        for split, truth in (("train", train), ("test", test)):
            stated_K = np.isfinite(truth.values).any(axis=0)
            if unknown := [
                name for name, has in zip(test.classes, stated_K, strict=True) if not has
            ]:
                raise ValueError(
                    f"nobody in {split} states {', '.join(unknown)}: leave it out of the task's `classes`, or "
                    "build shards of more people"
                )
        every = np.arange(len(test.classes))
        return CountedClasses(test.classes, (), {}, every)
    sides = [
        (one_hot(task, truth.values, len(test.classes)), truth.subjects) for truth in (train, test)
    ]
    return counted_classes(test.classes, sides[0], sides[1], task.least_subjects)


def counted_columns(task: Task, train: Truth, test: Truth) -> tuple[Columns, str]:
    """(places of the classes that enter macro figures, which those are and why others do not).

    Of exclusive classes all are judged, whatever their number of subjects: only macro figures leave
    some out. Raises `ValueError` where several labels at once are judged and none is left.
    """
    found = counted(task, train, test)
    if not found.kept and task.kind == "multilabel":
        raise ValueError(f"no class is left to judge by: {found}")
    told = str(found)
    if task.kind == "regression":
        number = len(test.classes)
        told = f"{number} {'quantity' if number == 1 else 'quantities'}: {', '.join(test.classes)}"
    return found.columns, told


def compare(
    task: Task,
    test: Truth,
    validation: Truth,
    rows: Mapping[str, Sequence[Scores]],
    columns: Columns,
) -> Comparison:
    """Every row's figures, the mean over its seeds, and how far the first row is ahead of each other.

    A figure that is not defined for some row is refused for all, and the others still come. Raises
    `ValueError` where none is left, or where scores are not of these rows.
    """
    draws = draws_for(task, test, columns)
    found: dict[str, dict[str, Sampled]] = {}
    for name, seeds in rows.items():
        each = [overall(task, judged(task, test, validation, one), columns) for one in seeds]
        found[name] = {
            figure: averaged([of[figure] for of in each]).sampled(draws) for figure in each[0]
        }
    first, *others = found
    not_given = refused(task, test.classes, columns)
    figures: dict[str, dict[str, Figure]] = {name: {} for name in found}
    ahead: dict[str, dict[str, Figure]] = {name: {} for name in others}
    for figure in found[first]:
        try:
            of_rows = {name: of[figure].figures()[0] for name, of in found.items()}
            differences = {
                o: (found[first][figure] - found[o][figure]).figures()[0] for o in others
            }
        except ValueError as error:
            not_given[figure] = str(error)
            continue
        for name in found:
            figures[name][figure] = of_rows[name]
        for name in others:
            ahead[name][figure] = differences[name]
    if not figures[first]:
        raise ValueError(f"no figure is left to compare by: {not_given}")
    lines = [
        Row(name, len(seeds), float(np.mean([seed.chosen for seed in seeds])), figures[name])
        for name, seeds in rows.items()
    ]
    return Comparison(lines, ahead, not_given)
