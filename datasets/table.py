"""A user's own files: a table of recordings and a `dataset.yaml` that says what is in them.

The root is a folder that holds a `dataset.yaml` (or has one below), or such a YAML file of any name.
`table_configuration.py` documents every key, docs/your-data.md shows how to write one.
"""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from ..signals import Annotation, Recording, Series, Signal
from .registry import About, RecordError, RecordRef
from .table_configuration import FILE, Description, TableAnnotations, TableSignal
from .table_files import Opened, read_annotations, read_intervals, read_signal
from .table_rows import Described, classes_of, described, references
from .tree import find_folders

LONGEST_S = 10 * 365 * 86400.0
"""No recording lasts ten years: a time beyond is a date."""


class Table:
    """The recordings of a table; `Recording.dataset` is the name that the YAML gives."""

    name = "table"

    def about(self, roots: Sequence[Path] = ()) -> About:
        """What the YAML says of itself; without a root, what the reader reads."""
        if not roots:
            return About(
                title="Your own files: a table of recordings, described by a YAML",
                licence="as the YAML says",
                access="your own",
                signals="any of the vocabulary, in WFDB, EDF, npy, HDF5, CSV or Parquet",
                labels="flags, classes and quantities of the table; annotations in files",
                subjects="by the table's column; unknown where there is none",
                citation="as the YAML says",
            )
        all_say = [described(yaml).says for yaml in _descriptions(roots)]
        each = [_about(says) for says in all_say]
        joined = {
            key: "; ".join(dict.fromkeys(vars(a)[key] for a in each)) for key in vars(each[0])
        }
        return About(**joined)

    def find(self, roots: Sequence[Path]) -> list[RecordRef]:
        """Every row of the tables, sorted by record; its files may be missing.

        Raises `FileNotFoundError` where a root has no description or a description no table,
        `ValueError` naming the key of the YAML, or row and column of the table, that is wrong.
        """
        found: dict[str, RecordRef] = {}
        for yaml in _descriptions(roots):
            by = described(yaml)
            with _no_garbage():
                for ref in references(by):
                    other = found.setdefault(ref.record, ref)
                    if other is not ref and replace(other, path=ref.path) != ref:
                        raise ValueError(
                            f"{yaml}: the record {ref.record} stands in {other.path} too, with other "
                            "subject, labels or files; give each its own name (`record`)"
                        )
        return [found[record] for record in sorted(found)]

    def read(self, ref: RecordRef) -> Recording:
        """One recording, in the vocabulary's units. Raises `RecordError`."""
        by = _described(ref.path, ref.facts["described"])
        says = by.says
        files = [None if name is None else by.root / name for name in ref.facts["files"]]
        signals, series, private = _signals(ref, says.signals, files)
        after = len(says.signals)
        noted = _annotations(says.annotations, files[after:])
        if says.time_zero == "first_value":
            zero_s = min(float(one.times_s[0]) for one in series)
            series = [replace(one, times_s=one.times_s - zero_s) for one in series]
            noted = [replace(one, onset_s=one.onset_s - zero_s) for one in noted]
        for path, intervals in zip(
            files[after + len(says.annotations) :], says.intervals, strict=True
        ):
            noted += [] if path is None else read_intervals(path, intervals)
        noted.sort(key=lambda annotation: annotation.onset_s)
        _check_times(ref, [time_s for one in series for time_s in one.times_s[[0, -1]].tolist()])
        _check_times(ref, [annotation.onset_s for annotation in noted])
        return Recording(
            dataset=says.name,
            record=ref.record,
            subject=ref.subject,
            signals=tuple(signals),
            series=tuple(series),
            labels=ref.facts["labels"],
            annotations=tuple(noted),
            age=ref.facts["age"],
            sex=ref.facts["sex"],
            fold=ref.fold,
            private=private,
            device=ref.facts["device"],
            site=ref.facts["site"],
        )

    def label_sets(self, roots: Sequence[Path]) -> dict[str, dict[str, list[str]]]:
        """The YAML's label sets, and one for each kind of annotation that it names."""
        sets: dict[str, dict[str, list[str]]] = {}
        for yaml in _descriptions(roots):
            by = described(yaml)
            for labels in by.says.labels:
                sets.setdefault(labels.set, {}).update((c, [c]) for c in classes_of(by, labels))
            for code in _annotation_codes(by.says):
                kind, _, what = code.partition(":")
                sets.setdefault(kind, {})[what or kind] = [code]
        return {name: dict(sorted(classes.items())) for name, classes in sorted(sets.items())}


def _descriptions(roots: Sequence[Path]) -> list[Path]:
    """The YAML files that the roots are or hold."""
    found: set[Path] = set()
    for root in roots:
        if root.is_file():
            found.add(root)
            continue
        folders = find_folders(root, lambda files: FILE in files)
        if not folders:
            raise FileNotFoundError(
                f"{root}: no {FILE} in it or below; give the folder that holds one, or a YAML file "
                "(docs/your-data.md says how to write it)"
            )
        found |= {folder / FILE for folder in folders}
    return sorted(found)


@contextlib.contextmanager
def _no_garbage() -> Iterator[None]:
    """No search for garbage among millions of references, none of which is any: half of the time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@lru_cache(maxsize=64)
def _described(yaml: Path, sha256: str) -> Described:
    """The description that a reference was made from: every record of it needs it again."""
    by = described(yaml)
    if by.sha256 != sha256:
        raise ValueError(f"{yaml}: changed since its records were found; start again")
    return by


def _signals(
    ref: RecordRef, wanted: Sequence[TableSignal], files: Sequence[Path | None]
) -> tuple[list[Signal], list[Series], tuple[str, ...]]:
    """The even signals, the uneven series and the private strings of a recording's files."""
    signals: list[Signal] = []
    series: list[Series] = []
    private: list[str] = []
    opened: Opened = {}
    for path, how in zip(files, wanted, strict=False):
        if path is None:
            continue
        found, strings = read_signal(path, how, ref.facts["row"], opened)
        signals += [one for one in found if isinstance(one, Signal)]
        series += [one for one in found if isinstance(one, Series)]
        private += strings
    values = [s.samples for s in signals] + [s.values for s in series]
    if not any(np.isfinite(part).any() for part in values):
        what = "every sample of it is missing" if values else "the table names no file of it"
        raise RecordError(f"{ref.path}: record {ref.record}: {what}; leave it out of the table")
    return signals, series, tuple(dict.fromkeys(private))


def _annotations(
    wanted: Sequence[TableAnnotations], files: Sequence[Path | None]
) -> list[Annotation]:
    pairs = zip(wanted, files, strict=False)
    return [one for how, path in pairs if path is not None for one in read_annotations(path, how)]


def _check_times(ref: RecordRef, times_s: Sequence[float]) -> None:
    """Raises `RecordError` where times are dates, which would then stand in the shards."""
    longest = max(map(abs, times_s), default=0.0)
    if longest > LONGEST_S:
        raise RecordError(
            f"{ref.path}: record {ref.record}: its times reach beyond {LONGEST_S:.0f} s, which are dates "
            "and no times within a recording; set time_zero: first_value, or mend time_scale"
        )


def _annotation_codes(says: Description) -> list[str]:
    """Every code that an annotation can have."""
    codes = [code for how in says.annotations for code in how.codes.values() if code]
    codes += [how.kind for how in says.annotations if how.kind]
    return codes + ["hr"] * bool(says.intervals)


def _about(says: Description) -> About:
    """What a description says of its data set."""
    signals = [
        f"{s.modality} {', '.join(s.channels.values())} ({s.format}"
        + (f", {s.rate_hz:g} Hz)" if s.rate_hz else ")")
        for s in says.signals
    ]
    kinds = sorted({code.partition(":")[0] for code in _annotation_codes(says)})
    return About(
        title=says.title,
        licence=says.licence,
        access="your own files",
        signals="; ".join(signals),
        labels=", ".join([labels.set for labels in says.labels] + kinds) or "none",
        subjects=f"by the column {says.subject!r}" if says.subject else "unknown",
        citation=says.citation,
    )
