"""Sleep with an Apple Watch: heart rate, motion and steps with 30-s sleep stages (Walch et al., 2019).

Four folders of text files without headers, one file a subject. Times count in seconds from the start of
the polysomnography; heart rate and steps reach back to a week before it, so negative times are usual.

- `heart_rate/<id>_heartrate.txt`: seconds, bpm; comma; uneven, about every 5 s in the night.
- `motion/<id>_acceleration.txt`: seconds, x, y, z in g; blank; uneven, about 50 Hz.
- `steps/<id>_steps.txt`: seconds, steps; comma. **A row counts the steps from its time to the next row's**,
  and no longer than the file's median interval (600 s): against the heart rate of the same subject, counts
  correlate best with that of the time after the row (0.34; 0.17 with that of the time before it).
- `labels/<id>_labeled_sleep.txt`: seconds, stage; blank. −1 is unscored and gives no annotation; 0 wake,
  1 N1, 2 N2, 3 N3, 4 N4 (reported as N3), 5 REM.

Without motion, steps or heart rate a subject is read without. Rows are put in order of time, and rows of
one time become one, their mean: two of the sixteen heart-rate files looked at hold all rows three times
over, another has two heart rates at one time. A line that is damaged, or not finite, makes the record unusable.

Beside the raw motion stands `counts` every 30 s (`signals.activity`), where the motion comes at 25 Hz or more.

A folder of any name beside these four may hold features that the source's published code derived. Of them the
counts are read, and only they, as a channel of another name: `smoothed_counts` (`sleep_accel_counts`).
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ..signals import Annotation, Recording, Series, Signal
from ..signals.activity import NEEDED_HZ, activity_counts, motion_rate_hz
from .registry import About, RecordError, RecordRef
from .sleep_accel_counts import counts_files, derived_counts
from .sleep_stages import EPOCH_S, STAGE_SETS, epoch
from .tree import find_folders

MAX_BYTES = 1 << 30
"""The largest motion file of a night takes about 0.1 GB."""
LONGEST_S = 60 * 86400.0
"""No time is further from the start of the polysomnography; the source keeps a week."""
LOWEST = {"heart": 1.0, "steps": 0.0, "labels": -1.0}
"""Kind of file → the lowest value that is no damage."""
USUAL_STEPS_S = 600.0
"""How long a file's only row of steps counts."""

# Kind → folder, ending of the file, separator, columns after the time.
_FILES = {
    "heart": ("heart_rate", "_heartrate.txt", ",", ("hr",)),
    "motion": ("motion", "_acceleration.txt", " ", ("x", "y", "z")),
    "steps": ("steps", "_steps.txt", ",", ("steps",)),
    "labels": ("labels", "_labeled_sleep.txt", " ", ("stage",)),
}
_AGAIN = "get the file again from the source"


class SleepAccel:
    """Motion and heart rate from a wrist-worn wearable and labeled sleep from polysomnography."""

    name = "sleep_accel"

    def about(self, roots: Sequence[Path] = ()) -> About:
        """What sleep-accel is."""
        return About(
            title="Motion and heart rate from a wrist-worn wearable and labeled sleep from polysomnography",
            licence="ODC-By 1.0",
            access="open (PhysioNet)",
            signals="wrist acceleration (uneven, about 50 Hz) with activity counts, heart rate (uneven, "
            "about 5 s), steps in 10 minutes; smoothed counts where the published code's features lie beside",
            labels="sleep stages of 30 s, in 5, 4, 3 and 2 classes",
            subjects="31 subjects by number, one night each",
            citation="Walch et al., SLEEP 42:zsz180 (2019), doi:10.1093/sleep/zsz180; "
            "Walch, PhysioNet (2019), doi:10.13026/hmhs-py35",
        )

    def find(self, roots: Sequence[Path]) -> list[RecordRef]:
        """Every subject with a labels or heart-rate file, sorted by number as text.

        Raises `FileNotFoundError` naming what a root lacks; `ValueError` where a subject is in two roots
        with other labels.
        """
        refs: dict[str, RecordRef] = {}
        for base in sorted({base for root in roots for base in _bases(root)}):
            for kind in ("labels", "heart"):
                folder, ending, _, _ = _FILES[kind]
                for path in sorted((base / folder).glob(f"*{ending}")):
                    subject = path.name.removesuffix(ending)
                    if not subject.isdecimal():
                        continue
                    ref = RecordRef(subject, f"{self.name}-{subject}", base)
                    if not _agree(refs.setdefault(subject, ref), ref):
                        raise ValueError(
                            f"subject {subject} has other labels in {refs[subject].path} than in {base}; "
                            "give roots of one version of sleep-accel"
                        )
        return [refs[subject] for subject in sorted(refs)]

    def read(self, ref: RecordRef) -> Recording:
        """One subject; second 0 is the start of the polysomnography. Raises `RecordError`."""
        paths = {kind: _path(ref, kind) for kind in _FILES}
        tables = {kind: _rows(path, kind) for kind, path in paths.items() if path.exists()}
        if "labels" not in tables:
            raise RecordError(f"{paths['labels']}: no such file; get it from the source")
        annotations = _stages(tables.pop("labels"), paths["labels"])
        if not tables:
            raise RecordError(
                f"{paths['heart']}: no heart rate, and neither motion nor steps of subject "
                f"{ref.record}; get the files again from the source"
            )
        signals: list[Signal] = []
        series: list[Series] = []
        if "heart" in tables:
            series.append(_series("hr", tables["heart"]))
        if "motion" in tables:
            series.append(_series("acc", tables["motion"]))
            if motion_rate_hz(series[-1]) >= NEEDED_HZ:
                counts = activity_counts(series[-1], int(EPOCH_S))
                signals += [counts] if np.isfinite(counts.samples).any() else []
        if files := counts_files(ref.path, ref.record):
            signals.append(derived_counts(files, annotations))
        if "steps" in tables:
            series.append(_series("counts", tables["steps"], _spans_s(tables["steps"])))
        return Recording(
            dataset=self.name,
            record=ref.record,
            subject=ref.subject,
            signals=tuple(signals),
            annotations=annotations,
            series=tuple(series),
        )

    def label_sets(self, roots: Sequence[Path]) -> dict[str, dict[str, list[str]]]:
        """The schemes of sleep stages; they need no file."""
        return STAGE_SETS


def _bases(root: Path) -> list[Path]:
    """The folders that hold `labels/`."""
    is_labels = re.compile(r"\d+_labeled_sleep\.txt").fullmatch
    found = find_folders(root, lambda files: any(map(is_labels, files)))
    if not found:
        raise FileNotFoundError(
            f"{root}: no labels/<number>_labeled_sleep.txt in it or below; give the folder that "
            "sleep-accel was unpacked to"
        )
    return [folder.parent for folder in found]


def _path(ref: RecordRef, kind: str) -> Path:
    folder, ending, _, _ = _FILES[kind]
    return ref.path / folder / f"{ref.record}{ending}"


def _agree(a: RecordRef, b: RecordRef) -> bool:
    """Whether two references to one subject have the same labels, as far as both have any."""
    files = {path for path in (_path(a, "labels"), _path(b, "labels")) if path.is_file()}
    return len({path.read_bytes() for path in files}) <= 1


def _rows(path: Path, kind: str) -> pl.DataFrame:
    """The file's rows as float64, in order of time, one row a time. Raises `RecordError`."""
    _, _, separator, columns = _FILES[kind]
    schema = dict.fromkeys(("time_s", *columns), pl.Float64)
    try:
        if path.stat().st_size > MAX_BYTES:
            raise RecordError(f"{path}: larger than {MAX_BYTES} bytes, which no night is; {_AGAIN}")
        rows = pl.read_csv(
            path, separator=separator, has_header=False, schema=schema, quote_char=None
        )
    except OSError as error:
        raise RecordError(f"{path}: cannot be read ({error.strerror}); {_AGAIN}") from error
    except pl.exceptions.PolarsError as error:
        raise _damaged(path, kind) from error
    # Empty lines read as rows of nothing.
    rows = rows.filter(~pl.all_horizontal(pl.all().is_null()))
    sound = pl.all_horizontal(pl.all().is_finite()) & (pl.col("time_s").abs() <= LONGEST_S)
    if kind != "motion":
        sound &= pl.col(columns[0]) >= LOWEST[kind]
    if rows.is_empty() or not rows.select(sound.fill_null(value=False).all()).item():
        raise _damaged(path, kind)
    if (rows["time_s"].diff().drop_nulls() > 0).all():
        return rows
    # A mean of two stages would be a third one.
    merged = rows.unique() if kind == "labels" else rows.group_by("time_s").mean()
    return merged.sort("time_s", *columns)


def _damaged(path: Path, kind: str) -> RecordError:
    """Which line of the file is wrong: what `_rows` found out for the file as a whole."""
    _, _, separator, columns = _FILES[kind]
    expected = f"{separator.join(('seconds', *columns))} as numbers"
    with path.open(encoding="utf-8", errors="replace") as file:
        for number, line in enumerate(file, 1):
            text = line.strip("\r\n")
            try:
                values = [float(word) for word in text.split(separator)] if text else None
            except ValueError:
                values = []
            if values is not None and not (
                len(values) == 1 + len(columns)
                and all(map(math.isfinite, values))
                and abs(values[0]) <= LONGEST_S
                and (kind == "motion" or values[1] >= LOWEST[kind])
            ):
                return RecordError(
                    f"{path}, line {number}: expected {expected}, within {LONGEST_S / 86400:g} days of the "
                    f"night, found {text[:80]!r}; {_AGAIN}"
                )
    return RecordError(f"{path}: expected lines of {expected}, found an empty file; {_AGAIN}")


def _series(
    modality: str, rows: pl.DataFrame, spans_s: NDArray[np.float64] | None = None
) -> Series:
    """The rows as a series whose channels are the columns after the time."""
    channels = tuple(rows.columns[1:])
    values = rows.select(channels).to_numpy().T.astype(np.float32, order="C")
    return Series(modality, channels, rows["time_s"].to_numpy(), values, spans_s)


def _spans_s(steps: pl.DataFrame) -> NDArray[np.float64]:
    """How long each row counts: up to the next one, and no longer than usual."""
    intervals_s = np.diff(steps["time_s"].to_numpy())
    usual_s = float(np.median(intervals_s)) if len(intervals_s) else USUAL_STEPS_S
    spans_s: NDArray[np.float64] = np.append(intervals_s, usual_s).clip(max=usual_s)
    return spans_s


def _stages(rows: pl.DataFrame, path: Path) -> tuple[Annotation, ...]:
    """One annotation for every scored epoch."""
    if rows["time_s"].is_duplicated().any():
        twice_s = rows.filter(pl.col("time_s").is_duplicated())["time_s"][0]
        raise RecordError(f"{path}: two different stages at {twice_s:g} s; {_AGAIN}")
    try:
        epochs = [epoch(onset_s, number) for onset_s, number in rows.iter_rows()]
    except ValueError as error:
        raise RecordError(f"{path}: {error}; {_AGAIN}") from error
    return tuple(found for found in epochs if found)
