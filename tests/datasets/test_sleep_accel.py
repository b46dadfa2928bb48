"""sleep-accel: what its text files can hold, the twin's planted night, and the real subjects."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from biofm.datasets.registry import RecordError
from biofm.datasets.simulate.sleep_accel_tree import write
from biofm.datasets.sleep_accel import SleepAccel
from biofm.signals import Preprocessing, Recording, on_grid

DATA = Path(os.environ.get("BIOFM_DATA", "/nowhere")) / "sleep-accel"
SUBJECT = "1234567"


def put(root: Path, kind: str, text: str, subject: str = SUBJECT) -> Path:
    """One file of a subject; the kind is the file name's ending."""
    folder = {"heartrate": "heart_rate", "acceleration": "motion", "steps": "steps"}.get(
        kind, "labels"
    )
    path = root / folder / f"{subject}_{kind}.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode())
    return path


def tree(root: Path) -> Path:
    """The smallest subject: two epochs and a heart rate."""
    put(root, "labeled_sleep", "0 0\n30 2\n")
    put(root, "heartrate", "-5.5,70\n0.5,60\n4.25,62\n")
    return root


def read(root: Path) -> Recording:
    source = SleepAccel()
    (ref,) = source.find([root])
    return source.read(ref)


def test_a_subject_is_read_with_what_it_has(tmp_path: Path) -> None:
    recording = read(tree(tmp_path))
    assert (recording.record, recording.subject) == (SUBJECT, f"sleep_accel-{SUBJECT}")
    (heart,) = recording.series
    np.testing.assert_array_equal(heart.times_s, [-5.5, 0.5, 4.25])
    np.testing.assert_array_equal(heart.values, [[70, 60, 62]])
    assert [(a.onset_s, a.duration_s, a.code) for a in recording.annotations] == [
        (0, 30, "stage:W"),
        (30, 30, "stage:N2"),
    ]
    assert not recording.signals


def test_unscored_epochs_have_no_stage_and_n4_is_n3(tmp_path: Path) -> None:
    put(tree(tmp_path), "labeled_sleep", "0 -1\n30 1\n60 4\n90 3\n120 5\n")
    assert [(a.onset_s, a.code) for a in read(tmp_path).annotations] == [
        (30, "stage:N1"),
        (60, "stage:N3"),
        (90, "stage:N3"),
        (120, "stage:R"),
    ]


def test_a_file_written_three_times_over_is_read_once(tmp_path: Path) -> None:
    whole = "-5.5,70\n0.5,60\n4.25,62\n"
    put(tree(tmp_path), "heartrate", 3 * whole)
    (heart,) = read(tmp_path).series
    np.testing.assert_array_equal(heart.times_s, [-5.5, 0.5, 4.25])
    np.testing.assert_array_equal(heart.values, [[70, 60, 62]])


def test_rows_out_of_order_are_sorted_and_those_of_one_time_averaged(tmp_path: Path) -> None:
    put(tree(tmp_path), "heartrate", "9,66\n3,60\n\n9,70\n")
    (heart,) = read(tmp_path).series
    np.testing.assert_array_equal(heart.times_s, [3, 9])
    np.testing.assert_array_equal(heart.values, [[60, 68]])


def test_steps_count_from_their_time_to_the_next(tmp_path: Path) -> None:
    put(tree(tmp_path), "steps", "-1800,0\n-1200,600\n-600,30\n0,0\n5000,6\n5100,12\n")
    steps = read(tmp_path).series[-1]
    assert (steps.modality, steps.channels) == ("counts", ("steps",))
    assert steps.spans_s is not None
    assert steps.spans_s.tolist() == [600, 600, 600, 600, 100, 600]
    grid = on_grid(steps, Preprocessing(rate_hz=1 / 60))
    at = round((-1200 - grid.start_s) / 60)
    np.testing.assert_allclose(grid.samples[0, at : at + 12], [60] * 10 + [3] * 2)


def test_slow_motion_is_read_without_counts_and_fast_motion_with(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    slow = "".join(f"{second} 0.1 0.2 -0.97\n" for second in range(90))
    put(tree(tmp_path), "acceleration", slow)
    recording = read(tmp_path)
    assert recording.series[-1].channels == ("x", "y", "z")
    assert not recording.signals
    fast = "".join(f"{t:.4f} 0.1 0.2 {rng.normal(-1, 0.3):.5f}\n" for t in np.arange(-40, 70, 0.02))
    put(tmp_path, "acceleration", fast)
    (counts,) = read(tmp_path).signals
    assert (counts.modality, counts.rate_hz, counts.start_s) == ("counts", 1 / 30, -60)
    assert np.isfinite(counts.physical()[0]).tolist() == [False, True, True, True, False]
    assert np.nanmin(counts.physical()) > 100


@pytest.mark.parametrize(
    ("kind", "text", "message"),
    [
        ("heartrate", "", "found an empty file"),
        ("heartrate", "\n\n", "found an empty file"),
        ("heartrate", "1,60\n2,\n3,61\n", r"line 2: expected seconds,hr as numbers.*found '2,'"),
        ("heartrate", "1,60\n2\n", "line 2: .*found '2'"),
        ("heartrate", "1,60\n\n2,60,7\n", "line 3: .*found '2,60,7'"),
        ("heartrate", "1,60\n2,nan\n", "line 2: .*'2,nan'"),
        ("heartrate", "1,60\ninf,61\n", "line 2: .*'inf,61'"),
        ("heartrate", "1,60\n2,-4\n", "line 2: .*'2,-4'"),
        ("heartrate", "seconds,bpm\n1,60\n", "line 1: "),
        ("heartrate", "1 60\n2 61\n", "line 1: .*'1 60'"),
        ("heartrate", "1,60\n1e12,61\n", "line 2: .*within 60 days.*'1e12,61'"),
        ("heartrate", '1,60\n"2,61\n', "line 2: "),
        ("acceleration", "1 0 0\n", "line 1: expected seconds x y z as numbers"),
        ("acceleration", "1 0 0 0\n2 0 \x00 0\n", "line 2: "),
        ("steps", "0,1\n600,-3\n", "line 2: .*'600,-3'"),
        ("labeled_sleep", "0 0\n30 7\n", "expected a stage .*found 7"),
        ("labeled_sleep", "0 0\n30 1.5\n", "expected a stage .*found 1.5"),
        ("labeled_sleep", "0 0\n30 1\n30 3\n", "two different stages at 30 s"),
    ],
)
def test_a_damaged_file_is_named_with_its_line(
    tmp_path: Path, kind: str, text: str, message: str
) -> None:
    path = put(tree(tmp_path), kind, text)
    with pytest.raises(RecordError, match=message) as caught:
        read(tmp_path)
    assert str(caught.value).startswith(str(path))
    assert "get the file again" in str(caught.value)


def test_missing_files_are_errors_only_where_nothing_remains(tmp_path: Path) -> None:
    labels = put(tmp_path, "labeled_sleep", "0 0\n")
    with pytest.raises(RecordError, match="no heart rate, and neither motion nor steps"):
        read(tmp_path)
    put(tmp_path, "steps", "0,4\n")
    assert [series.channels for series in read(tmp_path).series] == [("steps",)]
    put(tmp_path, "heartrate", "0,60\n", subject="7")
    refs = SleepAccel().find([tmp_path])
    assert [ref.record for ref in refs] == [SUBJECT, "7"]
    with pytest.raises(RecordError, match=r"7_labeled_sleep\.txt: no such file"):
        SleepAccel().read(refs[1])
    labels.unlink()
    with pytest.raises(
        FileNotFoundError, match=r"no labels/<number>_labeled_sleep.txt in it or below"
    ):
        SleepAccel().find([tmp_path])


def test_roots_merge_and_must_agree(tmp_path: Path) -> None:
    tree(tmp_path / "a")
    tree(tmp_path / "b" / "deeper")
    roots = [tmp_path / "a", tmp_path / "b"]
    assert SleepAccel().find(roots) == SleepAccel().find(roots[::-1])
    put(tmp_path / "b" / "deeper", "labeled_sleep", "0 1\n30 2\n")
    with pytest.raises(ValueError, match=f"subject {SUBJECT} has other labels in"):
        SleepAccel().find(roots)


def put_features(
    root: Path, counts: str, hours: str, stages: str, folder: str = "features"
) -> Path:
    """The published code's files of the subject of a root; returns the file of counts."""
    where = root / folder
    where.mkdir(parents=True)
    texts = {"count_feature": counts, "time_feature": hours, "psg_labels": stages}
    for what, text in texts.items():
        (where / f"{SUBJECT}_{what}.out").write_text("\n".join(text.split()))
    return where / f"{SUBJECT}_count_feature.out"


def night(root: Path) -> Path:
    put(tree(root), "labeled_sleep", "0 -1\n30 0\n60 2\n90 4\n120 2\n150 0\n180 5\n")
    return root


def test_derived_counts_stand_where_their_stages_do(tmp_path: Path) -> None:
    # The third of five epochs (120 s) was left out; 4 may stand as 3.
    put_features(night(tmp_path), "7.5 0 2.25 4", "0 .008333 .025 .033333", "2 3 0 5")
    (counts,) = read(tmp_path).signals
    assert (counts.modality, counts.channels) == ("counts", ("smoothed_counts",))
    assert (counts.rate_hz, counts.start_s) == (1 / 30, 60)
    np.testing.assert_array_equal(counts.physical(), [[7.5, 0, np.nan, 2.25, 4]])
    # Nothing else of the folder is read.
    assert [series.modality for series in read(tmp_path).series] == ["hr"]


def test_derived_counts_keep_a_name_of_their_own_beside_ours(tmp_path: Path) -> None:
    put_features(night(tmp_path), "1 2", "0 .008333", "0 2")
    times_s = np.arange(-40, 200, 0.02)
    put(tmp_path, "acceleration", "".join(f"{t:.4f} 0 0 {np.sin(30 * t):.5f}\n" for t in times_s))
    assert [s.channels for s in read(tmp_path).signals] == [("counts",), ("smoothed_counts",)]


@pytest.mark.parametrize(
    ("counts", "hours", "stages", "message"),
    [
        ("1 2", "0 .008333", "0", "found 2 counts, 2 times and 1 stages"),
        ("1 -2", "0 .008333", "0 2", r"count_feature\.out: expected counts from 0, found -2"),
        ("1 nan", "0 .008333", "0 2", r"count_feature\.out: expected finite"),
        ("1 x", "0 .008333", "0 2", r"count_feature\.out: expected a number a line, found .*'x'"),
        ("1 2", "0 .005", "0 2", r"time_feature\.out: expected hours"),
        ("1 2", ".008333 .016667", "0 2", r"time_feature\.out: expected hours from 0"),
        ("1 2", "0 0", "0 2", r"time_feature\.out: expected hours"),
        ("1 2", "0 .008333", "0 7", r"psg_labels\.out: expected stages .*found 7"),
        ("1 2", "0 .008333", "2 2", r"psg_labels\.out: expected one epoch .*found 0"),
        ("1", "0", "2", r"psg_labels\.out: expected one epoch .*found 2"),
    ],
)
def test_derived_counts_without_a_place_in_the_night_are_refused(
    tmp_path: Path, counts: str, hours: str, stages: str, message: str
) -> None:
    put_features(night(tmp_path), counts, hours, stages)
    with pytest.raises(RecordError, match=message):
        read(tmp_path)


def test_derived_counts_lie_in_one_folder(tmp_path: Path) -> None:
    path = put_features(night(tmp_path), "1 2", "0 .008333", "0 2")
    put_features(tmp_path, "1 2", "0 .008333", "0 2", folder="more")
    with pytest.raises(RecordError, match=f"{path} and .*found 2: keep one"):
        read(tmp_path)


def test_the_twin_is_read_as_planted(tmp_path: Path) -> None:
    truth = {row["record"]: row for row in write(tmp_path, 5, 3, lambda items: items)}
    source = SleepAccel()
    refs = source.find([tmp_path])
    assert [ref.record for ref in refs] == sorted(truth)
    numbers: Counter[int] = Counter()
    for ref in refs:
        row, recording = truth[ref.record], source.read(ref)
        stages: list[str | None] = [None] * len(row["stages"])
        for annotation in recording.annotations:
            stages[int(annotation.onset_s // 30)] = annotation.code.removeprefix("stage:")
        assert stages == row["stages"]
        series = {one.channels[0]: one for one in recording.series}
        signals = {one.channels[0]: one for one in recording.signals}
        assert ("x" in series) == row["motion"] == ("counts" in signals)
        planted = row["smoothed_counts"]
        assert ("smoothed_counts" in signals) == (planted is not None)
        if planted is not None:
            derived = signals.pop("smoothed_counts")
            first = round(derived.start_s / 30)
            there = np.array(planted[first:][: derived.samples.shape[1]], float)
            np.testing.assert_allclose(derived.physical()[0], there, atol=1e-5)
            assert np.isfinite(there).sum() == sum(value is not None for value in planted)
        assert ("steps" in series) == (row["steps"] is not None)
        if row["steps"] is not None:
            assert series["steps"].values.sum() == row["steps"]
        heart = series["hr"]
        assert heart.times_s[0] < -3600
        assert (np.diff(heart.times_s) > 0).all()
        epochs = np.floor(heart.times_s / 30).astype(int)
        found = [heart.values[0, epochs == epoch].mean() for epoch in range(len(stages))]
        np.testing.assert_allclose(found, row["heart_bpm"], atol=6)
        for signal in signals.values():
            first = round(-signal.start_s / 30)
            counts = signal.physical()[0, first : first + len(stages)]
            assert np.isfinite(counts).all()
            # Counts say who moved, and how much.
            assert np.corrcoef(counts, row["movement_g"])[0, 1] > 0.8
            assert (counts[np.array(row["movement_g"]) < 1e-6] == 0).all()
        label_file = tmp_path / "labels" / f"{ref.record}_labeled_sleep.txt"
        numbers.update(int(line.split()[1]) for line in label_file.read_text().splitlines())
    assert {-1, 4} <= set(numbers)
    assert not all(row["motion"] for row in truth.values())


def best_lag(recordings: list[Recording]) -> int:
    """By how many epochs counts would have to be moved later to go best with wake, of −6 to 6."""
    mean = []
    for lag in range(-6, 7):
        each = []
        for recording in recordings:
            (counts,) = recording.signals
            wake = {round(a.onset_s / 30): a.code == "stage:W" for a in recording.annotations}
            first = round(counts.start_s / 30) + lag
            pairs = [
                (np.log1p(value), wake[first + i])
                for i, value in enumerate(counts.physical()[0])
                if np.isfinite(value) and first + i in wake
            ]
            each.append(np.corrcoef(np.array(pairs, float).T)[0, 1])
        mean.append(np.mean(each))
    return int(np.argmax(mean)) - 6


def test_the_real_subjects_are_read() -> None:
    if not DATA.is_dir():
        pytest.skip("needs the real sleep-accel: set BIOFM_DATA to a folder that holds sleep-accel")
    source = SleepAccel()
    recordings = {ref.record: source.read(ref) for ref in source.find([DATA])}
    assert len(recordings) == 16
    codes = Counter(a.code for r in recordings.values() for a in r.annotations)
    assert codes == {
        "stage:W": 1437,
        "stage:N1": 903,
        "stage:N2": 6228,
        "stage:N3": 1866,
        "stage:R": 2998,
    }
    # Two heart-rate files hold everything three times.
    assert len(recordings["1066528"].series[0].times_s) == 5539
    assert len(recordings["781756"].series[0].times_s) == 6009
    for record, recording in recordings.items():
        heart = recording.series[0]
        path = DATA / "heart_rate" / f"{record}_heartrate.txt"
        plain = np.loadtxt(path, delimiter=",")
        np.testing.assert_array_equal(heart.times_s, np.unique(plain[:, 0]))
        for time_s, bpm in zip(heart.times_s[:50], heart.values[0, :50], strict=True):
            assert bpm == pytest.approx(plain[plain[:, 0] == time_s, 1].mean())
        assert 30 <= heart.values.min() <= heart.values.max() < 220
    # One time stands there with two heart rates.
    assert len(recordings["3509524"].series[0].times_s) == 3828
    # One motion file, at 1 Hz and not as published: read, and without counts.
    assert [s.channels for s in recordings["1066528"].series] == [("hr",), ("x", "y", "z")]
    # Counts are those of the published code, for most of the 13,432 epochs with a stage.
    derived = {record: recording.signals for record, recording in recordings.items()}
    assert {s.channels for signals in derived.values() for s in signals} == {("smoothed_counts",)}
    assert all(len(signals) == 1 for signals in derived.values())
    there = sum(int(np.isfinite(s.samples).sum()) for (s,) in derived.values())
    assert there == 12359
    # Moving is for the awake, and begins up to an epoch before the epochs that are scored as wake.
    assert best_lag(list(recordings.values())) in (0, 1)
    (steps,) = recordings["46343"].series[1:]
    assert steps.spans_s is not None
    assert set(steps.spans_s) == {600}
    plain = np.loadtxt(DATA / "steps" / "46343_steps.txt", delimiter=",")
    assert steps.values.sum() == plain[:, 1].sum()
