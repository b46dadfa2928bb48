"""CPSC2018 in its two forms, and every way in which a record can be damaged."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io
from numpy.typing import NDArray

from biofm.datasets.cpsc2018 import CLASSES, CPSC2018
from biofm.datasets.registry import RecordError, RecordRef
from biofm.signals import LEADS_12, Recording

DATA = Path(os.environ.get("BIOFM_DATA", "/nowhere"))
SNOMED = {
    "Normal": 426783006,
    "AF": 164889003,
    "I-AVB": 270492004,
    "LBBB": 164909002,
    "RBBB": 59118001,
    "PAC": 284470004,
    "PVC": 164884008,
    "STD": 429622005,
    "STE": 164931005,
}


def samples_mv(leads: int = 12, length: int = 700) -> NDArray[np.float64]:
    return np.random.default_rng(0).integers(-2000, 2000, (leads, length)) / 1000


def write_original(
    folder: Path,
    name: str,
    age: Any = 52,
    sex: str = "Male",
    data: NDArray[np.float64] | None = None,
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    ecg = {"sex": sex, "age": age, "data": samples_mv() if data is None else data}
    scipy.io.savemat(folder / f"{name}.mat", {"ECG": ecg}, do_compression=True)


def write_reference(folder: Path, *rows: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    head = "Recording,First_label,Second_label,Third_label"
    (folder / "REFERENCE.csv").write_text("\n".join([head, *rows]) + "\n")


def write_copy(
    folder: Path, name: str, dx: str, age: str = "74", sex: str = "Male", mark: str = "#"
) -> None:
    """A record as the Challenges of 2020 and 2021 ship it."""
    folder.mkdir(parents=True, exist_ok=True)
    val = np.rint(samples_mv() * 1000).astype(np.int16)
    scipy.io.savemat(folder / f"{name}.mat", {"val": val}, format="4")
    sums = val.sum(axis=1, dtype=np.int16)
    lines = [f"{name} 12 500 {val.shape[1]} 12-May-2020 12:33:59"] + [
        f"{name}.mat 16+24 1000/mV 16 0 {val[i, 0]} {sums[i]} 0 {lead}"
        for i, lead in enumerate(LEADS_12)
    ]
    lines += [f"{mark}Age: {age}", f"{mark}Sex: {sex}", f"{mark}Dx: {dx}", f"{mark}Rx: Unknown"]
    (folder / f"{name}.hea").write_text("\n".join(lines) + "\n")


def read_all(*roots: Path) -> dict[str, Recording]:
    return {ref.record: CPSC2018().read(ref) for ref in CPSC2018().find(roots)}


def ref_of(root: Path, record: str) -> RecordRef:
    return next(ref for ref in CPSC2018().find([root]) if ref.record == record)


def test_the_real_original_records() -> None:
    if not (DATA / "cpsc2018").is_dir():
        pytest.skip("needs CPSC2018: set BIOFM_DATA to a folder that holds cpsc2018")
    read = read_all(DATA / "cpsc2018")
    assert {name: dict(r.labels) for name, r in read.items()} == {
        "A1980": {"PAC": 100.0},
        "A1981": {"STD": 100.0},
        "A1982": {"I-AVB": 100.0},
        "A1983": {"Normal": 100.0},
    }
    assert [(r.age, r.sex) for r in read.values()][:2] == [(52.0, "male"), (48.0, "female")]
    for recording in read.values():
        lead_i, lead_ii, lead_iii, avr = recording.signals[0].physical()[:4]
        # The rows stand in the standard order, or these laws would not hold.
        np.testing.assert_allclose(lead_i + lead_iii, lead_ii, atol=0.01)
        np.testing.assert_allclose(avr, -(lead_i + lead_ii) / 2, atol=0.01)


def test_the_real_copies() -> None:
    root = DATA / "challenge-2021" / "WFDB_CPSC2018"
    if not root.is_dir():
        pytest.skip(
            f"needs the Challenge's copy: set BIOFM_DATA to a folder that holds {root.name}"
        )
    read = read_all(root)
    assert len(read) == 7
    assert dict(read["A0001"].labels) == {"RBBB": 100.0}
    assert dict(read["A1041"].labels) == {"AF": 100.0, "LBBB": 100.0}
    assert (read["A0001"].age, read["A0001"].sex) == (74.0, "male")
    # The records of the other tranches (Q, JS, E, S, HR) beside it are not this data set's.
    assert read_all(DATA / "challenge-2021").keys() == read.keys()


def test_all_nine_classes_of_the_original(tmp_path: Path) -> None:
    for number in range(1, 10):
        write_original(tmp_path / f"TrainingSet{number % 3 + 1}", f"A000{number}")
    write_reference(tmp_path, *(f"A000{n},{n},,{n % 9 + 1 if n > 7 else ''}" for n in range(1, 10)))
    read = read_all(tmp_path)
    for number, recording in enumerate(read.values(), 1):
        extra = {CLASSES[number % 9]} if number > 7 else set()
        assert recording.labels == dict.fromkeys({CLASSES[number - 1]} | extra, 100.0)
    np.testing.assert_allclose(read["A0001"].signals[0].physical(), samples_mv(), atol=1e-6)
    assert CPSC2018().label_sets([tmp_path]) == {"cpsc2018": {name: [name] for name in CLASSES}}


def test_all_nine_classes_of_the_copy(tmp_path: Path) -> None:
    for i, code in enumerate(SNOMED.values()):
        write_copy(tmp_path, f"A{i:04d}", str(code), mark="# " if i % 2 else "#")
    read = read_all(tmp_path)
    assert [list(recording.labels) for recording in read.values()] == [[name] for name in SNOMED]
    np.testing.assert_allclose(read["A0000"].signals[0].physical(), samples_mv(), atol=1e-6)


def test_untidy_facts_of_the_copy(tmp_path: Path) -> None:
    write_copy(tmp_path, "A0608", "164889003, 59118001,164889003,12345,", "NaN", "Unknown")
    write_copy(tmp_path, "A0609", "", "91", "F")
    read = read_all(tmp_path)
    assert read["A0608"].labels == {"AF": 100.0, "RBBB": 100.0, "12345": 100.0}
    assert (read["A0608"].age, read["A0608"].sex) == (None, None)
    assert (read["A0609"].age, read["A0609"].sex, read["A0609"].labels) == (90.0, "female", {})


@pytest.mark.parametrize("age", [np.nan, np.zeros((0, 0))])
def test_an_unknown_age_of_the_original(tmp_path: Path, age: Any) -> None:
    write_original(tmp_path, "A0608", age=age)
    write_reference(tmp_path, "A0608,1,,")
    assert read_all(tmp_path)["A0608"].age is None


def test_there_is_no_patient_key_and_no_fold(tmp_path: Path) -> None:
    write_copy(tmp_path, "A0001", "59118001")
    ref = ref_of(tmp_path, "A0001")
    assert (ref.subject, ref.fold) == ("cpsc2018-A0001", None)


def test_a_record_that_only_the_reference_names_is_found(tmp_path: Path) -> None:
    write_original(tmp_path / "TrainingSet1", "A0001")
    write_reference(tmp_path / "TrainingSet1", "A0001,1,,", "A0002,5,,")
    with pytest.raises(RecordError, match=r"A0002\.mat: .*No such file.*get the file again"):
        CPSC2018().read(ref_of(tmp_path, "A0002"))


def test_roots_merge_or_disagree(tmp_path: Path) -> None:
    a, b = tmp_path / "a", tmp_path / "b"
    write_original(a, "A0001")
    write_original(b, "A0002")
    write_reference(a, "A0001,1,,", "A0002,5,,")
    write_reference(b, "A0002,5,,")
    read = read_all(a, b)
    assert [list(recording.labels) for recording in read.values()] == [["Normal"], ["RBBB"]]
    write_reference(b, "A0002,6,,")
    with pytest.raises(ValueError, match=r"b/REFERENCE\.csv: record A0002 has other labels"):
        CPSC2018().find([a, b])


def test_copies_that_disagree_and_mixed_forms(tmp_path: Path) -> None:
    write_copy(tmp_path / "a", "A0001", "59118001")
    write_copy(tmp_path / "b", "A0001", "59118001")
    assert len(CPSC2018().find([tmp_path / "a", tmp_path / "b"])) == 1
    write_copy(tmp_path / "b", "A0001", "164889003")
    with pytest.raises(ValueError, match="record A0001 differs between"):
        CPSC2018().find([tmp_path / "a", tmp_path / "b"])
    write_original(tmp_path / "c", "A0001")
    write_reference(tmp_path / "c", "A0001,5,,")
    with pytest.raises(ValueError, match="give roots of one form"):
        CPSC2018().find([tmp_path / "a", tmp_path / "c"])


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (
            samples_mv(leads=11),
            r"A0001\.mat: expected data of 12 leads by samples, found .*\(11, 700\)",
        ),
        (np.full((12, 700), np.nan), r"A0001\.mat: every sample is missing \(NaN\); leave"),
        (np.zeros((12, 0)), r"A0001\.mat: expected data of 12 leads"),
        (np.zeros((12, 700), complex), r"A0001\.mat: expected data of 12 leads"),
    ],
)
def test_unusable_samples_of_the_original(
    tmp_path: Path, data: NDArray[np.float64], message: str
) -> None:
    write_original(tmp_path, "A0001", data=data)
    write_reference(tmp_path, "A0001,1,,")
    with pytest.raises(RecordError, match=message):
        CPSC2018().read(ref_of(tmp_path, "A0001"))


def test_gaps_in_the_original_stay_nan(tmp_path: Path) -> None:
    data = samples_mv()
    data[4, 10:20] = np.nan
    write_original(tmp_path, "A0001", data=data)
    write_reference(tmp_path, "A0001,1,,")
    physical = read_all(tmp_path)["A0001"].signals[0].physical()
    np.testing.assert_array_equal(np.isnan(physical), np.isnan(data))


def test_damaged_files_of_the_original(tmp_path: Path) -> None:
    write_original(tmp_path, "A0001")
    write_reference(tmp_path, "A0001,1,,")
    ref, file = ref_of(tmp_path, "A0001"), tmp_path / "A0001.mat"
    whole = file.read_bytes()
    for damaged in (
        whole[: len(whole) // 2],
        b"",
        bytes(range(256)) * 4,
        whole[:200] + bytes(range(256)) * 2,
    ):
        file.write_bytes(damaged)
        with pytest.raises(RecordError, match=r"A0001\.mat: .*; get the file again"):
            CPSC2018().read(ref)
    scipy.io.savemat(file, {"val": samples_mv()})
    with pytest.raises(RecordError, match=r"A0001\.mat: expected a MATLAB 5 struct ECG"):
        CPSC2018().read(ref)
    with file.open("wb") as sparse:
        sparse.truncate(1 << 30)
    with pytest.raises(RecordError, match=r"A0001\.mat: larger than"):
        CPSC2018().read(ref)


def test_damaged_files_of_the_copy(tmp_path: Path) -> None:
    for name in ("A0001", "A0002", "A0003", "A0004"):
        write_copy(tmp_path, name, "59118001")
    data = (tmp_path / "A0001.mat").read_bytes()
    (tmp_path / "A0001.mat").write_bytes(data[:-100])
    (tmp_path / "A0002.mat").unlink()
    (tmp_path / "A0003.hea").unlink()
    (tmp_path / "A0004.mat").write_bytes(data[:5000] + b"\1\2" + data[5002:])
    refs = CPSC2018().find([tmp_path])
    messages = (
        r"A0001\.mat: .*cut short",
        r"A0002\.mat: .*No such",
        r"A0003\.hea: .*No such",
        "checksum",
    )
    for ref, message in zip(refs, messages, strict=True):
        with pytest.raises(RecordError, match=message):
            CPSC2018().read(ref)


def test_labels_that_cannot_be_used(tmp_path: Path) -> None:
    for name in ("A0001", "A0002", "A0003"):
        write_original(tmp_path, name)
    write_reference(tmp_path, "A0001,10,,", "A0002,,,")
    for record, message in (
        ("A0001", r"A0001\.mat: expected class numbers 1 to 9 in REFERENCE.csv, found \['10'\]"),
        ("A0002", r"A0002\.mat: expected class numbers 1 to 9 in REFERENCE.csv, found \[\]"),
        ("A0003", r"A0003\.mat: REFERENCE\.csv has no row for it"),
    ):
        with pytest.raises(RecordError, match=message):
            CPSC2018().read(ref_of(tmp_path, record))
    (tmp_path / "REFERENCE.csv").write_text("some,thing\n")
    with pytest.raises(ValueError, match="expected the columns Recording, First_label"):
        CPSC2018().find([tmp_path])
    (tmp_path / "REFERENCE.csv").unlink()
    with pytest.raises(FileNotFoundError, match=r"records without REFERENCE.csv"):
        CPSC2018().find([tmp_path])


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("../../secret,1,,", r"line 2: expected the name of a record, such as A0001, found '\.\./"),
        ("/etc/passwd,1,,", "line 2: expected the name of a record"),
        (f"A0001,{'1' * 200_000},,", "expected a CSV"),
    ],
)
def test_labels_of_anything_but_records(tmp_path: Path, row: str, message: str) -> None:
    write_original(tmp_path / "TrainingSet1", "A0001")
    write_reference(tmp_path / "TrainingSet1", row)
    with pytest.raises(ValueError, match=message):
        CPSC2018().find([tmp_path])


def test_a_file_that_unfolds_to_too_much_is_refused(tmp_path: Path) -> None:
    write_original(tmp_path, "A0001", data=np.zeros((12, 800_000)))
    write_reference(tmp_path, "A0001,1,,")
    assert (tmp_path / "A0001.mat").stat().st_size < 1 << 20
    with pytest.raises(RecordError, match="unfolds to more than 67108864 bytes"):
        CPSC2018().read(ref_of(tmp_path, "A0001"))
