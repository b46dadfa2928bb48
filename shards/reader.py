"""Shards → batches of windows, in an order that is a closed form of (seed, epoch, position).

- The index becomes a few plain arrays (`recordings`), the order is computed, not stored (`order`),
  shards are mapped (`mapped`) and a window is one copy of a byte range into the batch.
- A rank takes its slice of every global batch: the batches are the same for any number of ranks.
- State is (epoch, step): to resume, ask for `first_step`.

Shape suffixes: N windows asked for, R rows of the index, B rows of a batch, C channels, T time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import polars as pl
import torch

from ..signals import LEADS_12, channel_id
from ..signals.windows import Batch, Windows
from .ahead import Course, ReadAhead, ahead
from .buffers import BufferPool
from .filling import Filler
from .mapped import MappedShards, Member, ShardFolder
from .order import EpochOrder, Integers
from .places import AnchorTable, Placed, Table, WindowTable, inside
from .recordings import Segments, locate_segments, record_numbers
from .stream import RemoteFolder

CHUNK = 1 << 15
"""Positions whose places are computed in one go: enough for the arithmetic to cost nothing."""


@dataclass(frozen=True)
class DataConfig:
    """What a reader reads."""

    shards: tuple[str, ...]
    """Shard folders, or their addresses (http, https, s3). Their order is the order of `weights`."""
    weights: tuple[float, ...] | None = None
    """Share of each folder in every stretch of an epoch; null for shares by number of windows."""
    channels: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: {"ecg": LEADS_12})
    """Modality → its channels by name, in the order models see them. Records without the modality that
    is named first are left out; whatever else a record lacks is missing."""
    window_s: float = 10.0
    """Length of a window in seconds."""
    hop_s: float | None = None
    """Distance between the starts of neighbouring windows in seconds; null for `window_s`."""
    anchor: str | None = None
    """A kind of annotation (stage, hr, beat): one window for each, in place of every `hop_s`; null for
    windows over all samples."""
    before_s: float = 0.0
    """How long before its annotation an anchored window begins, in seconds: the context before it."""
    shuffle_shards: int = 0
    """How many shards are shuffled together; 0 for all. Addresses need 1 or more (cache size)."""
    cache: str = "data/cache"
    """Folder for shards fetched from addresses: at most two blocks of `shuffle_shards` of each split and
    address, the one in use and the next."""
    exclude_subjects: tuple[str, ...] = ()
    """Subjects left out of every split, by their names in the index: those whom an encoder is to be judged
    on without having seen them."""

    def __post_init__(self) -> None:
        if isinstance(self.shards, str):
            raise ValueError(f"shards: expected a list of folders, not the text {self.shards!r}")
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
        if not self.channels:
            raise ValueError("channels: name at least one modality and its channels")
        for modality, channels in self.channels.items():
            for channel in channels:
                channel_id(modality, channel)
            if not channels or len(set(channels)) != len(channels):
                raise ValueError(
                    f"channels: name at least one of {modality}, and each once, not {channels}"
                )
        if self.before_s and self.anchor is None:
            raise ValueError("before_s counts from an annotation: name its kind in `anchor`")


@dataclass(frozen=True)
class Places:
    """N windows: their positions in the epoch, their numbers in the table, and where they stand."""

    positions: Integers
    windows: Integers
    placed: Placed

    def __getitem__(self, part: slice) -> Places:
        placed = Placed(*(column[part] for column in self.placed))
        return Places(self.positions[part], self.windows[part], placed)


class WindowReader:
    """Windows of one split of one or several shard folders.

    Samples come as int16 with scale and offset; what a recording has not, or not at that time, is
    `MISSING`, and `Windows.physical()` gives float32 and where samples are missing. Where windows stand
    at annotations, `anchors` has a row for each (row, onset_s, duration_s, code, value), which
    `Batch.anchors` points into; one that begins where the first modality has no sample is left out,
    and context before a recording's begin is missing. `source_R` says which of `folders` a row is of.

    `windows` positions make an epoch. `views` adjacent windows are handed over end to end in a row
    (T = views · `window_samples`) and count as one position. `rows` chooses from the index, by whole
    recordings, where the split is not the one the shards were built with. Raises `ValueError` for an
    empty split, a channel nobody has, folders of different rate; `ShardError` for a shard that changed.
    """

    def __init__(
        self,
        config: DataConfig,
        split: str,
        *,
        seed: int,
        views: int = 1,
        rows: pl.Expr | None = None,
    ) -> None:
        self.config, self.split, self.seed = config, split, seed
        lead = next(iter(config.channels))
        folders = [open_folder(where, config) for where in config.shards]
        if config.exclude_subjects:
            kept = kept_subjects(config.exclude_subjects, folders)
            rows = kept & (pl.col("split") == split if rows is None else rows)
        indexes = [split_rows(folder, split, lead, rows) for folder in folders]
        index = pl.concat([part.with_columns(source=pl.lit(i)) for i, part in enumerate(indexes)])
        source_R = index["source"].to_numpy()
        # Shards are numbered in the order of the index: no path, no listing of a folder decides.
        shard_R = index.select(pl.struct("source", "shard").rle_id()).to_series().to_numpy()
        self.index = index.drop("source")
        self._shard_R, self._record_R = shard_R.astype(np.int64), record_numbers(index)
        self._streams = [
            locate_segments(self.index, self._record_R, *wanted)
            for wanted in config.channels.items()
        ]
        first = self._streams[0]
        self.stream, self.rate_hz, self.channels = first.stream, first.rate_hz, first.channels
        self.window_samples = round(config.window_s * self.rate_hz)
        self._views = views
        self._spans = [self._span(seg) for seg in self._streams]
        self._table = self._windows(self._streams[0], views)
        self.anchors = self._table.anchors if isinstance(self._table, AnchorTable) else None
        self.windows = self._table.windows
        self.folders, self.source_R = folders, source_R
        self.manifests = [folder.manifest for folder in folders]
        self.held = [modalities_of(part) for part in indexes]
        self.synthetic = any(bool(manifest["synthetic"]) for manifest in self.manifests)
        subjects = self.index["subject"]
        self._subjects_R = (subjects.rank("dense").to_numpy() - 1).astype(np.int64)
        mapped = self._map(source_R, folders)
        self._filler = Filler(mapped, self._shard_R, self._record_R)
        self._order, self._ahead = self._plan(source_R, mapped)

    def _windows(self, lead: Segments, views: int) -> Table:
        """Where windows stand, by the config."""
        config, samples = self.config, self._spans[0]
        if config.anchor is not None:
            return AnchorTable(self.index, lead, config.anchor, config.before_s, samples)
        hop_s = views * config.window_s if config.hop_s is None else config.hop_s
        hop = max(1, round(hop_s * lead.rate_hz))
        return WindowTable(self.index, self._record_R, lead, samples, hop)

    def _span(self, seg: Segments) -> int:
        """Samples of a stream in a row of a batch: of all its views."""
        samples = round(self.config.window_s * seg.rate_hz)
        if not samples:
            raise ValueError(
                f"a window of {self.config.window_s:g} s holds no sample of {seg.modality} at "
                f"{seg.rate_hz:g} Hz: raise window_s, or leave {seg.modality} out of `channels`"
            )
        return self._views * samples

    def _map(self, source_R: Integers, folders: list[ShardFolder]) -> MappedShards:
        """Every shard, after a look that its file is there and whole."""
        lead, index = self._streams[0], self.index
        # Every shard has rows with the lead, because every recording that was kept has.
        having = np.flatnonzero(lead.samples_R)
        edges = np.flatnonzero(np.diff(self._shard_R[having], prepend=-1))
        first_R = having[edges]
        last_R = having[np.append(edges[1:], len(having)) - 1]
        names = index["shard"].gather(first_R).to_list()
        shards = [
            (folders[source], name)
            for source, name in zip(source_R[first_R].tolist(), names, strict=True)
        ]
        for source, folder in enumerate(folders):
            folder.check(sorted(name for where, name in shards if where is folders[source]))
        members = [
            tuple(
                Member(
                    f"{index['key'][row]}.{lead.stream}.npy",
                    int(lead.data_offset_R[row]),
                    (int(lead.channels_R[row]), int(lead.samples_R[row])),
                )
                for row in ends
            )
            for ends in zip(first_R.tolist(), last_R.tolist(), strict=True)
        ]
        # A map keeps the bytes of a shard that has left the cache: no more maps than cached shards.
        remote = sum(isinstance(folder, RemoteFolder) for folder in folders)
        keep = 2 * self.config.shuffle_shards * len(folders) if remote else None
        return MappedShards(shards, members, keep)

    def _plan(self, source_R: Integers, mapped: MappedShards) -> tuple[EpochOrder, ReadAhead]:
        """The order over all sources, from the number of windows in every shard."""
        rows, counts = self._table.windows_per_row()
        starts = np.flatnonzero(np.diff(self._shard_R[rows], prepend=-1))
        windows, source = np.add.reduceat(counts, starts), source_R[rows[starts]]
        names = self.index["shard"].gather(rows[starts]).to_numpy()
        sources = [
            (folder, names[source == number].tolist(), windows[source == number])
            for number, folder in enumerate(self.folders)
        ]
        block, config = self.config.shuffle_shards, self.config
        order = EpochOrder([windows for *_, windows in sources], block, self.seed, config.weights)
        return order, ReadAhead(sources, block, order, mapped)

    def rows_in_order(self) -> Integers:
        """The row of the index in which each window of `evaluation_batches` is found, in their order."""
        windows_N = np.arange(self.windows, dtype=np.int64)
        return self._table.locate(windows_N, self.seed, None).rows_N

    @property
    def subjects(self) -> int:
        """How many subjects there are; `Batch.subjects` numbers them from 0."""
        return int(self._subjects_R.max()) + 1

    @property
    def rates_hz(self) -> dict[str, float]:
        """Modality → its sampling rate."""
        return {seg.modality: seg.rate_hz for seg in self._streams}

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
        steps_ahead = self._train(global_batch, micro_batch, rank, ranks, epoch, first_step)
        return ahead(steps_ahead, self._ahead.halt)

    def _train(
        self, global_batch: int, micro_batch: int, rank: int, ranks: int, epoch: int, step: int
    ) -> Iterator[list[Batch]]:
        share = global_batch // ranks
        mine = np.arange(share, dtype=np.int64) + rank * share
        at_once = max(1, CHUNK // share)
        pools, course = self._pools(micro_batch), Course(self._ahead)
        steps = self.steps_per_epoch(global_batch)
        for first in range(step, steps, at_once):
            chunk = np.arange(first, min(first + at_once, steps), dtype=np.int64)
            places = self._locate((chunk[:, None] * global_batch + mine).ravel(), epoch)
            for number, start in enumerate(range(0, len(places.positions), share), first):
                course.train(number * global_batch, epoch)
                yield [
                    self._batch(places[at : at + micro_batch], epoch, pools)
                    for at in range(start, start + share, micro_batch)
                ]

    def evaluation_batches(self, *, micro_batch: int, rank: int, ranks: int) -> Iterator[Batch]:
        """Every window once over all ranks, in the order of the index, all phases 0.

        All ranks get equally many batches; the last may be short or empty.
        """
        check_rank(rank, ranks)
        if micro_batch < 1:
            raise ValueError(f"micro_batch must be 1 or more, not {micro_batch}")
        return ahead(self._evaluate(micro_batch, rank, ranks), self._ahead.halt)

    def _evaluate(self, micro_batch: int, rank: int, ranks: int) -> Iterator[Batch]:
        pools, course = self._pools(micro_batch), Course(self._ahead)
        for first in range(0, self.windows, micro_batch * ranks):
            start = first + rank * micro_batch
            course.evaluate(start)
            at = np.arange(start, min(start + micro_batch, self.windows), dtype=np.int64)
            places = Places(at, at, self._table.locate(at, self.seed, None))
            yield self._batch(places, 0, pools)

    def _locate(self, positions_N: Integers, epoch: int) -> Places:
        """Where the windows at these positions of an epoch lie."""
        windows_N, turns_N = self._order.at(positions_N, epoch)
        placed = self._table.locate(windows_N, self.seed, turns_N)
        return Places(positions_N, windows_N, placed)

    def _pools(self, micro_batch: int) -> list[BufferPool]:
        return [
            BufferPool((micro_batch, len(seg.channels), span))
            for seg, span in zip(self._streams, self._spans, strict=True)
        ]

    def _batch(self, places: Places, epoch: int, pools: list[BufferPool]) -> Batch:
        rows = places.placed.rows_N
        streams = {}
        for seg, pool in zip(self._streams, pools, strict=True):
            samples_BCT = pool.take()[: len(rows)]
            placed = self._on_grid_of(seg, places.placed)
            self._filler.fill(samples_BCT.numpy(), seg, placed)
            if seg is self._streams[0]:
                complete = self._table.complete(placed)
            else:
                complete = inside(seg, placed, samples_BCT.shape[2])
            streams[seg.stream] = Windows(
                modality=seg.modality,
                rate_hz=seg.rate_hz,
                channels=seg.channels,
                samples=samples_BCT,
                scale=torch.from_numpy(seg.scale_RC[rows]),
                offset=torch.from_numpy(seg.offset_RC[rows]),
                complete=bool(complete.all()),
            )
        return Batch(
            streams=streams,
            seed=self.seed,
            epoch=epoch,
            positions=torch.from_numpy(places.positions.copy()),
            rows=torch.from_numpy(rows.copy()),
            subjects=torch.from_numpy(self._subjects_R[rows]),
            anchors=None if self.anchors is None else torch.from_numpy(places.windows.copy()),
        )

    def _on_grid_of(self, seg: Segments, placed: Placed) -> Placed:
        """The same windows on another stream's grid, at the nearest sample."""
        lead = self._streams[0]
        if seg is lead:
            return placed
        rows_N, starts_N, lefts_N = placed
        first_N = (lead.begin_R[rows_N] + starts_N) / lead.rate_hz * seg.rate_hz
        lefts_N = np.ceil(lefts_N / lead.rate_hz * seg.rate_hz - 1e-6).astype(np.int64)
        return Placed(rows_N, np.rint(first_N).astype(np.int64) - seg.begin_R[rows_N], lefts_N)


def open_folder(where: str, config: DataConfig) -> ShardFolder:
    """A shard folder on disk or at an address."""
    if "://" in where:
        return RemoteFolder(
            where, Path(config.cache), config.shuffle_shards, annotations=config.anchor is not None
        )
    return ShardFolder(Path(where), annotations=config.anchor is not None)


def kept_subjects(excluded: Sequence[str], folders: Sequence[ShardFolder]) -> pl.Expr:
    """The rows of all others. Raises `ValueError` for a subject that no folder has: a name mistyped."""
    there = {subject for folder in folders for subject in folder.index["subject"].unique()}
    if unknown := [subject for subject in excluded if subject not in there]:
        raise ValueError(
            f"exclude_subjects: nobody is called {', '.join(unknown[:5])}"
            f"{f' or {len(unknown) - 5} more' if len(unknown) > 5 else ''} in "
            f"{', '.join(folder.name for folder in folders)}: name subjects as the index does, such as "
            f"{min(there)}"
        )
    return ~pl.col("subject").is_in(list(excluded))


def split_rows(
    folder: ShardFolder, split: str, modality: str, chosen: pl.Expr | None = None
) -> pl.DataFrame:
    """Rows of a split's recordings that have the modality somewhere, by dataset and shard.

    Where it is absent for a while, others go on. Raises `ValueError` for none.
    """
    chosen = pl.col("split") == split if chosen is None else chosen
    present = pl.col("streams").list.eval(pl.element().struct.field("modality"))
    has = present.list.contains(modality)
    having = folder.index.filter(has.any().over("dataset", "record"))
    if having.is_empty():
        found = folder.index.select(present.explode().unique().sort()).to_series().to_list()
        raise ValueError(f"{folder.name} holds no {modality}; its modalities: {found}")
    rows = having.filter(chosen).sort("dataset", "shard", maintain_order=True)
    if rows.is_empty():
        counts = having.group_by("split").len().sort("split").iter_rows()
        there = ", ".join(f"{name} {count}" for name, count in counts)
        raise ValueError(
            f"{folder.name}: split {split!r} is empty; its {modality} segments by split: {there}. "
            "Name one of these splits, or build the shards from data that fill it"
        )
    return rows


def modalities_of(index: pl.DataFrame) -> set[str]:
    """The modalities that any row has."""
    streams = index["streams"].explode(empty_as_null=False)
    return set(streams.struct.field("modality").unique())


def check_rank(rank: int, ranks: int) -> None:
    """Raises `ValueError` where there is no such rank."""
    if not 0 <= rank < ranks:
        raise ValueError(f"rank {rank} of {ranks}: ranks are numbered from 0")
