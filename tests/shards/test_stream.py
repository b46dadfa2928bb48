"""Shards over http: the local windows in the local order, from a bounded cache of checked files."""

from __future__ import annotations

import functools
import hashlib
import json
import tarfile
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from webdataset import TarWriter

from biofm.shards.index import INDEX, MANIFEST, SCHEMA
from biofm.shards.mapped import ShardError
from biofm.shards.reader import DataConfig, WindowReader

SHARDS, EACH = 6, 5


class Quiet(SimpleHTTPRequestHandler):
    """Serves files and remembers what was asked for."""

    asked: list[str]

    def log_message(self, format: str, *args: object) -> None:
        self.asked.append(self.path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Six shards of five one-second recordings of lead I."""
    out = tmp_path / "toy"
    out.mkdir()
    rows, shards = [], []
    for shard in range(SHARDS):
        name = f"toy-train-{shard:05d}.tar"
        keys = [f"toy_{shard}{i}_00000" for i in range(EACH)]
        with TarWriter(str(out / name), mtime=0) as tar:
            for i, key in enumerate(keys):
                samples = np.full((1, 100), shard * EACH + i, np.int16)
                tar.write({"__key__": key, "ecg-100hz.npy": samples})
        with tarfile.open(out / name) as tar:
            offsets = [member.offset_data + 128 for member in tar]
        facts = {"name": "ecg-100hz", "modality": "ecg", "rate_hz": 100.0, "channels": ["I"]}
        facts |= {"samples": 100, "scale": [1.0], "offset": [0.0]}
        for key, offset in zip(keys, offsets, strict=True):
            row = {**dict.fromkeys(SCHEMA), "shard": name, "key": key, "dataset": "toy"}
            row |= {"record": key, "subject": key, "split": "train", "segment": 0, "start_s": 0.0}
            rows.append({**row, "streams": [{**facts, "data_offset": offset}]})
        content = (out / name).read_bytes()
        digest = hashlib.sha256(content).hexdigest()
        shards.append({"name": name, "bytes": len(content), "sha256": digest})
    pl.DataFrame(rows, schema=SCHEMA).write_parquet(out / INDEX)
    (out / MANIFEST).write_text(json.dumps({"shards": shards, "synthetic": True}))
    return out


@pytest.fixture
def address(folder: Path) -> Iterator[str]:
    """The folder behind a local web server."""
    Quiet.asked = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def reader(where: str, cache: Path, block: int = 2) -> WindowReader:
    config = DataConfig(
        shards=(where,),
        channels={"ecg": ("I",)},
        window_s=1.0,
        shuffle_shards=block,
        cache=str(cache),
    )
    return WindowReader(config, "train", seed=0)


def test_the_windows_and_order_are_the_local_ones_and_the_cache_is_bounded(
    folder: Path, address: str, tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    local, remote = reader(str(folder), cache), reader(address, cache)
    for epoch in (0, 1):
        there = remote.train_batches(global_batch=3, micro_batch=3, rank=0, ranks=1, epoch=epoch)
        here = local.train_batches(global_batch=3, micro_batch=3, rank=0, ranks=1, epoch=epoch)
        for (ours,), (theirs,) in zip(here, there, strict=True):
            assert torch.equal(ours.positions, theirs.positions)
            one, two = ours.streams["ecg-100hz"], theirs.streams["ecg-100hz"]
            assert torch.equal(one.samples, two.samples)
            assert len(list(cache.rglob("*.tar"))) <= 4
    fetched = [path for path in Quiet.asked if path.endswith(".tar")]
    assert SHARDS <= len(fetched) <= 2 * SHARDS


def test_a_second_run_uses_what_the_first_left(address: str, tmp_path: Path) -> None:
    for _ in range(2):
        again = reader(address, tmp_path / "cache", block=SHARDS)
        (batch,) = again.evaluation_batches(micro_batch=SHARDS * EACH, rank=0, ranks=1)
        assert batch.streams["ecg-100hz"].samples[:, 0, 0].tolist() == list(range(SHARDS * EACH))
    assert len([path for path in Quiet.asked if path.endswith(".tar")]) == SHARDS


def test_a_changed_shard_is_refused_and_not_kept(
    folder: Path, address: str, tmp_path: Path
) -> None:
    shard = folder / "toy-train-00003.tar"
    content = bytearray(shard.read_bytes())
    content[700] ^= 1
    shard.write_bytes(content)
    changed = reader(address, tmp_path / "cache")
    with pytest.raises(ShardError, match=r"toy-train-00003.tar is not the shard.*SHA-256"):
        list(changed.evaluation_batches(micro_batch=8, rank=0, ranks=1))
    assert not list((tmp_path / "cache").rglob(shard.name))


def test_addresses_that_cannot_be_read_say_so(address: str, tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"cannot fetch .*/nowhere/index.parquet \(File not found\)"):
        reader(f"{address}/nowhere", tmp_path)
    with pytest.raises(ValueError, match="only http:// and https://"):
        reader("pipe://curl", tmp_path)
    with pytest.raises(ValueError, match="set shuffle_shards"):
        reader(address, tmp_path, block=0)
