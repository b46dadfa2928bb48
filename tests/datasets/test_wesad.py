"""WESAD on its twin: conditions, heart rates from the chest ECG, and what is left out."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from biofm.datasets.registry import RecordError
from biofm.datasets.simulate import simulate
from biofm.datasets.wesad import CONDITIONS, WESAD
from biofm.signals import Recording
from biofm.signals.heart_rate import heart_rate_bpm

SOURCE = WESAD()


@pytest.fixture(scope="module")
def twin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return simulate(
        "wesad", tmp_path_factory.mktemp("wesad") / "twin", records=2, seed=3, progress=False
    )


@pytest.fixture(scope="module")
def truth(twin: Path) -> dict[str, dict[str, Any]]:
    return {row["record"]: row for row in pl.read_parquet(twin / "truth.parquet").to_dicts()}


@pytest.fixture(scope="module")
def recordings(twin: Path) -> list[Recording]:
    return [SOURCE.read(ref) for ref in SOURCE.find([twin])]


@pytest.fixture(scope="module")
def content(twin: Path) -> dict[str, Any]:
    """What stands in a file: its first 40 s."""
    with (twin / "WESAD/S2/S2.pkl").open("rb") as file:
        whole: dict[str, Any] = pickle.load(file)
    rates_hz = {"chest": {}, "wrist": {"ACC": 32, "BVP": 64, "EDA": 4, "TEMP": 4}}
    for device, arrays in whole["signal"].items():
        for name, array in arrays.items():
            arrays[name] = array[: 40 * rates_hz[device].get(name, 700)]
    return {**whole, "label": whole["label"][: 40 * 700]}


def reading(folder: Path, content: dict[str, Any], readme: str | None = None) -> Recording:
    path = folder / "WESAD/S2/S2.pkl"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(content, protocol=2))
    if readme is not None:
        path.with_name("S2_readme.txt").write_text(readme)
    return SOURCE.read(SOURCE.find([folder])[0])


def with_chest(content: dict[str, Any], **arrays: Any) -> dict[str, Any]:
    chest = {**content["signal"]["chest"], **arrays}
    return {**content, "signal": {**content["signal"], "chest": chest}}


def rates(recording: Recording) -> dict[float, float]:
    return {
        a.onset_s: a.value
        for a in recording.annotations
        if a.code == "hr" and a.value is not None and a.duration_s == 8
    }


def test_every_channel_has_its_rate_and_place(recordings: list[Recording]) -> None:
    assert [recording.record for recording in recordings] == ["S2", "S3"]
    for recording in recordings:
        assert {(s.modality, s.rate_hz, s.channels) for s in recording.signals} == {
            ("acc", 700.0, ("chest_x", "chest_y", "chest_z")),
            ("ecg", 700.0, ("chest",)),
            ("resp", 700.0, ("thorax",)),
            ("emg", 700.0, ("trapezius",)),
            ("eda", 700.0, ("chest",)),
            ("temp", 700.0, ("chest",)),
            ("acc", 32.0, ("x", "y", "z")),
            ("ppg", 64.0, ("ppg",)),
            ("eda", 4.0, ("wrist",)),
            ("temp", 4.0, ("wrist",)),
        }
        for acc in (s for s in recording.signals if s.modality == "acc"):
            pull_g = np.median(np.linalg.norm(acc.samples, axis=0))
            assert pull_g == pytest.approx(1, abs=0.05)
        # A few µV in the file's mV.
        assert 3 < recording.signal("emg").samples.std() < 20


def test_planted_conditions_and_rates_are_recovered(
    recordings: list[Recording], truth: dict[str, dict[str, Any]]
) -> None:
    for recording in recordings:
        row = truth[recording.record]
        assert (recording.age, recording.sex) == (row["age"], row["sex"])
        felt = [
            (a.code, a.onset_s, a.duration_s)
            for a in recording.annotations
            if a.code.startswith("condition:")
        ]
        named = [run for run in row["runs"] if CONDITIONS[run["code"]]]
        assert felt == [
            (f"condition:{CONDITIONS[run['code']]}", run["onset_s"], run["duration_s"])
            for run in named
        ]
        assert {run["code"] for run in row["runs"]} - {run["code"] for run in named} == {0, 6, 7}
        found = rates(recording)
        assert list(found) == [2.0 * i for i in range(len(row["hr_bpm"]))]
        np.testing.assert_allclose(list(found.values()), row["hr_bpm"], atol=0.5)


def test_stress_shows_in_the_heart_rate(recordings: list[Recording]) -> None:
    for recording in recordings:
        mean = {}
        for code in ("baseline", "stress"):
            (span,) = (a for a in recording.annotations if a.code == f"condition:{code}")
            end_s = span.onset_s + span.duration_s
            mean[code] = np.mean(
                [v for t, v in rates(recording).items() if span.onset_s <= t <= end_s - 8]
            )
        assert mean["stress"] - mean["baseline"] == pytest.approx(25, abs=3)


def test_the_pulse_at_rest_beats_as_the_label_says(recordings: list[Recording]) -> None:
    for recording in recordings:
        (rest,) = (a for a in recording.annotations if a.code == "condition:baseline")
        bvp = recording.signal("ppg").samples[0]
        for onset_s, bpm in rates(recording).items():
            if rest.onset_s <= onset_s <= rest.onset_s + rest.duration_s - 8:
                window = bvp[int(onset_s) * 64 : int(onset_s + 8) * 64]
                assert heart_rate_bpm(window, 64.0, "ppg") == pytest.approx(bpm, abs=2)


def test_windows_in_which_the_ecg_is_lost_get_no_rate(
    tmp_path: Path, content: dict[str, Any]
) -> None:
    ecg = content["signal"]["chest"]["ECG"].copy()
    ecg[14 * 700 : 28 * 700] = ecg[14 * 700]
    found = list(rates(reading(tmp_path, with_chest(content, ECG=ecg))))
    assert found
    # A window needs half of its time in beats.
    assert not [onset_s for onset_s in found if 12 <= onset_s <= 22]
    assert {0.0, 2.0, 4.0, 6.0, 28.0, 30.0, 32.0} <= set(found)


def test_without_an_ecg_there_are_no_rates(tmp_path: Path, content: dict[str, Any]) -> None:
    nothing = np.zeros_like(content["signal"]["chest"]["ECG"])
    recording = reading(tmp_path, with_chest(content, ECG=nothing, Temp=nothing))
    assert not rates(recording)
    assert [s.channels for s in recording.signals if s.modality in ("ecg", "temp")] == [("wrist",)]
    assert [a.code for a in recording.annotations] == ["condition:baseline"]


@pytest.mark.parametrize(
    ("readme", "person"),
    [
        ("### Personal information ###\nAge: 27\nGender: female\n", (27, "female")),
        ("Age: 27 \r\nHeight (cm): 1\r\nGender: male \r\n### Notes ###\nAge: 50", (27, "male")),
        ("### Additional notes ###\n-\n", (None, None)),
        (None, (None, None)),
    ],
)
def test_age_and_sex_come_from_the_readme(
    tmp_path: Path,
    content: dict[str, Any],
    readme: str | None,
    person: tuple[float | None, str | None],
) -> None:
    recording = reading(tmp_path, content, readme)
    assert (recording.age, recording.sex) == person


def test_files_that_are_wrong_say_how(tmp_path: Path, content: dict[str, Any]) -> None:
    with pytest.raises(RecordError, match=r"S2\.pkl.* for condition, found \[8.0\]"):
        reading(tmp_path, {**content, "label": np.full(700, 8, np.int32)})
    with pytest.raises(RecordError, match=r"S2\.pkl.*label"):
        reading(tmp_path, {k: v for k, v in content.items() if k != "label"})
    with pytest.raises(RecordError, match=r"S2_readme\.txt.*expected male, female or unknown"):
        reading(tmp_path, content, "Age: 27\nGender: divers\n")


def test_ppg_dalia_beside_it_is_left_alone(tmp_path: Path, content: dict[str, Any]) -> None:
    (tmp_path / "PPG_FieldStudy/S2").mkdir(parents=True)
    (tmp_path / "PPG_FieldStudy/S2/S2.pkl").write_bytes(b"")
    assert reading(tmp_path, content).subject == "wesad-S2"
