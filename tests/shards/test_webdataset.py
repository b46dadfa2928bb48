"""A stock webdataset pipeline is the shards' independent reader: alone, and split over ranks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import webdataset as wds
from webdataset import autodecode

from biofm.datasets.simulate import simulate
from biofm.shards.build import build
from biofm.shards.configuration import BuildConfig
from biofm.shards.index import read_index
from biofm.signals import MISSING

# The default decoders would also load pickles.
DECODERS = [
    wds.handle_extension("npy", autodecode.decoders["npy"]),
    wds.handle_extension("json", autodecode.decoders["json"]),
]


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("webdataset")
    tree = simulate("ptbxl", folder / "tree", records=60, progress=False)
    build(
        "ptbxl",
        [tree],
        folder / "out",
        BuildConfig(records_per_shard=8),
        workers=1,
        progress=False,
    )
    return folder / "out"


def samples(shards: Path, **options: Any) -> list[dict[str, Any]]:
    urls = [str(path) for path in sorted(shards.glob("ptbxl-train-*.tar"))]
    data = wds.WebDataset(urls, shardshuffle=False, **options)
    return list(data.decode(*DECODERS, pre=[], post=[], only=None, partial=False))


def test_reads_alone_what_the_index_says(shards: Path) -> None:
    index = read_index(shards).filter(split="train")
    found = samples(shards)
    assert [sample["__key__"] for sample in found] == index["key"].to_list()
    for sample, row in zip(found, index.iter_rows(named=True), strict=True):
        stream = row["streams"][0]
        array = sample["ecg-100hz.npy"]
        assert array.dtype == np.int16
        assert array.shape == (len(stream["channels"]), stream["samples"])
        assert (array != MISSING).all()
        assert sample["json"]["subject"] == row["subject"]
        assert sample["json"]["labels"] == {x["code"]: x["value"] for x in row["labels"]}


def test_split_over_two_ranks_reads_everything_once(
    shards: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = []
    monkeypatch.setenv("WORLD_SIZE", "2")
    for rank in ("0", "1"):
        monkeypatch.setenv("RANK", rank)
        keys.append([s["__key__"] for s in samples(shards, nodesplitter=wds.split_by_node)])
    assert all(keys)
    assert not set(keys[0]) & set(keys[1])
    assert sorted(keys[0] + keys[1]) == sorted(read_index(shards).filter(split="train")["key"])
