"""Apple Health: what a person's iPhone and watch have kept, as the Health app exports it.

`export.xml`, alone or in `apple_health_export/`, or the zip that the phone gives (never unpacked).
`datasets.apple_export` reads the file, within bounds; here it becomes recordings.

- **A recording is one day, from noon to noon** of the clock that the export shows, so that a night is
  whole, memory stays that of a day, and a second export of the same person is found by its equal days.
  Second 0 is that noon, by the day's first offset from UTC, so that times run on evenly where summer time
  begins or ends. Days are numbered from the export's first (`anna-0001`); a day without a signal has none.
- Heart rate (bpm) and oxygen saturation (%, from a fraction) are series at the times of their records;
  a heart rate over more than a minute is the mean of a workout, and left out. Steps are totals over the
  time from start to end.
- **Where two devices wrote at one time, one is taken**: the watch before the phone before anything else,
  among equals the one with more records that day. Another's record is left out where it overlaps (steps), or
  comes within `REACH_S` of (the others), a record taken. So steps that both counted count once.
- Sleep stages are **the device's estimate, not polysomnography**. The day's device with the longest staged
  sleep is taken, else the one with the longest sleep. An epoch of 30 s has the stage of its middle; of
  overlapping records the later start. Core is N1 or N2, nobody knows which: its code is `stage:light`;
  Deep is `stage:N3`, REM `stage:R`, Awake `stage:W`. Sleep without a stage is `stage:asleep`; InBed is no
  stage. There is no set of five classes.
- An export names nobody: the subject is the name of the zip or folder (the one around
  `apple_health_export`; around a zip that is called `export.zip`).

Finding the days takes one pass over each file; a process keeps the exports that it used last.
"""

from __future__ import annotations

import math
import os
import re
import zipfile
from collections.abc import Iterator, Sequence
from datetime import date, timedelta
from functools import lru_cache
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ..signals import Annotation, Recording, Series
from .apple_export import KINDS, SLEEP, Export, read_export, zipped_xml
from .registry import About, RecordError, RecordRef
from .sleep_stages import EPOCH_S
from .subjects import age_years, sex_named
from .tree import DEPTH

DAY_S = 86_400
STAGES = {
    "Awake": "W",
    "Asleep": "asleep",
    "AsleepUnspecified": "asleep",
    "AsleepCore": "light",
    "AsleepDeep": "N3",
    "AsleepREM": "R",
}
"""Value of a sleep record → stage; InBed is none."""
STAGED = ("AsleepCore", "AsleepDeep", "AsleepREM")
REACH_S = {"hr": 60.0, "spo2": 60.0, "steps": 0.0}
"""Quantity → so near to a better device's record, another's is left out."""

_EXPORT = "export.xml"
_FOLDER = "apple_health_export"
_KEPT = 16
_EPOCH_DAY = date(1970, 1, 1)


class AppleHealth:
    """Exports of the Health app, one a person."""

    name = "apple_health"

    def about(self, roots: Sequence[Path] = ()) -> About:
        """What an export holds."""
        return About(
            title="Apple Health: the export of a person's own iPhone and watch",
            licence="the person's own data",
            access="export on the phone: Health, your picture, Export All Health Data",
            signals="heart rate and oxygen saturation (uneven), steps in intervals",
            labels="sleep stages of 30 s as the watch estimates them (wake, core, deep, REM, or asleep), in "
            "4, 3 and 2 classes",
            subjects="one an export, by the name of its zip or folder; a recording a day",
            citation="Apple, Estimating Sleep Stages from Apple Watch (2023)",
        )

    def find(self, roots: Sequence[Path]) -> list[RecordRef]:
        """Every day with a signal, sorted; an export that cannot be read is one bad record.

        Raises `FileNotFoundError` naming what a root lacks; `ValueError` where two exports have one name.
        """
        exports: dict[str, Path] = {}
        for path in sorted({path for root in roots for path in _exports(root)}):
            name = _name(path)
            if exports.setdefault(name, path) != path:
                raise ValueError(
                    f"{exports[name]} and {path} would both be the subject {name!r}: exports say nobody's "
                    "name, so the zip's or folder's is taken; rename one, or take it away"
                )
        refs = [ref for name, path in exports.items() for ref in _refs(name, path)]
        return sorted(refs, key=lambda ref: ref.record)

    def read(self, ref: RecordRef) -> Recording:
        """One day. Raises `RecordError`."""
        export = _export(ref.path)
        noon = _first_day(export) + ref.facts["day"] - 1
        rows = export.records.filter(_day() == noon)
        if rows.is_empty():
            raise RecordError(
                f"{ref.path}: no record of day {ref.facts['day']}; it was changed: start anew"
            )
        # Noon in seconds since 1970, by the clock of the day's first record.
        zero_s = noon * DAY_S + DAY_S // 2 - rows["offset_s"][0]
        rows = rows.with_columns(
            (pl.col("start_s") - zero_s).cast(pl.Float64),
            (pl.col("end_s") - zero_s).cast(pl.Float64),
        )
        parts = {q: rows.filter(pl.col("quantity") == q) for q in ("hr", "spo2", "steps", "sleep")}
        begins = _EPOCH_DAY + timedelta(days=noon)
        try:
            sex = sex_named(_SEX.get(export.sex, ""))
            age = _age(export.birth, begins)
        except ValueError as error:
            raise RecordError(f"{ref.path}: {error}; export the data again") from error
        used = {export.devices[number] for number in rows["device"].unique()}
        return Recording(
            dataset=self.name,
            record=ref.record,
            subject=ref.subject,
            annotations=_stages(parts["sleep"]),
            age=age,
            sex=sex,
            series=tuple(
                _series(modality, channel, one_device(parts[channel], export, REACH_S[channel]))
                for modality, channel in (("hr", "hr"), ("spo2", "spo2"), ("counts", "steps"))
                if len(parts[channel])
            ),
            private=(
                *(str(begins + timedelta(days=days)) for days in (0, 1)),
                *((export.birth,) if export.birth else ()),
                # People give their names to their devices; an app's name is nobody's.
                *sorted(device.name for device in used if device.kind != "other"),
            ),
        )

    def label_sets(self, roots: Sequence[Path]) -> dict[str, dict[str, list[str]]]:
        """Groupings of the watch's stages; it does not tell N1 from N2, so there are no five classes."""
        wake, light, deep, rem = ["stage:W"], ["stage:light"], ["stage:N3"], ["stage:R"]
        return {
            "stages4": {"W": wake, "light": light, "deep": deep, "R": rem},
            "stages3": {"W": wake, "NREM": light + deep, "R": rem},
            "stages2": {"W": wake, "sleep": [*light, *deep, *rem, "stage:asleep"]},
        }


_SEX = {"HKBiologicalSexFemale": "female", "HKBiologicalSexMale": "male"}


def _exports(root: Path) -> Iterator[Path]:
    """The exports at or below `root`."""
    if not root.is_dir():
        raise FileNotFoundError(f"{root}: no such folder; give the folder that holds the exports")
    none = True
    for folder, below, files in os.walk(root.absolute(), followlinks=True):
        path = Path(folder)
        if len(path.relative_to(root.absolute()).parts) >= DEPTH:
            below.clear()
        for file in files:
            if file.lower() == _EXPORT or (file.lower().endswith(".zip") and _zips(path / file)):
                none = False
                yield path / file
    if none:
        raise FileNotFoundError(
            f"{root}: neither a zip as the Health app exports it nor {_EXPORT} in it or below; give the "
            "folder that holds the exports"
        )


def _zips(path: Path) -> bool:
    """Whether a zip is an export, or is damaged so that one cannot know."""
    try:
        with zipfile.ZipFile(path) as archive:
            return zipped_xml(archive.namelist()) is not None
    # NotImplementedError: a compression or an encryption that zipfile does not have.
    except (OSError, zipfile.BadZipFile, NotImplementedError, UnicodeDecodeError):
        return True


def _name(path: Path) -> str:
    """Whose export it is, as far as its name tells."""
    own = path.stem if path.suffix.lower() == ".zip" and path.stem.lower() != "export" else ""
    folder = path.parent.parent if path.parent.name == _FOLDER else path.parent
    return re.sub(r"[^A-Za-z0-9_-]+", "_", own or folder.name) or "_"


def _refs(name: str, path: Path) -> Iterator[RecordRef]:
    """The days of an export; the export itself where it cannot be read, which `read` says again."""
    subject = f"apple-{name}"
    try:
        export = _export(path)
    except RecordError:
        yield RecordRef(name, subject, path)
        return
    first = _first_day(export)
    days = export.records.filter(pl.col("quantity") != "sleep").select(_day().unique()).to_series()
    for number in sorted(days - first + 1):
        yield RecordRef(f"{name}-{number:04d}", subject, path, facts={"day": number})


def _export(path: Path) -> Export:
    """The export, read once and kept. Raises `RecordError`, also where it holds no signal."""
    try:
        found = path.stat()
    except OSError as error:
        raise RecordError(f"{path}: cannot be read ({error.strerror})") from error
    return _kept(path, found.st_size, found.st_mtime_ns)


# Records of a shard are of many people in turn, and a file takes minutes; a million records take 27 MB.
@lru_cache(maxsize=_KEPT)
def _kept(path: Path, size: int, changed_ns: int) -> Export:
    export = read_export(path)
    if not (export.records["quantity"] != "sleep").any():
        raise RecordError(f"{path}: no heart rate, oxygen saturation or steps in it; leave it out")
    return export


def _day() -> pl.Expr:
    """The day, counted from 1970, whose noon by the clock shown is the last before a record starts."""
    return (pl.col("start_s") + pl.col("offset_s") - DAY_S // 2).floordiv(DAY_S)


def _first_day(export: Export) -> int:
    signals = export.records.filter(pl.col("quantity") != "sleep")
    return int(signals.select(_day().min()).item())


def one_device(rows: pl.DataFrame, export: Export, reach_s: float) -> pl.DataFrame:
    """The rows of a quantity in which no time is told by two devices, in order of time."""
    counts = rows.group_by("device").len().rows()
    ranked = sorted(
        counts, key=lambda row: (KINDS.index(export.devices[row[0]].kind), -row[1], row[0])
    )
    taken = rows.clear()
    for number, _ in ranked:
        own = rows.filter(pl.col("device") == number)
        if len(taken):
            own = own.filter(~_overlaps(own, taken, reach_s))
        taken = pl.concat((taken, own)).sort("start_s", maintain_order=True)
    return taken


def _overlaps(rows: pl.DataFrame, taken: pl.DataFrame, reach_s: float) -> pl.Series:
    """Whether a row comes nearer than `reach_s` to any of `taken`, which are in order of time."""
    starts_s, ends_s = taken["start_s"].to_numpy(), taken["end_s"].cum_max().to_numpy()
    before = np.searchsorted(starts_s, rows["end_s"].to_numpy() + reach_s)
    reached = ends_s[np.maximum(before - 1, 0)] + reach_s > rows["start_s"].to_numpy()
    return pl.Series(reached & (before > 0))


def _series(modality: str, channel: str, rows: pl.DataFrame) -> Series:
    """Totals over their time for steps, values at their start for the others."""
    times_s: NDArray[np.float64] = rows["start_s"].to_numpy()
    values = rows["value"].to_numpy()[None].astype(np.float32)
    # Steps of a single moment occur; a total needs a time to be shared out over.
    spans_s = (rows["end_s"] - rows["start_s"]).clip(1.0).to_numpy() if channel == "steps" else None
    return Series(modality, (channel,), times_s, values, spans_s)


def _stages(rows: pl.DataFrame) -> tuple[Annotation, ...]:
    """The epochs that the day's best sleep device gives a stage."""
    rows = rows.with_columns(
        pl.col("value")
        .cast(pl.UInt8)
        .replace_strict(dict(enumerate(SLEEP)), return_dtype=pl.String)
    ).filter(pl.col("value") != "InBed")
    if rows.is_empty():
        return ()
    span_s = pl.col("end_s") - pl.col("start_s")
    slept_s = rows.group_by("device").agg(
        span_s.filter(pl.col("value").is_in(STAGED)).sum().alias("staged_s"),
        span_s.filter(pl.col("value") != "Awake").sum().alias("asleep_s"),
    )
    best = slept_s.sort("staged_s", "asleep_s", "device", descending=[True, True, False])["device"][
        0
    ]
    stages: dict[int, str] = {}
    own = rows.filter(pl.col("device") == best).sort("start_s", maintain_order=True)
    for start_s, end_s, value in own.select("start_s", "end_s", "value").iter_rows():
        first, last = (math.ceil(at_s / EPOCH_S - 0.5) for at_s in (start_s, end_s))
        stages.update(dict.fromkeys(range(first, last), STAGES[value]))
    return tuple(
        Annotation(EPOCH_S * epoch, EPOCH_S, f"stage:{stage}")
        for epoch, stage in sorted(stages.items())
    )


def _age(birth: str, on: date) -> float | None:
    """Whole years on a day; None where the export does not tell. Raises `ValueError`."""
    if not birth:
        return None
    try:
        born = date.fromisoformat(birth)
        return age_years(str(on.year - born.year - ((on.month, on.day) < (born.month, born.day))))
    except ValueError:
        # It is not quoted: a date of birth must not stand in `shards.json`.
        raise ValueError(
            "expected a date of birth as 2000-12-31, no later than the records, found another"
        ) from None
