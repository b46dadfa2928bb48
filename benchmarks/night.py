"""A night of MESA's size: reading its EDF file, turning it into shards, and MNE-Python's preload of it.

`python benchmarks/night.py` writes one synthetic night (27 channels at 256, 32 and 1 Hz) and does each
step on that file in a process of its own, whose peak memory the operating system counts. Rounds are
interleaved, after one that is not counted and warms the page cache; ratios are medians of the ratios
within a round. Imports are not timed, but their memory counts; the first row is what they alone take.

The build does far more than either reader: it resamples and filters every channel, finds R peaks for the
physiology checks, takes signatures, and writes and verifies shards.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import edfio
import mne
from jsonargparse import auto_cli

from biofm.configuration import parse
from biofm.datasets.edf import read_edf
from biofm.datasets.simulate.mesa_tree import write
from biofm.shards.build import build
from biofm.shards.configuration import BuildConfig

STEPS = {
    "import": "Python with biofm, edfio and MNE-Python imported",
    "edf": "biofm: every channel as int16",
    "build": "biofm: the whole build, `shards/mesa`, one worker",
    "mne": "MNE-Python: `read_raw_edf(preload=True)`",
}
EVERYTHING = ("--fractions.train", "1", "--fractions.validation", "0", "--fractions.test", "0")


def measured_step(step: str, folder: Path) -> str:
    """Do one step and say what it took."""
    (path,) = folder.glob("polysomnography/edfs/*.edf")
    # MNE-Python loads parts of itself when they are first used.
    mne.io.read_raw_edf(path, preload=False, verbose="ERROR")
    start = time.perf_counter()
    if step == "edf":
        held = [channel.samples for channel in read_edf(path).channels]
        assert len(held) == 27
    elif step == "build":
        config = parse(BuildConfig, ["--config", "shards/mesa", *EVERYTHING])
        with tempfile.TemporaryDirectory() as out:
            build("mesa", [folder], Path(out) / "shards", config, workers=1, progress=False)
    elif step == "mne":
        assert len(mne.io.read_raw_edf(path, preload=True, verbose="ERROR").ch_names) == 27
    seconds = time.perf_counter() - start
    # Not getrusage: its peak is inherited from the process that started this one.
    (peak,) = (
        s for s in Path("/proc/self/status").read_text().splitlines() if s.startswith("VmHWM")
    )
    return json.dumps({"seconds": seconds, "peak_mb": int(peak.split()[1]) / 1024})


def main(
    hours: float = 8.0, rounds: int = 3, step: str | None = None, folder: str | None = None
) -> None:
    """Measure and print the table.

    Args:
        hours: Length of the night.
        rounds: How often everything is measured.
        step: Only this step, on `folder` (what the processes of the benchmark are given).
        folder: The tree of a single step.
    """
    if step is not None and folder is not None:
        print(measured_step(step, Path(folder)))
        return
    found: dict[str, list[dict[str, float]]] = {one: [] for one in STEPS}
    with tempfile.TemporaryDirectory() as name:
        write(Path(name), 1, 0, lambda items: items, hours)
        (path,) = Path(name).glob("polysomnography/edfs/*.edf")
        size_mb = path.stat().st_size / 1e6
        for number in range(rounds + 1):
            for one in STEPS:
                command = [sys.executable, __file__, "--step", one, "--folder", name]
                done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
                if number:
                    found[one].append(json.loads(done.stdout.splitlines()[-1]))
    print(
        f"{hours:g} h, 27 channels, EDF of {size_mb:.0f} MB, {rounds} interleaved rounds after one to "
        f"warm up; load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores, "
        f"{platform.machine()}, Python {platform.python_version()}, edfio {edfio.__version__}, "
        f"MNE-Python {mne.__version__}\n"
    )
    print("| | seconds | peak memory, MB | MNE-Python's preload takes |\n|---|---|---|---|")
    for one, said in STEPS.items():
        seconds, peak_mb = (
            statistics.median(each[key] for each in found[one]) for key in ("seconds", "peak_mb")
        )
        pairs = zip(found["mne"], found[one], strict=True)
        ratio = statistics.median(
            mnes["seconds"] / max(ours["seconds"], 1e-9) for mnes, ours in pairs
        )
        times = f"{ratio:.2g}×" if one in ("edf", "build") else ""
        print(f"| {said} | {seconds:.2f} | {peak_mb:.0f} | {times} |")


if __name__ == "__main__":
    auto_cli(main, as_positional=False)
