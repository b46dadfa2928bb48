"""PhysioNet/CinC Challenges 2020 and 2021: 88,253 12-lead ECGs of eight data sets in one form.

- Both layouts: folders of archives (`WFDB_Ga/E00001.hea`) and PhysioNet's
  (`training/georgia/g1/E00001.hea`). A record's name says which data set it first came from, and it
  keeps that one's name: `challenge_ids.py` says how, and what is known about whose record it is.
- Labels are the SNOMED CT codes of `Dx` as they stand, each 100.
- Rates are 257 Hz (INCART, half an hour), 1000 Hz (PTB, up to two minutes) and 500 Hz (the others).
- The first release of 2020 had wrong gains and baselines in the headers of PTB, PTB-XL and Georgia
  (2e6, 200 or 4880 where 1000 per mV is right). Every corrected header says 1000/mV and baseline 0,
  so anything else in these three is refused.
- Flat leads (JS11438 V1–V6) and missing samples are read as they are; the build reports them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import polars as pl

from ..signals import Recording
from .challenge_files import (
    ChallengeRecord,
    codes_found,
    holds_headers,
    merged,
    read_challenge_record,
    records_in,
)
from .challenge_ids import dataset_of, record_of, subject_of
from .ptbxl import TABLE
from .registry import About, RecordError, RecordRef
from .snomed import CPSC_NINE, SCORED_2020, SCORED_2021
from .tree import find_folders

REGAINED = ("ptb", "ptbxl", "georgia")
"""Data sets whose headers in the first release of 2020 had a wrong gain or baseline."""


class Challenge:
    """All tranches of both years, in whichever folders they lie."""

    name = "challenge"

    def about(self, roots: Sequence[Path] = ()) -> About:
        """What the Challenges' training sets are."""
        return About(
            title="PhysioNet/Computing in Cardiology Challenges 2020 and 2021, training sets",
            licence="CC BY 4.0",
            access="open (PhysioNet)",
            signals="12-lead ECG; 500 Hz and 5 s to 144 s, PTB 1000 Hz, INCART 257 Hz and 30 min",
            labels="133 SNOMED CT codes; the 26 scored classes of 2021, the 24 of 2020",
            subjects=(
                "no patient ids are shipped: PTB-XL's come from ptbxl_database.csv where it lies in "
                "or below a root, INCART's 32 from its published list; without that table PTB-XL's "
                "records are one subject, and so are PTB's; elsewhere one record is one subject"
            ),
            citation="Reyna et al., CinC 48 (2021), doi:10.23919/CinC53138.2021.9662687",
        )

    def find(self, roots: Sequence[Path]) -> list[RecordRef]:
        """Every record by name, without opening a header; sorted by its id in its own data set.

        A copy of `ptbxl_database.csv` in or below a root gives PTB-XL's patients. Raises
        `FileNotFoundError` naming what a root lacks; `ValueError` where two copies of a record or
        of the table differ.
        """
        folders: list[Path] = []
        for root in roots:
            found = find_folders(root, lambda files: holds_headers(files, _is_record))
            if not found and not _tables([root]):
                raise FileNotFoundError(
                    f"{root}: neither WFDB_*/A0001.hea nor training/*/g1/A0001.hea (with A0001.mat "
                    "beside it) in it or below; give the folder that the Challenge was unpacked to"
                )
            folders += found
        if not folders:
            raise FileNotFoundError(
                f"{roots[0]}: no record of the Challenge in any root, in it or below; give the "
                "folder that the Challenge was unpacked to"
            )
        patients = _ptbxl_patients(_tables(roots))
        paths = [path for folder in folders for path in records_in(folder, _is_record)]
        return merged((_ref(path, patients) for path in paths), "the Challenge")

    def read(self, ref: RecordRef) -> Recording:
        """One record, int16 in mV, under its own data set's name. Raises `RecordError`."""
        dataset = dataset_of(ref.path.name) or self.name
        made = read_challenge_record(ref.path)
        if dataset in REGAINED:
            _check_gain(made, ref.path)
        return made.recording(dataset, ref)

    def label_sets(self, roots: Sequence[Path]) -> dict[str, dict[str, list[str]]]:
        """The scored classes of both years, CPSC2018's nine, and every code in the headers found."""
        return {
            "scored_2021": SCORED_2021,
            "scored_2020": SCORED_2020,
            "cpsc2018": {name: [code] for code, name in CPSC_NINE.items()},
            "all": {code: [code] for code in codes_found(self.find(roots))},
        }


def _is_record(name: str) -> bool:
    return dataset_of(name) is not None


def _ref(path: Path, patients: Mapping[int, int]) -> RecordRef:
    return RecordRef(record_of(path.name), subject_of(path.name, patients), path)


def _check_gain(made: ChallengeRecord, path: Path) -> None:
    """Raises `RecordError` unless every lead is stored as 1000 per mV with baseline 0."""
    for lead, gain, baseline in zip(made.signal.channels, made.gain, made.baseline, strict=True):
        if (gain, baseline) != (1000, 0):
            raise RecordError(
                f"{path}.hea: expected 1000/mV and baseline 0, found {gain:g}/mV and {baseline:g} "
                f"for {lead}: the headers of the first release of 2020 were wrong; get the corrected "
                "ones (PhysioNet's Challenge 2020 1.0.2, or 2021)"
            )


def _tables(roots: Sequence[Path]) -> list[Path]:
    return [folder / TABLE for root in roots for folder in find_folders(root, lambda f: TABLE in f)]


def _ptbxl_patients(tables: Sequence[Path]) -> dict[int, int]:
    """ecg_id → patient_id of these copies of PTB-XL's table."""
    patients: dict[int, int] = {}
    for path in tables:
        try:
            table = pl.read_csv(path, columns=["ecg_id", "patient_id"], infer_schema=False)
            rows = table.select("ecg_id", "patient_id").cast(pl.Float64).cast(pl.Int64).drop_nulls()
        except pl.exceptions.PolarsError as error:
            raise ValueError(
                f"{path}: expected whole numbers in ecg_id and patient_id: {error}; get the table "
                "again from the source"
            ) from error
        for ecg_id, patient in rows.iter_rows():
            if patients.setdefault(ecg_id, patient) != patient:
                raise ValueError(
                    f"{path}: ecg_id {ecg_id} is patient {patient} here and {patients[ecg_id]} in "
                    f"another {TABLE}; give one version of PTB-XL"
                )
    return patients
