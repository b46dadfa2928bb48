"""Two machines, on the loopback: a launcher each, as `configs/launch/torchrun.sh` starts them."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

import biofm
from biofm.pretrain.checkpoint import checkpoints
from biofm.pretrain.tracking import read_metrics

ROOT = Path(biofm.__file__).resolve().parent
TIMEOUT_S = 400


def command(shards: Path, out: Path) -> list[str]:
    options = {
        "data.shards": f"[{shards}]",
        "model.depth": "1",
        "model.patch.samples": "50",
        "objective.decoder.dim": "32",
        "objective.decoder.depth": "1",
        "objective.decoder.heads": "2",
        "optim.global_batch": "8",
        "optim.epochs": "4",
        "run.out": str(out),
        "run.tracking": "null",
        "run.validate_every": "4",
        "run.watch_every": "0",
        "run.log_every": "1",
    }
    words = [word for key, value in options.items() for word in (f"--{key}", value)]
    return [str(ROOT / "pretrain" / "mae.py"), *words]


def machines(words: list[str], cwd: Path) -> list[subprocess.Popen[str]]:
    """Both machines' launchers, begun."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    bin_folder = Path(sys.executable).parent
    common = {
        **os.environ,
        "PATH": f"{bin_folder}{os.pathsep}{os.environ['PATH']}",
        "OMP_NUM_THREADS": "1",
        "NODES": "2",
        "GPUS": "1",
        "FIRST": "127.0.0.1",
        "PORT": str(port),
    }
    script = str(ROOT / "configs" / "launch" / "torchrun.sh")
    return [
        subprocess.Popen(
            ["bash", script, *words],
            cwd=cwd,
            env={**common, "NODE": str(node)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for node in range(2)
    ]


def ended(launchers: list[subprocess.Popen[str]]) -> list[int]:
    """How they ended, when they have."""
    for launcher in launchers:
        launcher.communicate(timeout=TIMEOUT_S)
    return [launcher.returncode for launcher in launchers]


def curve(out: Path) -> dict[int, float]:
    return {line["step"]: line["loss"] for line in read_metrics(out) if "loss" in line}


def test_two_machines_told_to_stop_go_on_and_train_what_one_does(
    twin_shards: Path, tmp_path: Path
) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    subprocess.run(
        [sys.executable, *command(twin_shards, one)],
        cwd=tmp_path,
        check=True,
        capture_output=True,
        timeout=TIMEOUT_S,
    )
    launchers = machines(command(twin_shards, two), tmp_path)
    while len(curve(two)) < 2 and all(launcher.poll() is None for launcher in launchers):
        time.sleep(0.01)
    # As a scheduler tells them. Were one told alone, torchrun would wait for minutes on the other.
    for launcher in launchers:
        launcher.send_signal(signal.SIGTERM)
    ended(launchers)
    assert 0 < max(curve(two)) < max(curve(one))
    assert len(checkpoints(two)) == 1
    assert ended(machines(command(twin_shards, two), tmp_path)) == [0, 0]
    assert curve(two) == pytest.approx(curve(one), rel=1e-4)
