"""The synthetic twin's trees: layout, tables, truth, and that the readers take them for real."""

from __future__ import annotations

import ast
import csv
from collections import Counter
from pathlib import Path

import polars as pl
import pytest
import scipy.io

from biofm.datasets.registry import source
from biofm.datasets.simulate import MARKER, TRUTH, is_synthetic, simulate
from biofm.datasets.simulate.layouts import LAYOUTS
from biofm.datasets.simulate.ptbxl_tree import DEVICE, ecg_ids, paths_of

RECORDS = 120
FEW = {"mesa": 1, "sleep_accel": 1, "apple_health": 1, "ppg_dalia": 1, "wesad": 1, "mitdb": 2}
"""Layout → how many of its long recordings are enough here; six of all others."""
SIZES = {
    "all": 71,
    "diagnostic": 44,
    "subdiagnostic": 23,
    "superdiagnostic": 5,
    "form": 19,
    "rhythm": 12,
}


@pytest.fixture(scope="module")
def ptbxl(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("twin") / "ptbxl"
    return simulate("ptbxl", folder, records=RECORDS, seed=3, progress=False)


@pytest.fixture(scope="module")
def cpsc(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("twin") / "cpsc"
    return simulate("cpsc2018", folder, records=45, seed=3, progress=False)


def files_of(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def database(root: Path) -> list[dict[str, str]]:
    with (root / "ptbxl_database.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_ptbxl_tables_are_those_of_the_real_set(ptbxl: Path) -> None:
    rows = database(ptbxl)
    truth = pl.read_parquet(ptbxl / TRUTH)
    assert len(rows) == len(truth) == RECORDS
    assert len(rows[0]) == 28
    with (ptbxl / "scp_statements.csv").open(newline="") as file:
        known = {row[""]: row for row in csv.DictReader(file)}
    assert len(known) == 71
    for row in rows:
        assert row["device"] == DEVICE
        assert DEVICE in row["report"]
        assert float(row["patient_id"]) == int(float(row["patient_id"])) > 0
        for rate in ("lr", "hr"):
            assert (ptbxl / f"{row[f'filename_{rate}']}.hea").is_file()
            assert (ptbxl / f"{row[f'filename_{rate}']}.dat").is_file()
        codes = ast.literal_eval(row["scp_codes"])
        assert codes.keys() <= known.keys()
        for code, likelihood in codes.items():
            if known[code]["rhythm"]:
                assert likelihood == 0.0
    ages = [float(row["age"]) for row in rows]
    expected = [a if a <= 89 else 300 for a in truth["age"]]
    assert ages == expected
    assert 300.0 in ages


def test_ptbxl_statements_equal_the_real_file(ptbxl: Path, real_ptbxl: Path) -> None:
    columns = ("diagnostic", "form", "rhythm", "diagnostic_class", "diagnostic_subclass")

    def table(path: Path) -> dict[str, tuple[str, ...]]:
        with path.open(newline="") as file:
            return {row[""]: tuple(row[c] for c in columns) for row in csv.DictReader(file)}

    assert table(ptbxl / "scp_statements.csv") == table(real_ptbxl / "scp_statements.csv")
    with (real_ptbxl / "ptbxl_database.csv").open(newline="") as file:
        assert next(csv.reader(file)) == list(database(ptbxl)[0])
    real = next((real_ptbxl / "records500").rglob("*.hea")).read_text().splitlines()
    ours = next((ptbxl / "records500").rglob("*.hea")).read_text().splitlines()
    assert ours[0].split()[1:] == real[0].split()[1:]
    for our_line, real_line in zip(ours[1:13], real[1:13], strict=True):
        our_words, real_words = our_line.split(), real_line.split()
        assert [our_words[i] for i in (1, 2, 3, 4, 7, 8)] == [
            real_words[i] for i in (1, 2, 3, 4, 7, 8)
        ]


def test_codes_say_what_was_planted(ptbxl: Path) -> None:
    codes = [ast.literal_eval(row["scp_codes"]) for row in database(ptbxl)]
    truth = pl.read_parquet(ptbxl / TRUTH)
    planted = {
        "AFIB": truth["rhythm"] == "af",
        "SBRAD": truth["rhythm"] == "bradycardia",
        "STACH": truth["rhythm"] == "tachycardia",
        "SR": truth["rhythm"] == "sinus",
        "PAC": truth["ectopy"] == "pac",
        "PVC": truth["ectopy"] == "pvc",
        "1AVB": truth["conduction"] == "first_degree_block",
        "CLBBB": truth["conduction"] == "lbbb",
        "CRBBB": truth["conduction"] == "rbbb",
        "STD_": truth["st"] == "depression",
        "STE_": truth["st"] == "elevation",
        "IMI": truth["structure"] == "inferior_infarction",
        "ASMI": truth["structure"] == "anteroseptal_infarction",
        "LVH": truth["structure"] == "lv_hypertrophy",
    }
    for code, expected in planted.items():
        assert expected.any(), f"{code} does not occur among {RECORDS} records"
        assert [code in c for c in codes] == expected.to_list(), code
    abnormal = [
        "AFIB",
        "PAC",
        "PVC",
        "1AVB",
        "CLBBB",
        "CRBBB",
        "STD_",
        "STE_",
        "IMI",
        "ASMI",
        "LVH",
    ]
    assert all(("NORM" in c) != any(a in c for a in abnormal) for c in codes)


def test_truth_agrees_with_itself(ptbxl: Path) -> None:
    for row in pl.read_parquet(ptbxl / TRUTH).iter_rows(named=True):
        assert len(row["beats"]) == len(row["r_peaks_s"]) > 4
        assert row["r_peaks_s"] == sorted(row["r_peaks_s"])
        assert 0 <= row["r_peaks_s"][0] < row["r_peaks_s"][-1] < row["duration_s"] == 10
        assert ("A" in row["beats"]) == (row["ectopy"] == "pac")
        assert ("V" in row["beats"]) == (row["ectopy"] == "pvc")
        assert (row["pr_s"] is None) == (row["rhythm"] == "af")
        if row["pr_s"]:
            assert (row["pr_s"] > 0.2) == (row["conduction"] == "first_degree_block")


def test_subjects_keep_to_one_fold_and_folds_are_balanced(ptbxl: Path) -> None:
    rows = database(ptbxl)
    folds: dict[str, set[str]] = {}
    for row in rows:
        folds.setdefault(row["patient_id"], set()).add(row["strat_fold"])
    assert all(len(f) == 1 for f in folds.values())
    records = Counter(row["patient_id"] for row in rows)
    assert max(records.values()) >= 2
    subjects = Counter(next(iter(f)) for f in folds.values())
    assert set(subjects) == {str(i) for i in range(1, 11)}
    assert max(subjects.values()) - min(subjects.values()) <= 1
    facts = {(row["patient_id"], row["sex"], row["age"]) for row in rows}
    assert len(facts) == len(folds), "a subject changes age or sex between recordings"


def test_ids_have_gaps_and_lie_in_folders_of_a_thousand() -> None:
    ids = ecg_ids(2000, seed=0)
    assert (ids[1:] > ids[:-1]).all()
    assert ids[-1] > 2000
    assert paths_of(21837) == ("records100/21000/21837_lr", "records500/21000/21837_hr")


def test_the_ptbxl_reader_takes_the_tree(ptbxl: Path) -> None:
    reader = source("ptbxl")
    refs = reader.find([ptbxl])
    assert len(refs) == RECORDS
    rows = {int(row["ecg_id"]): row for row in database(ptbxl)}
    for ref in refs[:5]:
        recording = reader.read(ref)
        row = next(r for i, r in rows.items() if f"{i:05d}" in ref.record)
        assert dict(recording.labels) == ast.literal_eval(row["scp_codes"])
        assert recording.fold == int(row["strat_fold"])
        assert recording.signal("ecg").duration_s == 10
    assert {k: len(v) for k, v in reader.label_sets([ptbxl]).items()} == SIZES


def test_the_cpsc_reader_takes_the_twin_for_real(tmp_path: Path) -> None:
    root = simulate("cpsc2018", tmp_path / "cpsc", records=30, seed=1, progress=False)
    truth = {row["record"]: row for row in pl.read_parquet(root / TRUTH).iter_rows(named=True)}
    reader = source("cpsc2018")
    refs = reader.find([root])
    assert {ref.record for ref in refs} == truth.keys()
    seen = set()
    for ref in refs:
        recording, row = reader.read(ref), truth[ref.record]
        seen |= set(recording.labels)
        assert ("AF" in recording.labels) == (row["rhythm"] == "af")
        assert ("RBBB" in recording.labels) == (row["conduction"] == "rbbb")
        assert ("STD" in recording.labels) == (row["st"] == "depression")
        assert recording.age == (row["age"] if row["age"] <= 89 else recording.age)
        assert recording.sex == row["sex"]
        assert recording.signal("ecg").duration_s == pytest.approx(row["duration_s"])
    assert seen == {"Normal", "AF", "I-AVB", "LBBB", "RBBB", "PAC", "PVC", "STD", "STE"}


def test_cpsc_structs_look_like_the_real_ones(cpsc: Path) -> None:
    labels: Counter[str] = Counter()
    names = []
    for reference in sorted(cpsc.glob("TrainingSet*/REFERENCE.csv")):
        with reference.open(newline="") as file:
            for row in csv.DictReader(file):
                names.append(row["Recording"])
                labels.update(v for k, v in row.items() if k != "Recording" and v)
                assert (reference.parent / f"{row['Recording']}.mat").is_file()
    assert names == [f"A{i:04d}" for i in range(1, 46)]
    assert set(labels) == {str(i) for i in range(1, 10)}
    ecg = scipy.io.loadmat(cpsc / "TrainingSet1" / "A0001.mat")["ECG"][0, 0]
    assert ecg["sex"][0] in ("Male", "Female")
    assert 18 <= ecg["age"][0, 0] <= 95
    assert ecg["data"].dtype == "float64"
    assert ecg["data"].shape[0] == 12
    durations = pl.read_parquet(cpsc / TRUTH)["duration_s"]
    assert durations.min() >= 6  # type: ignore[operator]
    assert 20 < durations.max() <= 60  # type: ignore[operator]


@pytest.mark.parametrize("layout", sorted(LAYOUTS))
def test_a_seed_gives_the_same_bytes_and_another_seed_others(tmp_path: Path, layout: str) -> None:
    def make(name: str, seed: int) -> dict[str, bytes]:
        simulate(layout, tmp_path / name, records=FEW.get(layout, 6), seed=seed, progress=False)
        return files_of(tmp_path / name)

    first, again, other = make("first", 5), make("again", 5), make("other", 6)
    assert first == again
    assert first[TRUTH] != other[TRUTH]
    assert sum(first[f] != other[f] for f in first.keys() & other.keys()) > len(first) / 3


def test_it_says_that_it_is_synthetic(ptbxl: Path, cpsc: Path, tmp_path: Path) -> None:
    assert is_synthetic(ptbxl)
    assert is_synthetic(ptbxl / "records500" / "00000")
    assert is_synthetic(cpsc / "TrainingSet2")
    assert not is_synthetic(tmp_path)
    assert "None was recorded from a person" in (ptbxl / MARKER).read_text().replace("\n", " ")
    header = next((ptbxl / "records100").rglob("*.hea")).read_text()
    assert "synthetic twin" in header
    assert b"synthetic twin" in (cpsc / "TrainingSet1" / "A0001.mat").read_bytes()[:116]


def test_it_never_writes_over_anything(tmp_path: Path) -> None:
    (tmp_path / "precious.txt").write_text("keep me")
    with pytest.raises(FileExistsError, match="not an empty folder"):
        simulate("ptbxl", tmp_path, records=2, progress=False)
    assert [p.name for p in tmp_path.iterdir()] == ["precious.txt"]
    empty = tmp_path / "empty"
    empty.mkdir()
    assert (simulate("ptbxl", empty, records=2, progress=False) / MARKER).is_file()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["empty", "precious.txt"]


def test_a_failure_leaves_nothing_that_looks_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("biofm.datasets.simulate.ptbxl_tree.write_format_16", full)
    with pytest.raises(OSError, match="no space left while writing"):
        simulate("ptbxl", tmp_path / "twin", records=2, progress=False)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"layout": "mimic"}, "unknown layout 'mimic'; known: .*cpsc2018, .*ptbxl"),
        ({"layout": "ptbxl", "records": 0}, "records must be 1 to 90000"),
        ({"layout": "cpsc2018", "records": 10_000}, "records must be 1 to 9999"),
        ({"layout": "ptbxl", "seed": -1}, "seed must be 0 or more"),
    ],
)
def test_impossible_arguments_are_named(
    tmp_path: Path, arguments: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        simulate(out=tmp_path / "twin", **arguments)  # type: ignore[arg-type]


@pytest.fixture
def real_ptbxl() -> Path:
    import os

    folder = Path(os.environ.get("BIOFM_DATA", "")) / "ptb-xl"
    if "BIOFM_DATA" not in os.environ or not folder.is_dir():
        pytest.skip("BIOFM_DATA names no folder with ptb-xl: the real tables are not compared")
    return folder
