"""The index is read as this version knows it, whichever version wrote it."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from biofm.shards.index import ADDED, INDEX, SCHEMA, read_index

ROW = {"shard": "toy-train-00000.tar", "record": "r0", "sex": "male", "device": "AT-6", "site": "a"}


def write(folder: Path, *without: str) -> Path:
    table = pl.DataFrame([dict.fromkeys(SCHEMA) | ROW], schema=SCHEMA)
    table.drop(without).write_parquet(folder / INDEX)
    return folder


def test_columns_that_an_older_build_lacks_are_null_and_in_their_place(tmp_path: Path) -> None:
    assert dict(pl.read_parquet(write(tmp_path, *ADDED) / INDEX).schema).keys().isdisjoint(ADDED)
    index = read_index(tmp_path)
    assert index.schema == pl.Schema(SCHEMA)
    assert index.row(0, named=True) == dict.fromkeys(SCHEMA) | ROW | dict.fromkeys(ADDED)


@pytest.mark.parametrize("lacking", [(), ADDED])
def test_columns_that_are_not_wanted_are_not_read(lacking: tuple[str, ...], tmp_path: Path) -> None:
    index = read_index(write(tmp_path, *lacking), without=("fingerprint", "device"))
    assert index.columns == [name for name in SCHEMA if name not in ("fingerprint", "device")]
    assert index["site"].to_list() == [None if lacking else "a"]
