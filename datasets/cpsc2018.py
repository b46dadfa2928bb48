"""CPSC2018: 6,877 12-lead ECGs of 6 to 144 s with nine classes (Liu et al., 2018).

Both forms are read, told apart folder by folder:

- the original `TrainingSet*/A0001.mat` (MATLAB 5 struct `ECG`: sex, age, data in mV at 500 Hz) with
  its labels in `REFERENCE.csv`, beside the records or one folder up;
- the PhysioNet Challenge's copy `A0001.hea` + `A0001.mat` (WFDB) with SNOMED CT codes. Three of the
  nine (PVC, STD, STE as this copy codes them) are missing from the Challenge's own list of scored
  codes.

**No patient key was ever published**: a record counts as its own subject, so splits are "by
subject" only as far as one record is one patient. There are no official folds.
"""

from __future__ import annotations

import csv
import struct
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import scipy.io
from numpy.typing import NDArray

from ..signals import LEADS_12, Recording, Signal
from .challenge_files import STATED, merged, read_challenge_record, records_in
from .challenge_ids import dataset_of
from .registry import About, RecordError, RecordRef
from .snomed import CPSC_NINE
from .subjects import age_years, sex_named
from .tree import find_folders

CLASSES = ("Normal", "AF", "I-AVB", "LBBB", "RBBB", "PAC", "PVC", "STD", "STE")
"""The nine classes; class n of `REFERENCE.csv` is the n-th, counted from 1."""

REFERENCE = "REFERENCE.csv"
RATE_HZ = 500.0
_COMPRESSED = 15  # the type of a MATLAB 5 element that is compressed
# The longest record takes 7 MB; compressed MATLAB files can unfold to a thousand times their size.
MAX_MAT_BYTES = 1 << 24
MAX_UNFOLDED_BYTES = 1 << 26


class CPSC2018:
    """The training set of the China Physiological Signal Challenge 2018, in either form."""

    name = "cpsc2018"

    def about(self, roots: Sequence[Path] = ()) -> About:
        """What CPSC2018 is."""
        return About(
            title="China Physiological Signal Challenge 2018, training set",
            licence="CC BY 4.0 (as part of the PhysioNet/CinC Challenges 2020 and 2021)",
            access="open (PhysioNet, in the Challenges)",
            signals="12-lead ECG, 6 to 144 s, 500 Hz",
            labels="9 rhythm and morphology classes",
            subjects="no patient key was published: each of the 6,877 records is its own subject",
            citation="Liu et al., J Med Imaging Health Inform 8:1368 (2018), doi:10.1166/jmihi.2018.2442",
        )

    def find(self, roots: Sequence[Path]) -> list[RecordRef]:
        """Every record in the folders or in `REFERENCE.csv`, sorted; its files may be missing.

        Raises `FileNotFoundError` naming what a root lacks; `ValueError` where a record occurs in
        two places with different labels, or in both forms.
        """
        folders: list[Path] = []
        for root in roots:
            found = find_folders(root, _holds_records)
            if not found:
                raise FileNotFoundError(
                    f"{root}: neither TrainingSet*/A0001.mat with {REFERENCE} nor A0001.hea with "
                    "A0001.mat in it or below; give the folder that CPSC2018 was unpacked to"
                )
            folders += found
        copies = [folder for folder in folders if any(folder.glob("A*.hea"))]
        originals = [folder for folder in folders if folder not in copies]
        return merged((*_originals(originals), *_copies(copies)), "CPSC2018")

    def read(self, ref: RecordRef) -> Recording:
        """One record in mV: float32 from the original, int16 from the Challenge's copy."""
        private: tuple[str, ...] = ()
        if ref.facts["form"] == "original":
            signal, age, sex = read_original(ref.path.with_suffix(".mat"))
            classes = _reference_classes(ref)
        else:
            signal, codes, age, sex, private, *_ = read_challenge_record(ref.path)
            classes = [CPSC_NINE.get(code, code) for code in codes]
        return Recording(
            dataset=self.name,
            record=ref.record,
            subject=ref.subject,
            signals=(signal,),
            labels=dict.fromkeys(classes, STATED),
            age=age,
            sex=sex,
            private=private,
            site=self.name,
        )

    def label_sets(self, roots: Sequence[Path]) -> dict[str, dict[str, list[str]]]:
        """The nine classes; they are the same in both forms and need no file."""
        return {self.name: {name: [name] for name in CLASSES}}


def read_original(path: Path) -> tuple[Signal, float | None, str | None]:
    """(signal, age, sex) of an original file; its leads stand in the standard order.

    Raises `RecordError`.
    """
    again = "get the file again from the source"
    try:
        if path.stat().st_size > MAX_MAT_BYTES:
            raise RecordError(
                f"{path}: larger than {MAX_MAT_BYTES} bytes, which no record is; {again}"
            )
        _check_unfolded(path)
        ecg = scipy.io.loadmat(path, variable_names=["ECG"])["ECG"][0, 0]
        data: NDArray[Any] = ecg["data"]
        age_text, sex_text = _scalar_text(ecg["age"]), _scalar_text(ecg["sex"])
    except OSError as error:
        raise RecordError(
            f"{path}: the file cannot be read ({error.strerror or error}); {again}"
        ) from error
    except RecordError:
        raise
    except Exception as error:  # scipy raises whatever damaged bytes lead it to
        raise RecordError(
            f"{path}: expected a MATLAB 5 struct ECG with sex, age and data: {error!r}; {again}"
        ) from error
    if (
        data.dtype.kind not in "fiu"
        or data.ndim != 2
        or data.shape[0] != len(LEADS_12)
        or data.size == 0
    ):
        raise RecordError(
            f"{path}: expected data of {len(LEADS_12)} leads by samples, found {data.dtype} "
            f"{data.shape}; {again}"
        )
    samples = data.astype(np.float32)
    if not np.isfinite(samples).any():
        raise RecordError(f"{path}: every sample is missing (NaN); leave the record out")
    try:
        age, sex = age_years(age_text), sex_named(sex_text)
    except ValueError as error:
        raise RecordError(f"{path}: {error}; {again}") from error
    return Signal("ecg", samples, RATE_HZ, LEADS_12), age, sex


def _check_unfolded(path: Path) -> None:
    """Raises `RecordError` where the compressed parts of a MATLAB 5 file unfold to too much."""
    with path.open("rb") as file:
        order = "<" if file.read(128)[126:] == b"IM" else ">"
        left = MAX_UNFOLDED_BYTES
        while len(tag := file.read(8)) == 8:
            kind, size = struct.unpack(f"{order}2I", tag)
            part = file.read(size)
            if kind == _COMPRESSED:
                left -= len(zlib.decompressobj().decompress(part, left))
            if left <= 0:
                raise RecordError(
                    f"{path}: unfolds to more than {MAX_UNFOLDED_BYTES} bytes, which no record does; "
                    "get the file again from the source"
                )


def _originals(folders: Sequence[Path]) -> Iterator[RecordRef]:
    """Records in the original form: those in the folders and those that `REFERENCE.csv` names."""
    beside = {at / REFERENCE for folder in folders for at in (folder, folder.parent)}
    references = sorted(path for path in beside if path.is_file())
    if folders and not references:
        raise FileNotFoundError(
            f"{folders[0]}: records without {REFERENCE} here or one folder up; download the labels"
        )
    classes: dict[str, tuple[str, ...]] = {}
    paths = {
        path.name: path for folder in reversed(folders) for path in records_in(folder, _is_record)
    }
    for reference in references:
        for name, numbers in _read_reference(reference).items():
            if classes.setdefault(name, numbers) != numbers:
                raise ValueError(
                    f"{reference}: record {name} has other labels in another {REFERENCE} "
                    f"({classes[name]} and {numbers}); give roots of one version of CPSC2018"
                )
            paths.setdefault(name, reference.parent / name)
    for name, path in paths.items():
        yield _ref(path, {"form": "original", "classes": classes.get(name)})


def _copies(folders: Sequence[Path]) -> Iterator[RecordRef]:
    """Records in the Challenge's form."""
    for folder in folders:
        for path in records_in(folder, _is_record):
            yield _ref(path, {"form": "challenge"})


def _ref(path: Path, facts: dict[str, Any]) -> RecordRef:
    return RecordRef(path.name, f"cpsc2018-{path.name}", path, None, facts)


def _is_record(name: str) -> bool:
    return dataset_of(name) == CPSC2018.name


def _holds_records(files: Sequence[str]) -> bool:
    return any(file.endswith((".hea", ".mat")) and _is_record(file[:-4]) for file in files)


def _read_reference(path: Path) -> dict[str, tuple[str, ...]]:
    """Record → its one to three class numbers as text. Raises `ValueError` on another form."""
    try:
        with path.open(newline="", encoding="utf-8-sig", errors="replace") as file:
            rows = list(csv.reader(file))
    except csv.Error as error:
        raise ValueError(
            f"{path}: expected a CSV ({error}); get the file again from the source"
        ) from error
    if not rows or rows[0][:2] != ["Recording", "First_label"]:
        raise ValueError(
            f"{path}: expected the columns Recording, First_label, Second_label, Third_label, "
            f"found {rows[0][:4] if rows else 'nothing'}; get the file again from the source"
        )
    # A name with a folder in it could lead anywhere.
    for number, row in enumerate(rows[1:], 2):
        if row and not _is_record(row[0].strip()):
            raise ValueError(
                f"{path}, line {number}: expected the name of a record, such as A0001, found "
                f"{row[0][:40]!r}; get the file again from the source"
            )
    return {
        row[0].strip(): tuple(text.strip() for text in row[1:] if text.strip())
        for row in rows[1:]
        if row
    }


def _reference_classes(ref: RecordRef) -> list[str]:
    numbers = ref.facts["classes"]
    if numbers is None:
        raise RecordError(f"{ref.path}.mat: {REFERENCE} has no row for it; get the labels again")
    numbered = {str(i): name for i, name in enumerate(CLASSES, 1)}
    unknown = [number for number in numbers if number not in numbered]
    if unknown or not numbers:
        raise RecordError(
            f"{ref.path}.mat: expected class numbers 1 to 9 in {REFERENCE}, found {list(numbers)}; "
            "get the labels again"
        )
    return [numbered[number] for number in numbers]


def _scalar_text(value: NDArray[Any]) -> str:
    """The one value of a MATLAB array as text, "" where it is empty."""
    return str(value.flat[0]) if value.size else ""
