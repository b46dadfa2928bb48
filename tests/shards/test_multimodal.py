"""Several modalities in one window, context around annotations, privacy, unknown subjects: by a source
made in memory, against plain arithmetic on the whole recording."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from biofm.datasets.registry import About, RecordError, RecordRef
from biofm.shards import build as build_module
from biofm.shards import writing
from biofm.shards.build import build
from biofm.shards.configuration import BuildConfig, Fractions, Modalities
from biofm.shards.index import read_index
from biofm.shards.prepare import merge
from biofm.shards.privacy import PrivacyError, check_private, pseudonym
from biofm.shards.reader import DataConfig, WindowReader
from biofm.shards.segments import segments
from biofm.shards.verify import verify
from biofm.signals import MISSING, Annotation, Preprocessing, Recording, Series, Signal

EPOCHS = 9
CONFIG = BuildConfig(
    preprocessing=Modalities(
        ecg=Preprocessing(20.0), ppg=Preprocessing(8.0), hr=Preprocessing(1.0, longest_gap_s=20.0)
    ),
    segment_s=60.0,
    fractions=Fractions(1.0, 0.0, 0.0),
    records_per_shard=2,
)
CHANNELS = {"ecg": ("I", "II"), "ppg": ("ppg",), "hr": ("hr",)}


class Nights:
    """Recordings of 270 s from −5 s on: ECG; a PPG from 33 s to 120 s in every other one; an uneven
    heart rate with a hole; stages."""

    name = "nights"

    def __init__(self, private: tuple[str, ...] = (), known: bool = True, people: int = 4) -> None:
        self.private, self.known, self.people = private, known, people

    def about(self, roots: Sequence[Path] = ()) -> About:
        return About("Nights", "CC0", "none", "many", "stages", "four", "none")

    def find(self, roots: Sequence[Path]) -> list[RecordRef]:
        return [
            RecordRef(f"n{i}", f"nights-{i % self.people}", Path(f"n{i}"), subject_known=self.known)
            for i in range(4)
        ]

    def read(self, ref: RecordRef) -> Recording:
        number = int(ref.record[1:])
        rng = np.random.default_rng(number)
        ecg = Signal("ecg", smooth(rng, 2, 275 * 20), 20.0, ("II", "I"), start_s=-5.0)
        ppg = Signal("ppg", smooth(rng, 1, 87 * 8), 8.0, ("ppg",), start_s=33.0)
        times_s = np.sort(np.append(rng.uniform(0, 100, 60), rng.uniform(150, 265, 60)))
        rate = Series("hr", ("hr",), times_s, rng.uniform(50, 90, (1, 120)).astype(np.float32))
        stages = [Annotation(30.0 * i, 30.0, f"stage:{'WN'[i % 2]}") for i in range(EPOCHS)]
        hour = Annotation(10.0, 8.0, "hr", 61.5)
        return Recording(
            self.name,
            ref.record,
            ref.subject,
            (ecg, ppg) if number % 2 else (ecg,),
            annotations=tuple(sorted([*stages, hour], key=lambda a: a.onset_s)),
            series=(rate,),
            private=self.private,
        )

    def label_sets(self, roots: Sequence[Path]) -> dict[str, dict[str, list[str]]]:
        return {"stages": {"W": ["stage:W"], "N": ["stage:N"]}}


def smooth(rng: np.random.Generator, channels: int, samples: int) -> Any:
    """Noise without frequencies that resampling to the same rate could touch."""
    return (rng.normal(size=(channels, samples)).cumsum(axis=1) / 20).astype(np.float32)


@pytest.fixture
def nights(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Build Nights with a config; the shard folder."""

    def made(config: BuildConfig = CONFIG, **options: Any) -> Path:
        for module in (build_module, writing):
            monkeypatch.setattr(module, "source", lambda name: Nights(**options))
        build("nights", [tmp_path], tmp_path / "out", config, workers=1, progress=False)
        return tmp_path / "out"

    return made


def whole(record: str) -> dict[str, Any]:
    """Modality → samples [C, T] on a grid from −60 s to 330 s, in the order of `CHANNELS`, NaN outside."""
    recording = Nights().read(RecordRef(record, "nights-0", Path(record)))
    found = {}
    for modality, rate in (("ecg", 20), ("ppg", 8), ("hr", 1)):
        grid = np.full((len(CHANNELS[modality]), 390 * rate), np.nan, np.float32)
        for signal in recording.signals:
            if signal.modality == modality:
                first = round((60 + signal.start_s) * rate)
                rows = [signal.channels.index(c) for c in CHANNELS[modality]]
                grid[:, first : first + signal.samples.shape[1]] = signal.samples[rows]
        found[modality] = grid
    series = recording.series[0]
    first, last = int(np.ceil(series.times_s[0])), int(np.floor(series.times_s[-1]))
    for second in range(-60, 330):
        before, after = series.times_s[series.times_s <= second], series.times_s[
            series.times_s > second
        ]  # fmt: skip
        if len(before) and len(after) and after[0] - before[-1] <= 20:
            value = np.interp(second, series.times_s, series.values[0])
            found["hr"][0, second + 60] = value
    empty = np.isnan(found["hr"][0])
    for time_s, value in zip(series.times_s, series.values[0], strict=True):
        nearest = min(max(round(time_s), first), last) + 60
        if empty[nearest]:
            found["hr"][0, nearest] = value
    return found


def physical(batch: Any, name: str, row: int) -> Any:
    samples, missing = batch.streams[name].physical()
    samples[missing] = np.nan
    return samples[row].numpy()


def check(
    batch: Any, row: int, record: str, first_s: float, length_s: float, tolerance: float
) -> None:
    truth = whole(record)
    for name, modality, rate in (
        ("ecg-20hz", "ecg", 20),
        ("ppg-8hz", "ppg", 8),
        ("hr-1hz", "hr", 1),
    ):
        first = round((60 + first_s) * rate)
        expected = truth[modality][:, first : first + round(length_s * rate)]
        found = physical(batch, name, row)
        assert np.array_equal(np.isnan(found), np.isnan(expected)), (record, name, first_s)
        assert np.nanmax(np.abs(found - expected), initial=0) <= tolerance, (record, name, first_s)


def test_windows_of_all_modalities_are_cut_at_the_same_time(nights: Any) -> None:
    config = DataConfig((str(nights()),), channels=CHANNELS, window_s=25.0)
    reader = WindowReader(config, "train", seed=0)
    assert reader.windows == 4 * 11
    (batch,) = reader.evaluation_batches(micro_batch=44, rank=0, ranks=1)
    assert list(batch.streams) == ["ecg-20hz", "ppg-8hz", "hr-1hz"]
    for row in range(44):
        record = reader.index["record"][int(batch.rows[row])]
        check(batch, row, record, -5 + 25 * (row % 11), 25.0, 0.005)


def test_anchored_windows_stand_at_their_annotations_with_context(nights: Any) -> None:
    config = DataConfig(
        (str(nights()),), channels=CHANNELS, window_s=90.0, anchor="stage", before_s=45.0
    )
    reader = WindowReader(config, "train", seed=0)
    assert reader.anchors is not None
    assert reader.windows == len(reader.anchors) == 4 * EPOCHS
    (batch,) = reader.evaluation_batches(micro_batch=99, rank=0, ranks=1)
    assert batch.anchors is not None
    assert batch.anchors.tolist() == list(range(36))
    for row, anchor in enumerate(reader.anchors.iter_rows(named=True)):
        record = reader.index["record"][anchor["row"]]
        check(batch, row, record, anchor["onset_s"] - 45.0, 90.0, 0.005)
        assert anchor["code"] == f"stage:{'WN'[round(anchor['onset_s'] / 30) % 2]}"
    again = [
        int(anchor)
        for (part,) in reader.train_batches(global_batch=4, micro_batch=4, rank=0, ranks=1, epoch=3)
        for anchor in part.anchors  # type: ignore[union-attr] # anchored windows have them
    ]
    assert sorted(again) == list(range(36))


def test_a_number_is_an_anchor_too_and_an_unknown_kind_lists_those_there(nights: Any) -> None:
    out = str(nights())
    rate = DataConfig((out,), channels={"ecg": ("I",)}, window_s=8.0, anchor="hr")
    found = WindowReader(rate, "train", seed=0).anchors
    assert found is not None
    assert found["value"].to_list() == [61.5] * 4
    with pytest.raises(ValueError, match=r"no annotation of kind 'beat'.*\['hr', 'stage'\]"):
        WindowReader(replace(rate, anchor="beat"), "train", seed=0)
    with pytest.raises(ValueError, match="name its kind"):
        DataConfig((out,), before_s=3.0)


def test_records_without_the_first_modality_are_left_out(nights: Any) -> None:
    out = str(nights())
    first_ppg = DataConfig((out,), channels={"ppg": ("ppg",), "ecg": ("I",)}, window_s=10.0)
    reader = WindowReader(first_ppg, "train", seed=0)
    assert set(reader.index["record"]) == {"n1", "n3"}
    # The PPG lies in the segments 0–60 s and 60–120 s; before its first sample it is missing.
    (batch,) = reader.evaluation_batches(micro_batch=99, rank=0, ranks=1)
    missing = (batch.streams["ppg-8hz"].samples == MISSING).float().mean(dim=(1, 2))
    assert missing[:12].tolist() == pytest.approx([1, 1, 1, 0.3, *[0] * 8])
    with pytest.raises(ValueError, match="holds no eeg"):
        WindowReader(replace(first_ppg, channels={"eeg": ("C4-M1",)}), "train", seed=0)
    with pytest.raises(ValueError, match="no record of these shards has eeg"):
        WindowReader(
            replace(first_ppg, channels={"ecg": ("I",), "eeg": ("C4-M1",)}), "train", seed=0
        )


def test_segments_are_cut_at_multiples_and_say_which_modalities_they_have(nights: Any) -> None:
    index = read_index(nights())
    one = index.filter(record="n1")
    assert one["start_s"].to_list() == [-5.0, 0.0, 60.0, 120.0, 180.0, 240.0]
    names = [[stream["name"] for stream in row] for row in one["streams"]]
    hr = ["hr-1hz"]
    assert names == [
        ["ecg-20hz"], ["ecg-20hz", "ppg-8hz", *hr], ["ecg-20hz", "ppg-8hz", *hr],
        ["ecg-20hz", *hr], ["ecg-20hz", *hr], ["ecg-20hz", *hr],
    ]  # fmt: skip
    codes = [[a["code"] for a in row] for row in one["annotations"]]
    assert codes[:3] == [[], ["stage:W", "hr", "stage:N"], ["stage:W", "stage:N"]]


def test_shards_of_many_modalities_verify(nights: Any) -> None:
    report = verify([nights()])
    assert not report.failures, report.text()


def test_one_modality_from_several_signals_is_one_stream() -> None:
    chest = Signal("acc", np.ones((1, 8), np.float32), 4.0, ("chest_x",), start_s=1.0)
    wrist = Signal("acc", np.full((1, 8), 2, np.float32), 4.0, ("x",), start_s=0.0)
    both = merge([chest, wrist], "r")
    assert both.channels == ("x", "chest_x")
    assert both.start_s == 0.0
    assert np.array_equal(both.samples[0], [2] * 8 + [np.nan] * 4, equal_nan=True)
    assert np.array_equal(both.samples[1], [np.nan] * 4 + [1] * 8, equal_nan=True)
    with pytest.raises(RecordError, match="hold the channel x"):
        merge([wrist, wrist], "r")


def test_what_a_header_says_of_a_person_stops_the_build(nights: Any) -> None:
    with pytest.raises(PrivacyError, match=r"'stage w' stands in the header.*mend the reader"):
        nights(private=("Stage:W",))


def test_private_strings_that_are_absent_short_or_the_public_name_do_not(nights: Any) -> None:
    # 0.01 is the scale of many a channel, and 60.0 the start of a segment.
    out = nights(private=("Jane Doe", "12", "nights-1", "02-MAY-1951", "60.0", "0.01", "null"))
    assert read_index(out)["subject"].n_unique() == 4


def test_a_key_gives_names_that_nobody_can_trace_back_without_it(
    nights: Any, tmp_path: Path
) -> None:
    key = tmp_path / "key"
    key.write_bytes(bytes(range(32)))
    out = nights(replace(CONFIG, pseudonym_key=key), people=2)
    index = read_index(out)
    assert not (out / ".building").exists()
    assert index["subject"].n_unique() == 2
    assert index["record"].n_unique() == 4
    assert all(len(name) == 16 for name in index["subject"])
    for path in out.iterdir():
        assert b"nights-1" not in path.read_bytes()
        assert b"nights_n1" not in path.read_bytes()
        assert str(tmp_path).encode() not in path.read_bytes()
    assert not verify([out]).failures
    with pytest.raises(ValueError, match=r"absent cannot be read .*; make one with"):
        pseudonym("n1", tmp_path / "absent")
    key.write_bytes(bytes(range(1, 33)))
    with pytest.raises(ValueError, match=r"holds another build: .*config\.pseudonym_key is '"):
        nights(replace(CONFIG, pseudonym_key=key), people=2)
    (tmp_path / "weak").write_bytes(b"short")
    with pytest.raises(ValueError, match="5 bytes; at least 16"):
        pseudonym("n1", tmp_path / "weak")


def test_unknown_subjects_are_refused_until_the_config_says_that_they_may_leak(nights: Any) -> None:
    with pytest.raises(ValueError, match=r"4 of 4 are of unknown subjects.*may_leak"):
        nights(known=False)
    out = nights(replace(CONFIG, unknown_subjects="may_leak"), known=False)
    report = verify([out])
    assert not report.failures
    assert "SUBJECTS UNKNOWN: 4 records" in report.text()


def test_an_accepted_leak_is_a_warning_and_another_one_a_failure(nights: Any) -> None:
    halves = Fractions(0.5, 0.0, 0.5)
    out = nights(replace(CONFIG, fractions=halves, accepted_leaks=("nights-0",)))
    index = read_index(out)
    split = {row["record"]: row["split"] for row in index.iter_rows(named=True)}
    one = next(r for r in split if split[r] == "train")
    other = next(r for r in split if split[r] == "test")
    for name, failing in (("nights-0", False), ("nights-9", True)):
        subject = pl.when(pl.col("record").is_in([one, other])).then(pl.lit(name))
        changed = index.with_columns(subject=subject.otherwise(pl.col("subject")))
        changed.write_parquet(out / "index.parquet")
        leaks = [f for f in verify([out]).folders[str(out)] if f.check == "leaks"]
        assert any(f.level == "FAILURE" for f in leaks) == failing
        assert any("as the published split" in f.message for f in leaks) != failing


def test_a_name_that_holds_what_the_header_says_of_the_person_is_refused() -> None:
    made = Recording("ward", "Jane_Doe-night1", "ward-7", private=("Jane Doe",))
    with pytest.raises(PrivacyError, match=r"holds 'jane doe'.*--pseudonym_key"):
        check_private(made, [])
    check_private(replace(made, record="night1", subject="ward-Jane_Doe"), [])
    check_private(replace(made, record="20240131", private=("2024",)), [])


def test_a_label_that_is_no_number_is_a_bad_record() -> None:
    signal = Signal("ppg", np.ones((1, 500), np.float32), 100.0, ("ppg",))
    made = Recording("made", "r1", "s", (signal,), {"SBP": float("nan")})
    with pytest.raises(RecordError, match=r"made r1: SBP says \(nan,\)"):
        list(segments(made, "train", CONFIG))
