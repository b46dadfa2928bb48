"""PhysioNet/CinC Challenge 2017: 8,528 single-lead ECGs of 9 to 61 s from a hand-held device."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import polars as pl

from ..signals import Recording
from .challenge_files import merged
from .registry import About, RecordRef
from .tree import find_folders
from .wfdb16 import read_wfdb

REFERENCE = "REFERENCE-v3.csv"
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
        tables = []
        for root in roots:
            folders = find_folders(root, lambda files: REFERENCE in files)
            if not folders:
                raise FileNotFoundError(
                    f"{root}: no {REFERENCE} in it or below; give the folder of the training set"
                )
            tables += [folder / REFERENCE for folder in folders]
        return merged((ref for path in tables for ref in _refs(path)), "the Challenge of 2017")

    def read(self, ref: RecordRef) -> Recording:
        """One record in mV. Raises `RecordError`."""
        record = read_wfdb(ref.path)
        ecg, labels = (record.ecg(["I"]),), {ref.facts["code"]: 100.0}
        return Recording(self.name, ref.record, ref.subject, ecg, labels, private=record.private)

    def label_sets(self, roots: Sequence[Path]) -> dict[str, dict[str, list[str]]]:
        """The four classes."""
        return {self.name: {name: [code] for name, code in CLASSES.items()}}


def _refs(path: Path) -> Iterator[RecordRef]:
    """A record for every row of a table. Raises `ValueError` on another form."""
    try:
        table = pl.read_csv(
            path, has_header=False, new_columns=["name", "code"], infer_schema=False
        )
    except pl.exceptions.PolarsError as error:
        raise ValueError(f"{path}: expected lines of record, class: {error}") from error
    for name, code in table.fill_null("").iter_rows():
        # A name with a folder in it could lead anywhere.
        if not re.fullmatch(r"A\d{5}", name, re.ASCII) or code not in CLASSES.values():
            raise ValueError(
                f"{path}: expected rows such as A00001,N, found {f'{name},{code}'[:40]!r}"
            )
        facts = {"code": code}
        yield RecordRef(
            name, f"cinc2017-{name}", path.parent / name, None, facts, subject_known=False
        )
