"""Which samples an index holds, as plain arrays: row of the index → bytes of a tar, for each stream.

The streams of a row share its times: a window is found on the grid of one stream, and the others are
cut at the same time.

Shape suffixes: R rows of the index (segments), C channels asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from .order import Integers


@dataclass(frozen=True)
class Segments:
    """Where one stream's samples lie; `sources[layout]` is each channel's place there, or −1.

    `begin_R` is a row's first sample on the recording's own grid (sample 0 at second 0), `samples_R` 0
    where a row lacks the stream; scale and offset are then those of the recording's other rows.
    """

    stream: str
    modality: str
    rate_hz: float
    channels: tuple[str, ...]
    begin_R: Integers
    data_offset_R: Integers
    samples_R: Integers
    channels_R: Integers
    layout_R: Integers
    sources: tuple[Integers, ...]
    scale_RC: NDArray[np.float32]
    offset_RC: NDArray[np.float32]
    complete_R: NDArray[np.bool_]


def record_numbers(index: pl.DataFrame) -> Integers:
    """For each row: the number of its recording, counted up where it changes [R].

    The same recording in two folders (`source`) is two.
    """
    ids = index.select(pl.struct("source", "shard", "dataset", "record").rle_id()).to_series()
    return ids.to_numpy().astype(np.int64)


def streams_of(index: pl.DataFrame, modality: str) -> pl.DataFrame:
    """The fields of each row's stream of `modality`, null where it has none, in the index's order.

    Raises `ValueError` where a row holds two of them, or rows differ in rate.
    """
    streams = (
        index.select("record", "streams")
        .with_row_index("row")
        .explode("streams")
        .filter(pl.col("streams").struct.field("modality") == modality)
        .unnest("streams")
    )
    twice = streams.filter(pl.col("row").is_duplicated())
    if twice.height:
        names = twice["name"].unique().sort().to_list()
        raise ValueError(
            f"record {twice['record'][0]} has several {modality} streams {names}: "
            "build the shards again"
        )
    rates = streams["rate_hz"].unique().sort().to_list()
    if len(rates) > 1:
        raise ValueError(
            f"the shards hold {modality} at {rates} Hz: one reader reads one rate; build all at "
            f"the same rate (`biofm shards build --preprocessing.{modality}.rate_hz …`)"
        )
    if streams.height == index.height:
        return streams
    return pl.DataFrame({"row": pl.arange(index.height, eager=True, dtype=pl.UInt32)}).join(
        streams, on="row", how="left", maintain_order="left"
    )


def locate_segments(
    index: pl.DataFrame, record_R: Integers, modality: str, channels: Sequence[str]
) -> Segments:
    """The arrays behind one stream of every row.

    Raises `ValueError` for a modality or a channel that no record has.
    """
    streams = streams_of(index, modality)
    there_R = streams["name"].is_not_null().to_numpy()
    if not there_R.any():
        raise ValueError(f"no record of these shards has {modality}: leave it out of `channels`")
    joined = streams["channels"].list.join("|").fill_null("")
    names = joined.unique().sort()
    layout_R = joined.replace_strict(names, np.arange(len(names)), return_dtype=pl.Int64).to_numpy()
    layouts = [tuple(name.split("|")) if name else () for name in names]
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
        if not has.size:
            continue
        for name, table in (("scale", scale_RC), ("offset", offset_RC)):
            values = streams.filter(here)[name].explode().to_numpy().reshape(here.sum(), -1)
            table[np.ix_(here, has)] = values[:, source[has]]
    other_R = _other_rows(there_R, record_R)
    first = streams.row(int(np.flatnonzero(there_R)[0]), named=True)
    every = np.array([bool((source >= 0).all()) for source in sources])[layout_R]
    return Segments(
        stream=first["name"],
        modality=modality,
        rate_hz=first["rate_hz"],
        channels=tuple(channels),
        begin_R=np.rint(index["start_s"].to_numpy() * first["rate_hz"]).astype(np.int64),
        data_offset_R=streams["data_offset"].fill_null(0).to_numpy(),
        samples_R=streams["samples"].fill_null(0).to_numpy(),
        channels_R=np.array([len(layout) for layout in layouts])[layout_R],
        layout_R=layout_R,
        sources=sources,
        scale_RC=scale_RC[other_R],
        offset_RC=offset_RC[other_R],
        complete_R=every & (index["missing"] == 0).fill_null(False).to_numpy(),
    )


def _other_rows(there_R: NDArray[np.bool_], record_R: Integers) -> Integers:
    """Each row itself, or, where it lacks the stream, a row of its recording that has it."""
    rows = np.arange(len(there_R))
    have = np.flatnonzero(there_R)
    absent = np.flatnonzero(~there_R)
    after = np.searchsorted(have, absent)
    for near in (after.clip(max=len(have) - 1), (after - 1).clip(min=0)):
        same = record_R[have[near]] == record_R[absent]
        rows[absent[same]] = have[near[same]]
    return rows
