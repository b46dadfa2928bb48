"""The main row class by class: how many there are, and how well each is told."""

from __future__ import annotations

import numpy as np

from ..figure import Figure
from ..judging import by_class, one_hot
from ..rounds import Truth
from .case import Case, Part, cell, plain
from .section import Section, Table
from .words import BRACKETS, name_of, of_thresholds, sentences


def per_class(case: Case) -> Part | None:
    """Counts of every class, figures of those that count; None for numbers to estimate."""
    if case.task.kind == "regression":
        return None
    classes = case.test.classes
    measures = case.averaged(lambda seed: by_class(case.task, seed, case.columns))
    figures: dict[str, dict[str, Figure]] = {name: {} for name in classes}
    for name, measure in measures.items():
        found = measure.sampled(case.draws).figures()
        for k, figure in zip(case.columns, found, strict=True):
            figures[classes[k]][name] = figure
    counts = {
        name: {
            "train_subjects": _subjects(case, case.train, k),
            "test_subjects": _subjects(case, case.test, k),
            "test_records": int(_there(case, case.test, k).sum()),
            "prevalence": float(_there(case, case.test, k).mean()),
        }
        for k, name in enumerate(classes)
    }
    what = "windows" if case.task.anchor else "records"
    rows = [
        [
            name,
            str(count["train_subjects"]),
            str(count["test_subjects"]),
            f"{count['test_records']} ({100 * count['prevalence']:.1f} %)",
            *(cell(figures[name].get(metric)) for metric in measures),
        ]
        for name, count in counts.items()
    ]
    head = ["class", "train subjects", "test subjects", f"test {what}", *map(name_of, measures)]
    left = len(classes) - len(case.columns)
    paragraphs = [
        f"Each class alone. Figures are of {case.shown}. {of_thresholds(case.task)}".strip()
    ]
    main = case.task.metrics
    if left:
        paragraphs.append(
            f"A dash: {left} of {len(classes)} classes have fewer than {case.task.least_subjects} subjects "
            "with or without them in train or test. Their figures would say more of chance than of the "
            "model, and they enter no mean over classes."
        )
    table = Table(head, rows, note=f"{BRACKETS} {sentences(n for n in measures if n not in main)}")
    return Part(
        "classes",
        Section("Class by class", paragraphs, [table]),
        {name: {**count, "figures": plain(figures[name])} for name, count in counts.items()},
    )


def _there(case: Case, truth: Truth, k: int) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    there: np.ndarray[tuple[int], np.dtype[np.bool_]] = one_hot(
        case.task, truth.values, len(truth.classes)
    )[:, k]
    return there


def _subjects(case: Case, truth: Truth, k: int) -> int:
    return len(np.unique(truth.subjects[_there(case, truth, k)]))
