"""`index.parquet`: one row a segment, enough to read any window without opening a tar or a JSON."""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path

import polars as pl

INDEX = "index.parquet"
MANIFEST = "shards.json"
SPLITS = ("train", "validation", "test")
ADDED = ("device", "site")
"""Columns that older shards of the same format lack: they are read as null."""

SCHEMA: dict[str, pl.DataType | type[pl.DataType]] = {
    "shard": pl.String,  # file name of the tar: <dataset>-<split>-00000.tar
    "key": pl.String,  # the sample's key in the tar, without dots
    "dataset": pl.String,
    "record": pl.String,
    "subject": pl.String,  # unique across datasets
    "split": pl.String,
    "fold": pl.Int64,
    "segment": pl.Int64,  # 0, 1, … within the recording; neighbours are neighbouring rows of one shard
    "start_s": pl.Float64,  # in the recording's own time
    "duration_s": pl.Float64,
    "age": pl.Float64,
    "sex": pl.String,
    "device": pl.String,  # its model; null in shards built before there was the column, as is `site`
    "site": pl.String,  # unique across datasets
    "labels": pl.List(pl.Struct({"code": pl.String, "value": pl.Float64})),
    "annotations": pl.List(  # those that reach into the segment, in the recording's own time
        pl.Struct(
            {
                "onset_s": pl.Float64,
                "duration_s": pl.Float64,
                "code": pl.String,
                "value": pl.Float64,
            }
        )
    ),
    "missing": pl.Float32,  # share of samples
    "flat": pl.Float32,  # share of channels that never move
    "clipped": pl.Float32,  # share of source samples that stand at a channel's extreme in runs
    "signature": pl.String,  # exact hash of the recording's source samples
    "fingerprint": pl.Binary,  # of the recording, in its first row: survives resampling, gain, a crop
    "streams": pl.List(
        pl.Struct(
            {
                "name": pl.String,  # <modality>-<rate>hz; the tar member is <key>.<name>.npy
                "modality": pl.String,
                "rate_hz": pl.Float64,
                "channels": pl.List(pl.String),
                "samples": pl.Int64,  # per channel
                "data_offset": pl.Int64,  # of the first array byte in the tar: int16, C order
                "scale": pl.List(pl.Float32),
                "offset": pl.List(pl.Float32),
            }
        )
    ),
}


def stream_name(modality: str, rate_hz: float) -> str:
    """`ecg-250hz`; a fractional rate writes its point as `p` (`62p5`), because keys end at the first dot."""
    return f"{modality}-{rate_hz:g}hz".replace(".", "p")


def sample_key(dataset: str, record: str, segment: int) -> str:
    """The sample's key: `ptbxl_00001_hr_00000`, with nothing in it that a tar or a shell could mind."""
    return f"{dataset}_{re.sub(r'[^A-Za-z0-9_-]', '_', record)}_{segment:05d}"


def read_index(folder: Path, without: Collection[str] = ()) -> pl.DataFrame:
    """The index of a shard folder, but for the columns that are not wanted.

    Raises `FileNotFoundError` that says how to build one.
    """
    path = folder / INDEX
    if not path.is_file():
        raise FileNotFoundError(
            f"{folder} is not a finished shard folder ({INDEX} is missing); "
            "build it with `biofm shards build`, or run the interrupted build again"
        )
    index = pl.scan_parquet(path).drop(without, strict=False)
    known = index.collect_schema().names()
    added = [name for name in ADDED if name not in (*known, *without)]
    if not added:
        return index.collect()
    after = known.index("sex") + 1 if "sex" in known else len(known)
    nulls = [pl.lit(None, SCHEMA[name]).alias(name) for name in added]
    return index.select(*known[:after], *nulls, *known[after:]).collect()


def annotations_of(index: pl.DataFrame) -> pl.DataFrame:
    """Every annotation once, in the row in which it begins: row, split, and the annotation's fields."""
    return (
        index.select("split", "annotations", "start_s", pl.col("duration_s").alias("length_s"))
        .with_row_index("row")
        .explode("annotations", empty_as_null=False)
        .unnest("annotations")
        .filter(
            pl.col("onset_s") >= pl.col("start_s"),
            pl.col("onset_s") < pl.col("start_s") + pl.col("length_s"),
        )
        .drop("start_s", "length_s")
    )
