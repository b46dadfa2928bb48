"""Reading WFDB and building shards against a plain loop over `wfdb.rdsamp`, one process each.

`python benchmarks/build.py` takes PTB-XL's 500-Hz records below BIOFM_DATA, or writes a synthetic
twin where that is not set. Rounds are interleaved, after one to warm up; ratios are medians of the
ratios within a round, so that a machine that is busy for a while slows both sides.

The build does more than the loop it is compared with: checksums, two signatures of every recording,
quality, an index, SHA-256 and fsync.
"""

from __future__ import annotations

import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import wfdb
from jsonargparse import auto_cli
from webdataset import TarWriter

from biofm.datasets.ptbxl import PTBXL
from biofm.datasets.registry import RecordRef
from biofm.datasets.simulate import simulate
from biofm.shards.build import build
from biofm.shards.configuration import BuildConfig, Folds
from biofm.signals import LEADS_12, Signal, preprocess, quantize

CONFIG = BuildConfig(folds=Folds(tuple(range(1, 11)), (), ()))


def read_biofm(refs: list[RecordRef]) -> None:
    """Headers, samples, checksums and labels of every record."""
    source = PTBXL("records500")
    for ref in refs:
        source.read(ref)


def read_rdsamp(refs: list[RecordRef]) -> None:
    """What most pipelines do; checksums are not looked at."""
    for ref in refs:
        wfdb.rdsamp(str(ref.path))


def build_biofm(root: Path, folder: Path) -> None:
    """The whole build."""
    build("ptbxl", [root], folder, CONFIG, workers=1, progress=False)


def build_rdsamp(refs: list[RecordRef], folder: Path) -> None:
    """`rdsamp`, the same filters and rate, the same samples written by the same writer."""
    folder.mkdir()
    how = CONFIG.preprocessing.ecg
    with TarWriter(str(folder / "shard.tar"), mtime=0) as tar:
        for ref in refs:
            physical, fields = wfdb.rdsamp(str(ref.path))
            samples = np.ascontiguousarray(physical.T, np.float32)
            ready = quantize(preprocess(Signal("ecg", samples, fields["fs"], LEADS_12), how))
            assert ready.scale is not None
            about = {"subject": ref.subject, "scale": ready.scale.tolist()}
            tar.write({"__key__": ref.record, "ecg-100hz.npy": ready.samples, "json": about})


def measure(ours: Callable[[int], None], theirs: Callable[[int], None], rounds: int) -> list[float]:
    """[seconds of ours, seconds of theirs, ratio, smallest ratio, largest ratio], medians."""
    times: list[tuple[float, float]] = []
    for number in range(rounds + 1):
        marks = [time.perf_counter()]
        for run in (ours, theirs):
            run(number)
            marks.append(time.perf_counter())
        times.append((marks[1] - marks[0], marks[2] - marks[1]))
    ratios = [slow / fast for fast, slow in times[1:]]
    fast_s, slow_s = (statistics.median(column) for column in zip(*times[1:], strict=True))
    return [fast_s, slow_s, statistics.median(ratios), min(ratios), max(ratios)]


def main(records: int = 192, rounds: int = 5) -> None:
    """Measure and print the table.

    Args:
        records: Records of the synthetic twin, where BIOFM_DATA is not set.
        rounds: How often everything is measured.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = os.environ.get("BIOFM_DATA")
        root = Path(data) / "ptb-xl" if data else folder / "twin"
        if not data:
            simulate("ptbxl", root, records=records, progress=False)
        refs = PTBXL("records500").find([root])
        reading = measure(lambda _: read_biofm(refs), lambda _: read_rdsamp(refs), rounds)
        building = measure(
            lambda number: build_biofm(root, folder / f"biofm{number}"),
            lambda number: build_rdsamp(refs, folder / f"plain{number}"),
            rounds,
        )
    print(
        f"{len(refs)} records of 12×5000 samples ({'real' if data else 'synthetic'}), {rounds} "
        f"interleaved rounds after one to warm up; load average {os.getloadavg()[0]:.1f} on "
        f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}, "
        f"wfdb {wfdb.__version__}\n"
    )
    print("| one process | biofm, ms a record | wfdb.rdsamp loop, ms a record | ratio |")
    print("|---|---|---|---|")
    for what, row in (("read and verify WFDB", reading), ("whole build, 100 Hz", building)):
        ours_ms, theirs_ms = (1000 * seconds / len(refs) for seconds in row[:2])
        spread = f"{row[2]:.1f}× ({row[3]:.1f} to {row[4]:.1f})"
        print(f"| {what} | {ours_ms:.2f} | {theirs_ms:.2f} | {spread} |")


if __name__ == "__main__":
    auto_cli(main, as_positional=False)
