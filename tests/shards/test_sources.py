"""Every source, from its twin to windows: built with the config that ships for it, verified, read by our
reader and by stock webdataset."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import webdataset as wds
from webdataset import autodecode

from biofm.datasets.registry import SOURCES
from biofm.datasets.simulate import simulate
from biofm.shards.build import build
from biofm.shards.configuration import Fractions, shipped
from biofm.shards.index import read_index
from biofm.shards.reader import DataConfig, WindowReader
from biofm.shards.verify import verify
from biofm.signals import MISSING

FEW = {"mesa": 2, "sleep_accel": 2, "apple_health": 1, "ppg_dalia": 2, "wesad": 2, "mitdb": 3}
"""Source → how many recordings of its twin are enough; twelve where nothing is said."""


@pytest.fixture(scope="module", params=sorted(SOURCES))
def built(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, Any]]:
    """A shard folder and its manifest; all subjects in one split where there are too few for three."""
    name = request.param
    root = tmp_path_factory.mktemp(name)
    tree = simulate(name, root / "twin", records=FEW.get(name, 12), seed=3, progress=False)
    config = replace(shipped(name), fractions=Fractions(1.0, 0.0, 0.0), max_bad=0)
    everything = tuple(range(1, 11))
    config = replace(config, folds=replace(config.folds, train=everything, validation=(), test=()))
    manifest = build(name, [tree], root / "shards", config, workers=1, progress=False)
    return root / "shards", manifest


def test_it_verifies_and_its_physiology_is_plausible(built: tuple[Path, dict[str, Any]]) -> None:
    folder, manifest = built
    report = verify([folder])
    assert not report.failures, report.text()
    assert manifest["synthetic"]
    assert manifest["bad"] == []
    assert {"flat", "clipped"} <= set(manifest["physiology"])


def test_our_reader_and_stock_webdataset_read_the_same_samples(
    built: tuple[Path, dict[str, Any]],
) -> None:
    folder, manifest = built
    decoders = [wds.handle_extension(kind, autodecode.decoders[kind]) for kind in ("npy", "json")]
    urls = [str(folder / shard["name"]) for shard in manifest["shards"]]
    stock = wds.WebDataset(urls, shardshuffle=False).decode(*decoders, pre=[], post=[])
    samples = {sample["__key__"]: sample for sample in stock}
    index = read_index(folder)
    assert list(samples) == index["key"].to_list()
    streams = index.select(pl.col("streams").explode()).unnest("streams")
    for modality in streams["modality"].unique().sort():
        rows = streams.filter(modality=modality)
        channels = rows["channels"].explode().unique(maintain_order=True).to_list()
        config = DataConfig((str(folder),), channels={modality: tuple(channels)}, window_s=30.0)
        reader = WindowReader(config, "train", seed=0)
        batches = list(reader.evaluation_batches(micro_batch=16, rank=0, ranks=1))
        windows = np.concatenate([b.streams[reader.stream].samples.numpy() for b in batches])
        held = sum(
            int((sample[f"{reader.stream}.npy"] != MISSING).sum())
            for sample in samples.values()
            if f"{reader.stream}.npy" in sample
        )
        # What fills no whole window at a recording's end is not read in this pass.
        read = int((windows != MISSING).sum())
        longest = 30 * reader.rate_hz * len(channels) * index["record"].n_unique()
        assert 0 < read <= held
        assert held - read <= longest * 2 + 2 * len(channels) * index.height
