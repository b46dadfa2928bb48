"""Shards → batches of windows, in an order that is a closed form of (seed, epoch, position).

- The index becomes a few plain arrays (`recordings`), the order is computed, not stored (`order`),
  shards are mapped (`mapped`) and a window is one copy of a byte range into the batch.
- A rank takes its slice of every global batch: the batches are the same for any number of ranks.
- State is (epoch, step): to resume, ask for `first_step`.

Shape suffixes: N windows asked for, R rows of the index, B rows of a batch, C channels, T time.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray

from ..signals import LEADS_12, MISSING, channel_id
from ..signals.windows import Batch, Windows
from .buffers import BufferPool
from .mapped import MappedShards, Member, ShardFolder
from .order import EpochOrder, Integers
from .recordings import WindowTable, locate_segments, rows_with
from .stream import RemoteFolder

T = TypeVar("T")

CHUNK = 1 << 15
"""Positions whose places are computed in one go: enough for the arithmetic to cost nothing."""


@dataclass(frozen=True)
class DataConfig:
    """What a reader reads."""

    shards: tuple[str, ...]
    """Shard folders, or their http(s) addresses. Their order is the order of `weights`."""
    weights: tuple[float, ...] | None = None
    """Share of each folder in every stretch of an epoch; null for shares by number of windows."""
    modality: str = "ecg"
    """Which signals."""
    channels: tuple[str, ...] = LEADS_12
    """Channels by name, in the order models see them; one that a record lacks is all missing."""
    window_s: float = 10.0
    """Length of a window in seconds."""
    hop_s: float | None = None
    """Distance between the starts of neighbouring windows in seconds; null for `window_s`."""
    shuffle_shards: int = 0
    """How many shards are shuffled together; 0 for all. Addresses need 1 or more (cache size)."""
    cache: str = "data/cache"
    """Folder for shards fetched from addresses."""

    def __post_init__(self) -> None:
        if not self.shards:
            raise ValueError("shards: name at least one shard folder")
        if not self.window_s > 0 or not (self.hop_s is None or self.hop_s > 0):
            raise ValueError(
                f"window_s and hop_s must be above 0 s, not {self.window_s}, {self.hop_s}"
            )
        if self.shuffle_shards < 0:
            raise ValueError(f"shuffle_shards must be 0 or more, not {self.shuffle_shards}")
        if self.weights is not None:
            if len(self.weights) != len(self.shards):
                raise ValueError(
                    f"{len(self.weights)} weights for {len(self.shards)} shard folders"
                )
            if not all(weight > 0 for weight in self.weights):
                raise ValueError(f"weights must be above 0, not {self.weights}; leave a folder out")
        for channel in self.channels:
            channel_id(self.modality, channel)
        if not self.channels or len(set(self.channels)) != len(self.channels):
            raise ValueError(f"channels: name at least one, and each once, not {self.channels}")


@dataclass(frozen=True)
class Places:
    """N windows: position in the epoch, row of the index, first sample there, samples left."""

    positions: Integers
    rows: Integers
    starts: Integers
    lefts: Integers

    def __getitem__(self, part: slice) -> Places:
        return Places(self.positions[part], self.rows[part], self.starts[part], self.lefts[part])


class WindowReader:
    """Windows of one split of one or several shard folders.

    `windows` positions make an epoch. `views` adjacent windows are handed over end to end in a row
    (T = views · `window_samples`) and count as one position. Raises `ValueError` for an empty
    split, a channel nobody has, folders of different rate; `ShardError` for a shard that changed.
    """

    def __init__(self, config: DataConfig, split: str, *, seed: int, views: int = 1) -> None:
        self.config, self.split, self.seed, self.channels = config, split, seed, config.channels
        folders = [open_folder(where, config) for where in config.shards]
        indexes = [split_rows(folder, split, config.modality) for folder in folders]
        index = pl.concat([part.with_columns(source=pl.lit(i)) for i, part in enumerate(indexes)])
        streams = rows_with(index, config.modality)
        self.index = index.drop("source")
        # Shards are numbered in the order of the index: no path, no listing of a folder decides.
        shard_R = streams.select(pl.struct("source", "shard").rle_id()).to_series().to_numpy()
        self._segments = locate_segments(streams, config.channels, shard_R.astype(np.int64))
        self.stream, self.rate_hz = self._segments.stream, self._segments.rate_hz
        self.window_samples = round(config.window_s * self.rate_hz)
        self._span = views * self.window_samples
        hop_s = views * config.window_s if config.hop_s is None else config.hop_s
        self._table = WindowTable(
            streams, self._segments, self._span, max(1, round(hop_s * self.rate_hz))
        )
        self.windows = self._table.windows
        self.manifests = [folder.manifest for folder in folders]
        self.synthetic = any(bool(manifest["synthetic"]) for manifest in self.manifests)
        subjects = self.index["subject"]
        self._subjects_R = (subjects.rank("dense").to_numpy() - 1).astype(np.int64)
        self._mapped = self._map(streams, folders)
        self._order = self._plan(streams["source"].to_numpy())

    def _map(self, streams: pl.DataFrame, folders: list[ShardFolder]) -> MappedShards:
        """Every shard, after a look that its file is there and whole."""
        seg = self._segments
        first_R = np.flatnonzero(np.diff(seg.shard_R, prepend=-1))
        last_R = np.append(first_R[1:], streams.height) - 1
        shards = [
            (folders[streams["source"][row]], streams["shard"][row]) for row in first_R.tolist()
        ]
        for source, folder in enumerate(folders):
            here = streams.filter(pl.col("source") == source)
            folder.check(here["shard"].unique().sort().to_list())
        members = [
            tuple(
                Member(
                    f"{streams['key'][row]}.{self.stream}.npy",
                    int(seg.data_offset_R[row]),
                    (int(seg.channels_R[row]), int(seg.samples_R[row])),
                )
                for row in ends
            )
            for ends in zip(first_R.tolist(), last_R.tolist(), strict=True)
        ]
        # A map keeps the bytes of a shard that has left the cache: no more maps than cached shards.
        remote = sum(isinstance(folder, RemoteFolder) for folder in folders)
        keep = 2 * self.config.shuffle_shards * len(folders) if remote else None
        return MappedShards(shards, members, keep)

    def _plan(self, source_R: Integers) -> EpochOrder:
        """The order over all sources, from the number of windows in every shard."""
        shard, windows = self._table.windows_per_shard(self._segments)
        first_R = np.searchsorted(self._segments.shard_R, shard)
        parts = [windows[source_R[first_R] == source] for source in range(len(self.config.shards))]
        return EpochOrder(parts, self.config.shuffle_shards, self.seed, self.config.weights)

    def steps_per_epoch(self, global_batch: int) -> int:
        """Whole global batches in an epoch. Raises `ValueError` where not even one fits."""
        if not 0 < global_batch <= self.windows:
            raise ValueError(
                f"a global batch of {global_batch} does not fit the {self.windows} windows of "
                f"split {self.split!r}: lower the batch, or shorten hop_s"
            )
        return self.windows // global_batch

    def dropped_windows(self, global_batch: int) -> int:
        """Positions at the end of an epoch that fill no whole global batch."""
        return self.windows - global_batch * self.steps_per_epoch(global_batch)

    def train_batches(
        self,
        *,
        global_batch: int,
        micro_batch: int,
        rank: int,
        ranks: int,
        epoch: int,
        first_step: int = 0,
    ) -> Iterator[list[Batch]]:
        """This rank's micro-batches of each optimizer step, from `first_step` to the epoch's last.

        Raises `ValueError` where the global batch is not whole micro-batches for every rank.
        """
        check_rank(rank, ranks)
        steps = self.steps_per_epoch(global_batch)
        if micro_batch < 1 or global_batch % (micro_batch * ranks):
            raise ValueError(
                f"the global batch ({global_batch}) must be micro_batch ({micro_batch}) × ranks "
                f"({ranks}) × accumulation: choose a multiple of {max(1, micro_batch) * ranks}"
            )
        if not 0 <= first_step <= steps:
            raise ValueError(f"first_step {first_step} lies outside the epoch's {steps} steps")
        return ahead(self._train(global_batch, micro_batch, rank, ranks, epoch, first_step))

    def _train(
        self, global_batch: int, micro_batch: int, rank: int, ranks: int, epoch: int, step: int
    ) -> Iterator[list[Batch]]:
        share = global_batch // ranks
        mine = np.arange(share, dtype=np.int64) + rank * share
        at_once = max(1, CHUNK // share)
        pool = BufferPool((micro_batch, len(self.channels), self._span))
        steps = self.steps_per_epoch(global_batch)
        for first in range(step, steps, at_once):
            chunk = np.arange(first, min(first + at_once, steps), dtype=np.int64)
            places = self._locate((chunk[:, None] * global_batch + mine).ravel(), epoch)
            for start in range(0, len(places.rows), share):
                yield [
                    self._batch(places[at : at + micro_batch], epoch, pool)
                    for at in range(start, start + share, micro_batch)
                ]

    def evaluation_batches(self, *, micro_batch: int, rank: int, ranks: int) -> Iterator[Batch]:
        """Every window once over all ranks, in the order of the index, all phases 0.

        All ranks get equally many batches; the last may be short or empty.
        """
        check_rank(rank, ranks)
        if micro_batch < 1:
            raise ValueError(f"micro_batch must be 1 or more, not {micro_batch}")
        return ahead(self._evaluate(micro_batch, rank, ranks))

    def _evaluate(self, micro_batch: int, rank: int, ranks: int) -> Iterator[Batch]:
        pool = BufferPool((micro_batch, len(self.channels), self._span))
        for first in range(0, self.windows, micro_batch * ranks):
            start = first + rank * micro_batch
            at = np.arange(start, min(start + micro_batch, self.windows), dtype=np.int64)
            places = Places(at, *self._table.locate(at, self.seed, None))
            yield self._batch(places, 0, pool)

    def _locate(self, positions_N: Integers, epoch: int) -> Places:
        """Where the windows at these positions of an epoch lie."""
        windows_N, turns_N = self._order.at(positions_N, epoch)
        return Places(positions_N, *self._table.locate(windows_N, self.seed, turns_N))

    def _batch(self, places: Places, epoch: int, pool: BufferPool) -> Batch:
        samples_BCT = pool.take()[: len(places.rows)]
        self._fill(samples_BCT.numpy(), places)
        windows = Windows(
            modality=self.config.modality,
            rate_hz=self.rate_hz,
            channels=self.channels,
            samples=samples_BCT,
            scale=torch.from_numpy(self._segments.scale_RC[places.rows]),
            offset=torch.from_numpy(self._segments.offset_RC[places.rows]),
            complete=bool(self._table.complete_R[places.rows].all()),
        )
        return Batch(
            streams={self.stream: windows},
            seed=self.seed,
            epoch=epoch,
            positions=torch.from_numpy(places.positions.copy()),
            rows=torch.from_numpy(places.rows.copy()),
            subjects=torch.from_numpy(self._subjects_R[places.rows]),
        )

    def _fill(self, out_BCT: NDArray[np.int16], places: Places) -> None:
        """Copy every window from its shard. Plain Python numbers, because this loop is the cost."""
        seg, span, mapped = self._segments, self._span, self._mapped.samples
        whole = tuple(range(len(self.channels)))
        plain = [tuple(source) == whole for source in seg.sources]
        rows = places.rows
        # By shard, then by place: each map is touched once, and memory is read upwards.
        by_place = np.lexsort((seg.data_offset_R[rows], seg.shard_R[rows]))
        columns = (
            by_place,
            *(
                column[by_place]
                for column in (
                    rows,
                    places.starts,
                    places.lefts,
                    seg.shard_R[rows],
                    seg.data_offset_R[rows] // 2,
                    seg.channels_R[rows],
                    seg.samples_R[rows],
                    seg.layout_R[rows],
                )
            ),
        )
        for at, row, start, left, shard, first, channels, samples, layout in zip(
            *(column.tolist() for column in columns), strict=True
        ):
            if plain[layout] and start + span <= samples:
                array_CT = mapped(shard)[first : first + channels * samples]
                out_BCT[at] = array_CT.reshape(channels, samples)[:, start : start + span]
            else:
                self._fill_piecewise(out_BCT[at], row, start, left)

    def _fill_piecewise(self, out_CT: NDArray[np.int16], row: int, start: int, left: int) -> None:
        """A window over several segments, past the end of its recording, or with other channels."""
        seg = self._segments
        source = seg.sources[seg.layout_R[row]]
        has = source >= 0
        if left < self._span or not has.all():
            out_CT.fill(MISSING)
        filled, wanted = 0, min(self._span, left)
        while filled < wanted:
            channels, samples = int(seg.channels_R[row]), int(seg.samples_R[row])
            first = int(seg.data_offset_R[row]) // 2
            array_CT = self._mapped.samples(int(seg.shard_R[row]))[
                first : first + channels * samples
            ]
            piece_CT = array_CT.reshape(channels, samples)[:, start : start + wanted - filled]
            out_CT[has, filled : filled + piece_CT.shape[1]] = piece_CT[source[has]]
            filled += piece_CT.shape[1]
            row, start = row + 1, 0


def open_folder(where: str, config: DataConfig) -> ShardFolder:
    """A shard folder on disk or at an address."""
    if "://" in where:
        return RemoteFolder(where, Path(config.cache), config.shuffle_shards)
    return ShardFolder(Path(where))


def split_rows(folder: ShardFolder, split: str, modality: str) -> pl.DataFrame:
    """Rows of a split with the modality, by dataset and shard. Raises `ValueError` for none."""
    present = pl.col("streams").list.eval(pl.element().struct.field("modality"))
    having = folder.index.filter(present.list.contains(modality))
    if having.is_empty():
        found = folder.index.select(present.explode().unique().sort()).to_series().to_list()
        raise ValueError(f"{folder.name} holds no {modality}; its modalities: {found}")
    rows = having.filter(pl.col("split") == split).sort("dataset", "shard", maintain_order=True)
    if rows.is_empty():
        counts = having.group_by("split").len().sort("split").iter_rows()
        there = ", ".join(f"{name} {count}" for name, count in counts)
        raise ValueError(
            f"{folder.name}: split {split!r} is empty; its {modality} segments by split: {there}. "
            "Name one of these splits, or build the shards from data that fill it"
        )
    return rows


def check_rank(rank: int, ranks: int) -> None:
    """Raises `ValueError` where there is no such rank."""
    if not 0 <= rank < ranks:
        raise ValueError(f"rank {rank} of {ranks}: ranks are numbered from 0")


def ahead(items: Iterator[T]) -> Iterator[T]:
    """The same items, the next one made in a thread while the last is used."""
    with ThreadPoolExecutor(1, "biofm-reader") as pool:
        pending = pool.submit(next, items, None)
        while (item := pending.result()) is not None:
            pending = pool.submit(next, items, None)
            yield item
