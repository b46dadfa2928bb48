"""The rows of a user's table as record references: checked column by column, quick for millions.

A cell that cannot be right stops everything before any work, and is named by file, row and column.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import repeat
from pathlib import Path
from typing import Any

import polars as pl

from .registry import RecordRef
from .subjects import age_years, sex_named
from .table_configuration import (
    Description,
    TableLabels,
    columns_of,
    placeholders,
    read_description,
)
from .table_files import UNREADABLE, scan_table

STATED = 100.0
"""The value of a label that is a class."""

_BETWEEN = "\x1f"
"""ASCII's unit separator, which no class is named with."""

_TRUE, _FALSE = {"1", "1.0", "true", "yes"}, {"0", "0.0", "false", "no", ""}


@dataclass(frozen=True)
class Described:
    """A description, where it was read from, and the SHA-256 of its text."""

    yaml: Path
    sha256: str
    says: Description

    @property
    def root(self) -> Path:
        """The folder that paths count from."""
        said = self.says.root
        return self.yaml.parent if said is None else self.yaml.parent / said.expanduser()


def described(yaml: Path) -> Described:
    """Read a description. Raises `ValueError` naming the file and the key."""
    return Described(yaml, hashlib.sha256(yaml.read_bytes()).hexdigest(), read_description(yaml))


@dataclass(frozen=True)
class Rows:
    """The needed columns of a description's table, as text, null where a cell is empty."""

    by: Described
    file: Path
    table: pl.DataFrame

    def __len__(self) -> int:
        return self.table.height

    def wrong(self, bad: pl.Series, column: str, why: str) -> ValueError:
        """The error that names the first row of which `bad` is true."""
        row = bad.fill_null(False).arg_max() or 0
        said = self.table[column][row] if column in self.table.columns else None
        return ValueError(
            f"{self.file}: row {row + 1} after the header, column {column!r} ({said!r}): {why}"
        )

    def converted(self, column: str, convert: Callable[[str], Any], kind: Any) -> pl.Series:
        """A column through `convert`, called once for each distinct text ("" for an empty cell).

        Raises `ValueError` naming the first row that `convert` refuses.
        """
        texts = self.table[column].fill_null("")
        distinct = texts.unique(maintain_order=True)
        values = []
        for text in distinct:
            try:
                values.append(convert(text))
            except ValueError as error:
                raise self.wrong(texts == text, column, f"{error}; mend the table") from None
        return texts.replace_strict(distinct, pl.Series(values, dtype=kind), return_dtype=kind)

    def texts(self, column: str | None) -> list[str | None]:
        """A column as it is; all None where there is none."""
        return [None] * len(self) if column is None else self.table[column].to_list()

    def optional(self, column: str | None, convert: Callable[[str], Any], kind: Any) -> list[Any]:
        """The same for a column that may not be there: then every row is None."""
        if column is None:
            return [None] * len(self)
        return self.converted(column, convert, kind).to_list()


def read_rows(by: Described) -> Rows:
    """The table of a description, joined with its second one.

    Raises `FileNotFoundError` for a table that is not there, `ValueError` for a column that is not.
    """
    file = by.yaml.parent / by.says.table
    needed = columns_of(by.says)
    scan = _scan(file)
    have = scan.collect_schema().names()
    join = by.says.join
    if join is None:
        return Rows(by, file, _collect(scan, file, needed))
    if join.by not in have:
        raise ValueError(f"{file}: no column {join.by!r}, which `join` names; it has {have[:30]}")
    own = list(dict.fromkeys([*(name for name in needed if name in have), join.by]))
    other_file = by.yaml.parent / join.table
    others = [join.by, *(name for name in needed if name not in own)]
    other = _collect(_scan(other_file), other_file, others)
    twice = other[join.by].is_duplicated() & other[join.by].is_not_null()
    if twice.any():
        raise Rows(by, other_file, other).wrong(twice, join.by, "it stands in two rows; keep one")
    main = _collect(scan, file, own)
    return Rows(by, file, main.join(other, on=join.by, how="left", maintain_order="left"))


def references(by: Described) -> Iterator[RecordRef]:
    """One reference a row of the table, in its order. Raises `ValueError` naming a wrong row."""
    rows = read_rows(by)
    says = by.says
    columns = zip(
        _records(rows),
        rows.texts(says.subject),
        rows.optional(says.fold, _fold, pl.Int64),
        rows.optional(says.age, age_years, pl.Float64),
        rows.optional(says.sex, _sex_from(says.sexes), pl.String),
        rows.texts(says.device),
        rows.texts(says.site),
        rows.texts(says.row),
        zip(*(_files(rows, pattern) for pattern in says.paths), strict=True),
        _labels(rows),
        strict=True,
    )
    for record, subject, fold, age, sex, device, site, row, files, labels in columns:
        facts = {
            "described": by.sha256,
            "files": files,
            "row": row,
            "age": age,
            "sex": sex,
            "device": device or None,
            "site": f"{says.name}-site-{site}" if site else None,
            "labels": labels,
        }
        # A made-up subject cannot meet a real one: those come from cells that are not empty.
        name = f"{says.name}-{subject}" if subject else f"{says.name}-unknown-{record}"
        yield RecordRef(record, name, by.yaml, fold, facts, subject_known=bool(subject))


def classes_of(by: Described, labels: TableLabels) -> list[str]:
    """The codes of a label set: its columns, or the classes that occur in them."""
    if not labels.classes:
        return [*labels.flags, *labels.quantities]
    rows = read_rows(by)
    lists = [_split(rows.table[column].unique(), labels.separator) for column in labels.classes]
    return pl.concat([part.explode() for part in lists]).drop_nulls().unique().sort().to_list()


def _scan(file: Path) -> pl.LazyFrame:
    """A table, not yet read, every cell as text without blanks around it."""
    if not file.is_file():
        raise FileNotFoundError(
            f"{file}: no such table; `table` names it from the folder of the YAML"
        )
    try:
        scan = scan_table(file, "parquet" if file.suffix == ".parquet" else "csv")
        scan.collect_schema()
    except UNREADABLE as error:
        raise ValueError(f"{file}: expected a CSV or Parquet table: {error}") from error
    text = pl.all().cast(pl.String).str.strip_chars()
    return scan.with_columns(text).with_columns(pl.when(pl.all() != "").then(pl.all()).name.keep())


def _collect(scan: pl.LazyFrame, file: Path, columns: list[str]) -> pl.DataFrame:
    have = scan.collect_schema().names()
    if absent := [name for name in columns if name not in have]:
        raise ValueError(
            f"{file}: no column {absent[0]!r}, which the YAML names; it has {have[:30]}"
        )
    try:
        table = scan.select(columns).collect()
    except UNREADABLE as error:
        raise ValueError(f"{file}: expected a table with the columns {columns}: {error}") from error
    if not table.height:
        raise ValueError(f"{file}: no row in it; a row is a recording")
    return table


def _records(rows: Rows) -> list[str]:
    """The recordings' names, each of which occurs once."""
    says = rows.by.says
    column = says.record or says.path
    names = rows.table[column]
    if says.record is None:
        names = names.str.strip_suffix("/").str.extract(r"([^/]+?)(?:\.[^./]+)?$")
    if names.null_count():
        raise rows.wrong(names.is_null(), column, "a recording needs a name; fill the cell")
    # In the shards a name keeps its letters, digits, dashes and underscores alone.
    twice = names.str.replace_all(r"[^A-Za-z0-9_-]", "_").is_duplicated()
    if twice.any():
        raise rows.wrong(
            twice,
            column,
            "another row has the same name, but for signs other than letters and digits; "
            "name a column of different ones with `record`",
        )
    return names.to_list()


def _files(rows: Rows, pattern: str) -> list[str | None]:
    """The files that a pattern names, below the root; None where a cell that it needs is empty."""
    column = rows.by.says.path
    texts = re.split(r"\{[^{}]*\}", pattern)
    parts: list[pl.Expr] = [pl.lit(texts[0])]
    for name, text in zip(placeholders(pattern), texts[1:], strict=True):
        parts += [pl.col(column if name == "path" else name), pl.lit(text)]
    files = rows.table.with_columns(pl.concat_str(parts).alias("files"))["files"]
    outside = files.str.contains(r"^/|(^|/)\.\.(/|$)|\\|\x00|^[A-Za-z]:")
    if outside.any():
        raise rows.wrong(
            outside,
            column,
            f"{pattern!r} gives {files.filter(outside)[0]!r}; expected a path below the root, with / "
            "between its parts, that does not lead out of it",
        )
    return files.to_list()


def _labels(rows: Rows) -> Iterable[dict[str, float]]:
    """Every row's labels; rows with the same classes and no quantity share one dictionary."""
    stated: list[pl.Series] = []
    measured: dict[str, list[float | None]] = {}
    for labels in rows.by.says.labels:
        stated += [rows.converted(n, partial(_flag, n), pl.String) for n in labels.flags]
        stated += [_split(rows.table[name], labels.separator) for name in labels.classes]
        measured |= {n: rows.optional(n, _number, pl.Float64) for n in labels.quantities}
    found: Iterable[dict[str, float]] = repeat({}, len(rows))
    if stated:
        table = pl.DataFrame({str(i): part for i, part in enumerate(stated)})
        codes = table.select(pl.concat_list(pl.all()).list.drop_nulls().list.join(_BETWEEN))
        texts = codes.to_series()
        shared = {t: dict.fromkeys(t.split(_BETWEEN) if t else (), STATED) for t in texts.unique()}
        found = [shared[text] for text in texts]
    for name, values in measured.items():
        pairs = zip(found, values, strict=True)
        found = [row if value is None else row | {name: value} for row, value in pairs]
    return found


def _split(cells: pl.Series, separator: str | None) -> pl.Series:
    """Cells as lists of what stands between separators; an empty cell is an empty list."""
    whole = pl.concat_list(pl.all()) if separator is None else pl.all().str.split(separator)
    parts = cells.to_frame().select(whole).to_series()
    stripped = pl.element().str.strip_chars()
    return parts.list.eval(stripped.filter(stripped != "")).fill_null([])


def _flag(name: str, text: str) -> str | None:
    word = text.lower()
    if word not in _TRUE | _FALSE:
        raise ValueError("expected 0 or 1, or an empty cell")
    return name if word in _TRUE else None


def _number(text: str) -> float | None:
    number = float(text or "nan")
    return number if math.isfinite(number) else None


def _fold(text: str) -> int | None:
    if not text:
        return None
    number = float(text)
    if not number.is_integer():
        raise ValueError("expected a whole number, the fold's")
    return int(number)


def _sex_from(sexes: dict[str, str]) -> Callable[[str], str | None]:
    known = {str(written).lower(): meant for written, meant in sexes.items()}
    return lambda text: sex_named(known.get(text.lower(), text))
