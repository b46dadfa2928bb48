"""Reading WFDB and building shards against a plain loop of library calls, one process each.

`python benchmarks/build.py` takes PTB-XL's 500-Hz records below BIOFM_DATA, or writes a synthetic
twin where that is not set. Rounds are interleaved, after one to warm up; ratios are medians of the
ratios within a round, so that a machine that is busy for a while slows both sides. CPU time leaves
out what other processes take, and the wait for the disk.

The build does more than the loop it is compared with: checksums, two signatures of every recording,
quality, an index, SHA-256 and fsync. The loop's samples are the build's, but for the libraries'
habits at the ends and in anti-aliasing; how far they differ is printed.
"""

from __future__ import annotations

import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import numpy as np
import wfdb
from jsonargparse import auto_cli
from numpy.typing import NDArray
from scipy import signal as dsp
from webdataset import TarWriter, WebDataset

from biofm.datasets.ptbxl import PTBXL
from biofm.datasets.registry import RecordRef
from biofm.datasets.simulate import simulate
from biofm.shards.build import build
from biofm.shards.configuration import BuildConfig, Folds

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
    """The same with `wfdb`, `scipy` and `webdataset` alone, each the way its manual shows."""
    folder.mkdir()
    how = CONFIG.preprocessing.ecg
    assert how is not None
    assert how.highpass_hz is not None
    assert how.lowpass_hz is not None
    high = dsp.butter(how.order, how.highpass_hz, "high", fs=how.rate_hz, output="sos")
    low = dsp.butter(how.order, how.lowpass_hz, "low", fs=how.rate_hz, output="sos")
    band = np.concatenate([high, low])
    with TarWriter(str(folder / "shard.tar"), mtime=0) as tar:
        for ref in refs:
            physical_TC, fields = wfdb.rdsamp(str(ref.path))
            down = round(fields["fs"] / how.rate_hz)
            samples_TC = dsp.resample_poly(physical_TC, 1, down, axis=0, padtype="line")
            samples_TC = dsp.sosfiltfilt(band, samples_TC, axis=0, padlen=round(2 * how.rate_hz))
            lowest, highest = samples_TC.min(axis=0), samples_TC.max(axis=0)
            scale, offset = (highest - lowest) / 65534, (highest + lowest) / 2
            scale[scale == 0] = 1
            stored = np.rint((samples_TC - offset) / scale).astype(np.int16).T
            stream = {"scale": scale.tolist(), "offset": offset.tolist()}
            about = {"record": ref.record, "subject": ref.subject, "streams": [stream]}
            tar.write({"__key__": ref.record, "ecg-100hz.npy": stored, "json": about})


def written(folder: Path) -> dict[str, NDArray[np.float64]]:
    """Record → its samples [C, T] in mV, read from the tars of a folder."""
    found = {}
    for sample in WebDataset([str(p) for p in folder.glob("*.tar")], shardshuffle=False).decode():
        (stream,) = sample["json"]["streams"]
        scale, offset = (np.array(stream[key])[:, None] for key in ("scale", "offset"))
        found[sample["json"]["record"]] = sample["ecg-100hz.npy"] * scale + offset
    return found


def difference(ours: Path, theirs: Path) -> float:
    """Root mean square of what two builds differ by, relative to each record; the median."""
    mine, other = written(ours), written(theirs)
    assert mine.keys() == other.keys()
    return statistics.median(
        float(np.linalg.norm(mine[record] - other[record]) / np.linalg.norm(mine[record]))
        for record in mine
    )


Times: TypeAlias = tuple[float, float]
"""(wall, CPU) seconds."""


def timed(run: Callable[[int], None], number: int) -> Times:
    """What one run takes."""
    wall_s, cpu_s = time.perf_counter(), time.process_time()
    run(number)
    return time.perf_counter() - wall_s, time.process_time() - cpu_s


def measure(
    ours: Callable[[int], None], theirs: Callable[[int], None], rounds: int
) -> list[tuple[Times, Times]]:
    """What both take in each round, after one that is not counted."""
    return [(timed(ours, number), timed(theirs, number)) for number in range(rounds + 1)][1:]


def show(what: str, times: list[tuple[Times, Times]], records: int) -> None:
    """A row of the table for each clock."""
    for clock, name in enumerate(("wall", "CPU")):
        ours, theirs = ([one[side][clock] for one in times] for side in (0, 1))
        ratios = [slow / fast for fast, slow in zip(ours, theirs, strict=True)]
        ours_ms, theirs_ms = (1000 * statistics.median(x) / records for x in (ours, theirs))
        spread = f"{statistics.median(ratios):.1f}× ({min(ratios):.1f} to {max(ratios):.1f})"
        print(f"| {what}, {name} | {ours_ms:.2f} | {theirs_ms:.2f} | {spread} |")


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
        differ = difference(folder / "biofm1", folder / "plain1")
    print(
        f"{len(refs)} records of 12×5000 samples ({'real' if data else 'synthetic'}), {rounds} "
        f"interleaved rounds after one to warm up; load average {os.getloadavg()[0]:.1f} on "
        f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}, "
        f"wfdb {wfdb.__version__}. The two builds' samples differ by {differ:.2%} (rms).\n"
    )
    print("| one process | biofm, ms a record | plain loop, ms a record | ratio |")
    print("|---|---|---|---|")
    show("read and verify WFDB", reading, len(refs))
    show("whole build, 100 Hz", building, len(refs))


if __name__ == "__main__":
    auto_cli(main, as_positional=False)
