"""PhysioNet/CinC Challenge 2017: 8,528 single-lead ECGs of 9 to 61 s from a hand-held device."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import polars as pl

from ..signals import Recording
from .registry import About, RecordError, RecordRef
from .tree import find_folders
from .wfdb16 import read_wfdb

REFERENCE = "REFERENCE-v3.csv"
_RECORD = re.compile(r"A\d{5}", re.ASCII)
CLASSES = {"normal": "N", "af": "A", "other": "O", "noisy": "~"}


class CinC2017:
    """The training set: `A00001.hea` and `.mat` (WFDB, 300 Hz), classes in `REFERENCE-v3.csv`."""

    name = "cinc2017"

    def about(self, roots: Sequence[Path] = ()) -> About:
        """What the Challenge of 2017 is."""
        return About(
            title="PhysioNet/Computing in Cardiology Challenge 2017, training set",
            licence="ODC-BY 1.0",
            access="open (PhysioNet)",
            signals="lead I from a hand-held device, 9 to 61 s, 300 Hz",
            labels="normal, atrial fibrillation, other rhythm, noisy",
            subjects="unknown: 8,528 records, nothing says whose they are",
            citation="Clifford et al., CinC 44 (2017), doi:10.22489/CinC.2017.065-469",
        )

    def find(self, roots: Sequence[Path]) -> list[RecordRef]:
        """Every record that a `REFERENCE-v3.csv` at or below a root names, sorted."""
        refs: dict[str, RecordRef] = {}
        for root in roots:
            folders = find_folders(root, lambda files: REFERENCE in files)
            if not folders:
                raise FileNotFoundError(
                    f"{root}: no {REFERENCE} in it or below; give the folder of the training set"
                )
            for folder in folders:
                for record, code in _read_reference(folder / REFERENCE):
                    facts = {"code": code}
                    ref = RecordRef(
                        record,
                        f"cinc2017-{record}",
                        folder / record,
                        None,
                        facts,
                        subject_known=False,
                    )
                    if refs.setdefault(record, ref).facts != facts:
                        raise ValueError(
                            f"{folder / REFERENCE}: {record} has another class elsewhere"
                        )
        return [refs[record] for record in sorted(refs)]

    def read(self, ref: RecordRef) -> Recording:
        """One record in mV. Raises `RecordError`."""
        if ref.facts["code"] not in CLASSES.values():
            raise RecordError(
                f"{ref.path}: class {ref.facts['code']!r} in {REFERENCE}, expected one of "
                f"{sorted(CLASSES.values())}; get the table again from the source"
            )
        record = read_wfdb(ref.path)
        labels = {ref.facts["code"]: 100.0}
        ecg = (record.ecg(["I"]),)
        return Recording(self.name, ref.record, ref.subject, ecg, labels, private=record.private)

    def label_sets(self, roots: Sequence[Path]) -> dict[str, dict[str, list[str]]]:
        """The four classes."""
        return {self.name: {name: [code] for name, code in CLASSES.items()}}


def _read_reference(path: Path) -> list[tuple[str, str]]:
    """(record, class) of every row. Raises `ValueError` on another form."""
    try:
        table = pl.read_csv(
            path, has_header=False, new_columns=["record", "code"], infer_schema=False
        ).fill_null("")
    except pl.exceptions.PolarsError as error:
        raise ValueError(
            f"{path}: expected lines of record, class: {error}; get the file again from the source"
        ) from error
    # A name with a folder in it could lead anywhere.
    odd = [record for record in table["record"] if not _RECORD.fullmatch(record)]
    if odd:
        raise ValueError(
            f"{path}: expected names of records, such as A00001, found {odd[0][:40]!r}; get the file "
            "again from the source"
        )
    return table.rows()
