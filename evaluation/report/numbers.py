"""All numbers of a report: from what the models said to sections for readers and plain values for programs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..comparison import Comparison, compare
from ..rounds import Truth
from ..scores import Scores
from ..tasks import Task
from .abstention import abstention
from .by_subject import by_subject
from .case import Case, Part
from .nights import nights
from .per_class import per_class
from .quantities import agreement, pressure
from .results import comparison_plain, results_section
from .section import Section
from .subgroup import subgroups
from .trust import calibration

PARTS: tuple[Callable[[Case], Part | None], ...] = (
    per_class,
    by_subject,
    nights,
    agreement,
    pressure,
    calibration,
    abstention,
)
"""What follows the main table, in this order; each decides by the task whether it is there."""


@dataclass(frozen=True)
class Found:
    """What was found: the case, the comparison of its rows, and the parts on its main row."""

    case: Case
    comparison: Comparison
    parts: list[Part]


def find(
    task: Task,
    test: Truth,
    validation: Truth,
    train: Truth,
    rows: Mapping[str, Sequence[Scores]],
    main: str,
) -> Found:
    """Judge every row and look at `main` in detail: it comes first, and others are compared with it.

    Raises `ValueError` where no class can be judged, or scores are not of these rows.
    """
    ordered = {main: rows.get(main, ()), **rows} if main in rows else rows
    case = Case(task, test, validation, train, ordered, main)
    comparison = compare(task, test, validation, ordered, case.columns)
    figure = next(iter(comparison.rows[0].figures))
    parts = [part(case) for part in PARTS]
    parts.append(subgroups(case, figure))
    return Found(case, comparison, [part for part in parts if part is not None])


def numbers(found: Found) -> list[Section]:
    """The main table, and a section for each part."""
    about = [about_rows(found.case), f"{found.case.told}."]
    first = results_section(found.case.task, found.comparison, about)
    return [first, *(part.section for part in found.parts)]


def found_json(found: Found) -> dict[str, Any]:
    """Everything as plain values in full precision: figures as mappings, null where there is no number."""
    case = found.case
    return {
        "task": case.task.title,
        "main": case.main,
        "classes_counted": [case.test.classes[k] for k in case.columns],
        "classes_told": case.told,
        "test": {"records": len(case.test), "subjects": len(np.unique(case.test.subjects))},
        **comparison_plain(found.comparison),
        **{part.name: part.plain for part in found.parts},
    }


def about_rows(case: Case) -> str:
    """Who was tested on, who decided, and who taught."""
    what = "windows" if case.task.anchor else "recordings"

    def told(truth: Truth) -> str:
        return f"{len(truth)} {what} of {len(np.unique(truth.subjects))} subjects"

    shared = sum(_shared(case, number) for number in np.unique(case.test.round))
    apart = (
        "No tested subject is among the others."
        if not shared
        else f"{shared} of the tested subjects are in the others as well: the figures flatter the models."
    )
    if case.task.cross_validation:
        return (
            f"Every subject is tested on once, in {case.task.cross_validation} rounds with other subjects to "
            f"learn from and others again to choose by: {told(case.test)}. {apart}"
        )
    return (
        f"Tested on {told(case.test)}; learned from {told(case.train)}; every choice was made on "
        f"{told(case.validation)}. {apart}"
    )


def _shared(case: Case, number: int) -> int:
    """How many subjects of a round's test are in its train or validation."""
    tested, *others = (
        truth.subjects[truth.round == number] for truth in (case.test, case.train, case.validation)
    )
    return len(np.intersect1d(tested, np.concatenate(others)))
