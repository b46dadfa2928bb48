"""The reader against a slow plain one: every window once, where it must be, for any ranks."""

from __future__ import annotations

import json
import shutil
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from webdataset import TarWriter

from biofm.shards.buffers import BufferPool
from biofm.shards.index import INDEX, MANIFEST, SCHEMA, sample_key, stream_name
from biofm.shards.mapped import ShardError
from biofm.shards.reader import DataConfig, WindowReader
from biofm.signals import MISSING
from biofm.signals.windows import Batch

Samples = NDArray[np.int16]
PAIR = ("I", "II")


@dataclass(frozen=True)
class Made:
    """A recording to write: `samples` [C, T] say who and when they are (`marked`)."""

    record: str
    samples: Samples
    segments: tuple[int, ...]
    channels: tuple[str, ...] = PAIR
    split: str = "train"
    rate_hz: float = 100.0
    missing: float | None = 0.0


def marked(number: int, length: int, channels: int = 2) -> Samples:
    """Channel 0 counts the samples, the others hold the recording's number."""
    samples = np.full((channels, length), number, np.int16)
    samples[0] = np.arange(length)
    return samples


def write_folder(
    folder: Path, made: Sequence[Made], per_shard: int = 3, source: str = "toy"
) -> Path:
    """A shard folder as a build leaves it: tars by webdataset, offsets by tarfile."""
    folder.mkdir(parents=True)
    rows: list[dict[str, Any]] = []
    for split in sorted({one.split for one in made}):
        mine = [one for one in made if one.split == split]
        for number, first in enumerate(range(0, len(mine), per_shard)):
            name = f"{source}-{split}-{number:05d}.tar"
            part = [segment_rows(one, name, source) for one in mine[first : first + per_shard]]
            with TarWriter(str(folder / name), mtime=0) as tar:
                for row, samples in (pair for pairs in part for pair in pairs):
                    stream = row["streams"][0]["name"]
                    tar.write({"__key__": row["key"], f"{stream}.npy": samples, "json": {}})
            with tarfile.open(folder / name) as tar:
                at = {member.name: member.offset_data + 128 for member in tar}
            for row, _ in (pair for pairs in part for pair in pairs):
                stream = row["streams"][0]
                stream["data_offset"] = at[f"{row['key']}.{stream['name']}.npy"]
                rows.append(row)
    pl.DataFrame(rows, schema=SCHEMA).write_parquet(folder / INDEX)
    shards = [{"name": p.name, "bytes": p.stat().st_size} for p in sorted(folder.glob("*.tar"))]
    manifest = {"shards": shards, "synthetic": True, "label_sets": {}}
    (folder / MANIFEST).write_text(json.dumps(manifest))
    return folder


def segment_rows(one: Made, shard: str, source: str) -> list[tuple[dict[str, Any], Samples]]:
    """Index row and samples of every segment of a recording."""
    out, start = [], 0
    for number, length in enumerate(one.segments):
        stream = {
            "name": stream_name("ecg", one.rate_hz),
            "modality": "ecg",
            "rate_hz": one.rate_hz,
            "channels": list(one.channels),
            "samples": length,
            "scale": [0.5 + i for i in range(len(one.channels))],
            "offset": [float(i) for i in range(len(one.channels))],
        }
        row = {
            **dict.fromkeys(SCHEMA),
            "shard": shard,
            "key": sample_key(source, one.record, number),
            "dataset": source,
            "record": one.record,
            "subject": f"{source}-{one.record}",
            "split": one.split,
            "segment": number,
            "start_s": start / one.rate_hz,
            "duration_s": length / one.rate_hz,
            "missing": one.missing,
            "streams": [stream],
        }
        out.append((row, np.ascontiguousarray(one.samples[:, start : start + length])))
        start += length
    return out


def varied(count: int = 14, split: str = "train") -> list[Made]:
    """Recordings of 1 to 3 segments, some shorter than a second."""
    made = []
    for number in range(count):
        segments = ((250,), (130, 130, 77), (60,), (300, 41), (100,))[number % 5]
        made.append(Made(f"r{number:02d}", marked(number, sum(segments)), segments, split=split))
    return made


def config(*folders: Path, **changes: Any) -> DataConfig:
    """One-second windows of the two marked channels."""
    base = DataConfig(shards=tuple(map(str, folders)), channels={"ecg": PAIR}, window_s=1.0)
    return replace(base, **changes)


def slow_windows(
    made: Sequence[Made], channels: Sequence[str], span: int, hop: int
) -> list[Samples]:
    """Every window of unshifted recordings, cut from the whole recording, one by one."""
    out = []
    for one in made:
        length = one.samples.shape[1]
        for start in range(0, max(length - span, 0) + 1, hop):
            window = np.full((len(channels), span), MISSING, np.int16)
            for row, channel in enumerate(channels):
                if channel in one.channels:
                    piece = one.samples[one.channels.index(channel), start : start + span]
                    window[row, : len(piece)] = piece
            out.append(window)
    return out


def epoch_of(
    reader: WindowReader, batch: int, ranks: int, micro: int, epoch: int = 0
) -> list[Batch]:
    """The global batches of an epoch, put together from all ranks."""
    per_rank = [
        list(
            reader.train_batches(
                global_batch=batch, micro_batch=micro, rank=rank, ranks=ranks, epoch=epoch
            )
        )
        for rank in range(ranks)
    ]
    assert {len(steps) for steps in per_rank} == {reader.steps_per_epoch(batch)}
    return [
        joined([part for steps in per_rank for part in steps[step]])
        for step in range(reader.steps_per_epoch(batch))
    ]


def joined(parts: Sequence[Batch]) -> Batch:
    """Micro-batches as one batch."""
    (name,) = parts[0].streams
    windows = [part.streams[name] for part in parts]
    return replace(
        parts[0],
        streams={
            name: replace(
                windows[0],
                samples=torch.cat([w.samples for w in windows]),
                scale=torch.cat([w.scale for w in windows]),
                offset=torch.cat([w.offset for w in windows]),
            )
        },
        positions=torch.cat([part.positions for part in parts]),
        rows=torch.cat([part.rows for part in parts]),
        subjects=torch.cat([part.subjects for part in parts]),
    )


def samples_of(batch: Batch) -> Samples:
    (windows,) = batch.streams.values()
    found: Samples = windows.samples.numpy()
    return found


def test_evaluation_equals_the_slow_reader_on_every_window(tmp_path: Path) -> None:
    made = varied()
    folder = write_folder(tmp_path / "toy", made)
    for hop_s, ranks, micro in [(None, 1, 4), (0.3, 2, 3), (2.0, 3, 5)]:
        reader = WindowReader(config(folder, hop_s=hop_s), "train", seed=1)
        expected = slow_windows(made, PAIR, 100, round((hop_s or 1.0) * 100))
        assert reader.windows == len(expected)
        per_rank = [
            list(reader.evaluation_batches(micro_batch=micro, rank=rank, ranks=ranks))
            for rank in range(ranks)
        ]
        assert len({len(batches) for batches in per_rank}) == 1
        found = {
            int(position): window
            for batches in per_rank
            for batch in batches
            for position, window in zip(batch.positions, samples_of(batch), strict=True)
        }
        assert sorted(found) == list(range(len(expected)))
        assert all(np.array_equal(found[i], window) for i, window in enumerate(expected))
        assert sum(len(batch) for batches in per_rank for batch in batches) == len(expected)


def test_every_training_window_is_a_piece_of_its_recording_shifted_by_one_phase(
    tmp_path: Path,
) -> None:
    made = varied()
    reader = WindowReader(config(write_folder(tmp_path / "toy", made), hop_s=0.4), "train", seed=1)
    phases: dict[int, set[int]] = {}
    for epoch in range(6):
        starts: dict[int, list[int]] = {}
        for batch in epoch_of(reader, 1, 1, 1, epoch):
            window, row = samples_of(batch)[0], int(batch.rows[0])
            number, start = int(window[1, 0]), int(window[0, 0])
            whole = made[number].samples
            length = min(100, whole.shape[1])
            assert np.array_equal(window[:, :length], whole[:, start : start + length])
            assert (window[:, length:] == MISSING).all()
            assert reader.index["record"][row] == made[number].record
            assert reader.index["start_s"][row] * 100 <= start
            assert (
                reader.index["start_s"][row] * 100 + reader.index["duration_s"][row] * 100 > start
            )
            starts.setdefault(number, []).append(start)
        assert sorted(starts) == list(range(len(made)))
        for number, found in starts.items():
            length = made[number].samples.shape[1]
            count = max(length - 100, 0) // 40 + 1
            first = min(found)
            assert sorted(found) == [first + 40 * i for i in range(count)]
            assert first + 40 * (count - 1) + 100 <= max(length, 100)
            phases.setdefault(number, set()).add(first)
    moving = [len(phases[n]) for n, one in enumerate(made) if one.samples.shape[1] > 110]
    assert min(moving) > 1


def test_the_phase_is_uniform_over_what_is_left(tmp_path: Path) -> None:
    made = [Made(f"r{i}", marked(i, 104), (104,)) for i in range(200)]
    reader = WindowReader(config(write_folder(tmp_path / "toy", made, 50)), "train", seed=0)
    starts = [samples_of(b)[:, 0, 0] for e in range(10) for b in epoch_of(reader, 50, 1, 50, e)]
    counts = np.bincount(np.concatenate(starts), minlength=5)
    # 2000 draws over 0…4: 400 ± 18 each.
    assert counts.sum() == 2000
    assert np.abs(counts - 400).max() < 80


@pytest.mark.parametrize(("ranks", "micro"), [(1, 8), (1, 2), (2, 4), (2, 2), (4, 2), (4, 1)])
def test_global_batches_are_the_same_for_any_ranks_and_accumulation(
    tmp_path: Path, ranks: int, micro: int
) -> None:
    # Five shards: fewer than four ranks could share evenly; the last is short.
    folder = write_folder(tmp_path / "toy", varied())
    reader = WindowReader(config(folder, hop_s=0.3, shuffle_shards=2), "train", seed=3)
    for epoch in (0, 1):
        reference = epoch_of(reader, 8, 1, 8, epoch)
        for ours, theirs in zip(epoch_of(reader, 8, ranks, micro, epoch), reference, strict=True):
            assert torch.equal(ours.positions, theirs.positions)
            assert torch.equal(ours.rows, theirs.rows)
            assert torch.equal(ours.subjects, theirs.subjects)
            assert np.array_equal(samples_of(ours), samples_of(theirs))


def test_fewer_shards_than_ranks_give_equal_batch_counts(tmp_path: Path) -> None:
    made = [*varied(5), *varied(3, "validation")]
    folder = write_folder(tmp_path / "toy", made, per_shard=9)
    reader = WindowReader(config(folder), "validation", seed=0)
    batches = [
        list(reader.evaluation_batches(micro_batch=2, rank=rank, ranks=4)) for rank in range(4)
    ]
    lengths = [[len(batch) for batch in mine] for mine in batches]
    assert reader.windows == 2 + 3 + 1
    assert lengths == [[2], [2], [2], [0]]
    assert samples_of(batches[3][0]).shape == (0, 2, 100)
    train = WindowReader(config(folder), "train", seed=0)
    assert [b.positions.tolist() for b in epoch_of(train, 4, 4, 1)] == [
        list(range(i, i + 4)) for i in range(0, train.windows - 3, 4)
    ]


def test_resume_goes_on_where_it_stopped_with_other_ranks(tmp_path: Path) -> None:
    reader = WindowReader(config(write_folder(tmp_path / "toy", varied())), "train", seed=3)
    whole = epoch_of(reader, 4, 1, 4, epoch=2)
    rest = [
        list(
            reader.train_batches(
                global_batch=4, micro_batch=2, rank=rank, ranks=2, epoch=2, first_step=3
            )
        )
        for rank in (0, 1)
    ]
    assert len(rest[0]) == len(whole) - 3
    for step, parts in enumerate(zip(*rest, strict=True), start=3):
        again = joined([batch for micro in parts for batch in micro])
        assert np.array_equal(samples_of(again), samples_of(whole[step]))


def test_order_does_not_depend_on_where_the_folder_lies(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "b" / "toy", varied())
    copy = Path(shutil.copytree(folder, tmp_path / "a" / "other name"))
    one, two = (WindowReader(config(f), "train", seed=5) for f in (folder, copy))
    for ours, theirs in zip(epoch_of(one, 3, 1, 3), epoch_of(two, 3, 1, 3), strict=True):
        assert np.array_equal(samples_of(ours), samples_of(theirs))


def test_seeds_and_epochs_differ_and_repeat(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "toy", varied())

    def order(seed: int, epoch: int) -> list[int]:
        reader = WindowReader(config(folder), "train", seed=seed)
        return [int(row) for batch in epoch_of(reader, 1, 1, 1, epoch) for row in batch.rows]

    assert order(0, 0) == order(0, 0)
    assert len({tuple(order(seed, epoch)) for seed in (0, 1) for epoch in (0, 1)}) == 4


@settings(max_examples=20, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 90), min_size=1, max_size=6),
    segment=st.integers(7, 60),
    window=st.integers(1, 50),
    hop=st.integers(1, 70),
    block=st.integers(0, 3),
)
def test_any_cut_gives_the_windows_of_the_whole(
    tmp_path_factory: pytest.TempPathFactory,
    lengths: list[int],
    segment: int,
    window: int,
    hop: int,
    block: int,
) -> None:
    made = []
    for number, length in enumerate(lengths):
        cuts = (segment,) * (length // segment) + ((length % segment,) if length % segment else ())
        made.append(Made(f"r{number}", marked(number, length), cuts))
    folder = write_folder(tmp_path_factory.mktemp("cut") / "toy", made, per_shard=2)
    how = config(folder, window_s=window / 100, hop_s=hop / 100, shuffle_shards=block)
    reader = WindowReader(how, "train", seed=0)
    expected = slow_windows(made, PAIR, window, hop)
    (batch,) = reader.evaluation_batches(micro_batch=len(expected), rank=0, ranks=1)
    assert np.array_equal(samples_of(batch), np.stack(expected))
    (step,) = reader.train_batches(
        global_batch=len(expected), micro_batch=len(expected), rank=0, ranks=1, epoch=1
    )
    drawn = samples_of(step[0])
    # (recording, place on the hop grid) of each drawn window: each once, whatever the phase.
    keys = sorted(zip(drawn[:, 1, 0].tolist(), (drawn[:, 0, 0] // hop).tolist(), strict=True))
    assert keys == sorted((int(w[1, 0]), int(w[0, 0]) // hop) for w in expected)


def test_channels_come_by_name_and_absent_ones_are_missing(tmp_path: Path) -> None:
    made = [
        Made("a", marked(1, 100, 3), (100,), ("I", "II", "V1")),
        Made("b", marked(2, 100, 2), (100,), ("V1", "I")),
        Made("c", marked(3, 130, 1), (70, 60), ("II",)),
    ]
    channels = ("V1", "I")
    reader = WindowReader(
        config(write_folder(tmp_path / "toy", made), channels={"ecg": channels}), "train", seed=0
    )
    (batch,) = reader.evaluation_batches(micro_batch=3, rank=0, ranks=1)
    assert np.array_equal(samples_of(batch), np.stack(slow_windows(made, channels, 100, 100)))
    windows = batch.streams["ecg-100hz"]
    assert windows.channels == channels
    assert windows.scale.tolist() == [[2.5, 0.5], [0.5, 1.5], [1.0, 1.0]]
    assert windows.offset.tolist() == [[2.0, 0.0], [0.0, 1.0], [0.0, 0.0]]
    x, missing = windows.physical()
    assert x[0, 1, 7] == 7 * 0.5
    assert missing[2].all()


@pytest.mark.parametrize(
    ("change", "complete"),
    [
        ({}, True),
        ({"missing": 0.01}, False),
        ({"missing": None}, False),
        ({"segments": (99,)}, False),
        ({"channels": ("I", "V1")}, False),
    ],
)
def test_batches_say_when_no_sample_is_missing(
    tmp_path: Path, change: dict[str, Any], complete: bool
) -> None:
    made = [Made("a", marked(0, 100), (100,)), Made("b", marked(1, 100), (100,))]
    folder = write_folder(tmp_path / "toy", [made[0], replace(made[1], **change)])
    reader = WindowReader(config(folder), "train", seed=0)
    one, two = reader.evaluation_batches(micro_batch=1, rank=0, ranks=1)
    (both,) = reader.evaluation_batches(micro_batch=2, rank=0, ranks=1)
    found = [batch.streams["ecg-100hz"].complete for batch in (one, two, both)]
    assert found == [True, complete, complete]


def test_a_gap_between_segments_is_not_bridged(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "toy", [Made("a", marked(1, 180), (90, 90))])
    index = pl.read_parquet(folder / INDEX)
    later = index.with_columns(start_s=pl.col("start_s") + 5.0 * pl.col("segment"))
    later.write_parquet(folder / INDEX)
    reader = WindowReader(config(folder), "train", seed=0)
    (batch,) = reader.evaluation_batches(micro_batch=9, rank=0, ranks=1)
    assert (samples_of(batch) == MISSING).sum(axis=(1, 2)).tolist() == [20, 20]


def test_views_are_adjacent_windows_end_to_end(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "toy", [Made("a", marked(1, 450), (150, 150, 150))])
    reader = WindowReader(config(folder), "train", seed=0, views=2)
    assert (reader.windows, reader.window_samples) == (2, 100)
    (batch,) = reader.evaluation_batches(micro_batch=2, rank=0, ranks=1)
    assert samples_of(batch)[:, 0].tolist() == [list(range(200)), list(range(200, 400))]


def test_folders_mix_by_weight_and_keep_their_rows(tmp_path: Path) -> None:
    many = write_folder(tmp_path / "many", varied(10))
    few = write_folder(tmp_path / "few", [Made("x", marked(99, 200), (200,))], source="few")
    even = WindowReader(config(many, few), "train", seed=0)
    assert even.windows == len(slow_windows(varied(10), PAIR, 100, 100)) + 2
    records = [even.index["record"][int(b.rows[0])] for b in epoch_of(even, 1, 1, 1)]
    assert records.count("x") == 2
    half = WindowReader(config(many, few, weights=(1.0, 1.0)), "train", seed=0)
    for batch in epoch_of(half, 4, 1, 4):
        from_few = (samples_of(batch)[:, 1, 0] == 99).tolist()
        assert sum(from_few) == 2
        assert [half.index["dataset"][r] == "few" for r in batch.rows.tolist()] == from_few


def test_batches_keep_their_values_while_others_are_read(tmp_path: Path) -> None:
    reader = WindowReader(config(write_folder(tmp_path / "toy", varied())), "train", seed=0)
    kept, copies = [], []
    for (batch,) in reader.train_batches(global_batch=2, micro_batch=2, rank=0, ranks=1, epoch=0):
        kept.append(batch.streams["ecg-100hz"].samples[:, 1:])
        copies.append(samples_of(batch)[:, 1:].copy())
    assert all(np.array_equal(view.numpy(), copy) for view, copy in zip(kept, copies, strict=True))


def test_a_buffer_is_lent_again_only_when_the_last_view_is_gone() -> None:
    pool = BufferPool((4, 2, 8))
    first = pool.take()
    address, view = first.data_ptr(), first[1:]
    del first
    assert pool.take().data_ptr() != address or torch.cuda.is_available()
    del view
    assert pool.take().data_ptr() == address or torch.cuda.is_available()


def test_facts_about_the_data(tmp_path: Path) -> None:
    reader = WindowReader(config(write_folder(tmp_path / "toy", varied())), "train", seed=0)
    assert (reader.stream, reader.rate_hz, reader.channels) == ("ecg-100hz", 100.0, PAIR)
    assert reader.synthetic
    assert reader.dropped_windows(4) == reader.windows % 4
    (batch,) = reader.evaluation_batches(micro_batch=99, rank=0, ranks=1)
    records = [reader.index["record"][row] for row in batch.rows.tolist()]
    assert len(set(batch.subjects.tolist())) == len(set(records)) == 14


def test_subjects_can_be_left_out_of_every_split(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "toy", varied())
    everybody = [f"toy-{one.record}" for one in varied()]
    gone = tuple(everybody[1:4])
    reader = WindowReader(config(folder, exclude_subjects=gone), "train", seed=0)
    assert reader.index["subject"].unique(maintain_order=True).to_list() == [
        everybody[0],
        *everybody[4:],
    ]
    chosen = pl.col("split") == "train"
    named = WindowReader(config(folder, exclude_subjects=gone), "some", seed=0, rows=chosen)
    assert named.index.equals(reader.index)
    others = [one for one in varied() if f"toy-{one.record}" not in gone]
    apart = WindowReader(config(write_folder(tmp_path / "apart", others)), "train", seed=0)
    assert reader.windows == apart.windows
    with pytest.raises(
        ValueError, match=r"exclude_subjects: nobody is called nobody in .*toy: name"
    ):
        WindowReader(config(folder, exclude_subjects=(gone[0], "nobody")), "train", seed=0)


def test_impossible_requests_say_what_to_do(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "toy", varied())
    with pytest.raises(ValueError, match=r"'test' is empty.*train 23.*Name one of these"):
        WindowReader(config(folder), "test", seed=0)
    with pytest.raises(ValueError, match=r"no record .* has V6; their channels are I, II"):
        WindowReader(config(folder, channels={"ecg": ("I", "V6")}), "train", seed=0)
    with pytest.raises(ValueError, match=r"holds no ppg.*'ecg'"):
        WindowReader(config(folder, channels={"ppg": ("ppg",)}), "train", seed=0)
    with pytest.raises(KeyError, match=r"unknown channel 'XI'.*known"):
        config(folder, channels={"ecg": ("XI",)})
    with pytest.raises(ValueError, match="1 weights for 2"):
        config(folder, folder, weights=(1.0,))
    faster = [Made("f", marked(0, 200), (200,), rate_hz=200.0)]
    other = write_folder(tmp_path / "other", faster, source="fast")
    with pytest.raises(ValueError, match=r"\[100.0, 200.0\] Hz.*same rate"):
        WindowReader(config(folder, other), "train", seed=0)
    reader = WindowReader(config(folder), "train", seed=0)
    with pytest.raises(ValueError, match="choose a multiple of 6"):
        reader.train_batches(global_batch=8, micro_batch=3, rank=0, ranks=2, epoch=0)
    with pytest.raises(ValueError, match="does not fit the 29 windows"):
        reader.train_batches(global_batch=64, micro_batch=64, rank=0, ranks=1, epoch=0)
    with pytest.raises(FileNotFoundError, match="biofm shards build"):
        WindowReader(config(tmp_path), "train", seed=0)


def test_a_shard_that_changed_is_named(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "toy", varied())
    shard = folder / "toy-train-00001.tar"
    good = shard.read_bytes()

    def read_all() -> None:
        reader = WindowReader(config(folder), "train", seed=0)
        list(reader.evaluation_batches(micro_batch=8, rank=0, ranks=1))

    read_all()
    shard.write_bytes(good[:-512])
    with pytest.raises(ShardError, match=r"toy-train-00001.tar has .* bytes.*shards verify"):
        WindowReader(config(folder), "train", seed=0)
    shard.write_bytes(bytes(len(good)))
    with pytest.raises(ShardError, match=r"00001.tar.*no npy header.*shards verify"):
        read_all()
    shard.write_bytes(good.replace(b"<i2", b"<u2", 1))
    with pytest.raises(ShardError, match=r"expected int16 .* found uint16"):
        read_all()
    shard.write_bytes(good.replace(b"toy_r03", b"toy_r93"))
    with pytest.raises(ShardError, match=r"found member 'toy_r93_00000.ecg-100hz.npy'"):
        read_all()
    shard.unlink()
    with pytest.raises(ShardError, match=r"00001.tar is missing"):
        WindowReader(config(folder), "train", seed=0)


def test_an_index_of_another_build_is_refused(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "toy", varied())
    index = pl.read_parquet(folder / INDEX)
    index.with_columns(shard=pl.lit("../elsewhere.tar")).write_parquet(folder / INDEX)
    with pytest.raises(ShardError, match="not of one build"):
        WindowReader(config(folder), "train", seed=0)


def test_segments_of_a_recording_must_share_their_scale(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "toy", [Made("a", marked(1, 180), (90, 90))])
    index = pl.read_parquet(folder / INDEX)
    rows = index.to_dicts()
    rows[1]["streams"][0]["scale"] = [9.0, 9.0]
    pl.DataFrame(rows, schema=SCHEMA).write_parquet(folder / INDEX)
    with pytest.raises(ValueError, match="record a changes its channels or scale at segment 1"):
        WindowReader(config(folder), "train", seed=0)
