"""Reader against stock webdataset: 12×2250 windows of 12×2500 int16 segments, one process.

`python benchmarks/reader.py` writes shards of random samples to a temporary folder, runs every
reader in turn over all of them, once unmeasured and then `rounds` times, and prints a markdown
table. Ratios are medians of the ratios within a round, so that a machine that is busy for a while
slows both sides.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import tarfile
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import webdataset as wds
from jsonargparse import auto_cli

from biofm.files import sha256
from biofm.shards.index import INDEX, MANIFEST, SCHEMA, sample_key
from biofm.shards.reader import DataConfig, WindowReader
from biofm.signals import LEADS_12

RATE_HZ, SEGMENT, WINDOW = 250.0, 2500, 2250
BATCH = 256


def write_shards(folder: Path, records: int, per_shard: int = 1024) -> None:
    """Ten-second segments of random samples, as a build would leave them."""
    rng = np.random.default_rng(0)
    stream = {"name": "ecg-250hz", "modality": "ecg", "rate_hz": RATE_HZ}
    stream |= {"channels": list(LEADS_12), "samples": SEGMENT}
    stream |= {"scale": [0.001] * 12, "offset": [0.0] * 12}
    facts = {**dict.fromkeys(SCHEMA), "dataset": "bench", "split": "train", "segment": 0}
    facts |= {"start_s": 0.0, "duration_s": SEGMENT / RATE_HZ, "missing": 0.0}
    rows, shards = [], []
    for first in range(0, records, per_shard):
        path = folder / f"bench-train-{first // per_shard:05d}.tar"
        with wds.TarWriter(str(path), mtime=0) as tar:
            for record in range(first, min(first + per_shard, records)):
                samples = rng.integers(-32767, 32768, (12, SEGMENT), dtype=np.int16)
                about = {"record": record, "scale": stream["scale"], "channels": LEADS_12}
                key = sample_key("bench", str(record), 0)
                tar.write({"__key__": key, "ecg-250hz.npy": samples, "json": about})
        with tarfile.open(path) as tar:
            arrays = [member for member in tar if member.name.endswith(".npy")]
        for member in arrays:
            key = member.name.partition(".")[0]
            at = {**stream, "data_offset": member.offset_data + member.size - 24 * SEGMENT}
            rows.append(
                {**facts, "shard": path.name, "key": key, "record": key, "subject": key}
                | {"streams": [at]}
            )
        shards.append({"name": path.name, "bytes": path.stat().st_size, "sha256": sha256(path)})
    pl.DataFrame(rows, schema=SCHEMA).write_parquet(folder / INDEX)
    (folder / MANIFEST).write_text(json.dumps({"shards": shards, "synthetic": True}))


def open_biofm(folder: Path) -> Callable[[int], int]:
    """Shuffled batches of windows, randomly cropped in time; opened once, as in training."""
    config = DataConfig(shards=(str(folder),), window_s=WINDOW / RATE_HZ)
    reader = WindowReader(config, "train", seed=0)

    def read(epoch: int) -> int:
        steps = reader.train_batches(
            global_batch=BATCH, micro_batch=BATCH, rank=0, ranks=1, epoch=epoch
        )
        return sum(len(batch) for micro_batches in steps for batch in micro_batches)

    return read


def stock(folder: Path) -> wds.WebDataset:
    """The tars in order, nothing shuffled."""
    urls = sorted(map(str, folder.glob("*.tar")))
    return wds.WebDataset(urls, shardshuffle=False)


def read_stock(folder: Path) -> int:
    """Stock webdataset, decoding arrays and JSON, in the order of the tars: its quickest."""
    return sum(1 for _ in stock(folder).decode())


def read_stock_batches(folder: Path, epoch: int) -> int:
    """Stock webdataset made to give shuffled batches of randomly cropped windows too."""
    rng = np.random.default_rng(epoch)

    def crop(sample: dict[str, np.ndarray]) -> np.ndarray:
        start = rng.integers(SEGMENT - WINDOW + 1)
        return sample["ecg-250hz.npy"][:, start : start + WINDOW]

    samples = stock(folder).shuffle(1000).decode().map(crop)
    batches = samples.batched(BATCH, collation_fn=np.stack, partial=False)
    return sum(len(batch) for batch in batches)


def main(records: int = 8192, rounds: int = 7) -> None:
    """Measure and print the table.

    Args:
        records: How many ten-second segments to write, 60 kB each.
        rounds: How often every reader is measured.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_shards(folder, records)
        readers: dict[str, Callable[[int], int]] = {
            "biofm: shuffled, cropped batches": open_biofm(folder),
            "webdataset: decoded samples in order": lambda epoch: read_stock(folder),
            "webdataset: decoded, shuffled, cropped batches": lambda epoch: read_stock_batches(
                folder, epoch
            ),
        }
        rates: dict[str, list[float]] = {reader: [] for reader in readers}
        for number in range(rounds + 1):
            for reader, read in readers.items():
                start = time.perf_counter()
                windows = read(number)
                if number > 0:
                    rates[reader].append(windows / (time.perf_counter() - start))
    print(
        f"{records} segments, {rounds} interleaved rounds after one to warm up; "
        f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores, {platform.machine()}, "
        f"Python {platform.python_version()}, webdataset {wds.__version__}\n"
    )
    print("| 12×2250 int16 windows, one process | windows/s | slowest to fastest | biofm is |")
    print("|---|---|---|---|")
    ours = next(iter(rates.values()))
    for reader, theirs in rates.items():
        ratio = statistics.median(a / b for a, b in zip(ours, theirs, strict=True))
        spread = f"{min(theirs):,.0f} to {max(theirs):,.0f}"
        print(f"| {reader} | {statistics.median(theirs):,.0f} | {spread} | {ratio:.1f}× |")


if __name__ == "__main__":
    auto_cli(main, as_positional=False)
