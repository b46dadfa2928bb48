"""The main figure of the main row by sex, age, device and site, each group beside everybody."""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ..judging import Columns, Measure, averaged, must_occur, one_hot, overall
from ..multilabel import counted_classes
from ..subgroups import AGE_BANDS, UNKNOWN, Built, Group, age_bands, by_group
from .case import Case, Part, cell, plain
from .section import Section, Table
from .words import BRACKETS, metric_of, name_of, quantity_of, with_unit

COLUMNS = {"sex": "sex", "age": "age in years", "device": "device", "site": "site"}
BY_CLASS = ("auroc", "average_precision", "f1", "F2", "G2", "macro_f1")
"""Metrics that are means over classes, of which a group may lack some."""


def subgroups(case: Case, figure: str) -> Part | None:
    """`figure` is a key of a comparison's figures; None where the data say nothing of anybody."""
    facts = case.test.facts.with_columns(age_bands(case.test.facts["age"]).alias("age"))
    columns = [c for c in COLUMNS if c in facts.columns and facts[c].n_unique() > 1]
    if not columns:
        return None
    groups = by_group(
        lambda rows: _build(case, figure, rows),
        case.test.subjects,
        facts.select(pl.col(columns)),
        columns,
        seed=0,
        name=case.task.title,
        least=case.task.least_subjects,
    )
    bands = [name for _, name in AGE_BANDS]
    groups.sort(
        key=lambda g: (
            columns.index(g.column),
            bands.index(g.value) if g.column == "age" and g.value in bands else len(bands),
        )
    )
    if not any(group.figure for group in groups):
        return None
    return Part(
        "subgroups", _section(case, figure, groups), {"figure": figure, "groups": plain(groups)}
    )


def _build(case: Case, figure: str, rows: NDArray[np.intp]) -> Built | str:
    columns, classes = case.columns, len(case.test.classes)
    some: tuple[str, ...] | None = None
    needed: Columns = np.empty(0, dtype=np.intp)
    if case.task.kind == "regression":
        needed = np.array([case.test.classes.index(quantity_of(figure))])
        if not np.isfinite(case.test.values[np.ix_(rows, needed)]).any():
            return f"{quantity_of(figure)} is not stated of them"
    if metric_of(figure) in BY_CLASS:
        there = one_hot(case.task, case.test.values[rows], classes)[:, columns]
        of_group = (there, case.test.subjects[rows])
        names = [case.test.classes[k] for k in columns]
        kept = counted_classes(names, of_group, of_group, case.task.least_subjects)
        if not kept.kept:
            least = case.task.least_subjects
            return f"no class that {least} of them have and {least} lack"
        if kept.dropped:
            some, columns = kept.kept, columns[kept.columns]
        needed = columns

    def measure(of: NDArray[np.intp]) -> Measure:
        return averaged([overall(case.task, seed.of(of), columns)[figure] for seed in case.seeds])

    everyone = measure(np.arange(len(case.test)))
    width = len(np.unique(case.test.subjects)) if everyone.per_subject else len(case.test)
    return Built(
        measure(rows),
        must_occur(case.task, case.test.values[rows], classes, needed),
        some,
        float(np.squeeze(everyone.statistic(np.ones((1, width))))),
    )


def _section(case: Case, figure: str, groups: list[Group]) -> Section:
    quantity = quantity_of(figure) if case.task.kind == "regression" else ""
    name = f"{name_of(figure)} {with_unit(quantity)}".strip()
    digits = 2 if quantity else 3
    rows = [
        [
            f"{COLUMNS[group.column]}: {group.value}",
            str(group.subjects),
            str(group.records),
            cell(group.figure, digits),
            f"{group.everybody:.{digits}f}",
            "" if group.classes is None else ", ".join(group.classes),
        ]
        for group in groups
        if group.figure is not None and group.everybody is not None
    ]
    head = ["group", "subjects", "records", name, "everybody", "classes, where not all"]
    same = " on the same classes"
    if not any(row[-1] for row in rows):
        same = ""
        head, rows = head[:-1], [row[:-1] for row in rows]
    paragraphs = [
        f"{name[0].upper()}{name[1:]} in groups of test subjects, beside that of everybody"
        f"{same}. Of {case.shown}. Groups differ in more than their name (in age, in how ill they are), "
        "and a difference is no proof of its cause; a wide interval is no proof of fairness."
    ]
    for column in dict.fromkeys(group.column for group in groups):
        small = [group for group in groups if group.column == column and group.figure is None]
        if small:
            told = "; ".join(
                f"{group.value} ({group.subjects} subjects: {group.reason})" for group in small[:8]
            )
            more = f"; and {len(small) - 8} more" if len(small) > 8 else ""
            paragraphs.append(f"Not shown by {COLUMNS[column]}: {told}{more}.")
    what = "windows" if case.task.anchor else "records"
    head[2] = what
    note = f"{BRACKETS} “{UNKNOWN}”: not stated."
    return Section("Subgroups", paragraphs, [Table(head, rows, note)])
