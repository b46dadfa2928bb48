"""PTB-XL: 21,799 clinical 12-lead ECGs of 10 s with SCP-ECG statements (Wagner et al., 2020).

- The official table is read: `ptbxl_database.csv` in a root or below it; several roots merge.
- Every statement is kept with its likelihood, 0 included: it means "stated, likelihood unknown",
  and most form and rhythm statements have it.
- Folds are the official `strat_fold` (1–8 train, 9 validation, 10 test; 9 and 10 were checked by
  hand).
- An age of 300 in the table means above 89 and becomes 90.
- `device` is the model of the recorder, `site` the place, by its number: `ptbxl-site-0`.
- Names, reports and recording dates are not read.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, Literal, TypeAlias

import polars as pl

from ..signals import LEADS_12, Recording
from .registry import About, RecordError, RecordRef
from .subjects import age_years, sex_named
from .tree import find_folders
from .wfdb16 import read_wfdb

TABLE = "ptbxl_database.csv"
STATEMENTS = "scp_statements.csv"
Records: TypeAlias = Literal["records500", "records100"]
FILE_COLUMN: dict[Records, str] = {"records500": "filename_hr", "records100": "filename_lr"}
"""Folder of the signals → the table's column with their paths; the first one there is preferred."""

_COLUMNS = ("ecg_id", "patient_id", "age", "sex", "device", "site", "scp_codes", "strat_fold")
_SEX = {"0": "male", "1": "female"}
_LONGEST_CODES = 10_000


class PTBXL:
    """PTB-XL at 500 Hz, or at 100 Hz where a root has only that; `records` asks for one of them."""

    name = "ptbxl"

    def about(self, roots: Sequence[Path] = ()) -> About:
        """What PTB-XL is."""
        return About(
            title="PTB-XL, a large publicly available electrocardiography dataset",
            licence="CC BY 4.0",
            access="open (PhysioNet)",
            signals="12-lead ECG, 10 s, 500 and 100 Hz",
            labels="71 SCP-ECG statements with likelihoods, in 6 label sets",
            subjects="18,869 patients by `patient_id`; 21,799 records, 10 official folds by patient",
            citation="Wagner et al., Sci Data 7:154 (2020), doi:10.1038/s41597-020-0495-6",
        )

    def __init__(self, records: Records | None = None) -> None:
        self.records = records

    def find(self, roots: Sequence[Path]) -> list[RecordRef]:
        """Every row of the tables, sorted by ecg_id, whether its files are there or not.

        A record in two roots must have the same facts in both (else `ValueError`); the copy whose
        header is there is taken. Raises `FileNotFoundError` naming what a root lacks.
        """
        found: dict[str, RecordRef] = {}
        for root in roots:
            for folder in _folders(root):
                for ref in self._rows(folder):
                    first = found.setdefault(ref.record, ref)
                    if first is ref:
                        continue
                    if (first.subject, first.fold, first.facts) != (
                        ref.subject,
                        ref.fold,
                        ref.facts,
                    ):
                        raise ValueError(
                            f"record {ref.record}: the tables that list {first.path} and "
                            f"{ref.path} differ; give roots of one version of PTB-XL"
                        )
                    if not _has_header(first) and _has_header(ref):
                        found[ref.record] = ref
        return [found[record] for record in sorted(found)]

    def read(self, ref: RecordRef) -> Recording:
        """One record, int16 in mV. Raises `RecordError`."""
        try:
            labels = parse_codes(ref.facts["scp_codes"])
            age = age_years(ref.facts["age"])
            sex = sex_named(_SEX.get(ref.facts["sex"], ref.facts["sex"]))
        except ValueError as error:
            raise RecordError(
                f"{ref.path}: its row in {TABLE}: {error}; get the table again"
            ) from error
        record = read_wfdb(ref.path)
        return Recording(
            dataset=self.name,
            record=ref.record,
            subject=ref.subject,
            signals=(record.ecg(LEADS_12),),
            labels=labels,
            age=age,
            sex=sex,
            fold=ref.fold,
            private=record.private,
            device=ref.facts["device"],
            site=ref.facts["site"],
        )

    def label_sets(self, roots: Sequence[Path]) -> dict[str, dict[str, list[str]]]:
        """The benchmark's six label sets (Strodthoff et al., 2021): class → codes.

        On the official `scp_statements.csv`: all 71, diagnostic 44, subdiagnostic 23,
        superdiagnostic 5, form 19, rhythm 12. A record without a code of a set is no member of that
        task. Raises `FileNotFoundError` where the file is missing, `ValueError` where two roots
        disagree.
        """
        files = [folder / STATEMENTS for root in roots for folder in _folders(root)]
        sets = [_label_sets(file) for file in files]
        for file, other in zip(files, sets, strict=True):
            if other != sets[0]:
                raise ValueError(
                    f"{files[0]} and {file} differ; give roots of one version of PTB-XL"
                )
        return sets[0]

    def _rows(self, folder: Path) -> Iterator[RecordRef]:
        """The table's rows as references."""
        choices = [self.records] if self.records else list(FILE_COLUMN)
        records = next((choice for choice in choices if (folder / choice).is_dir()), None)
        if records is None:
            raise FileNotFoundError(
                f"{folder}: {TABLE} is there, but no folder {' or '.join(choices)}; download "
                "the signals too"
            )
        table = _read_csv(folder / TABLE, [*_COLUMNS, FILE_COLUMN[records]])
        for ecg_id, patient, age, sex, device, site, codes, fold, file in table.iter_rows():
            try:
                record = f"{int(ecg_id):05d}"
                subject = f"ptbxl-{_whole(patient)}"
                path = folder / _inside(file)
                number = _whole(fold)
                facts: dict[str, Any] = {
                    "scp_codes": codes,
                    "age": age,
                    "sex": sex,
                    "device": " ".join(device.split()) or None,
                    "site": f"{self.name}-site-{_whole(site)}" if site else None,
                }
            except ValueError as error:
                raise ValueError(
                    f"{folder / TABLE}, ecg_id {ecg_id!r}: {error}; get the table again from "
                    "the source"
                ) from error
            yield RecordRef(record, subject, path, number, facts)


def parse_codes(text: str) -> dict[str, float]:
    """`{'NORM': 100.0, 'SR': 0.0}` as written in the table, read as a literal and never evaluated.

    Raises `ValueError` where it is anything but codes with likelihoods from 0 to 100.
    """
    try:
        codes = ast.literal_eval(text) if len(text) <= _LONGEST_CODES else None
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        codes = None
    if not isinstance(codes, dict) or not all(
        isinstance(code, str) and isinstance(value, int | float) and 0 <= value <= 100
        for code, value in codes.items()
    ):
        raise ValueError(
            f"expected scp_codes as {{'CODE': likelihood 0 to 100, …}}, found {text[:80]!r}"
        )
    return {code: float(value) for code, value in codes.items()}


def _label_sets(path: Path) -> dict[str, dict[str, list[str]]]:
    columns = ["", "diagnostic", "form", "rhythm", "diagnostic_class", "diagnostic_subclass"]
    sets: dict[str, dict[str, list[str]]] = {
        name: {}
        for name in ("all", "diagnostic", "subdiagnostic", "superdiagnostic", "form", "rhythm")
    }
    for code, diagnostic, form, rhythm, superclass, subclass in sorted(
        _read_csv(path, columns).iter_rows()
    ):
        classes = {"all": code}
        if diagnostic:
            classes |= {
                "diagnostic": code,
                "subdiagnostic": subclass,
                "superdiagnostic": superclass,
            }
        if form:
            classes["form"] = code
        if rhythm:
            classes["rhythm"] = code
        for name, label in classes.items():
            sets[name].setdefault(label, []).append(code)
    return {name: dict(sorted(classes.items())) for name, classes in sets.items()}


def _folders(root: Path) -> list[Path]:
    folders = find_folders(root, lambda files: TABLE in files)
    if not folders:
        raise FileNotFoundError(
            f"{root}: no {TABLE} in it or below; give the folder that PTB-XL was unpacked to"
        )
    return folders


def _read_csv(path: Path, columns: list[str]) -> pl.DataFrame:
    """The named columns as text, empty where nothing is given, in the order asked for."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; download it from the source")
    try:
        return pl.read_csv(path, columns=columns, infer_schema=False).select(columns).fill_null("")
    except pl.exceptions.PolarsError as error:
        raise ValueError(f"{path}: expected a CSV with the columns {columns}: {error}") from error


def _whole(text: str) -> int:
    """The whole number in `11275.0`."""
    number = float(text)
    if not number.is_integer():
        raise ValueError(f"expected a whole number, found {text!r}")
    return int(number)


def _inside(file: str) -> PurePosixPath:
    """A relative path that stays inside its folder."""
    path = PurePosixPath(file)
    if not file or path.is_absolute() or ".." in path.parts or "\0" in file:
        raise ValueError(f"expected a path below the data set's folder, found {file!r}")
    return path


def _has_header(ref: RecordRef) -> bool:
    return Path(f"{ref.path}.hea").is_file()
