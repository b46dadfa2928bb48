"""Plain text tables about an index."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import polars as pl

from .index import SPLITS, annotations_of
from .physiology import CHECKS

FEW = 12
"""Label sets of at most so many classes are shown; of codes, the most frequent so many."""


def quality_table(index: pl.DataFrame) -> str:
    """Counts, hours and shares of bad samples by split."""
    head = ["split", "records", "subjects", "segments", "hours", "missing %", "flat %", "clipped %"]
    rows = []
    for split in splits_of(index):
        part = index.filter(split=split)
        shares = [
            f"{100 * part[name].to_numpy().mean():.3f}" for name in ("missing", "flat", "clipped")
        ]
        records = part.unique(["dataset", "record"]).height
        hours = f"{float(part['duration_s'].sum()) / 3600:.2f}"
        rows.append([split, records, part["subject"].n_unique(), part.height, hours, *shares])
    return table(head, rows)


def physiology_table(summary: dict[str, dict[str, Any]]) -> str:
    """What the build saw of a source's physiology."""
    rows = [
        [
            CHECKS[name].what,
            said["records"],
            f"{said['median']:.3g}",
            f"{low:g} to {high:g}",
            said["outside"],
        ]
        for name, said in summary.items()
        for low, high in (said["bounds"],)
    ]
    head = ["physiology (of a sample)", "records", "median", "expected", "outside"]
    return table(head, rows)


def label_table(index: pl.DataFrame, label_sets: dict[str, dict[str, list[str]]]) -> str:
    """How many records, or annotations, of each split have each class, and their share of all.

    A share is of the split's records, or of the annotations that any class of the set stands for.
    """
    small = {name: set_ for name, set_ in label_sets.items() if len(set_) <= FEW}
    of_records = index.unique(["dataset", "record"]).select(
        "split", pl.col("labels").list.eval(pl.element().struct.field("code")).alias("codes")
    )
    of_annotations = annotations_of(index).select("split", pl.concat_list("code").alias("codes"))
    noted = set(of_annotations["codes"].explode(empty_as_null=False).unique())
    rows: list[list[object]] = []
    for name, classes in small.items() or [("code", _frequent(of_records))]:
        known = [code for members in classes.values() for code in members]
        if noted.isdisjoint(known):
            rows += _counts(name, classes, of_records, splits_of(index))
        else:
            wanted = of_annotations.filter(_any_of(known))
            rows += _counts(f"{name} (annotations)", classes, wanted, splits_of(index))
    shown = table(["label set", "class", *splits_of(index)], rows)
    large = [f"{name} ({len(set_)})" for name, set_ in label_sets.items() if len(set_) > FEW]
    more = f"\n  not shown, more than {FEW} classes: {', '.join(large)}" if large else ""
    return shown + more


def _counts(
    name: str, classes: dict[str, list[str]], codes: pl.DataFrame, splits: Sequence[str]
) -> list[list[object]]:
    """A row for each class: in each split, how many lines of `codes` have one of its codes."""
    totals = dict(codes.group_by("split").len().iter_rows())
    rows: list[list[object]] = []
    for label, members in classes.items():
        counts = dict(codes.filter(_any_of(members)).group_by("split").len().iter_rows())
        shown = [
            f"{counts.get(split, 0)} ({100 * counts.get(split, 0) / max(1, totals.get(split, 0)):.1f} %)"
            for split in splits
        ]
        rows.append([name, label, *shown])
    return rows


def _any_of(codes: Sequence[str]) -> pl.Expr:
    return pl.col("codes").list.set_intersection(list(codes)).list.len() > 0


def splits_of(index: pl.DataFrame) -> list[str]:
    """The splits that an index has, in their order."""
    present = set(index["split"].unique())
    return [split for split in SPLITS if split in present]


def table(head: Sequence[object], rows: Sequence[Sequence[object]]) -> str:
    """Columns as wide as their longest entry; numbers to the right."""
    texts = [[str(cell) for cell in row] for row in (head, *rows)]
    widths = [max(len(row[i]) for row in texts) for i in range(len(head))]
    right = [all(row[i][:1].isdigit() for row in texts[1:]) for i in range(len(head))]
    return "\n".join(
        "  "
        + "  ".join(
            cell.rjust(width) if to_right else cell.ljust(width)
            for cell, width, to_right in zip(row, widths, right, strict=True)
        ).rstrip()
        for row in texts
    )


def _frequent(codes: pl.DataFrame) -> dict[str, list[str]]:
    counted = (
        codes.select(pl.col("codes").explode(empty_as_null=False))
        .drop_nulls()
        .to_series()
        .value_counts(sort=True)
    )
    return {code: [code] for code in counted["codes"].head(FEW)}
