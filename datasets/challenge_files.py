"""Records in the PhysioNet/CinC Challenges' form: `A0001.hea` (WFDB) + `A0001.mat` (MATLAB v4).

Chapman-Shaoxing, Ningbo and the Challenge's copies of CPSC2018 and PTB-XL all have it. Comments hold
`#Age: 74`, `#Sex: Male`, `#Dx: 59118001,…` (SNOMED CT), with or without a blank after `#`; `Dx` may
repeat codes and end in a comma.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..signals import LEADS_12, Recording, Signal
from .registry import RecordError, RecordRef
from .subjects import age_years, sex_named
from .wfdb16 import comment_fields, read_wfdb
from .wfdb_header import read_header

STATED = 100.0
"""The value of a label that is stated without a likelihood."""


class ChallengeRecord(NamedTuple):
    """One record: 12-lead ECG in mV, its SNOMED CT codes, and what it says about the subject.

    `gain` and `baseline` [C] are the header's own numbers, which some releases had wrong.
    """

    signal: Signal
    codes: tuple[str, ...]
    age: float | None
    sex: str | None
    private: tuple[str, ...]
    gain: NDArray[np.float64]
    baseline: NDArray[np.float64]

    def recording(self, dataset: str, ref: RecordRef) -> Recording:
        """It as the recording that `ref` announced, its codes as labels; its source is the site."""
        return Recording(
            dataset=dataset,
            record=ref.record,
            subject=ref.subject,
            signals=(self.signal,),
            labels=dict.fromkeys(self.codes, STATED),
            age=self.age,
            sex=self.sex,
            private=self.private,
            site=dataset,
        )


def read_challenge_record(path: Path) -> ChallengeRecord:
    """The record `path` (without suffix). Raises `RecordError`."""
    record = read_wfdb(path)
    said = comment_fields(record.comments)
    try:
        age, sex = age_years(said.get("age", "")), sex_named(said.get("sex", ""))
    except ValueError as error:
        raise RecordError(f"{path}.hea: {error}; get the file again from the source") from error
    return ChallengeRecord(
        record.ecg(LEADS_12),
        codes_in(said.get("dx", "")),
        age,
        sex,
        record.private,
        record.gain,
        record.baseline,
    )


def codes_in(dx: str) -> tuple[str, ...]:
    """The codes of a `Dx` comment, each once, in their order."""
    return tuple(dict.fromkeys(code for code in map(str.strip, dx.split(",")) if code))


def codes_found(refs: Iterable[RecordRef]) -> list[str]:
    """Every code in the headers of these records, sorted; headers that cannot be read say none."""
    found: set[str] = set()
    for ref in refs:
        try:
            comments = read_header(Path(f"{ref.path}.hea")).comments
        except RecordError:  # `read` reports it
            continue
        found.update(codes_in(comment_fields(comments).get("dx", "")))
    return sorted(found)


def holds_headers(files: Sequence[str], wanted: Callable[[str], bool]) -> bool:
    """Whether a folder with these files has a header of a record whose name is `wanted`."""
    return any(file.endswith(".hea") and wanted(file[:-4]) for file in files)


def records_in(folder: Path, wanted: Callable[[str], bool]) -> list[Path]:
    """The paths, without suffix, of the `wanted` records that have any file in the folder, sorted."""
    names = {path.stem for path in folder.iterdir() if path.suffix in (".hea", ".mat")}
    return [folder / name for name in sorted(names) if wanted(name)]


def merged(refs: Iterable[RecordRef], title: str) -> list[RecordRef]:
    """The references sorted by record id, each record once.

    Raises `ValueError` where two of one record state different facts or have different headers.
    """
    found: dict[str, RecordRef] = {}
    for ref in refs:
        first = found.setdefault(ref.record, ref)
        if first is not ref and not _agree(first, ref):
            raise ValueError(
                f"record {ref.record} differs between {first.path.parent} and {ref.path.parent}; "
                f"give roots of one form and version of {title}"
            )
    return [found[record] for record in sorted(found)]


def _agree(a: RecordRef, b: RecordRef) -> bool:
    headers = [path for ref in (a, b) if (path := Path(f"{ref.path}.hea")).is_file()]
    return (a.subject, a.facts) == (b.subject, b.facts) and (
        len({header.read_bytes() for header in headers}) <= 1
    )
