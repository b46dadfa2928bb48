"""All pictures that a task's scores allow, as sections: what a report shows beside its tables.

Pictures of one model are of the first row's first seed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from ...signals.vocabulary import UNITS
from ..comparison import Comparison
from ..rounds import Round, Truth
from ..scores import Scores
from ..tasks import Task
from .pictures.agreement import bland_altman_plot
from .pictures.confusion import confusion_matrix
from .pictures.curves import precision_recall_curves, roc_curves
from .pictures.examples import examples
from .pictures.forest import forest
from .pictures.hypnograms import hypnograms
from .section import Picture, Section

CURVES = 4
"""Rows in pictures of curves."""
_PRESSURES = ("sbp", "dbp", "map")


def gallery(
    task: Task,
    rounds: Sequence[Round],
    test: Truth,
    rows: Mapping[str, Sequence[Scores]],
    columns: NDArray[np.intp],
    found: Comparison,
) -> list[Section]:
    """Intervals side by side, what fits the kind of task, and test cases with their signals."""
    name, seeds = next(iter(rows.items()))
    one = seeds[0]
    whose = f"Of {name}{', the first of its seeds' if len(seeds) > 1 else ''}."
    sections = [Section("Figures with their intervals", pictures=[forest(found)])]
    if task.kind != "regression" and len(columns):
        few = {row: rows[row] for row in shown_rows(found)}
        curves = [roc_curves(test, few, columns), precision_recall_curves(test, few, columns)]
        told = (
            [f"{name}, and of the other {len(rows) - 1} rows those that are best on validation."]
            if len(few) < len(rows)
            else []
        )
        sections.append(Section("Curves of each class", told, pictures=curves))
    if task.kind == "multiclass":
        sections.append(
            Section("What was taken for what", [whose], pictures=[confusion_matrix(test, one)])
        )
        if task.anchor == "stage":
            sections.append(Section("Nights", [whose], pictures=[hypnograms(test, one)]))
    if task.kind == "regression":
        sections.append(_agreement(test, one, columns, whose))
    rule = (
        "Chosen by a rule: the surest answers, right and wrong, of two classes and two subjects each."
        if task.kind != "regression"
        else "Chosen by a rule: the closest estimate, the median one and the farthest two."
    )
    shown = examples(task, rounds, test, one, columns)
    return [
        *sections,
        Section("Examples of hits and mistakes", [f"{whose} {rule}"], pictures=shown),
    ]


def shown_rows(found: Comparison) -> list[str]:
    """The row that a report shows in detail, and the best of the others on validation: more hide each other."""
    first, *others = found.rows
    others.sort(key=lambda row: -np.nan_to_num(row.validation, nan=-np.inf))
    return [row.name for row in (first, *others[: CURVES - 1])]


def _agreement(test: Truth, one: Scores, columns: NDArray[np.intp], whose: str) -> Section:
    """A plot for each quantity that three subjects or more have; the others are named."""
    drawn: list[Picture] = []
    missing = []
    for k in columns.tolist():
        name, stated = test.classes[k], np.isfinite(test.values[:, k])
        if len(np.unique(test.subjects[stated])) < 3:
            missing.append(name)
            continue
        unit = UNITS["bp"] if name.lower() in _PRESSURES else UNITS.get(name.lower(), "")
        drawn.append(bland_altman_plot(test, one, k, unit))
    told = [f"Fewer than 3 test subjects have {', '.join(missing)}: no plot."] if missing else []
    return Section("Agreement with the truth", [whose, *told], pictures=drawn)
