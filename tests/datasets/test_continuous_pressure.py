"""Pressure beside PPG: which beats are trusted, which files are records, whose they are."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import edfio
import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray

from biofm.datasets.continuous_pressure import ContinuousPressure, chosen_channels
from biofm.datasets.pressure_beats import pressure_beats
from biofm.datasets.registry import RecordError
from biofm.datasets.simulate import simulate
from biofm.datasets.simulate.pulse import TRANSIT_S, draw_beats, pressure
from biofm.signals import Recording

Wave = NDArray[np.float64]
ARTEFACT_S = 7.0


def wave_of(
    seconds: int = 60, rate_hz: float = 250.0, bpm: float = 70.0, seed: int = 0
) -> tuple[Wave, Wave, Wave, Wave]:
    """(feet in seconds, systoles, diastoles, pressure [T])."""
    rng = np.random.default_rng(seed)
    beats_s = draw_beats(rng, np.full(seconds, bpm))
    systolic = 120 + 8 * np.sin(beats_s / 9) + rng.normal(0, 1.5, len(beats_s))
    diastolic = 72 + 4 * np.sin(beats_s / 13)
    wave = pressure(beats_s, systolic, diastolic, round(seconds * rate_hz), rate_hz)
    return beats_s + TRANSIT_S / 2, systolic, diastolic, wave


def nearest(feet_s: Wave, onsets_s: Wave) -> NDArray[np.intp]:
    places: NDArray[np.intp] = np.abs(feet_s[:, None] - onsets_s).argmin(axis=0)
    return places


@pytest.mark.parametrize(("rate_hz", "bpm"), [(125.0, 45.0), (125.0, 100.0), (250.0, 70.0)])
def test_every_clean_beat_is_measured(rate_hz: float, bpm: float) -> None:
    feet_s, systolic, diastolic, wave = wave_of(60, rate_hz, bpm)
    found = pressure_beats(wave.astype(np.float32), rate_hz)
    # The first and the last are not whole.
    assert len(found.onset_s) >= len(feet_s) - 3
    places = nearest(feet_s, found.onset_s)
    assert len(set(places)) == len(places)
    np.testing.assert_allclose(found.onset_s, feet_s[places], atol=0.006)
    np.testing.assert_allclose(found.sbp_mmhg, systolic[places], atol=1.5)
    np.testing.assert_allclose(found.dbp_mmhg, diastolic[places], atol=1.0)
    lengths = np.diff(feet_s)[places]
    np.testing.assert_allclose(found.hr_bpm, 60 / lengths, rtol=0.01)
    # Mean pressure is the wave's own, between diastole and systole and not at a third.
    for onset_s, length_s, mean in zip(found.onset_s, lengths, found.map_mmhg, strict=True):
        inside = wave[round(onset_s * rate_hz) : round((onset_s + length_s) * rate_hz)]
        assert mean == pytest.approx(inside.mean(), abs=1.0)


def test_noise_and_coarse_samples_move_little() -> None:
    feet_s, systolic, diastolic, wave = wave_of(120, 125.0)
    noisy = np.round(wave + np.random.default_rng(1).normal(0, 0.5, len(wave)))
    found = pressure_beats(noisy.astype(np.float32), 125.0)
    assert len(found.onset_s) >= len(feet_s) - 3
    places = nearest(feet_s, found.onset_s)
    assert np.abs(found.sbp_mmhg - systolic[places]).mean() < 1
    assert np.abs(found.dbp_mmhg - diastolic[places]).mean() < 1
    assert np.abs(found.hr_bpm - 60 / np.diff(feet_s)[places]).max() < 2


def artefact(kind: str, clean: Wave) -> Wave:
    """What replaces some seconds of a clean wave."""
    rng = np.random.default_rng(3)
    seconds = np.arange(len(clean)) / 250
    made: dict[str, Wave] = {
        "flush": np.full(len(clean), 285.0),
        "damped": clean.mean() + 0.2 * (clean - clean.mean()),
        "flat": np.full(len(clean), clean.mean()),
        "disconnected": rng.normal(0, 0.5, len(clean)),
        "clipped": np.minimum(clean, clean.min() + 0.5 * np.ptp(clean)),
        "noise": clean + rng.normal(0, 9, len(clean)),
        "missing": np.full(len(clean), np.nan),
        "zeroed wrongly": clean - 60,
        "too high": clean + 190,
        "shaken": 90 + 60 * np.sin(2 * np.pi * 4.5 * seconds),
    }
    return made[kind]


@pytest.mark.parametrize(
    "kind",
    ["flush", "damped", "flat", "disconnected", "clipped", "noise", "missing", "zeroed wrongly",
     "too high", "shaken"],
)  # fmt: skip
def test_no_beat_is_taken_from_an_artefact(kind: str) -> None:
    feet_s, systolic, diastolic, wave = wave_of(60, 250.0)
    first, last = 20.0, 30.0
    span = slice(round(first * 250), round(last * 250))
    wave[span] = artefact(kind, wave[span])
    found = pressure_beats(wave.astype(np.float32), 250.0)
    touched = (found.onset_s + found.duration_s > first) & (found.onset_s < last)
    assert not touched.any()
    # What is left is right, and is nearly everything.
    places = nearest(feet_s, found.onset_s)
    np.testing.assert_allclose(found.sbp_mmhg, systolic[places], atol=1.5)
    np.testing.assert_allclose(found.dbp_mmhg, diastolic[places], atol=1.5)
    np.testing.assert_allclose(found.hr_bpm, 60 / np.diff(feet_s)[places], atol=1.0)
    clean = (feet_s < first - 2) | (feet_s > last + 3)
    assert len(found.onset_s) >= clean.sum() - 3


@pytest.mark.parametrize(
    "wave",
    [
        np.zeros(0), np.zeros(100), np.full(10_000, np.nan), np.full(10_000, 80.0),
        np.random.default_rng(0).normal(80, 3, 10_000),
        np.append(np.full(5000, np.nan), wave_of(1)[3]),
    ],
    ids=["empty", "short", "missing", "flat", "noise", "one beat"],
)  # fmt: skip
def test_what_has_no_beats(wave: Wave) -> None:
    found = pressure_beats(wave.astype(np.float32), 250.0)
    assert len(found.onset_s) == len(found.hr_bpm) == 0


@pytest.fixture(scope="module")
def twin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("pressure") / "twin"
    return simulate("continuous_pressure", out, records=6, progress=False)


@pytest.fixture(scope="module")
def recordings(twin: Path) -> dict[str, Recording]:
    return {ref.record: ContinuousPressure().read(ref) for ref in ContinuousPressure().find([twin])}


def values(recording: Recording, kind: str) -> Wave:
    return np.array([a.value for a in recording.annotations if a.code == kind])


def test_the_twins_planted_beats_are_found_and_its_artefacts_are_not(
    twin: Path, recordings: dict[str, Recording]
) -> None:
    truth = {row["record"]: row for row in pl.read_parquet(twin / "truth.parquet").to_dicts()}
    assert truth.keys() == recordings.keys()
    for record, recording in recordings.items():
        planted = truth[record]
        feet_s = np.array(planted["feet_s"])
        sbp = [a for a in recording.annotations if a.code == "sbp"]
        onsets_s = np.array([a.onset_s for a in sbp])
        ends_s = onsets_s + np.array([a.duration_s for a in sbp])
        places = nearest(feet_s, onsets_s)
        np.testing.assert_allclose(
            values(recording, "sbp"), np.array(planted["sbp"])[places], atol=2
        )
        np.testing.assert_allclose(
            values(recording, "dbp"), np.array(planted["dbp"])[places], atol=1
        )
        np.testing.assert_allclose(values(recording, "hr"), 60 / np.diff(feet_s)[places], atol=0.5)
        artefacts_s = np.array(planted["artefact_onsets_s"])[:, None]
        assert not ((ends_s > artefacts_s) & (onsets_s < artefacts_s + ARTEFACT_S)).any()
        assert sorted(planted["artefacts"]) == ["damped", "flat", "flush", "missing", "open"]
        # An artefact costs the beats that it touches, and four about it at most.
        free = ((feet_s[1:] < artefacts_s) | (feet_s[:-1] > artefacts_s + ARTEFACT_S)).all(axis=0)
        assert free.sum() - 5 * 4 - 2 <= len(sbp) < free.sum()
        assert (values(recording, "map") > values(recording, "dbp")).all()
        assert (values(recording, "map") < values(recording, "sbp")).all()


def test_signals_come_at_their_own_rates_with_known_leads(
    recordings: dict[str, Recording],
) -> None:
    for recording in recordings.values():
        found = {s.modality: (s.channels, s.rate_hz) for s in recording.signals}
        assert found == {"bp": (("abp",), 125.0), "ppg": (("ppg",), 125.0), "ecg": (("II",), 125.0)}
        assert recording.signal("bp").unit == "mmHg"
        assert recording.private[0] == "19:50:29.296"


def test_only_segments_with_both_waves_are_records(twin: Path) -> None:
    refs = ContinuousPressure().find([twin])
    assert [ref.record for ref in refs] == [
        "3544749_0001", "3544749_0002", "3544780_0001", "3544780_0002", "3544811_0001",
        "3544811_0002",
    ]  # fmt: skip
    headers = {path.stem for path in twin.rglob("*.hea")}
    assert {"3544749_layout", "3544749_0009", "p044083-2112-05-04-19-50"} < headers
    assert [ref.subject for ref in refs[:3]] == [
        "continuous_pressure-p044083", "continuous_pressure-p044083", "continuous_pressure-p044090",
    ]  # fmt: skip
    assert all(ref.subject_known for ref in refs)


def test_a_patients_own_folder_is_enough(twin: Path) -> None:
    refs = ContinuousPressure().find([twin / "p04" / "p044090"])
    assert {ref.subject for ref in refs} == {"continuous_pressure-p044090"}
    # A root inside another one adds nothing.
    assert ContinuousPressure().find([twin, twin / "p04"]) == ContinuousPressure().find([twin])


def segment_of(twin: Path, folder: Path, name: str = "3544749_0001", stem: str = "") -> Path:
    """One record of the twin alone in a folder, under another name where one is given."""
    folder.mkdir(parents=True, exist_ok=True)
    (source,) = twin.rglob(f"{name}.hea")
    text = source.read_text()
    (folder / f"{stem or name}.hea").write_text(text.replace(name, stem or name))
    shutil.copy(source.with_suffix(".dat"), folder / f"{stem or name}.dat")
    return folder


def test_without_folders_or_a_table_nobody_is_known(twin: Path, tmp_path: Path) -> None:
    (ref,) = ContinuousPressure().find([segment_of(twin, tmp_path / "mine")])
    assert not ref.subject_known
    assert ref.subject == "continuous_pressure-record-3544749_0001"


def test_subjects_from_a_table(twin: Path, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    segment_of(twin, folder, stem="a")
    segment_of(twin, folder, stem="b")
    (folder / "subjects.csv").write_text("record,subject\na,007\nb,007\nc,8\n")
    refs = ContinuousPressure().find([folder])
    assert [ref.subject for ref in refs] == ["continuous_pressure-007"] * 2
    for table, message in (
        ("record,subject\na,7\n", "no row for the record 'b'"),
        ("record,subject\na,7\na,8\nb,7\n", r"expected one subject for every record, found \('a'"),
        ("record,subject\na,7\nb,\n", r"expected one subject for every record, found \('b'"),
        ("name,subject\na,7\n", r"expected a CSV with the columns \['record', 'subject'\]"),
    ):
        (folder / "subjects.csv").write_text(table)
        with pytest.raises(ValueError, match=message):
            ContinuousPressure().find([folder])


def test_no_date_becomes_part_of_an_id(twin: Path, tmp_path: Path) -> None:
    folder = tmp_path / "p044083"
    segment_of(twin, folder, stem="p044083-2112-05-04-19-50")
    segment_of(twin, folder, stem="p044083-2113-01-30-07-05")
    segment_of(twin, tmp_path / "p044090", stem="p044090-2101-11-12-00-01")
    refs = ContinuousPressure().find([tmp_path])
    assert [ref.record for ref in refs] == ["p044083-p044083-1", "p044083-p044083-2", "p044090"]
    recording = ContinuousPressure().read(refs[0])
    assert recording.private == ("19:50:29.296", "2112-05-04-19-50")


def test_equal_names_are_told_apart_by_their_folders(twin: Path, tmp_path: Path) -> None:
    for case in ("case1", "case2"):
        segment_of(twin, tmp_path / case, stem="waves")
    refs = ContinuousPressure().find([tmp_path])
    assert [ref.record for ref in refs] == ["case1-waves", "case2-waves"]
    for case in ("case1", "case2"):
        shutil.move(tmp_path / case, tmp_path / f"part of {case}" / "case")
    with pytest.raises(ValueError, match="would both be called case-waves; rename one"):
        ContinuousPressure().find([tmp_path])


def test_a_damaged_record_is_found_and_refused(twin: Path, tmp_path: Path) -> None:
    folder = segment_of(twin, tmp_path / "mine")
    header = folder / "3544749_0001.hea"
    header.write_text(header.read_text().replace(" 125 15000", " 125 16000"))
    (ref,) = ContinuousPressure().find([folder])
    with pytest.raises(RecordError, match="the file is cut short"):
        ContinuousPressure().read(ref)
    header.write_text("no header\n")
    (ref,) = ContinuousPressure().find([folder])
    with pytest.raises(RecordError, match="expected a WFDB record line"):
        ContinuousPressure().read(ref)


def test_numerics_are_no_wave(twin: Path, tmp_path: Path) -> None:
    folder = segment_of(twin, tmp_path / "mine")
    header = folder / "3544749_0001.hea"
    header.write_text(header.read_text().replace(" 3 125 ", " 3 2 "))
    (ref,) = ContinuousPressure().find([folder])
    with pytest.raises(RecordError, match="the pressure has 2 Hz, expected a wave of at least 50"):
        ContinuousPressure().read(ref)


def test_a_lead_without_an_electrode_is_left_out(twin: Path, tmp_path: Path) -> None:
    folder = segment_of(twin, tmp_path / "mine")
    data = np.fromfile(folder / "3544749_0001.dat", "<i2").reshape(-1, 3)
    data[:, 0] = -32768
    data.tofile(folder / "3544749_0001.dat")
    header = folder / "3544749_0001.hea"
    lines = header.read_text().split("\n")
    lines[1] = "3544749_0001.dat 16 500(0)/mV 11 0 -32768 0 0 II"
    header.write_text("\n".join(lines))
    (ref,) = ContinuousPressure().find([folder])
    assert [s.modality for s in ContinuousPressure().read(ref).signals] == ["bp", "ppg"]


def write_edf(path: Path, channels: dict[str, tuple[Wave, float, str]]) -> None:
    """An EDF file: label → samples, rate, unit."""
    signals = []
    for label, (wave, rate_hz, unit) in channels.items():
        reach = (float(wave.min()) - 1, float(wave.max()) + 1)
        bounds: Any = tuple(round(edge, 2) for edge in reach)
        signals.append(edfio.EdfSignal(wave, rate_hz, label=label, physical_dimension=unit,
                                       physical_range=bounds))  # fmt: skip
    patient = edfio.Patient(name="Doe_Jane")
    edfio.Edf(signals, patient=patient).write(path)


def test_an_edf_with_other_names_rates_and_units(tmp_path: Path) -> None:
    feet_s, systolic, diastolic, wave = wave_of(60, 250.0)
    pleth = np.sin(2 * np.pi * 1.2 * np.arange(60 * 100) / 100)
    ecg = np.cos(2 * np.pi * 1.2 * np.arange(60 * 500) / 500)
    write_edf(
        tmp_path / "case 7.edf",
        {"SNUADC/PLETH": (pleth, 100, ""), "SNUADC/ART": (wave / 7.50062, 250, "kPa"),
         "SNUADC/ECG_II": (ecg, 500, "mV"), "CO2": (pleth, 100, "mmHg")},
    )  # fmt: skip
    (ref,) = ContinuousPressure().find([tmp_path])
    recording = ContinuousPressure().read(ref)
    assert {(s.modality, s.channels, s.rate_hz) for s in recording.signals} == {
        ("bp", ("abp",), 250.0), ("ppg", ("ppg",), 100.0), ("ecg", ("II",), 500.0),
    }  # fmt: skip
    np.testing.assert_allclose(recording.signal("bp").physical()[0], wave, atol=0.05)
    onsets_s = np.array([a.onset_s for a in recording.annotations if a.code == "sbp"])
    places = nearest(feet_s, onsets_s)
    assert len(places) >= len(feet_s) - 3
    np.testing.assert_allclose(values(recording, "sbp"), systolic[places], atol=1.5)
    np.testing.assert_allclose(values(recording, "dbp"), diastolic[places], atol=1.0)
    assert any("Doe" in text for text in recording.private)


@pytest.mark.parametrize(
    ("names", "chosen"),
    [
        (["II", "PLETH", "ABP"], {"ABP": "abp", "PLETH": "ppg", "II": "II"}),
        (["ART", "AoBP", "Pleth"], {"ART": "abp", "Pleth": "ppg"}),
        (
            ["ppg", "Arterial Blood Pressure", "ECG"],
            {"Arterial Blood Pressure": "abp", "ppg": "ppg"},
        ),
        (["MCL1", "MLII", "ECG_II", "BVP", "abp"], {"abp": "abp", "BVP": "ppg", "MLII": "II"}),
        (["ABP", "II"], {}),
        (["PLETH", "CVP", "ABP SYS", "NBP Mean"], {}),
        (["ABP", "ABP", "PLETH"], {}),
        ([], {}),
    ],
)
def test_channels_are_chosen_by_their_names(names: list[str], chosen: dict[str, str]) -> None:
    found = {name: channel for name, (_, channel) in chosen_channels(names).items()}
    assert found == chosen


def test_a_folder_without_both_waves_says_so(twin: Path, tmp_path: Path) -> None:
    folder = segment_of(twin, tmp_path / "mine", "3544749_0009")
    with pytest.raises(
        FileNotFoundError, match=r"no WFDB or EDF record with an arterial pressure \("
    ):
        ContinuousPressure().find([folder])


def test_subjects_do_not_depend_on_the_order_of_roots(twin: Path, tmp_path: Path) -> None:
    inner = segment_of(twin, tmp_path / "mine", stem="a")
    (tmp_path / "subjects.csv").write_text("record,subject\na, 7 \n")
    for roots in ([tmp_path, inner], [inner, tmp_path]):
        (ref,) = ContinuousPressure().find(roots)
        assert (ref.subject, ref.subject_known) == ("continuous_pressure-7", True)
    (inner / "subjects.csv").write_text("record,subject\na,8\n")
    with pytest.raises(ValueError, match="of the subject '7' by one root, and '8' by another"):
        ContinuousPressure().find([tmp_path, inner])
