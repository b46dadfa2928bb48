"""Which windows an index holds, as plain arrays: window → recording → segment → bytes of a tar.

Segments of one recording that follow each other without a gap are one stretch of samples: a window
may begin in one and end in another. A stretch of fewer samples than a window counts as one window.

Shape suffixes: R rows of the index (segments), S stretches, N windows and C channels asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from .order import Integers, bits


@dataclass(frozen=True)
class Segments:
    """Where every row's samples lie; `sources[layout]` is each channel's place there, or −1."""

    stream: str
    rate_hz: float
    shard_R: Integers
    data_offset_R: Integers
    samples_R: Integers
    channels_R: Integers
    layout_R: Integers
    sources: tuple[Integers, ...]
    scale_RC: NDArray[np.float32]
    offset_RC: NDArray[np.float32]
    complete_R: NDArray[np.bool_]


def rows_with(index: pl.DataFrame, modality: str) -> pl.DataFrame:
    """One line for each row that holds `modality`: `row`, and the fields of its stream.

    Raises `ValueError` where a row holds two streams of it, or rows differ in rate.
    """
    streams = (
        index.with_row_index("row")
        .explode("streams")
        .filter(pl.col("streams").struct.field("modality") == modality)
        .unnest("streams")
    )
    twice = streams.filter(pl.col("row").is_duplicated())
    if twice.height:
        names = twice["name"].unique().sort().to_list()
        raise ValueError(
            f"record {twice['record'][0]} has several {modality} streams {names}: "
            "build the shards with one"
        )
    rates = streams["rate_hz"].unique().sort().to_list()
    if len(rates) > 1:
        raise ValueError(
            f"the shards hold {modality} at {rates} Hz: one reader reads one rate; build all at "
            f"the same rate (`biofm shards build --preprocessing.{modality}.rate_hz …`)"
        )
    return streams


def locate_segments(streams: pl.DataFrame, channels: Sequence[str], shard_R: Integers) -> Segments:
    """The arrays behind `rows_with`'s table for the configured channels.

    Raises `ValueError` for a channel that no record has.
    """
    joined = streams["channels"].list.join("|")
    names = joined.unique().sort()
    layout_R = joined.replace_strict(names, np.arange(len(names)), return_dtype=pl.Int64).to_numpy()
    layouts = [tuple(name.split("|")) for name in names]
    known = sorted({channel for layout in layouts for channel in layout})
    if unknown := [channel for channel in channels if channel not in known]:
        raise ValueError(
            f"no record of these shards has {', '.join(unknown)}; "
            f"their channels are {', '.join(known)}: name some of these in `channels`"
        )
    sources = tuple(
        np.array([layout.index(c) if c in layout else -1 for c in channels]) for layout in layouts
    )
    scale_RC = np.ones((streams.height, len(channels)), np.float32)
    offset_RC = np.zeros_like(scale_RC)
    for number, source in enumerate(sources):
        here = layout_R == number
        has = np.flatnonzero(source >= 0)
        for name, table in (("scale", scale_RC), ("offset", offset_RC)):
            values = streams.filter(here)[name].explode().to_numpy().reshape(here.sum(), -1)
            table[np.ix_(here, has)] = values[:, source[has]]
    return Segments(
        stream=streams["name"][0],
        rate_hz=streams["rate_hz"][0],
        shard_R=shard_R,
        data_offset_R=streams["data_offset"].to_numpy(),
        samples_R=streams["samples"].to_numpy(),
        channels_R=np.array([len(layout) for layout in layouts])[layout_R],
        layout_R=layout_R,
        sources=sources,
        scale_RC=scale_RC,
        offset_RC=offset_RC,
        complete_R=streams.select((pl.col("missing") == 0).fill_null(False)).to_series().to_numpy()
        & np.array([(source >= 0).all() for source in sources])[layout_R],
    )


class WindowTable:
    """All windows of an index, numbered; `locate` finds their first sample."""

    def __init__(
        self, streams: pl.DataFrame, segments: Segments, window_samples: int, hop_samples: int
    ) -> None:
        self._hop = hop_samples
        first_R = np.append(True, ~_continues(streams, segments))
        self.first_row_S = np.flatnonzero(first_R)
        # Rows as one line of samples: a stretch is a piece of it, and a window one search away.
        self._start_R = np.cumsum(segments.samples_R) - segments.samples_R
        self.samples_S = np.add.reduceat(segments.samples_R, self.first_row_S)
        self.windows_S = np.maximum(self.samples_S - window_samples, 0) // hop_samples + 1
        self._slack_S = np.maximum(
            self.samples_S - window_samples - (self.windows_S - 1) * hop_samples, 0
        )
        self._first_window_S = np.cumsum(self.windows_S) - self.windows_S
        self.windows = int(self.windows_S.sum())
        whole_S = np.logical_and.reduceat(segments.complete_R, self.first_row_S)
        whole_S &= self.samples_S >= window_samples
        # For every row: has its stretch every sample of every channel, and enough of them?
        self.complete_R = whole_S[np.cumsum(first_R) - 1]

    def windows_per_shard(self, segments: Segments) -> tuple[Integers, Integers]:
        """(shard, number of windows that begin in it), in the order of the index."""
        shard_S = segments.shard_R[self.first_row_S]
        starts = np.flatnonzero(np.diff(shard_S, prepend=-1))
        return shard_S[starts], np.add.reduceat(self.windows_S, starts)

    def phase(self, stretches_N: Integers, seed: int, turns_N: Integers) -> Integers:
        """How far all windows of a stretch are shifted in a pass: from 0 to what is left over."""
        phase_N = np.empty_like(stretches_N)
        for turn in np.unique(turns_N):
            now = turns_N == turn
            drawn = bits(seed, int(turn), stretches_N[now], "phase")
            phase_N[now] = drawn % (self._slack_S[stretches_N[now]] + 1)
        return phase_N

    def locate(
        self, windows_N: Integers, seed: int, turns_N: Integers | None
    ) -> tuple[Integers, Integers, Integers]:
        """(row in which each window begins, sample there, samples of the stretch from there on).

        `turns_N` is the pass that each window is read in; None reads every stretch from its start.
        """
        stretch_N = np.searchsorted(self._first_window_S, windows_N, side="right") - 1
        start_N = (windows_N - self._first_window_S[stretch_N]) * self._hop
        if turns_N is not None:
            start_N += self.phase(stretch_N, seed, turns_N)
        line_N = self._start_R[self.first_row_S[stretch_N]] + start_N
        row_N = np.searchsorted(self._start_R, line_N, side="right") - 1
        return row_N, line_N - self._start_R[row_N], self.samples_S[stretch_N] - start_N


def _continues(streams: pl.DataFrame, segments: Segments) -> NDArray[np.bool_]:
    """For every row but the first: is it the direct continuation of the row before?

    Raises `ValueError` where channels or scale change inside a recording.
    """
    follows = np.ones(streams.height - 1, bool)
    for name in ("dataset", "record"):
        follows &= (streams[name][1:] == streams[name][:-1]).to_numpy()
    follows &= np.diff(segments.shard_R) == 0
    follows &= np.diff(streams["segment"].to_numpy()) == 1
    start_s = streams["start_s"].to_numpy()
    gap_s = np.diff(start_s) - segments.samples_R[:-1] / segments.rate_hz
    follows &= np.abs(gap_s) < 0.5 / segments.rate_hz
    changed = np.diff(segments.layout_R) != 0
    for table in (segments.scale_RC, segments.offset_RC):
        changed |= (table[1:] != table[:-1]).any(axis=1)
    if (bad := np.flatnonzero(follows & changed)).size:
        row = int(bad[0]) + 1
        raise ValueError(
            f"record {streams['record'][row]} changes its channels or scale at segment "
            f"{streams['segment'][row]}: the segments of a recording must share them; "
            "build the shards again"
        )
    return follows
