"""MESA: its layout, its two kinds of scoring, its tables, and what the twin planted in a night."""

from __future__ import annotations

import datetime
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from scipy import signal as dsp

from biofm.datasets.edf import read_edf
from biofm.datasets.mesa import MESA
from biofm.datasets.mesa_tables import activity, beats, overlaps, people
from biofm.datasets.nsrr_xml import read_scoring
from biofm.datasets.registry import RecordError, RecordRef
from biofm.datasets.simulate.mesa_tree import draw_sleeper, write, write_edf
from biofm.signals import Recording

NIGHTS = 4
STAGE = {"W": "W", "N1": "N1", "N2": "N2", "N3": "N3", "N4": "N3", "R": "R"}
LABELS = ["EKG", "EOG-L", "EOG-R", "EMG", "EEG1", "EEG2", "EEG3", "Pres", "Flow", "Snore", "Thor",
          "Abdo", "Leg", "Therm", "Pos", "EKG_Off", "EOG-L_Off", "EOG-R_Off", "EMG_Off", "EEG1_Off",
          "EEG2_Off", "EEG3_Off", "Pleth", "OxStatus", "SpO2", "HR", "DHR"]  # fmt: skip


@pytest.fixture(scope="module")
def twin(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, Any]]]:
    """A tree of nights, and what was planted in them."""
    root = tmp_path_factory.mktemp("mesa")
    return root, write(root, NIGHTS, 3, lambda items: items)


@pytest.fixture(scope="module")
def nights(twin: tuple[Path, list[dict[str, Any]]]) -> list[Recording]:
    return [MESA().read(ref) for ref in MESA().find([twin[0]])]


@pytest.fixture
def night(twin: tuple[Path, list[dict[str, Any]]], tmp_path: Path) -> Path:
    """A flat folder that holds the first night's EDF file and nothing else."""
    shutil.copy(twin[0] / "polysomnography/edfs/mesa-sleep-0001.edf", tmp_path)
    return tmp_path


def find_one(root: Path) -> RecordRef:
    (ref,) = MESA().find([root])
    return ref


def test_the_twin_has_the_channels_and_rates_of_the_real_files(
    twin: tuple[Path, list[dict[str, Any]]],
) -> None:
    edf = read_edf(twin[0] / "polysomnography/edfs/mesa-sleep-0001.edf")
    assert [channel.label for channel in edf.channels] == LABELS
    rates = {channel.label: channel.rate_hz for channel in edf.channels}
    assert {label for label, rate in rates.items() if rate == 256} == {
        "EKG", "EOG-L", "EOG-R", "EMG", "EEG1", "EEG2", "EEG3", "Pleth", "DHR"
    }  # fmt: skip
    assert {rates[label] for label in ("Pres", "Flow", "Thor", "Leg", "Pos")} == {32}
    assert {rates[label] for label in ("SpO2", "HR", "OxStatus", "EEG2_Off")} == {1}


def test_a_night_is_read_by_name_at_its_own_rates(nights: list[Recording]) -> None:
    first = nights[0]
    assert (first.dataset, first.record, first.subject) == ("mesa", "mesa-sleep-0001", "mesa-0001")
    assert {(s.modality, round(s.rate_hz, 4)): s.channels for s in first.signals} == {
        ("ecg", 256): ("I",),
        ("ppg", 256): ("ppg",),
        ("hr", 1): ("hr",),
        ("hr", 256): ("dhr",),
        ("spo2", 1): ("spo2",),
        ("resp", 32): ("thorax", "abdomen", "flow", "pressure", "thermistor"),
        ("eeg", 256): ("Fz-Cz", "Cz-Oz", "C4-M1"),
        ("eog", 256): ("left", "right"),
        ("emg", 256): ("chin",),
        ("emg", 32): ("leg",),
        ("counts", 0.0333): ("counts",),
    }
    leg = next(s for s in first.signals if s.channels == ("leg",))
    assert 100 < np.abs(leg.physical()).max() <= 5000.1, "the file has mV, the modality µV"


@pytest.mark.parametrize("number", range(NIGHTS))
def test_the_planted_stages_are_read_from_either_xml(
    twin: tuple[Path, list[dict[str, Any]]], nights: list[Recording], number: int
) -> None:
    root, truth = twin
    planted = truth[number]["stages"]
    nsrr = root / f"polysomnography/annotations-events-nsrr/mesa-sleep-{number + 1:04d}-nsrr.xml"
    assert nsrr.is_file() == (number != 2), "the third night has Profusion's form alone"
    expected = [
        (i * 30.0, 30.0, f"stage:{STAGE[name]}") for i, name in enumerate(planted) if name != "?"
    ]
    stages = [a for a in nights[number].annotations if a.code.startswith("stage:")]
    assert [(a.onset_s, a.duration_s, a.code) for a in stages] == expected
    profusion = root / "polysomnography/annotations-events-profusion"
    scoring = read_scoring(profusion / f"mesa-sleep-{number + 1:04d}-profusion.xml")
    assert list(scoring.stages) == stages


def test_the_planted_truth_covers_all_stages(twin: tuple[Path, list[dict[str, Any]]]) -> None:
    assert {stage for row in twin[1] for stage in row["stages"]} == {*STAGE, "?"}


def test_beats_are_the_planted_ones_but_for_artefacts(
    twin: tuple[Path, list[dict[str, Any]]], nights: list[Recording]
) -> None:
    truth = twin[1][0]
    codes = {1: "beat:N", 2: "beat:V", 3: "beat:S"}
    pairs = zip(truth["beats_s"], truth["beat_types"], strict=True)
    planted = [(second, codes[kind]) for second, kind in pairs if kind]
    found = [(a.onset_s, a.code) for a in nights[0].annotations if a.code.startswith("beat:")]
    assert [code for _, code in found] == [code for _, code in planted]
    assert np.allclose([s for s, _ in found], [s for s, _ in planted], atol=1 / 256)
    ecg = nights[0].signal("ecg").physical()[0]
    peaks = [ecg[round(second * 256)] for second, _ in found]
    assert np.median(peaks) > 1, "an R peak stands where its beat is"


def test_heart_rates_follow_the_beats_and_have_gaps_where_nothing_was_read(
    twin: tuple[Path, list[dict[str, Any]]], nights: list[Recording]
) -> None:
    for truth, recording in zip(twin[1], nights, strict=True):
        first, last = truth["no_reading_s"]
        (hr,) = (s.physical()[0] for s in recording.signals if s.channels == ("hr",))
        (dhr,) = (s.physical()[0] for s in recording.signals if s.channels == ("dhr",))
        spo2 = recording.signal("spo2").physical()[0]
        for samples in (hr, spo2):
            assert np.flatnonzero(np.isnan(samples)).tolist() == list(range(first, last))
        assert np.nanmedian(np.abs(hr - truth["heart_bpm"])) < 2
        assert np.median(np.abs(dhr[::256] - truth["heart_bpm"])) < 3
        assert (np.nanmin(spo2), np.nanmax(spo2)) == pytest.approx((94, 96), abs=0.01)


def test_an_electrode_is_missing_while_its_flag_says_so(
    twin: tuple[Path, list[dict[str, Any]]], nights: list[Recording]
) -> None:
    first, last = (second * 256 for second in twin[1][0]["eeg2_off_s"])
    eeg = nights[0].signal("eeg").physical()
    missing = np.isnan(eeg)
    assert missing[1, first:last].all()
    assert missing.sum() == last - first


@pytest.mark.parametrize("share", [0.6, 1.0])
def test_a_flag_that_is_up_for_most_of_the_night_is_not_believed(night: Path, share: float) -> None:
    overwrite(night / "mesa-sleep-0001.edf", "EEG2_Off", lambda seconds: seconds < share * 2400)
    assert np.isfinite(MESA().read(find_one(night)).signal("eeg").physical()).all()


def test_a_flag_that_holds_other_values_is_not_believed(night: Path) -> None:
    overwrite(night / "mesa-sleep-0001.edf", "EEG2_Off", lambda seconds: (seconds < 60) * 0.5)
    assert np.isfinite(MESA().read(find_one(night)).signal("eeg").physical()).all()


def overwrite(path: Path, label: str, values: Any) -> None:
    """Give a 1 Hz channel of range 0 to 1 other values: a function of the second."""
    edf = read_edf(path)
    labels = [channel.label for channel in edf.channels]
    widths = [2 * int(channel.rate_hz) for channel in edf.channels]
    content = path.read_bytes()
    header = 256 * (len(labels) + 1)
    records = np.frombuffer(content[header:], np.uint8).reshape(-1, sum(widths)).copy()
    first = sum(widths[: labels.index(label)])
    physical = np.asarray(values(np.arange(len(records))), float)
    records[:, first : first + 2] = (
        np.rint(physical * 65535 - 32768).astype("<i2").view(np.uint8).reshape(-1, 2)
    )
    path.write_bytes(content[:header] + records.tobytes())


def test_activity_lies_at_the_time_of_the_night(
    twin: tuple[Path, list[dict[str, Any]]], nights: list[Recording]
) -> None:
    for truth, recording in zip(twin[1], nights, strict=True):
        found = [s for s in recording.signals if s.modality == "counts"]
        assert len(found) == (truth["record"] != "mesa-sleep-0004"), "the fourth has no actigraphy"
        for counts in found:
            assert counts.samples[0].tolist() == truth["counts"]
            start = datetime.datetime.fromisoformat(truth["start"])
            time = start + datetime.timedelta(seconds=counts.start_s)
            assert time.second in (0, 30)
            assert abs(counts.start_s) <= 15


def test_eeg_shows_the_planted_stage(
    twin: tuple[Path, list[dict[str, Any]]], nights: list[Recording]
) -> None:
    power: dict[str, list[list[float]]] = {}
    for truth, recording in zip(twin[1], nights, strict=True):
        eeg = np.nan_to_num(recording.signal("eeg").physical()[2]).reshape(-1, 30 * 256)
        frequencies, density = dsp.welch(eeg, 256, nperseg=1024)
        bands = [(0.5, 4), (8, 12), (12.5, 13.5)]
        masks = [(frequencies >= low) & (frequencies <= high) for low, high in bands]
        for stage, row in zip(truth["stages"], density, strict=True):
            power.setdefault(STAGE.get(stage, "?"), []).append([row[m].sum() for m in masks])
    delta, alpha, sigma = (
        {stage: float(np.median([row[i] for row in rows])) for stage, rows in power.items()}
        for i in range(3)
    )
    assert delta["N3"] > 4 * delta["N2"] > 4 * delta["W"]
    assert alpha["W"] > 2.5 * max(alpha["N2"], alpha["N3"], alpha["R"])
    assert sigma["N2"] > 1.5 * max(sigma["N3"], sigma["R"])


def test_age_sex_and_private_words(
    twin: tuple[Path, list[dict[str, Any]]], nights: list[Recording]
) -> None:
    for truth, recording in zip(twin[1], nights, strict=True):
        assert recording.age == (90 if truth["age"] > 89 else truth["age"])
        assert recording.sex == truth["sex"]
        start = datetime.datetime.fromisoformat(truth["start"])
        shown = {
            truth["name"],
            f"{start:%d.%m.%y}",
            f"{start:%H.%M.%S}",
            f"{start:%d-%b-%Y}".upper(),
        }
        assert shown <= set(recording.private)
        assert truth["name"] not in repr(recording)


def test_a_night_of_nothing_but_its_edf_file_is_read(night: Path) -> None:
    recording = MESA().read(find_one(night))
    assert recording.annotations == ()
    assert (recording.age, recording.sex) == (None, None)
    assert {signal.modality for signal in recording.signals} >= {"ecg", "eeg", "hr"}
    assert "counts" not in {signal.modality for signal in recording.signals}


def test_files_may_lie_beside_the_edf_file(
    twin: tuple[Path, list[dict[str, Any]]], nights: list[Recording], night: Path
) -> None:
    for path in twin[0].rglob("*0001*"):
        shutil.copy(path, night) if path.suffix != ".edf" else None
    shutil.copy(twin[0] / "overlap/mesa-actigraphy-psg-overlap.csv", night)
    shutil.copy(twin[0] / "datasets/mesa-sleep-harmonized-dataset-0.8.0.csv", night)
    recording = MESA().read(find_one(night))
    assert recording.annotations == nights[0].annotations
    assert (recording.age, recording.sex) == (nights[0].age, nights[0].sex)
    assert [s.modality for s in recording.signals] == [s.modality for s in nights[0].signals]


def test_one_night_in_two_roots_is_one_or_an_error(
    twin: tuple[Path, list[dict[str, Any]]], night: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    other = tmp_path_factory.mktemp("copy")
    shutil.copy(night / "mesa-sleep-0001.edf", other)
    assert len(MESA().find([night, other])) == 1
    with (other / "mesa-sleep-0001.edf").open("ab") as file:
        file.write(b"more")
    with pytest.raises(ValueError, match="mesa-sleep-0001 differs between"):
        MESA().find([night, other])


def test_a_file_without_a_known_channel_is_refused(night: Path) -> None:
    path = night / "mesa-sleep-0001.edf"
    content = bytearray(path.read_bytes())
    for i in range(27):
        content[256 + 16 * i : 256 + 16 * i + 1] = b"?"
    path.write_bytes(content)
    with pytest.raises(RecordError, match=r"none of the channels .*correct the header's labels"):
        MESA().read(find_one(night))


def test_a_night_scored_for_sleep_and_wake_alone_has_no_stages(
    twin: tuple[Path, list[dict[str, Any]]], tmp_path: Path
) -> None:
    shutil.copytree(twin[0], tmp_path / "mesa")
    table = tmp_path / "mesa/datasets/mesa-sleep-harmonized-dataset-0.8.0.csv"
    text = table.read_text().replace("full scoring", "sleep/wake only")
    table.with_name("mesa-sleep-harmonized-dataset-0.9.0.csv").write_text(text)
    codes = {a.code for a in MESA().read(MESA().find([tmp_path])[0]).annotations}
    assert codes == {"beat:N", "beat:V", "beat:S"}


def nsrr_xml(*events: tuple[str, Any, Any], head: str = "") -> str:
    rows = [
        f"<ScoredEvent><EventType>Stages|Stages</EventType><EventConcept>{concept}</EventConcept>"
        f"<Start>{start}</Start><Duration>{duration}</Duration></ScoredEvent>"
        for concept, start, duration in events
    ]
    return f"{head}<PSGAnnotation><ScoredEvents>{''.join(rows)}</ScoredEvents></PSGAnnotation>"


def profusion_xml(*stages: str, epoch_s: str = "30") -> str:
    rows = "".join(f"<SleepStage>{stage}</SleepStage>" for stage in stages)
    return f"<CMPStudyConfig><EpochLength>{epoch_s}</EpochLength><SleepStages>{rows}</SleepStages></CMPStudyConfig>"


def scored(path: Path, text: str) -> list[tuple[float, str]]:
    path.write_text(text)
    return [(stage.onset_s, stage.code) for stage in read_scoring(path).stages]


def test_both_forms_of_xml(tmp_path: Path) -> None:
    path = tmp_path / "scoring.xml"
    merged = nsrr_xml(
        ("Wake|0", 0, 60),
        ("Stage 4 sleep|4", "60.0", "30.0"),
        ("Unscored|9", 90, 60),
        ("Movement|6", 150, 30),
        ("REM sleep|5", 180, 45),
    )
    expected = [(0, "stage:W"), (30, "stage:W"), (60, "stage:N3"), (180, "stage:R")]
    assert scored(path, merged) == expected
    single = profusion_xml("0", "0", "4", "9", "9", "6", "5")
    assert scored(path, single) == expected
    assert scored(path, profusion_xml("1", "2", "3")) == [
        (0, "stage:N1"),
        (30, "stage:N2"),
        (60, "stage:N3"),
    ]


BILLION = (
    '<!DOCTYPE a [<!ENTITY a "ha">'
    + "".join(
        f'<!ENTITY {b} "{f"&{a};" * 10}">' for a, b in zip("abcdefgh", "bcdefghi", strict=True)
    )
    + "]>"
)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (nsrr_xml(("&i;", 0, 30), head=BILLION), "no readable XML"),
        (
            nsrr_xml(("&x;", 0, 30), head='<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]>'),
            "no readable XML",
        ),
        (nsrr_xml(head='<!DOCTYPE a SYSTEM "http://example.org/a.dtd">'), "no readable XML"),
        (nsrr_xml(("Wake|0", 0, 30))[:-9], "no readable XML"),
        ("", "no readable XML"),
        ("<html><body>Sign in</body></html>", "expected one of .* as root element, found 'html'"),
        (nsrr_xml(("Stage 7|7", 0, 30)), "expected a stage .* found 7"),
        (nsrr_xml(("Wake", 0, 30)), "expected a stage of 0 to .*, found 'Wake'"),
        (nsrr_xml(("Wake|0", "nan", 30)), "expected a start .* found 'nan'"),
        (nsrr_xml(("Wake|0", 0, "1e12")), "expected a duration .* found '1e12'"),
        (nsrr_xml(("Wake|0", 0, 60), ("REM sleep|5", 30, 30)), "two epochs overlap: stage:W"),
        (profusion_xml("0", "two"), "found 'two'"),
        (profusion_xml("0", epoch_s="20"), "expected epochs of 30 s, found 20 s"),
    ],
)
def test_a_hostile_or_damaged_xml_is_refused(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "bad.xml"
    with pytest.raises(RecordError, match=said) as error:
        scored(path, text)
    assert str(path) in str(error.value)


def test_the_number_of_elements_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("biofm.datasets.nsrr_xml.MAX_ELEMENTS", 50)
    with pytest.raises(RecordError, match="more than 50 elements"):
        scored(tmp_path / "long.xml", profusion_xml(*["0"] * 60))
    monkeypatch.setattr("biofm.datasets.nsrr_xml.MAX_BYTES", 100)
    with pytest.raises(RecordError, match="expected at most 100"):
        scored(tmp_path / "long.xml", profusion_xml(*["0"] * 5))


def test_overlap_rows(tmp_path: Path) -> None:
    path = tmp_path / "overlap.csv"
    path.write_text(
        "mesaid,line,linetime,starttime_psg\n1,1612,20:30:00,20:29:59\n2,7,00:00:00,23:59:50\n"
        "3,9,21:00:00,20:00:00\n4,,21:00:00,21:00:00\n"
    )
    assert overlaps(path) == {1: (1612, 1.0), 2: (7, 10.0)}
    path.write_text("mesaid,row\n1,2\n")
    with pytest.raises(RecordError, match=r"expected the columns \['line', 'linetime'"):
        overlaps(path)


def test_counts_off_the_wrist_are_missing(tmp_path: Path) -> None:
    path = tmp_path / "mesa-sleep-0001.csv"
    path.write_text(
        "mesaid,line,linetime,offwrist,activity,marker\n1,1,,0,11,0\n1,2,,0,12,0\n1,3,,1,,0\n"
        "1,4,,1,14,0\n1,6,,0,16,0\n1,7,,0,17,0\n"
    )
    (signal,) = activity(path, 2, -3.0, 150.0)
    assert (signal.start_s, signal.rate_hz) == (-3.0, 1 / 30)
    assert np.array_equal(signal.samples[0], [12, np.nan, np.nan, np.nan, 16], equal_nan=True)
    assert activity(path, 3, 0.0, 60.0) == []
    path.write_text("line,activity,offwrist\n1,many,0\n")
    with pytest.raises(RecordError, match="expected numbers in"):
        activity(path, 1, 0.0, 60.0)


def test_r_points_of_an_unknown_type_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "mesa-sleep-0001-rpoint.csv"
    path.write_text("epoch,RPoint,Type,seconds\n1,256,1,1.0\n1,512,7,2.0\n")
    with pytest.raises(RecordError, match=r"expected beats of Type 0 to 3, found \[7\.0\]"):
        beats(path)
    path.write_text("epoch,RPoint\n1,256\n")
    with pytest.raises(RecordError, match="expected the columns"):
        beats(path)


def test_people_of_the_harmonized_table(tmp_path: Path) -> None:
    path = tmp_path / "mesa-sleep-harmonized-dataset-0.5.0.csv"
    path.write_text("mesaid,nsrr_age,nsrr_sex\n1,90,male\n2,67.00,not reported\n3,,\n")
    known = people(path)
    assert [(known[i]["age"], known[i]["sex"]) for i in (1, 2, 3, 99)] == [
        (90, "male"), (67, None), (None, None), (None, None)
    ]  # fmt: skip
    path.write_text("mesaid,nsrr_age,nsrr_sex\n1,old,male\n")
    with pytest.raises(ValueError, match=r"of subject 1: expected an age"):
        people(path)


def test_the_newer_thermistor_counts(night: Path) -> None:
    path = night / "mesa-sleep-0001.edf"
    content = bytearray(path.read_bytes())
    at = 256 + 16 * LABELS.index("Snore")
    content[at : at + 16] = b"Aux_AC".ljust(16)
    path.write_bytes(content)
    resp = MESA().read(find_one(night)).signal("resp")
    assert resp.channels == ("thorax", "abdomen", "flow", "pressure", "thermistor")
    assert np.abs(resp.physical()[4]).max() < 0.15, "Snore's samples, which now are Aux_AC's"


def test_a_leg_sensor_without_a_voltage_is_left_out(night: Path) -> None:
    path = night / "mesa-sleep-0001.edf"
    content = bytearray(path.read_bytes())
    at = 256 + 96 * 27 + 8 * LABELS.index("Leg")
    content[at : at + 8] = b"%".ljust(8)
    path.write_bytes(content)
    emg = [s for s in MESA().read(find_one(night)).signals if s.modality == "emg"]
    assert [s.channels for s in emg] == [("chin",)]


def test_edf_files_are_the_same_bytes_for_the_same_seed(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_edf(tmp_path / name, draw_sleeper(0, 5, hours=0.1), seed=5)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_the_twin_says_what_it_planted(twin: tuple[Path, list[dict[str, Any]]]) -> None:
    table = pl.DataFrame(twin[1])
    assert table["record"].to_list() == [f"mesa-sleep-{i:04d}" for i in range(1, NIGHTS + 1)]
    assert table["name"].n_unique() == NIGHTS


def test_label_sets_share_five_codes() -> None:
    sets = MESA().label_sets([])
    for name, classes in (("stages5", 5), ("stages4", 4), ("stages3", 3), ("stages2", 2)):
        codes = [code for group in sets[name].values() for code in group]
        assert len(sets[name]) == classes
        assert sorted(codes) == [f"stage:{stage}" for stage in ("N1", "N2", "N3", "R", "W")]
