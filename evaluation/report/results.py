"""The main table: every model on the same test records, and how far the first one is ahead of the others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from ..comparison import Comparison
from ..figure import Figure
from ..tasks import Task
from .case import plain
from .section import Section, Table
from .words import (
    CHOSEN_BY,
    INTERVALS,
    STRETCHED,
    name_of,
    of_thresholds,
    quantity_of,
    sentences,
    with_unit,
)


def results_section(task: Task, comparison: Comparison, about: Sequence[str] = ()) -> Section:
    """The main table and the differences; `about` are paragraphs above, such as who was tested.

    Of numbers to estimate there is a table for each quantity.
    """
    refusals = [f"Not given: {name_of(name)}. {why}" for name, why in comparison.refused.items()]
    names = list(comparison.rows[0].figures)
    regression = task.kind == "regression"
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(quantity_of(name) if regression else "", []).append(name)
    tables: list[Table] = []
    for quantity, members in groups.items():
        found = _tables(task, comparison, members, with_unit(quantity))
        # The notes of the first quantity's tables hold for the others.
        tables += [replace(table, note="") for table in found] if tables else found
    return Section(title="Results", paragraphs=[*about, *refusals], tables=tables)


def comparison_plain(comparison: Comparison) -> dict[str, Any]:
    """Rows, differences and refusals as plain values."""
    found: dict[str, Any] = plain(comparison)
    return found


def signed(difference: Figure, digits: int = 3) -> str:
    """A difference with its interval: `+0.035 (+0.021 to +0.052)`."""
    value, low, high = (
        f"{v:+.{digits}f}" for v in (difference.value, difference.low, difference.high)
    )
    return f"{value} ({low} to {high})"


def _tables(task: Task, comparison: Comparison, names: Sequence[str], quantity: str) -> list[Table]:
    digits = 2 if quantity else 3
    rows = comparison.rows
    several = any(row.seeds > 1 for row in rows)
    heads = [name_of(name) for name in names]
    note = [
        INTERVALS,
        *(["Models of several seeds: the mean of their figures."] if several else []),
        sentences(names),
        of_thresholds(task),
        f"Validation: what choices were made by there, {CHOSEN_BY[task.kind]}.",
    ]
    if any(row.figures[name].stretched for row in rows for name in names):
        note.append(STRETCHED)
    tables = [
        Table(
            head=[quantity or "model", "seeds", "validation", *heads],
            rows=[
                [
                    row.name,
                    str(row.seeds),
                    f"{row.validation:.3f}",
                    *(row.figures[name].text(digits) for name in names),
                ]
                for row in rows
            ],
            note=" ".join(filter(None, note)),
        )
    ]
    if comparison.differences:
        tables.append(
            Table(
                head=[f"“{rows[0].name}” less …", *heads],
                rows=[
                    [other, *(signed(figures[name], digits) for name in names)]
                    for other, figures in comparison.differences.items()
                ],
                note="Differences on the same records in the same draws of subjects. Where an interval "
                "leaves out 0, chance in who was tested does not explain the difference; chance in "
                "training is in it only as far as there are several seeds.",
            )
        )
    return tables
