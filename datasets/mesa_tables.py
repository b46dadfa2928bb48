"""The tables around MESA's nights, as https://sleepdata.org/datasets/mesa/pages documents them.

- R points: `seconds` from the beginning of the recording (the sample number of the R peak at 256 Hz,
  divided by 256) and `Type` (0 artefact, 1 sinus beat, 2 ventricular, 3 supraventricular ectopic).
- Actigraphy: a row for each 30 s; `line` numbers them, `offwrist` is 1 where the watch was not worn.
- Overlap: the `line` at which a subject's night begins. The night's start (`starttime_psg`) was rounded
  to the nearest 30 s; the row's own time (`linetime`) says by how much.
- Harmonized: `nsrr_age` (90 for all above 89), `nsrr_sex`, `nsrr_flag_spsw`.
"""

from __future__ import annotations

import math
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from ..signals import Annotation, Signal
from .registry import RecordError
from .subjects import age_years, sex_named

OVERLAP = "mesa-actigraphy-psg-overlap.csv"
HARMONIZED = "mesa-sleep-harmonized-dataset-*.csv"
BEATS = {1: "beat:N", 2: "beat:V", 3: "beat:S"}
"""`Type` of an R point → code; an artefact (0) is no beat."""

COUNT_S = 30.0
LONGEST_S = 7 * 86_400.0
"""The watch was worn for a week."""

MAX_BYTES = 1 << 26
AGAIN = "get the file again from the source"


def beats(path: Path | None) -> list[Annotation]:
    """The beats of a night by their R peaks; none where there is no file. Raises `RecordError`."""
    if path is None:
        return []
    rows = _numbers(path, "seconds", "type").drop_nulls().filter(pl.col("type") != 0)
    unknown = (
        rows.filter(~pl.col("type").is_in([float(kind) for kind in BEATS]))["type"]
        .unique()
        .to_list()
    )
    if unknown:
        raise RecordError(f"{path}: expected beats of Type 0 to 3, found {unknown[:5]}; {AGAIN}")
    return [Annotation(second, 0.0, BEATS[int(kind)]) for second, kind in rows.iter_rows()]


def activity(path: Path, line: int, shift_s: float, duration_s: float) -> list[Signal]:
    """Counts of a night that begins at row `line`; the row itself begins at `shift_s`.

    No signal where the file has no count of that night. Raises `RecordError`.
    """
    lines = math.ceil(min(duration_s, LONGEST_S) / COUNT_S)
    samples = np.full((1, lines), np.nan, np.float32)
    rows = _numbers(path, "line", "activity", "offwrist").with_columns(pl.col("line") - line)
    worn = rows.filter(
        pl.col("line").is_between(0, lines - 1) & (pl.col("offwrist").fill_null(0) == 0)
    ).drop_nulls("activity")
    samples[0, worn["line"].cast(pl.Int64).to_numpy()] = worn["activity"].to_numpy()
    if not np.isfinite(samples).any():
        return []
    return [Signal("counts", samples, 1 / COUNT_S, ("counts",), start_s=shift_s)]


def overlaps(path: Path | None) -> dict[int, tuple[int, float]]:
    """Subject → (line at which the night begins, seconds from the night's begin to the line's).

    A row whose two times are more than 30 s apart contradicts itself and is left out. Raises
    `ValueError` where the file has other columns.
    """
    if path is None:
        return {}
    rows = _text(path, "mesaid", "line", "linetime", "starttime_psg").with_columns(
        pl.col("mesaid", "line").cast(pl.Int64, strict=False),
        pl.col("linetime", "starttime_psg").str.to_time("%H:%M:%S", strict=False).cast(pl.Int64),
    )
    found = {}
    for mesaid, line, line_ns, night_ns in rows.drop_nulls().iter_rows():
        shift_s = ((line_ns - night_ns) / 1e9 + 43_200) % 86_400 - 43_200
        if abs(shift_s) <= COUNT_S:
            found[mesaid] = (line, shift_s)
    return found


def people(path: Path | None) -> defaultdict[int, dict[str, Any]]:
    """Subject → age, sex, and whether the night was scored for sleep and wake alone.

    Of a subject that is not in the file nothing is known. Raises `ValueError` where it is another.
    """
    found: defaultdict[int, dict[str, Any]] = defaultdict(
        lambda: {"age": None, "sex": None, "sleep_wake_only": False}
    )
    if path is None:
        return found
    rows = _text(path, "mesaid", "nsrr_age", "nsrr_sex", optional=("nsrr_flag_spsw",))
    rows = rows.with_columns(pl.col("mesaid").cast(pl.Int64, strict=False)).drop_nulls("mesaid")
    for mesaid, age, sex, scored in rows.iter_rows():
        try:
            found[mesaid] = {
                "age": age_years(age or ""),
                "sex": None if sex == "not reported" else sex_named(sex or ""),
                "sleep_wake_only": scored == "sleep/wake only",
            }
        except ValueError as error:
            raise ValueError(f"{path}: of subject {mesaid}: {error}; {AGAIN}") from error
    return found


def _numbers(path: Path, *columns: str) -> pl.DataFrame:
    """Columns as floats, null where empty. Raises `RecordError`."""
    try:
        return _text(path, *columns).cast(pl.Float64)
    except pl.exceptions.InvalidOperationError as error:
        raise RecordError(f"{path}: expected numbers in {columns} ({error}); {AGAIN}") from error


def _text(path: Path, *columns: str, optional: tuple[str, ...] = ()) -> pl.DataFrame:
    """Columns of a CSV file by their lower-cased names: text, null where empty. Raises `RecordError`.

    An optional column that is absent is null.
    """
    try:
        if (size := path.stat().st_size) > MAX_BYTES:
            raise RecordError(f"{path}: {size} bytes, expected at most {MAX_BYTES}; {AGAIN}")
        table = pl.read_csv(path, infer_schema=False, encoding="utf8-lossy")
    except (OSError, pl.exceptions.PolarsError) as error:
        raise RecordError(f"{path}: no readable CSV ({error}); {AGAIN}") from error
    table = table.rename({name: name.strip().lower() for name in table.columns})
    if absent := [column for column in columns if column not in table.columns]:
        raise RecordError(f"{path}: expected the columns {absent}, found {table.columns}; {AGAIN}")
    table = table.with_columns(
        pl.lit("").alias(name) for name in optional if name not in table.columns
    )
    text = table.select(pl.col(column).str.strip_chars() for column in (*columns, *optional))
    return text.with_columns(pl.all().replace("", None))
