"""PPG-DaLiA on its twin: signals, heart rates, activities, and what can be wrong with a file."""

from __future__ import annotations

import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from biofm.datasets.ppg_dalia import ACTIVITIES, PPGDaLiA
from biofm.datasets.registry import RecordError
from biofm.datasets.simulate import simulate
from biofm.signals import Recording
from biofm.signals.heart_rate import heart_rate_bpm

SOURCE = PPGDaLiA()


@pytest.fixture(scope="module")
def twin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return simulate(
        "ppg_dalia", tmp_path_factory.mktemp("dalia") / "twin", records=2, seed=3, progress=False
    )


@pytest.fixture(scope="module")
def truth(twin: Path) -> dict[str, dict[str, Any]]:
    return {row["record"]: row for row in pl.read_parquet(twin / "truth.parquet").to_dicts()}


@pytest.fixture(scope="module")
def recordings(twin: Path) -> list[Recording]:
    return [SOURCE.read(ref) for ref in SOURCE.find([twin])]


@pytest.fixture(scope="module")
def content(twin: Path) -> dict[str, Any]:
    """What stands in a file: about 20 s of it."""
    with (twin / "PPG_FieldStudy/S1/S1.pkl").open("rb") as file:
        whole: dict[str, Any] = pickle.load(file)
    rates_hz = {"chest": {}, "wrist": {"ACC": 32, "BVP": 64, "EDA": 4, "TEMP": 4}}
    for device, arrays in whole["signal"].items():
        for name, array in arrays.items():
            arrays[name] = array[: 20 * rates_hz[device].get(name, 700)]
    return {**whole, "label": whole["label"][:7], "activity": whole["activity"][:80]}


def reading(folder: Path, content: dict[str, Any], name: str = "S1") -> Recording:
    path = folder / "PPG_FieldStudy" / name / f"{name}.pkl"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(content, protocol=2))
    return SOURCE.read(SOURCE.find([folder])[0])


def rates(recording: Recording) -> dict[float, float]:
    return {
        a.onset_s: a.value
        for a in recording.annotations
        if a.code == "hr" and a.value is not None and a.duration_s == 8
    }


def test_every_channel_has_its_rate_and_place(recordings: list[Recording]) -> None:
    for recording in recordings:
        assert {(s.modality, s.rate_hz, s.channels) for s in recording.signals} == {
            ("acc", 700.0, ("chest_x", "chest_y", "chest_z")),
            ("ecg", 700.0, ("chest",)),
            ("resp", 700.0, ("thorax",)),
            ("acc", 32.0, ("x", "y", "z")),
            ("ppg", 64.0, ("ppg",)),
            ("eda", 4.0, ("wrist",)),
            ("temp", 4.0, ("wrist",)),
        }
        assert len({signal.duration_s for signal in recording.signals}) == 1


def test_planted_labels_are_recovered(
    recordings: list[Recording], truth: dict[str, dict[str, Any]]
) -> None:
    for recording in recordings:
        row = truth[recording.record]
        assert (recording.age, recording.sex) == (row["age"], row["sex"])
        assert recording.subject == f"ppg_dalia-{recording.record}"
        assert rates(recording) == {2.0 * i: bpm for i, bpm in enumerate(row["hr_bpm"])}
        doing = [
            (a.code, a.onset_s, a.duration_s)
            for a in recording.annotations
            if a.code.startswith("activity:")
        ]
        assert doing == [
            (f"activity:{ACTIVITIES[run['code']]}", run["onset_s"], run["duration_s"])
            for run in row["runs"]
            if run["code"]
        ]
        assert {"activity:sitting", "activity:walking"} < {code for code, _, _ in doing}


def test_the_pulse_at_rest_beats_as_the_label_says(recordings: list[Recording]) -> None:
    for recording in recordings:
        (sitting,) = (a for a in recording.annotations if a.code == "activity:sitting")
        bvp = recording.signal("ppg").samples[0]
        ecg = recording.signal("ecg").samples[0]
        compared = 0
        for onset_s, bpm in rates(recording).items():
            if sitting.onset_s <= onset_s <= sitting.onset_s + sitting.duration_s - 8:
                at = int(onset_s)
                by_pulse = heart_rate_bpm(bvp[at * 64 : (at + 8) * 64], 64.0, "ppg")
                by_ecg = heart_rate_bpm(ecg[at * 700 : (at + 8) * 700], 700.0, "ecg")
                assert by_pulse == pytest.approx(bpm, abs=2)
                assert by_ecg == pytest.approx(bpm, abs=1)
                compared += 1
        assert compared == 27


def test_walking_spoils_the_pulse_as_it_moves_the_wrist(recordings: list[Recording]) -> None:
    for recording in recordings:
        size, alike = {}, {}
        acc = next(s for s in recording.signals if s.modality == "acc" and s.rate_hz == 32)
        strength = np.linalg.norm(acc.samples, axis=0)
        bvp = recording.signal("ppg").samples[0]
        for code in ("sitting", "walking"):
            (span,) = (a for a in recording.annotations if a.code == f"activity:{code}")
            first, last = int(span.onset_s) + 2, int(span.onset_s + span.duration_s) - 2
            size[code] = strength[first * 32 : last * 32].std()
            moves = acc.samples[1, first * 32 : last * 32]
            # At 32 Hz, with the delay at which they are most alike.
            spoilt = bvp[first * 64 : last * 64 : 2]
            moves, spoilt = moves - moves.mean(), spoilt - spoilt.mean()
            lags = np.correlate(spoilt, moves, "full") / len(moves)
            alike[code] = np.abs(lags).max() / moves.std() / spoilt.std()
        assert size["walking"] > 10 * size["sitting"]
        assert alike["walking"] > 0.7 > 0.4 > alike["sitting"]


def test_labels_past_the_end_of_the_signal_are_dropped(
    tmp_path: Path, content: dict[str, Any]
) -> None:
    wrist = {**content["signal"]["wrist"]}
    wrist["BVP"] = wrist["BVP"][: 15 * 64]
    short = {**content, "signal": {**content["signal"], "wrist": wrist}}
    short["label"] = np.arange(100.0, 130.0)
    short["activity"] = np.ones((400, 1))
    recording = reading(tmp_path, short)
    assert rates(recording) == {0.0: 100.0, 2.0: 101.0, 4.0: 102.0, 6.0: 103.0}
    (sitting,) = (a for a in recording.annotations if a.code == "activity:sitting")
    assert (sitting.onset_s, sitting.duration_s) == (0, 20)


def test_the_twin_cuts_the_sixth_subject_short(tmp_path: Path) -> None:
    out = simulate("ppg_dalia", tmp_path / "twin", records=6, seed=0, progress=False)
    row = pl.read_parquet(out / "truth.parquet").to_dicts()[5]
    recording = SOURCE.read(SOURCE.find([out])[5])
    assert recording.signal("ppg").duration_s == row["signal_s"] < len(row["hr_bpm"]) * 2
    assert len(rates(recording)) == (row["signal_s"] - 8) // 2 + 1 < len(row["hr_bpm"])


def test_unknown_rates_have_no_label(tmp_path: Path, content: dict[str, Any]) -> None:
    label = np.array([70.0, np.nan, 0.0, 71.0, 72.0, 73.0, 74.0])
    recording = reading(tmp_path, {**content, "label": label})
    assert list(rates(recording)) == [0, 6, 8, 10, 12]


def test_placeholders_and_absent_arrays_are_left_out(
    tmp_path: Path, content: dict[str, Any]
) -> None:
    wrist = {**content["signal"]["wrist"], "EDA": np.full((80, 1), 0.2), "TEMP": np.zeros((0, 1))}
    chest = {k: v for k, v in content["signal"]["chest"].items() if k != "Resp"}
    chest["ACC"] = np.full_like(chest["ACC"], np.nan)
    recording = reading(tmp_path, {**content, "signal": {"chest": chest, "wrist": wrist}})
    assert [(s.modality, s.rate_hz) for s in recording.signals] == [
        ("ecg", 700.0),
        ("acc", 32.0),
        ("ppg", 64.0),
    ]


def test_the_wrist_is_in_g_whichever_unit_the_file_has(
    tmp_path: Path, content: dict[str, Any]
) -> None:
    wrist = {**content["signal"]["wrist"]}
    in_g = reading(tmp_path, content)
    wrist["ACC"] = wrist["ACC"] * 64
    in_64ths = reading(tmp_path, {**content, "signal": {**content["signal"], "wrist": wrist}})
    for one, other in zip(in_g.signals, in_64ths.signals, strict=True):
        np.testing.assert_allclose(one.samples, other.samples, rtol=1e-6)
    wrist["ACC"] = wrist["ACC"] * 64
    with pytest.raises(RecordError, match=r"S1\.pkl: wrist ACC: expected about 1 .* found 4.*e"):
        reading(tmp_path, {**content, "signal": {**content["signal"], "wrist": wrist}})


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"subject": "S2"}, "expected the subject S1, found 'S2'"),
        ({"activity": None}, "one column of numbers in activity"),
        ({"activity": np.full(80, 9.0)}, r"the codes \[0, .*\] for activity, found \[9.0\]"),
        ({"activity": np.full(80, np.nan)}, "for activity, found"),
        ({"label": np.ones((7, 2))}, "one column of numbers in label"),
        ({"signal": None}, "expected signal → chest"),
        ({"signal": {"chest": {}}}, "expected signal → wrist"),
        ({"signal": {"chest": {}, "wrist": {}}}, "missing or a placeholder"),
        ({"signal": {"chest": {"ECG": [1]}, "wrist": {}}}, "chest ECG: expected an array of time"),
        ({"signal": {"chest": {"ECG": np.ones((9, 2))}, "wrist": {}}}, r"found \(9, 2\)"),
        ({"questionnaire": {"AGE": "old", "Gender": "m"}}, "questionnaire"),
        ({"questionnaire": {"AGE": 30, "Gender": "x"}}, "expected male, female or unknown"),
    ],
)
def test_files_that_are_wrong_say_how(
    tmp_path: Path, content: dict[str, Any], change: dict[str, Any], why: str
) -> None:
    with pytest.raises(RecordError, match=rf"S1\.pkl.*{why}"):
        reading(tmp_path, {**content, **change})


def test_a_file_of_wesad_is_recognised(tmp_path: Path, content: dict[str, Any]) -> None:
    other = {key: content[key] for key in ("signal", "label", "subject")}
    with pytest.raises(RecordError, match="is it a file of another data set"):
        reading(tmp_path, other)


def test_hostile_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "PPG_FieldStudy/S1/S1.pkl"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"\x80\x02cos\nsystem\nX\x0c\x00\x00\x00touch hacked\x85R.")
    with pytest.raises(RecordError, match="os system"):
        SOURCE.read(SOURCE.find([tmp_path])[0])


def test_subjects_are_found_once_and_wesad_is_left_alone(twin: Path, tmp_path: Path) -> None:
    shutil.copytree(twin / "PPG_FieldStudy", tmp_path / "data" / "PPG_FieldStudy")
    (tmp_path / "data/WESAD/S2").mkdir(parents=True)
    (tmp_path / "data/WESAD/S2/S2.pkl").write_bytes(b"")
    assert [ref.record for ref in SOURCE.find([tmp_path, twin])] == ["S1", "S2"]
    (tmp_path / "data/PPG_FieldStudy/S2/S2.pkl").write_bytes(b"")
    with pytest.raises(ValueError, match="subject S2 differs between"):
        SOURCE.find([tmp_path, twin])


def test_people_of_unknown_age_are_kept(tmp_path: Path, content: dict[str, Any]) -> None:
    recording = reading(tmp_path, {**content, "questionnaire": {}})
    assert (recording.age, recording.sex) == (None, None)


def test_lists_that_are_endless_as_text_are_not_printed(
    tmp_path: Path, content: dict[str, Any]
) -> None:
    endless: list[Any] = ["a"]
    for _ in range(60):
        endless = [endless, endless, endless]
    with pytest.raises(RecordError, match="expected the subject S1, found a list"):
        reading(tmp_path, {**content, "subject": endless})
    asked = {**content["questionnaire"], "AGE": endless}
    assert reading(tmp_path, {**content, "questionnaire": asked}).age is None


def test_an_infinite_rate_is_no_label(tmp_path: Path, content: dict[str, Any]) -> None:
    label = content["label"].copy()
    label[1] = np.inf
    assert 2.0 in rates(reading(tmp_path, content))
    assert 2.0 not in rates(reading(tmp_path, {**content, "label": label}))
