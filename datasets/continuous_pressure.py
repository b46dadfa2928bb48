"""Continuous arterial pressure beside a PPG: any WFDB or EDF record that holds both.

- Made for MIMIC's waveforms and exports of VitalDB, and for one's own: every `.hea`, `.edf` and `.bdf`
  below a root whose header names a channel of `PRESSURES` and one of `PULSES` is a record; ECG leads
  that the vocabulary knows come with them, at their own rates.
- Of a WFDB record in segments (MIMIC's) each segment is a record; the headers that only join segments
  are left out.
- Labels are derived: `sbp`, `dbp`, `map` (mmHg) and `hr` (bpm) of every beat that the rule of
  `pressure_beats.py` trusts, from the foot of the beat for as long as it lasts.
- Subjects come from folders named as MIMIC does (`p044083`), else from `subjects.csv` (columns record,
  subject) in the root, else they are unknown: a build then refuses to split, unless its config says
  `unknown_subjects: may_leak`.
- MIMIC names records by their date; a date never becomes part of a record's id.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import polars as pl

from ..signals import LEADS_12, MISSING, Annotation, Recording, Signal, channel_named
from .edf import read_edf
from .pressure_beats import pressure_beats
from .registry import About, RecordError, RecordRef
from .tree import find_folders
from .wfdb16 import read_wfdb
from .wfdb_header import read_header

PRESSURES = ("abp", "art", "aobp", "ao", "ibp", "uap", "arterialpressure", "arterialbloodpressure")
"""Names of an arterial pressure, in lower case and without blanks; the first one there is taken."""
PULSES = ("pleth", "ppg", "plethysmogram", "plethysmograph", "photoplethysmogram", "bvp")
"""Names of a PPG, likewise."""
SUBJECTS = "subjects.csv"
LEAST_RATE_HZ = 50.0
"""Below this a systolic peak lies up to 3 mmHg between two samples: numerics, not a wave."""

_SUFFIXES = (".hea", ".edf", ".bdf")
_MIMIC_SUBJECT = re.compile(r"p\d{6,}", re.ASCII)
_DATE = re.compile(r"[-_]?(\d{4}-\d{2}-\d{2}(?:-\d{2}-\d{2})?)", re.ASCII)


class ContinuousPressure:
    """PPG with continuous arterial pressure, and labels for each beat."""

    name = "continuous_pressure"

    def about(self, roots: Sequence[Path] = ()) -> About:
        """What this source reads."""
        return About(
            title="Continuous arterial pressure with PPG (any WFDB or EDF records)",
            licence="that of the records",
            access="open or credentialed (MIMIC waveforms on PhysioNet, VitalDB), or one's own",
            signals="arterial pressure, PPG and known ECG leads at their own rates",
            labels="systole, diastole, mean and heart rate of each plausible beat, by a stated rule",
            subjects="by MIMIC's folders (p044083), or a subjects.csv; else unknown",
            citation="rule: Sun, Reisner & Mark, Computers in Cardiology 33:13 (2006); the records' own",
        )

    def find(self, roots: Sequence[Path]) -> list[RecordRef]:
        """Every record with both channels, sorted by id; a damaged header is one too, for `read` to tell.

        The id is the file's name without suffix and date, after the folder's where that would occur
        twice. Raises `FileNotFoundError` naming what a root lacks; `ValueError` where ids still occur
        twice, or `subjects.csv` is not what it should be.
        """
        whose: dict[Path, str | None] = {}
        for path, subject in (file for root in roots for file in _files(root)):
            # A root may lie in another, and either may be the one that knows.
            if subject and whose.get(path) not in (None, subject):
                raise ValueError(
                    f"{path}: of the subject {whose[path]!r} by one root, and {subject!r} by another; "
                    f"correct {SUBJECTS}"
                )
            whose[path] = whose.get(path) or subject
        files = sorted(whose.items())
        names = _names([path for path, _ in files])
        refs = []
        for (path, subject), name in zip(files, names, strict=True):
            known = f"{self.name}-{subject or f'record-{name}'}"
            refs.append(RecordRef(name, known, path, subject_known=subject is not None))
        return sorted(refs, key=lambda ref: ref.record)

    def read(self, ref: RecordRef) -> Recording:
        """One record with its beats. Raises `RecordError`."""
        read = _read_wfdb if ref.path.suffix == ".hea" else _read_edf
        signals, private = read(ref.path)
        pressure = next(signal for signal in signals if signal.modality == "bp")
        if pressure.rate_hz < LEAST_RATE_HZ:
            raise RecordError(
                f"{ref.path}: the pressure has {pressure.rate_hz:g} Hz, expected a wave of at least "
                f"{LEAST_RATE_HZ:g} Hz; leave the record out"
            )
        return Recording(
            dataset=self.name,
            record=ref.record,
            subject=ref.subject,
            signals=signals,
            annotations=tuple(annotate(pressure)),
            private=(*private, *_DATE.findall(ref.path.stem)),
        )

    def label_sets(self, roots: Sequence[Path]) -> dict[str, dict[str, list[str]]]:
        """Pressure (sbp, map, dbp) and heart rate."""
        return {
            "pressure": {kind: [kind] for kind in ("sbp", "map", "dbp")},
            "heart_rate": {"hr": ["hr"]},
        }


def annotate(pressure: Signal) -> Iterator[Annotation]:
    """`sbp`, `map`, `dbp` and `hr` of each beat that the rule trusts, in order of time."""
    beats = pressure_beats(pressure.physical()[0], pressure.rate_hz)
    values = {
        "sbp": beats.sbp_mmhg, "map": beats.map_mmhg, "dbp": beats.dbp_mmhg, "hr": beats.hr_bpm,
    }  # fmt: skip
    columns = {kind: value.round(2).tolist() for kind, value in values.items()}
    spans = zip(beats.onset_s.tolist(), beats.duration_s.tolist(), strict=True)
    for place, (onset_s, duration_s) in enumerate(spans):
        for kind, column in columns.items():
            yield Annotation(pressure.start_s + onset_s, duration_s, kind, column[place])


def chosen_channels(names: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Name in a header → (modality, channel), for what is read; empty unless both waves are there."""
    plain = {_plain(name): name for name in names if names.count(name) == 1}
    pressure = next((plain[name] for name in PRESSURES if name in plain), None)
    pulse = next((plain[name] for name in PULSES if name in plain), None)
    if pressure is None or pulse is None:
        return {}
    chosen = {pressure: ("bp", "abp"), pulse: ("ppg", "ppg")}
    for short, name in plain.items():
        lead = _lead(short)
        if lead is not None and ("ecg", lead) not in chosen.values():
            chosen[name] = ("ecg", lead)
    return chosen


def _plain(name: str) -> str:
    """`SNUADC/ECG_II` → `ecgii`."""
    return re.sub(r"[\s_.-]", "", name.rpartition("/")[2]).lower()


def _lead(short: str) -> str | None:
    """The lead that a name in `_plain`'s form states; None for a mere `ecg`, whose lead nobody knows."""
    try:
        lead = channel_named("ecg", short.removeprefix("ecg").removeprefix("ekg"))
    except KeyError:
        return None
    return lead if lead in LEADS_12 else None


def _read_wfdb(path: Path) -> tuple[tuple[Signal, ...], tuple[str, ...]]:
    """Its signals, and the words of its time and date."""
    record = read_wfdb(path.with_suffix(""))
    chosen = _both(path, record.names)
    channels: dict[str, dict[str, str]] = {}
    for name, (modality, channel) in chosen.items():
        # A lead without electrode is no reason to leave the rest out.
        if modality != "ecg" or (record.digital[record.names.index(name)] != MISSING).any():
            channels.setdefault(modality, {})[name] = channel
    return tuple(record.signal(*item) for item in channels.items()), record.private


def _read_edf(path: Path) -> tuple[tuple[Signal, ...], tuple[str, ...]]:
    """Its signals, and the words of its patient, recording and start."""
    recording = read_edf(path)
    chosen = _both(path, [channel.label for channel in recording.channels])
    return recording.signals(chosen), recording.private


def _both(path: Path, names: Sequence[str]) -> dict[str, tuple[str, str]]:
    """What to read of a file. Raises `RecordError` where it has not both waves."""
    chosen = chosen_channels(names)
    if not chosen:
        raise RecordError(
            f"{path}: expected one arterial pressure ({', '.join(PRESSURES)}) and one PPG "
            f"({', '.join(PULSES)}), found {list(names)}; correct the channel names"
        )
    return chosen


def _files(root: Path) -> Iterator[tuple[Path, str | None]]:
    """The files of one root that may be read, and whose each is, where that is known."""
    folders = find_folders(root, lambda files: any(file.endswith(_SUFFIXES) for file in files))
    below = {path for folder in folders for path in folder.rglob("*") if path.suffix in _SUFFIXES}
    files = [path for path in sorted(below) if _has_both(path)]
    if not files:
        raise FileNotFoundError(
            f"{root}: no WFDB or EDF record with an arterial pressure ({', '.join(PRESSURES)}) and a "
            f"PPG ({', '.join(PULSES)}) in it or below; give the folder that holds them"
        )
    table = root / SUBJECTS
    listed = _read_subjects(table) if table.is_file() else None
    for path in files:
        folders_named = (root.name, *path.relative_to(root).parts[:-1])
        subject = next(filter(_MIMIC_SUBJECT.fullmatch, reversed(folders_named)), None)
        if subject is None and listed is not None:
            if path.stem not in listed:
                raise ValueError(
                    f"{table}: no row for the record {path.stem!r} ({path}); add it, or remove the "
                    "table so that all subjects are unknown"
                )
            subject = listed[path.stem]
        yield path, subject


def _has_both(path: Path) -> bool:
    """Whether a header names both waves, or is damaged; not where it only joins segments."""
    try:
        if path.suffix != ".hea":
            return bool(chosen_channels([channel.label for channel in read_edf(path).channels]))
        return not _joins_segments(path) and bool(
            chosen_channels([line.name for line in read_header(path).signals])
        )
    except RecordError:
        return True


def _joins_segments(path: Path) -> bool:
    """Whether a WFDB header is that of a record in segments, or its layout (which has no samples)."""
    with path.open("rb") as file:
        lines = file.read(4096).decode("latin-1").splitlines()
    first = next((line for line in lines if line.strip() and not line.startswith("#")), "")
    return "/" in first.split(" ", 1)[0] or path.stem.endswith("_layout")


def _read_subjects(path: Path) -> dict[str, str]:
    """Record → subject. Raises `ValueError` on another form."""
    columns = ["record", "subject"]
    try:
        table = pl.read_csv(path, columns=columns, infer_schema=False).select(columns).fill_null("")
        table = table.select(pl.all().str.strip_chars())  # "7" and "7 " are one person
    except pl.exceptions.PolarsError as error:
        raise ValueError(f"{path}: expected a CSV with the columns {columns}: {error}") from error
    bad = table.filter(pl.any_horizontal(pl.all() == "") | pl.col("record").is_duplicated())
    if bad.height:
        raise ValueError(
            f"{path}: expected one subject for every record, found {bad.row(0)}; correct the table"
        )
    return dict(table.iter_rows())


def _names(paths: Sequence[Path]) -> list[str]:
    """An id for each file. Raises `ValueError` where two would have the same."""
    names = [_DATE.sub("", path.stem) or "record" for path in paths]
    often = Counter(names)
    names = [
        name if often[name] == 1 else f"{_DATE.sub('', path.parent.name)}-{name}"
        for path, name in zip(paths, names, strict=True)
    ]
    often, seen = Counter(names), Counter[str]()
    for place, (path, name) in enumerate(zip(paths, names, strict=True)):
        if often[name] > 1 and _DATE.search(path.stem):
            seen[name] += 1
            names[place] = f"{name}-{seen[name]}"
    found: dict[str, Path] = {}
    for path, name in zip(paths, names, strict=True):
        if found.setdefault(name, path) != path:
            raise ValueError(
                f"{found[name]} and {path} would both be called {name}; rename one, or its folder"
            )
    return names
