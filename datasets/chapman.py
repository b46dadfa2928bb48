"""Chapman-Shaoxing and Ningbo: 10,646 and 34,905 12-lead ECGs of 10 s with rhythm and conditions.

Three forms are read, told apart by what a folder holds:

- figshare's (Chapman-Shaoxing alone, Zheng et al., 2020): `Diagnostics.xlsx` beside
  `ECGData/<FileName>.csv` (raw, µV, with a header row) or `ECGDataDenoised/` (without one). Where
  both are there, the raw signals are read. Labels are the table's acronyms (`AFIB`, `TWC`, …).
- PhysioNet's `ecg-arrhythmia` (`WFDBRecords/01/010/JS00001.hea`), and
- the Challenge's copies (`WFDB_ChapmanShaoxing`, `WFDB_Ningbo`, `training/chapman_shaoxing/g1`),
  both with SNOMED CT codes as labels, and both without the 399 records whose rhythm is SA. The
  label sets hold acronyms and codes, so that rhythms mean the same in every form.

One record is one patient. **figshare's file names hold the time of the recording**, so a record is
never called by them: the n-th row of the published table (10,646 rows) is JS0000n of the other
forms (age, sex, rhythm and conditions agree), and in a table of any other length, where nothing says
which row it was, a record is called by a hash of its file name.
"""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ..signals import LEADS_12, Recording, Signal, channel_named
from .challenge_files import (
    STATED,
    codes_found,
    holds_headers,
    merged,
    read_challenge_record,
    records_in,
)
from .challenge_ids import LAST_CHAPMAN, dataset_of
from .registry import About, RecordError, RecordRef
from .snomed import CHAPMAN_CONDITIONS, CHAPMAN_GROUPS, CHAPMAN_RHYTHMS
from .subjects import age_years, sex_named
from .tree import find_folders

TABLE = "Diagnostics.xlsx"
FOLDERS = ("ECGData", "ECGDataDenoised")
"""Folders of figshare's signals; the first one there is read."""
RATE_HZ = 500.0

_COLUMNS = ("FileName", "Rhythm", "Beat", "PatientAge", "Gender")
_RHYTHM_ALIASES = {"SI": "SA"}  # RhythmNames.xlsx says SI where Diagnostics.xlsx says SA
_AGAIN = "get the file again from the source"

# The published table unfolds to some 10 MB, a record's CSV has 0.4 MB.
MAX_TABLE_BYTES = 1 << 28
MAX_CSV_BYTES = 1 << 24


class Chapman:
    """Chapman-Shaoxing in any form, and Ningbo where the form has it."""

    name = "chapman"

    def about(self, roots: Sequence[Path] = ()) -> About:
        """What the two data sets are."""
        return About(
            title="Chapman-Shaoxing and Ningbo 12-lead ECG databases",
            licence="CC BY 4.0",
            access="open (figshare, PhysioNet)",
            signals="12-lead ECG, 10 s, 500 Hz",
            labels="11 rhythms, their 4 groups, 56 conditions; as acronyms or SNOMED CT codes",
            subjects="each record is one patient: 10,646 of Chapman-Shaoxing, 34,905 of Ningbo",
            citation="Zheng et al., Sci Data 7:48 (2020), doi:10.1038/s41597-020-0386-x",
        )

    def find(self, roots: Sequence[Path]) -> list[RecordRef]:
        """Every row of the tables and every record with a header, sorted; files may be missing.

        Raises `FileNotFoundError` naming what a root lacks; `ValueError` on a table of another form
        and where two copies of a record differ.
        """
        refs: list[RecordRef] = []
        for root in roots:
            tables = find_folders(root, lambda files: TABLE in files)
            copies = find_folders(root, lambda files: holds_headers(files, _is_record))
            if not tables and not copies:
                raise FileNotFoundError(
                    f"{root}: neither {TABLE} (with {FOLDERS[0]}/) nor JS00001.hea (with "
                    "JS00001.mat) in it or below; give the folder that the data set was unpacked to"
                )
            for folder in tables:
                refs += _rows(folder)
            for folder in copies:
                refs += [
                    RecordRef(path.name, f"{dataset_of(path.name)}-{path.name}", path)
                    for path in records_in(folder, _is_record)
                ]
        return merged(refs, "Chapman-Shaoxing and Ningbo")

    def read(self, ref: RecordRef) -> Recording:
        """One record in mV: float32 from figshare's CSV, int16 from WFDB. Raises `RecordError`."""
        if ref.facts:
            return self._read_row(ref)
        dataset = dataset_of(ref.path.name) or self.name
        return read_challenge_record(ref.path).recording(dataset, ref)

    def label_sets(self, roots: Sequence[Path]) -> dict[str, dict[str, list[str]]]:
        """Rhythms, their four groups and conditions, in acronyms and SNOMED CT; `all` codes found."""
        rhythms = {name: [name, *codes] for name, codes in CHAPMAN_RHYTHMS.items()}
        refs = self.find(roots)
        stated = {label for ref in refs if ref.facts for label in _labels(ref)}
        return {
            "rhythm": rhythms,
            "rhythm_group": {
                group: [code for name in names for code in rhythms[name]]
                for group, names in CHAPMAN_GROUPS.items()
            },
            "condition": {name: [name, *same] for name, same in CHAPMAN_CONDITIONS.items()},
            "all": {
                code: [code]
                for code in sorted(stated | set(codes_found(r for r in refs if not r.facts)))
            },
        }

    def _read_row(self, ref: RecordRef) -> Recording:
        try:
            age, sex = age_years(ref.facts["age"]), sex_named(ref.facts["sex"])
        except ValueError as error:
            raise RecordError(f"{ref.path.parent}: {_row_of(ref)}: {error}; {_AGAIN}") from error
        file_name = ref.path.stem
        try:
            signal = read_csv(ref.path)
        except RecordError as error:
            # The name of the file holds a date, which must not stand in `shards.json`.
            told = str(error).replace(file_name, f"<{_row_of(ref)}>")
            raise RecordError(told) from None
        return Recording(
            dataset=self.name,
            record=ref.record,
            subject=ref.subject,
            signals=(signal,),
            labels=dict.fromkeys(_labels(ref), STATED),
            age=age,
            sex=sex,
            # MUSE_<date>_<time>_<number>: six digits alone would be found by chance.
            private=(file_name, "_".join(file_name.split("_")[1:3])),
            site=self.name,
        )


def _row_of(ref: RecordRef) -> str:
    """Where a record's file name stands, without saying it."""
    number = ref.record.removeprefix("JS")
    if number != ref.record:
        return f"row {int(number)} of {TABLE}"
    return f"the row of {TABLE} whose FileName has a SHA-256 of {ref.record}…"


def read_csv(path: Path) -> Signal:
    """A record of figshare's form: 12 columns in µV, with or without a row of lead names.

    Raises `RecordError`.
    """
    try:
        if path.stat().st_size > MAX_CSV_BYTES:
            raise RecordError(
                f"{path}: larger than {MAX_CSV_BYTES} bytes, which no record is; {_AGAIN}"
            )
        with path.open("rb") as file:
            line = file.readline(4096).decode("utf-8-sig", errors="replace")
        first = [field.strip(' "\r\n') for field in line.split(",")]
        named = any(field.isalpha() and field.lower() != "nan" for field in first)
        leads = [channel_named("ecg", field) for field in first] if named else LEADS_12
        table = pl.read_csv(
            path,
            has_header=False,
            skip_rows=int(named),
            schema=dict.fromkeys(leads, pl.Float32()),
        )
    except OSError as error:
        raise RecordError(
            f"{path}: the file cannot be read ({error.strerror or error}); {_AGAIN}"
        ) from error
    except (pl.exceptions.PolarsError, KeyError) as error:
        raise RecordError(f"{path}: expected a CSV of 12 leads in µV: {error}; {_AGAIN}") from error
    if set(leads) != set(LEADS_12) or table.height == 0:
        raise RecordError(
            f"{path}: expected samples of the 12 leads, found {table.height} of {list(leads)}; "
            f"{_AGAIN}"
        )
    samples: NDArray[np.float32] = np.ascontiguousarray(table.to_numpy().T)
    samples /= 1000
    if not np.isfinite(samples).any():
        raise RecordError(f"{path}: every sample is missing (NaN); leave the record out")
    return Signal("ecg", samples, RATE_HZ, tuple(leads))


def _is_record(name: str) -> bool:
    return dataset_of(name) in ("chapman", "ningbo")


def _rows(folder: Path) -> Iterator[RecordRef]:
    """The table's rows as references."""
    signals = next((folder / name for name in FOLDERS if (folder / name).is_dir()), None)
    if signals is None:
        raise FileNotFoundError(
            f"{folder}: {TABLE} is there, but no folder {' or '.join(FOLDERS)}; download the "
            "signals too"
        )
    table = _read_table(folder / TABLE)
    for number, (file, rhythm, beat, age, sex) in enumerate(table.iter_rows(), 1):
        if not file or not file.replace("_", "").isalnum():
            raise ValueError(
                f"{folder / TABLE}, row {number}: {file!r} is not the name of a record's file; "
                f"{_AGAIN}"
            )
        whole = table.height == LAST_CHAPMAN
        record = f"JS{number:05d}" if whole else hashlib.sha256(file.encode()).hexdigest()[:12]
        facts = {"rhythm": rhythm, "beat": beat, "age": age, "sex": sex}
        yield RecordRef(record, f"chapman-{record}", signals / f"{file}.csv", None, facts)


def _read_table(path: Path) -> pl.DataFrame:
    """The columns that are needed, as text without blanks around it."""
    try:
        with zipfile.ZipFile(path) as parts:
            unfolded = sum(part.file_size for part in parts.infolist())
        if unfolded > MAX_TABLE_BYTES:
            raise ValueError(f"unfolds to {unfolded} bytes")
        table = pl.read_excel(path, columns=list(_COLUMNS), infer_schema_length=0)
        return table.select(pl.col(*_COLUMNS).cast(pl.String).fill_null("").str.strip_chars())
    except Exception as error:  # calamine raises whatever damaged bytes lead it to
        raise ValueError(
            f"{path}: expected a sheet with the columns {list(_COLUMNS)} ({error}); {_AGAIN}"
        ) from error


def _labels(ref: RecordRef) -> list[str]:
    """A row's rhythm and conditions."""
    rhythm = [_RHYTHM_ALIASES.get(name, name) for name in ref.facts["rhythm"].split()]
    return [*rhythm, *(name for name in ref.facts["beat"].split() if name != "NONE")]
