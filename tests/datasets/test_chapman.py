"""Chapman-Shaoxing and Ningbo in figshare's form and in WFDB, and the same labels in both."""

from __future__ import annotations

import os
import shutil
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from biofm.datasets.challenge import Challenge
from biofm.datasets.chapman import Chapman, read_csv
from biofm.datasets.registry import RecordError, RecordRef
from biofm.datasets.simulate import TRUTH, simulate
from biofm.signals import LEADS_12, Recording

DATA = Path(os.environ.get("BIOFM_DATA", "/nowhere"))
FILES = ("MUSE_20180113_171327_27000", "MUSE_20180112_073319_29000", "MUSE_20180111_165520_97000")


@pytest.fixture(scope="module")
def twin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("twin") / "chapman"
    return simulate("chapman", folder, records=20, seed=5, progress=False)


def read_all(*roots: Path) -> dict[str, Recording]:
    return {ref.record: Chapman().read(ref) for ref in Chapman().find(roots)}


def samples_uv(length: int = 50) -> pl.DataFrame:
    steps = np.random.default_rng(0).integers(-400, 400, (length, 12))
    return pl.DataFrame(steps * 4.88, schema=list(LEADS_12))


def write_tree(folder: Path, rows: list[dict[str, Any]], signals: str = "ECGData") -> Path:
    """A tree in figshare's layout; rows lack what does not matter."""
    (folder / signals).mkdir(parents=True)
    usual = {"Rhythm": "SR", "Beat": "NONE", "PatientAge": 50, "Gender": "MALE"}
    table = pl.DataFrame([{"FileName": f"MUSE_{i}", **usual, **row} for i, row in enumerate(rows)])
    table.write_excel(folder / "Diagnostics.xlsx")
    for file in table["FileName"].head(5):
        raw = signals == "ECGData"
        samples_uv().write_csv(folder / signals / f"{file}.csv", include_header=raw)
    return folder


def test_the_twin_gives_back_what_was_planted(twin: Path) -> None:
    truth = pl.read_parquet(twin / TRUTH)
    found = read_all(twin)
    assert sorted(truth["record"]) == list(found)
    for row in truth.iter_rows(named=True):
        made = found[row["record"]]
        assert dict(made.labels) == dict.fromkeys(row["codes"], 100.0)
        assert (made.age, made.sex) == (min(row["age"], 90.0), row["sex"])
        assert made.dataset == "chapman"
        signal = made.signal("ecg")
        assert (signal.rate_hz, signal.duration_s, signal.channels) == (500, 10, LEADS_12)
        lead_i, lead_ii, lead_iii = signal.physical()[:3]
        np.testing.assert_allclose(lead_i + lead_iii, lead_ii, atol=0.01)  # in mV, in this order


def test_the_time_in_a_file_name_reaches_no_id(twin: Path) -> None:
    for ref in Chapman().find([twin]):
        made = Chapman().read(ref)
        name, when = made.private
        assert name == ref.path.stem == f"MUSE_{when}_{name[-5:]}"
        for word in made.private:
            assert word not in f"{made.record} {made.subject} {made.dataset} {dict(made.labels)}"


def test_rows_of_the_published_table_are_the_numbers_of_the_other_forms(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [{"FileName": file} for file in FILES]
    rows += [{} for _ in range(10_646 - len(rows))]
    refs = Chapman().find([write_tree(tmp_path / "whole", rows)])
    assert [ref.record for ref in refs] == [f"JS{n:05d}" for n in range(1, 10_647)]
    assert [ref.path.stem for ref in refs[:3]] == list(FILES)
    assert refs[1].subject == "chapman-JS00002"
    # A row less, and nothing says any more which number is whose.
    refs = Chapman().find([write_tree(tmp_path / "part", rows[1:])])
    assert not any(ref.record.startswith("JS") for ref in refs)
    assert len({ref.subject for ref in refs}) == 10_645


def test_untidy_rows(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"FileName": "MUSE_1", "Rhythm": "SI ", "Beat": " TWC  STTC ", "PatientAge": 98},
        {"FileName": "MUSE_2", "Rhythm": "AF", "Beat": "NONE", "Gender": "FEMALE"},
    ]
    found = {
        ref.path.stem: Chapman().read(ref)
        for ref in Chapman().find([write_tree(tmp_path / "a", rows)])
    }
    one, two = found["MUSE_1"], found["MUSE_2"]
    assert dict(one.labels) == {"SA": 100.0, "TWC": 100.0, "STTC": 100.0}
    assert (one.age, one.sex) == (90.0, "male")
    assert (dict(two.labels), two.age, two.sex) == ({"AF": 100.0}, 50.0, "female")


def test_raw_signals_are_preferred_and_denoised_ones_are_read(tmp_path: Path) -> None:
    root = write_tree(tmp_path / "a", [{"FileName": "MUSE_1"}], "ECGDataDenoised")
    (made,) = read_all(root).values()
    expected = samples_uv().to_numpy().T / 1000
    np.testing.assert_allclose(made.signal("ecg").physical(), expected, atol=1e-5)
    (root / "ECGData").mkdir()
    shuffled = samples_uv().select(LEADS_12[::-1]) * 2
    shuffled.write_csv(root / "ECGData" / "MUSE_1.csv")
    (made,) = read_all(root).values()
    # The row of names says which column is which lead.
    signal = made.signal("ecg").select(LEADS_12)
    np.testing.assert_allclose(signal.physical(), 2 * expected, atol=1e-5)
    shutil.rmtree(root / "ECGData")
    shutil.rmtree(root / "ECGDataDenoised")
    with pytest.raises(FileNotFoundError, match="no folder ECGData or ECGDataDenoised"):
        Chapman().find([root])


def test_missing_values_of_a_csv_are_nan(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    lines = samples_uv(4).write_csv(include_header=False).splitlines()
    lines[1] = ",".join(["", *lines[1].split(",")[1:]])
    lines[2] = ",".join(["NaN", *lines[2].split(",")[1:]])
    path.write_text("\n".join(lines))
    assert np.isnan(read_csv(path).physical()[0]).tolist() == [False, True, True, False]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected samples of the 12 leads, found 0"),
        ("1,2,3\n4,5,6\n", "expected a CSV of 12 leads"),
        ("I,II,III\n4,5,6\n", r"found 1 of \['I', 'II', 'III'\]"),
        ("1," * 12 + "1\n", "expected a CSV of 12 leads"),
        (",".join(LEADS_12) + "\n", "found 0 of"),
        (",".join(LEADS_12).replace("V6", "X9") + "\n" + "1," * 11 + "1\n", "unknown ecg channel"),
        (
            ",".join(LEADS_12).replace("V6", "V5") + "\n" + "1," * 11 + "1\n",
            "expected a CSV of 12 leads",
        ),
        ("1," * 11 + "1\n" + "1," * 11 + "x\n", "expected a CSV of 12 leads"),
        ("NaN," * 11 + "NaN\n", "every sample is missing"),
        ("\0\1\2,\n" * 50, "expected"),
    ],
)
def test_damaged_signals_say_what_is_wrong(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "MUSE_1.csv"
    path.write_text(text)
    with pytest.raises(RecordError, match=rf"MUSE_1\.csv: .*{message}"):
        read_csv(path)


def test_absent_and_huge_signals_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match=r"MUSE_1\.csv: the file cannot be read"):
        read_csv(tmp_path / "MUSE_1.csv")
    with (tmp_path / "MUSE_1.csv").open("wb") as sparse:
        sparse.truncate(1 << 30)
    with pytest.raises(RecordError, match=r"MUSE_1\.csv: larger than"):
        read_csv(tmp_path / "MUSE_1.csv")


def test_rows_that_cannot_be_used(tmp_path: Path) -> None:
    root = write_tree(tmp_path / "a", [{"FileName": "MUSE_1", "PatientAge": -4}])
    with pytest.raises(RecordError, match=r"row of Diagnostics\.xlsx .*: expected an age"):
        read_all(root)
    root = write_tree(tmp_path / "b", [{"FileName": "MUSE_1", "Gender": "HE"}])
    with pytest.raises(RecordError, match=r"row of Diagnostics\.xlsx .*: expected male, female"):
        read_all(root)
    table = pl.DataFrame({"FileName": ["../../etc/passwd"], "Rhythm": ["SR"], "Beat": ["NONE"]})
    table = table.with_columns(PatientAge=pl.lit(50), Gender=pl.lit("MALE"))
    table.write_excel(root / "Diagnostics.xlsx")
    with pytest.raises(ValueError, match=r"row 1: .* is not the name of a record's file"):
        Chapman().find([root])


def test_tables_that_cannot_be_read(tmp_path: Path) -> None:
    root = write_tree(tmp_path / "a", [{"FileName": "MUSE_1"}])
    table = root / "Diagnostics.xlsx"
    whole = table.read_bytes()
    pl.DataFrame({"FileName": ["MUSE_1"]}).write_excel(table)
    with pytest.raises(ValueError, match="expected a sheet with the columns"):
        Chapman().find([root])
    for damaged in (whole[: len(whole) // 2], b"", b"PK" * 100):
        table.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"Diagnostics\.xlsx: expected a sheet"):
            Chapman().find([root])
    with zipfile.ZipFile(table, "w", zipfile.ZIP_DEFLATED) as bomb, bomb.open("x", "w") as part:
        for _ in range(257):
            part.write(bytes(1 << 20))
    with pytest.raises(ValueError, match="unfolds to 269484032 bytes"):
        Chapman().find([root])


def test_both_forms_mean_the_same_rhythms(twin: Path) -> None:
    sets = Chapman().label_sets([twin])
    assert len(sets["rhythm"]) == 11
    assert sets["rhythm"]["AFIB"] == ["AFIB", "164889003"]
    assert sets["rhythm"]["AF"] == ["AF", "164890007"]
    # The Challenge's copy codes these two differently than ecg-arrhythmia.
    assert sets["rhythm"]["AVNRT"] == ["AVNRT", "233896004", "251166008"]
    assert sets["rhythm"]["SAAWR"] == ["SAAWR", "195101003", "17366009"]
    groups = sets["rhythm_group"]
    assert list(groups) == ["AFIB", "GSVT", "SB", "SR"]
    assert sorted(c for codes in groups.values() for c in codes) == sorted(
        c for codes in sets["rhythm"].values() for c in codes
    )
    assert groups["SR"] == ["SR", "426783006", "SA", "427393009"]
    for name in ("rhythm", "condition"):
        codes = [code for codes in sets[name].values() for code in codes]
        assert len(codes) == len(set(codes))
    # All 56 conditions of ConditionNames.xlsx, those of one SNOMED CT code as one class.
    assert sum(not c.isdigit() for codes in sets["condition"].values() for c in codes) == 56


def test_one_record_in_two_forms_is_a_contradiction(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [{} for _ in range(10_646)]
    root = write_tree(tmp_path / "figshare", rows)
    (tmp_path / "wfdb").mkdir()
    (tmp_path / "wfdb" / "JS00001.hea").write_text("JS00001 12 500 5000\n")
    with pytest.raises(
        ValueError, match=r"record JS00001 differs between .*give roots of one form"
    ):
        Chapman().find([root, tmp_path / "wfdb"])


def real() -> Path:
    root = DATA / "challenge-2021"
    if not root.is_dir():
        pytest.skip(f"needs real recordings: set BIOFM_DATA to a folder that holds {root.name}")
    return root


def ref_of(root: Path, record: str) -> RecordRef:
    return next(ref for ref in Chapman().find([root]) if ref.record == record)


def test_the_real_copies_are_read_and_have_a_rhythm() -> None:
    root = real()
    found = read_all(root)
    assert len(found) == 33
    assert {r.dataset for r in found.values()} == {"chapman", "ningbo"}
    rhythms = {c for codes in Chapman().label_sets([root])["rhythm"].values() for c in codes}
    without = [name for name, recording in found.items() if not rhythms & recording.labels.keys()]
    assert without == ["JS45545", "JS45549"]  # ventricular tachycardia is none of the eleven
    assert found["JS20000"].sex == "female"
    # Whoever reads them as the Challenge's gets the same recordings.
    for ref in Challenge().find([root]):
        if ref.record in found:
            copy, own = Challenge().read(ref), found[ref.record]
            assert (copy.dataset, copy.subject, copy.labels) == (
                own.dataset,
                own.subject,
                own.labels,
            )


def test_physionets_folders_are_read(tmp_path: Path) -> None:
    root = real()
    deep = tmp_path / "physionet.org/files/ecg-arrhythmia/1.0.0/WFDBRecords/01/010"
    deep.mkdir(parents=True)
    for suffix in (".hea", ".mat"):
        shutil.copy(root / "WFDB_ChapmanShaoxing" / f"JS00002{suffix}", deep)
    made = Chapman().read(ref_of(tmp_path, "JS00002"))
    assert dict(made.labels) == {"426177001": 100.0, "164934002": 100.0}
    assert (made.subject, made.age, made.sex) == ("chapman-JS00002", 59.0, "female")


@pytest.mark.parametrize("row", [{"PatientAge": "old"}, {}])
def test_an_error_does_not_tell_when_a_record_was_made(tmp_path: Path, row: dict[str, Any]) -> None:
    write_tree(tmp_path / "set", [{"FileName": FILES[0], **row}])
    (tmp_path / "set" / "ECGData" / f"{FILES[0]}.csv").write_text("no samples\n")
    (ref,) = Chapman().find([tmp_path / "set"])
    with pytest.raises(RecordError, match=rf"FileName has a SHA-256 of {ref.record}") as error:
        Chapman().read(ref)
    assert "20180113" not in str(error.value)
