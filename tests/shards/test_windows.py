"""Windows of random recordings of several modalities, rates and gaps, against the whole recording; and
mixtures of such folders, resumed in the middle by any number of ranks."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from biofm.datasets.registry import About, RecordRef
from biofm.pretrain.provenance import provenance
from biofm.shards import build as build_module
from biofm.shards import writing
from biofm.shards.build import build
from biofm.shards.configuration import BuildConfig, Fractions, Modalities
from biofm.shards.index import annotations_of, read_index
from biofm.shards.prepare import merge, prepare
from biofm.shards.reader import DataConfig, WindowReader
from biofm.signals import MISSING, Annotation, Preprocessing, Recording, Series, Signal
from biofm.signals.windows import Batch

CHANNELS = {"ecg": ("I", "II"), "ppg": ("ppg",), "hr": ("hr",), "counts": ("counts",)}
RECORDS = 3
Samples = NDArray[np.int16]


class Random:
    """Recordings of which the seed decides all: begin, length, gaps, and which modalities there are."""

    name = "random"

    def __init__(self, seed: int, only: Sequence[str] = tuple(CHANNELS)) -> None:
        self.seed, self.only = seed, only

    def about(self, roots: Sequence[Path] = ()) -> About:
        return About("Random", "CC0", "none", "many", "stages", "few", "none")

    def find(self, roots: Sequence[Path]) -> list[RecordRef]:
        return [RecordRef(f"r{i}", f"random-{i}", Path(f"r{i}")) for i in range(RECORDS)]

    def read(self, ref: RecordRef) -> Recording:
        rng = np.random.default_rng((self.seed, int(ref.record[1:])))
        begin_s = float(rng.choice([0.0, -7.3, 12.25, 0.5, 100.0]))
        signals, series = [], []
        for modality, rate_hz in (("ecg", 20.0), ("ppg", 6.25)):
            if modality not in self.only or (modality == "ppg" and rng.random() < 0.3):
                continue
            channels = CHANNELS[modality][::-1]
            samples = rng.normal(size=(len(channels), rng.integers(50, 400 * int(rate_hz))))
            gap = np.sort(rng.integers(0, samples.shape[1], 2))
            samples[:, slice(*gap) if rng.random() < 0.6 else slice(0)] = np.nan
            samples[:, :2] = 1
            start_s = begin_s + float(rng.choice([0.0, 0.5, 33.3]))
            signals.append(
                Signal(modality, samples.astype(np.float32), rate_hz, channels, start_s=start_s)
            )
        if "hr" in self.only:
            times_s = np.sort(rng.uniform(begin_s, begin_s + 300, int(rng.integers(1, 50))))
            beats = rng.uniform(50, 90, (1, len(times_s))).astype(np.float32)
            series.append(Series("hr", ("hr",), times_s, beats))
        if "counts" in self.only:
            times_s = begin_s + 30.0 * np.arange(rng.integers(1, 20), dtype=np.float64)
            values = rng.uniform(0, 90, (1, len(times_s))).astype(np.float32)
            spans_s = np.full(len(times_s), 30.0)
            series.append(Series("counts", ("counts",), times_s, values, spans_s))
        stages = tuple(Annotation(float(t), 30.0, "stage:N2") for t in range(-60, 480, 30))
        return Recording(
            self.name,
            ref.record,
            ref.subject,
            tuple(signals),
            annotations=stages,
            series=tuple(series),
        )

    def label_sets(self, roots: Sequence[Path]) -> dict[str, dict[str, list[str]]]:
        return {"stages": {"N2": ["stage:N2"]}}


def how(segment_s: float, hr_hz: float = 1.0) -> BuildConfig:
    return BuildConfig(
        preprocessing=Modalities(
            ecg=Preprocessing(20.0),
            ppg=Preprocessing(6.25),
            hr=Preprocessing(hr_hz),
            counts=Preprocessing(1 / 30),
        ),
        segment_s=segment_s,
        fractions=Fractions(1.0, 0.0, 0.0),
        records_per_shard=2,
    )


def built(source: Random, config: BuildConfig, out: Path) -> str:
    with (
        mock.patch.object(build_module, "source", return_value=source),
        mock.patch.object(writing, "source", return_value=source),
        # Noise is no physiology.
        mock.patch.object(build_module, "check_physiology"),
    ):
        build("random", [out], out, config, workers=1, progress=False)
    return str(out)


def whole(source: Random, config: BuildConfig) -> dict[str, dict[str, tuple[int, Signal]]]:
    """Record → modality → its first sample's number, and its samples as they were before the cut."""
    found: dict[str, dict[str, tuple[int, Signal]]] = {}
    for ref in source.find([]):
        for one in prepare(source.read(ref), config):
            signal = one.signal.select(CHANNELS[one.signal.modality])
            begin = round(signal.start_s * signal.rate_hz)
            found.setdefault(ref.record, {})[signal.modality] = (begin, signal)
    return found


def cut(begin: int, signal: Signal, first: int, length: int, most: int) -> Samples:
    """`length` samples of the whole signal from number `first` on, of which `most` may be there."""
    out = np.full((len(signal.channels), length), MISSING, np.int16)
    low = max(first, begin)
    high = min(first + min(length, most), begin + signal.samples.shape[1])
    if low < high:
        out[:, low - first : high - first] = signal.samples[:, low - begin : high - begin]
    return out


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    segment_s=st.sampled_from([7.0, 30.0, 33.3, 45.0, 60.0, 300.0]),
    hr_hz=st.sampled_from([1.0, 0.5, 1 / 30]),
    lead=st.sampled_from(list(CHANNELS)),
    anchor=st.sampled_from([None, "stage"]),
)
@example(seed=693, segment_s=7.0, hr_hz=1 / 30, lead="ppg", anchor=None)  # hr where no ppg is
def test_every_window_of_every_modality_is_a_piece_of_the_whole(
    seed: int, segment_s: float, hr_hz: float, lead: str, anchor: str | None
) -> None:
    source, config = Random(seed), how(segment_s, hr_hz)
    truth = whole(source, config)
    # A reader keeps the records with the lead, and refuses a modality that none of those has.
    kept = [found for found in truth.values() if lead in found]
    there = [m for m in CHANNELS if any(m in found for found in kept)]
    if not kept:
        return
    channels = {m: CHANNELS[m] for m in (lead, *(m for m in there if m != lead))}
    with tempfile.TemporaryDirectory() as name:
        out = built(source, config, Path(name) / "out")
        check_samples_and_annotations(Path(out), source, truth)
        data = DataConfig(
            (out,), channels=channels, window_s=90.0, hop_s=17.0 if hr_hz == 1.0 else 30.0,
            anchor=anchor, before_s=30.0 if anchor else 0.0,
        )  # fmt: skip
        if anchor and not starts_somewhere(Path(out), lead):
            return
        reader = WindowReader(data, "train", seed=seed)
        for batch in reader.evaluation_batches(micro_batch=1, rank=0, ranks=1):
            check_window(reader, batch, truth)


def starts_somewhere(out: Path, lead: str) -> bool:
    """Whether any stage begins in a segment with the lead."""
    index = read_index(out)
    rows = annotations_of(index)["row"].unique().to_list()
    return any(s["modality"] == lead for row in rows for s in index["streams"][row])


def check_samples_and_annotations(
    out: Path, source: Random, truth: dict[str, dict[str, tuple[int, Signal]]]
) -> None:
    """Each is in one segment."""
    index = read_index(out)
    for record, found in truth.items():
        rows = index.filter(record=record)
        for modality, (begin, signal) in found.items():
            count = np.zeros(signal.samples.shape[1], int)
            for row in rows.iter_rows(named=True):
                for stream in row["streams"]:
                    if stream["modality"] == modality:
                        first = round(row["start_s"] * stream["rate_hz"]) - begin
                        count[max(0, first) : first + stream["samples"]] += 1
            # A segment of nothing but missing samples is not written.
            assert (count[(signal.samples != MISSING).any(axis=0)] == 1).all()
        spans = rows.select("start_s", "duration_s").rows()
        wanted = [
            a.onset_s
            for a in source.read(RecordRef(record, "", Path())).annotations
            if any(start <= a.onset_s < start + length for start, length in spans)
        ]
        mine = index.with_row_index("row").filter(record=record)["row"].implode()
        noted = annotations_of(index)
        assert noted.filter(noted["row"].is_in(mine))["onset_s"].to_list() == wanted


def check_window(
    reader: WindowReader, batch: Batch, truth: dict[str, dict[str, tuple[int, Signal]]]
) -> None:
    """Every stream of a batch of one window, at the time of the first."""
    (row,), lead = batch.rows.tolist(), reader._streams[0]
    number = batch.positions.numpy()
    placed = reader._table.locate(number, 0, None)
    first, left = int(lead.begin_R[row] + placed.starts_N[0]), int(placed.lefts_N[0])
    found = truth[reader.index["record"][row]]
    for windows in batch.streams.values():
        samples = windows.samples[0].numpy()
        if windows.modality not in found:
            assert (samples == MISSING).all()
            assert not windows.complete
            continue
        ratio = windows.rate_hz / lead.rate_hz
        begin, signal = found[windows.modality]
        start = int(np.rint(first / lead.rate_hz * windows.rate_hz))
        most = int(np.ceil(left * ratio - 1e-6))
        expected = cut(begin, signal, start, samples.shape[1], most)
        assert np.array_equal(samples, expected), (windows.modality, start)
        assert not (windows.complete and (expected == MISSING).any())
        if (expected != MISSING).any():
            assert signal.scale is not None
            assert np.array_equal(windows.scale[0].numpy(), signal.scale)


def numbers(batches: Sequence[Batch]) -> dict[str, Any]:
    """What a global batch holds, from the micro-batches of all ranks in their order."""
    names = list(batches[0].streams)
    return {
        "positions": torch.cat([b.positions for b in batches]),
        "rows": torch.cat([b.rows for b in batches]),
    } | {name: torch.cat([b.streams[name].samples for b in batches]) for name in names}


@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_a_mixture_of_modalities_is_the_same_for_any_ranks_and_resumes_anywhere(
    mixture: list[str], data: st.DataObject
) -> None:
    weights = data.draw(st.none() | st.tuples(*[st.integers(1, 9).map(float)] * 3))
    anchor = data.draw(st.sampled_from([None, "stage"]))
    config = DataConfig(
        tuple(mixture), weights=weights, channels=CHANNELS, window_s=30.0, anchor=anchor,
        shuffle_shards=data.draw(st.integers(0, 2)),
    )  # fmt: skip
    reader, epoch = WindowReader(config, "train", seed=5), data.draw(st.integers(0, 3))
    steps = reader.steps_per_epoch(4)
    resumed = data.draw(st.integers(0, steps - 1))

    def batches(of: WindowReader, ranks: int, micro: int, first: int) -> list[dict[str, Any]]:
        each = [
            list(
                of.train_batches(
                    global_batch=4, micro_batch=micro, rank=rank, ranks=ranks, epoch=epoch,
                    first_step=first,
                )
            )
            for rank in range(ranks)
        ]  # fmt: skip
        return [numbers([b for rank in step for b in rank]) for step in zip(*each, strict=True)]

    straight = batches(reader, 1, 4, 0)
    again = WindowReader(config, "train", seed=5)
    for ranks, micro in ((1, 2), (2, 2), (2, 1)):
        rest = batches(again, ranks, micro, resumed)
        assert len(rest) == steps - resumed
        for one, other in zip(straight[resumed:], rest, strict=True):
            assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.fixture(scope="module")
def mixture(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Three folders: all modalities; ECG alone; ECG and heart rate in other segments."""
    folder = tmp_path_factory.mktemp("mixture")
    return [
        built(Random(1), how(60.0), folder / "all"),
        built(Random(2, only=("ecg",)), how(60.0), folder / "ecg"),
        built(Random(3, only=("ecg", "hr")), how(45.0), folder / "two"),
    ]


def test_a_start_between_two_samples_loses_none() -> None:
    for start_s in (0.5, 1.5, 2.5):
        pulse = Signal("hr", np.ones((1, 3), np.float32), 1.0, ("hr",), start_s=start_s)
        assert merge([pulse], "r").start_s == round(start_s)


def test_a_window_too_short_for_a_stream_is_refused_and_views_are_whole(mixture: list[str]) -> None:
    short = DataConfig(
        (mixture[0],), channels={"ecg": ("I",), "counts": ("counts",)}, window_s=10.0
    )
    with pytest.raises(ValueError, match=r"holds no sample of counts at 0\.0333333 Hz: raise"):
        WindowReader(short, "train", seed=0)
    # 45 s are one and a half samples of the counts: two in each of the two views.
    long = DataConfig((mixture[0],), channels={"counts": ("counts",)}, window_s=45.0)
    reader = WindowReader(long, "train", seed=0, views=2)
    (batch, *_) = reader.evaluation_batches(micro_batch=1, rank=0, ranks=1)
    assert batch.streams[reader.stream].samples.shape[2] == 2 * reader.window_samples == 4


def test_folders_must_have_been_preprocessed_alike_in_all_modalities_that_both_have(
    mixture: list[str], tmp_path: Path
) -> None:
    other = how(60.0)
    gentle = BuildConfig(
        preprocessing=Modalities(ecg=Preprocessing(20.0), hr=Preprocessing(1.0, longest_gap_s=9)),
        fractions=other.fractions,
    )
    folder = built(Random(4, only=("ecg", "hr")), gentle, tmp_path / "out")
    channels = {"ecg": ("I",), "hr": ("hr",)}
    alike = WindowReader(DataConfig((mixture[1], folder), channels=channels), "train", seed=0)
    assert provenance(alike).preprocessing["ecg"] == Preprocessing(20.0)
    differing = WindowReader(DataConfig((mixture[2], folder), channels=channels), "train", seed=0)
    with pytest.raises(ValueError, match="the same preprocessing of hr"):
        provenance(differing)
