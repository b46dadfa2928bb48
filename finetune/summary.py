"""All tasks of an evaluation at one glance: rows by tasks, the first figure of each."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..evaluation.comparison import Row
from ..evaluation.report.numbers import Found
from ..evaluation.report.section import Section, Table
from ..evaluation.report.words import name_of
from ..evaluation.report.write import write_report
from ..evaluation.rounds import notices
from .rows import Judged


def write_summary(out: Path, judged: Sequence[Judged], found: Sequence[Found]) -> Path:
    """Write the summary of all tasks into the folder `out`; returns the page."""
    said = notices([one for of in judged for one in of.rounds])
    page, _ = write_report(out, "Evaluation", [overview(judged, found)], said)
    return page


def overview(judged: Sequence[Judged], found: Sequence[Found]) -> Section:
    """One table: rows by tasks."""
    tables = [{row.name: row for row in of.comparison.rows} for of in found]
    # In the order of cells, not with the shown row first.
    names = list(dict.fromkeys(name for of in found for name in of.case.rows))
    names.sort(key=lambda name: not name.startswith("pretrained"))
    rows = [
        [
            name,
            str(max(t[name].seeds for t in tables if name in t)),
            *(_cell(t, name) for t in tables),
        ]
        for name in names
    ]
    figures = [next(iter(of.comparison.rows[0].figures)) for of in found]
    head = [f"{one.name}: {name_of(f)}" for one, f in zip(judged, figures, strict=True)]
    counted = [f"{one.name}: {of.case.told}." for one, of in zip(judged, found, strict=True)]
    return Section(
        "All tasks",
        [
            "On test, with 95 % intervals over subjects; rows of several seeds are their mean.",
            *counted,
        ],
        [Table(("row", "seeds", *head), rows, "† may have seen subjects it is judged on.")],
    )


def _cell(rows: dict[str, Row], name: str) -> str:
    return str(next(iter(rows[name].figures.values()))) if name in rows else ""
