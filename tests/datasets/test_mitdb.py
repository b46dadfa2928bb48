"""MIT-BIH's beats, rhythms, leads and folds; its twin; what the real records hold."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import wfdb

from biofm.datasets.mitdb import AAMI, DS1, DS2, FOLDS, HELD_OUT, MITDB, PACED
from biofm.datasets.registry import RecordError
from biofm.datasets.simulate import simulate
from biofm.signals import Recording

DATA = Path(os.environ.get("BIOFM_DATA", "/nowhere")) / "mitdb"


@pytest.fixture(scope="module")
def twin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return simulate("mitdb", tmp_path_factory.mktemp("mitdb") / "twin", records=6, progress=False)


@pytest.fixture(scope="module")
def recordings(twin: Path) -> dict[str, Recording]:
    return {ref.record: MITDB().read(ref) for ref in MITDB().find([twin])}


def truth_of(twin: Path) -> dict[str, dict[str, Any]]:
    return {row["record"]: row for row in pl.read_parquet(twin / "truth.parquet").to_dicts()}


def copy_of(twin: Path, folder: Path, record: str) -> Path:
    """One record's files alone in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for suffix in (".hea", ".dat", ".atr"):
        shutil.copy(twin / f"{record}{suffix}", folder)
    return folder


def read_only(folder: Path) -> Recording:
    (ref,) = MITDB().find([folder])
    return MITDB().read(ref)


def test_the_split_is_de_chazals() -> None:
    assert (len(DS1), len(DS2), len(PACED)) == (22, 22, 4)
    assert len({*DS1, *DS2, *PACED}) == 48 == len(FOLDS)
    assert set(HELD_OUT) < set(DS1)
    assert Counter(FOLDS.values()) == {1: 18, 2: 4, 3: 22, 4: 4}


def test_one_person_has_two_records(twin: Path) -> None:
    refs = {ref.record: ref for ref in MITDB().find([twin])}
    assert refs["201"].subject == refs["202"].subject == "mitdb-201"
    assert (refs["201"].fold, refs["202"].fold) == (1, 3)
    assert refs["114"].subject == "mitdb-114"
    assert len({ref.subject for ref in refs.values()}) == len(refs) - 1


def test_leads_are_known_by_name_in_either_order(
    twin: Path, recordings: dict[str, Recording]
) -> None:
    assert recordings["119"].signal("ecg").channels == ("II", "V1")
    assert recordings["114"].signal("ecg").channels == ("V5", "II")
    assert recordings["102"].signal("ecg").channels == ("V5", "V2")
    stored = wfdb.rdrecord(str(twin / "114"))
    assert stored.sig_name == ["V5", "MLII"]
    np.testing.assert_allclose(
        recordings["114"].signal("ecg").physical().T, stored.p_signal, atol=1e-5
    )


def test_the_planted_beats_and_rhythms_are_found(
    twin: Path, recordings: dict[str, Recording]
) -> None:
    truth = truth_of(twin)
    assert truth.keys() == recordings.keys()
    for record, recording in recordings.items():
        planted = truth[record]
        beats = [a for a in recording.annotations if a.code.startswith("beat:")]
        rhythms = [a for a in recording.annotations if a.code.startswith("rhythm:")]
        assert "".join(beat.code.removeprefix("beat:") for beat in beats) == planted["beats"]
        np.testing.assert_allclose([beat.onset_s for beat in beats], planted["r_peaks_s"])
        assert [rhythm.code.removeprefix("rhythm:") for rhythm in rhythms] == planted["rhythms"]
        np.testing.assert_allclose([r.onset_s for r in rhythms], planted["rhythm_onsets_s"])
        assert rhythms[-1].onset_s + rhythms[-1].duration_s == pytest.approx(120.0)
        assert (recording.age, recording.sex) == (min(planted["age"], 90), planted["sex"])
    assert "AFIB" in truth["201"]["rhythms"]
    assert "V" in truth["201"]["beats"]
    assert set(truth["102"]["beats"]) == {"/"}


def test_the_beats_stand_on_qrs_complexes(recordings: dict[str, Recording]) -> None:
    """The largest sample about a normal beat is at the annotation: signal and labels share a clock."""
    recording = recordings["100"]
    lead = recording.signal("ecg").select(("II",)).physical()[0]
    normal = [a.onset_s for a in recording.annotations if a.code == "beat:N"]
    places = np.rint(np.array(normal) * 360).astype(int)
    places = places[(places > 60) & (places < len(lead) - 60)]
    windows = np.abs(lead[places[:, None] + np.arange(-50, 51)])
    assert np.mean(np.abs(windows.argmax(axis=1) - 50) <= 6) > 0.9


def test_the_header_says_age_and_sex_and_nothing_else_is_kept(twin: Path, tmp_path: Path) -> None:
    folder = copy_of(twin, tmp_path / "one", "100")
    header = (folder / "100.hea").read_text()
    start = header.index("# ")
    for line, person in (
        ("# 93 F 1085 1629 x1\n# Digoxin", (90.0, "female")),
        ("# -1 M 654 N/A x2", (None, "male")),
        ("# the PVCs are multiform", (None, None)),
        ("", (None, None)),
    ):
        (folder / "100.hea").write_text(f"{header[:start]}{line}\n")
        recording = read_only(folder)
        assert (recording.age, recording.sex) == person
        assert "Digoxin" not in repr(recording)


def test_the_aami_classes_take_each_symbol_once() -> None:
    sets = MITDB().label_sets([])
    assert set(sets) == {"aami", "beats", "rhythms"}
    codes = [code for classes in sets["aami"].values() for code in classes]
    assert len(codes) == len(set(codes)) == 15
    assert sets["aami"]["S"] == ["beat:A", "beat:a", "beat:J", "beat:S"]
    assert {code.removeprefix("beat:") for code in codes} == set("".join(AAMI.values()))
    assert sets["rhythms"]["AFIB"] == ["rhythm:AFIB"]


def test_an_unknown_rhythm_is_refused(twin: Path, tmp_path: Path) -> None:
    folder = copy_of(twin, tmp_path / "one", "100")
    wfdb.wrann("100", "atr", np.array([18]), symbol=["+"], aux_note=["(XYZ"],
               write_dir=str(folder))  # fmt: skip
    with pytest.raises(RecordError, match=r"100\.atr: expected the rhythms AB, .*, found XYZ; get"):
        read_only(folder)


def test_a_record_without_annotations_is_refused(twin: Path, tmp_path: Path) -> None:
    folder = copy_of(twin, tmp_path / "one", "100")
    (folder / "100.atr").unlink()
    with pytest.raises(RecordError, match=r"100\.atr: the annotations cannot be read"):
        read_only(folder)


def test_a_damaged_signal_is_noticed(twin: Path, tmp_path: Path) -> None:
    folder = copy_of(twin, tmp_path / "one", "100")
    data = bytearray((folder / "100.dat").read_bytes())
    data[3000] ^= 1
    (folder / "100.dat").write_bytes(data)
    with pytest.raises(RecordError, match="states checksum"):
        read_only(folder)


def test_other_records_of_three_digits_are_none_of_it(twin: Path, tmp_path: Path) -> None:
    folder = copy_of(twin, tmp_path / "one", "100")
    shutil.copy(folder / "100.hea", folder / "300.hea")
    shutil.copy(folder / "100.hea", folder / "x_100.hea")
    assert [ref.record for ref in MITDB().find([folder])] == ["100"]


def test_one_record_twice_must_be_the_same(twin: Path, tmp_path: Path) -> None:
    first = copy_of(twin, tmp_path / "a", "100")
    second = copy_of(twin, tmp_path / "b", "100")
    assert len(MITDB().find([first, second])) == 1
    with (second / "100.hea").open("a") as header:
        header.write("# another version\n")
    with pytest.raises(ValueError, match="record 100 differs between"):
        MITDB().find([first, second])


def test_the_real_records() -> None:
    if not DATA.is_dir():
        pytest.skip("needs real records of MIT-BIH: set BIOFM_DATA to a folder that holds mitdb")
    # As counted in the database's own table of annotations.
    expected = {
        "100": {"N": 2239, "A": 33, "V": 1},
        "106": {"N": 1507, "V": 520},
        "119": {"N": 1543, "V": 444},
        "200": {"N": 1743, "A": 30, "V": 826, "F": 2},
        "208": {"N": 1586, "V": 992, "F": 373, "S": 2, "Q": 2},
        "231": {"N": 314, "R": 1254, "A": 1, "V": 2},
    }
    people = {"100": (69, "male", 3), "106": (24, "female", 1), "119": (51, "female", 2),
              "200": (64, "male", 3), "208": (23, "female", 1), "231": (72, "female", 3)}  # fmt: skip
    refs = MITDB().find([DATA])
    assert [ref.record for ref in refs] == sorted(expected)
    for ref in refs:
        recording = MITDB().read(ref)
        reference = wfdb.rdann(str(DATA / ref.record), "atr")
        counts = Counter(a.code for a in recording.annotations if a.code.startswith("beat:"))
        assert {code[5:]: count for code, count in counts.items()} == expected[ref.record]
        changes = reference.symbol.count("+")
        spans = [a for a in recording.annotations if a.code.startswith("rhythm:")]
        assert len(spans) == changes
        ends = [a.onset_s + a.duration_s for a in spans]
        np.testing.assert_allclose(ends[:-1], [a.onset_s for a in spans[1:]])
        assert ends[-1] == pytest.approx(650_000 / 360)
        assert (recording.age, recording.sex, recording.fold) == people[ref.record]
        assert recording.signal("ecg").samples.shape == (2, 650_000)
