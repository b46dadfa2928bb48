"""A million segments: how long an index takes to open, to shuffle and to filter, and in how much memory.

Each step is a process of its own, whose peak memory the operating system counts. The shards are empty
files of the right size: no sample is read here.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import polars as pl
from jsonargparse import auto_cli

from biofm.shards.index import INDEX, MANIFEST, SCHEMA, sample_key, stream_name
from biofm.shards.reader import DataConfig, WindowReader
from biofm.signals import LEADS_12

RATE_HZ, SAMPLES, PER_SHARD, PER_RECORD = 100.0, 1000, 4096, 4
BATCH = 4096
STEPS = ("import", "open", "shuffle", "filter")


def write_index(folder: Path, segments: int) -> None:
    """Four 10-s segments a recording, two recordings a subject, three labels, one annotation a segment."""
    name = stream_name("ecg", RATE_HZ)
    stream = {"name": name, "modality": "ecg", "rate_hz": RATE_HZ, "channels": list(LEADS_12)}
    stream |= {"samples": SAMPLES, "scale": [0.001] * 12, "offset": [0.0] * 12}
    member_bytes = 2 * 12 * SAMPLES
    rng = np.random.default_rng(0)
    parts, shards = [], []
    for first in range(0, segments, PER_SHARD):
        rows = []
        shard = f"bench-train-{first // PER_SHARD:05d}.tar"
        for number in range(first, min(first + PER_SHARD, segments)):
            record, segment = divmod(number, PER_RECORD)
            start_s = segment * SAMPLES / RATE_HZ
            rows.append(
                dict.fromkeys(SCHEMA)
                | {
                    "shard": shard,
                    "key": sample_key("bench", f"{record:08d}", segment),
                    "dataset": "bench",
                    "record": f"{record:08d}",
                    "subject": f"bench-{record // 2}",
                    "split": "train",
                    "segment": segment,
                    "start_s": start_s,
                    "duration_s": SAMPLES / RATE_HZ,
                    "age": float(20 + record % 60),
                    "labels": [{"code": code, "value": 100.0} for code in LABELS[record % 3]],
                    "annotations": [
                        {"onset_s": start_s, "duration_s": 10.0, "code": "stage:W", "value": None}
                    ],
                    "missing": 0.0,
                    "signature": f"{record:064x}",
                    "fingerprint": rng.bytes(FINGERPRINT) if segment == 0 else None,
                    "streams": [stream | {"data_offset": member_bytes * (number - first) + 1536}],
                }
            )
        parts.append(folder / f"part-{first}.parquet")
        pl.DataFrame(rows, schema=SCHEMA).write_parquet(parts[-1])
        size = member_bytes * PER_SHARD + 4096
        with (folder / shard).open("wb") as file:
            file.truncate(size)
        shards.append({"name": shard, "bytes": size, "sha256": ""})
    pl.scan_parquet(parts).sink_parquet(folder / INDEX)
    for part in parts:
        part.unlink()
    (folder / MANIFEST).write_text(json.dumps({"shards": shards, "synthetic": True}))


LABELS = (("NORM", "SR"), ("AFIB",), ("SR", "IMI"))
FINGERPRINT = 1601  # bytes: four leads of 10 s


def measured_step(step: str, folder: Path) -> str:
    """Do one step and say what it took."""
    start = time.perf_counter()
    if step in ("open", "shuffle"):
        reader = WindowReader(DataConfig(shards=(str(folder),)), "train", seed=0)
        if step == "shuffle":
            start = time.perf_counter()
            for first in range(0, reader.windows - BATCH, BATCH):
                reader._locate(np.arange(first, first + BATCH, dtype=np.int64), epoch=0)
    elif step == "filter":
        codes = pl.col("labels").list.eval(pl.element().struct.field("code"))
        found = pl.scan_parquet(folder / INDEX).filter(
            codes.list.contains("AFIB"), pl.col("age") > 60
        )
        assert found.select("subject").collect().height > 0
    seconds = time.perf_counter() - start
    # Not getrusage: its peak is inherited from the process that started this one.
    (peak,) = (
        s for s in Path("/proc/self/status").read_text().splitlines() if s.startswith("VmHWM")
    )
    peak_mb = int(peak.split()[1]) / 1024
    return json.dumps({"seconds": seconds, "peak_mb": peak_mb})


def main(segments: int = 1_000_000, step: str | None = None, folder: str | None = None) -> None:
    """Measure and print the table.

    Args:
        segments: How many segments the index has.
        step: Only this step, on `folder` (what the processes of the benchmark are given).
        folder: The shard folder of a single step.
    """
    if step is not None and folder is not None:
        print(measured_step(step, Path(folder)))
        return
    found = {}
    with tempfile.TemporaryDirectory() as name:
        start = time.perf_counter()
        write_index(Path(name), segments)
        written_s = time.perf_counter() - start
        size_mb = (Path(name) / INDEX).stat().st_size / 1e6
        for one in STEPS:
            command = [sys.executable, __file__, "--step", one, "--folder", name]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            found[one] = json.loads(done.stdout.splitlines()[-1])
    print(
        f"{segments:,} segments, index of {size_mb:.0f} MB (made in {written_s:.0f} s); load average "
        f"{os.getloadavg()[0]:.1f} on {os.cpu_count()} cores, {platform.machine()}, polars {pl.__version__}\n"
    )
    said = {
        "import": "Python with torch, polars and biofm imported",
        "open": "open the reader: index, shards, windows",
        "shuffle": f"the shuffled order of a whole epoch, {BATCH} positions at a time",
        "filter": "segments of one class above an age (polars, lazily)",
    }
    print("| | seconds | peak memory, MB |\n|---|---|---|")
    for one in STEPS:
        print(f"| {said[one]} | {found[one]['seconds']:.2f} | {found[one]['peak_mb']:.0f} |")


if __name__ == "__main__":
    auto_cli(main, as_positional=False)
