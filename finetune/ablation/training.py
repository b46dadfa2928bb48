"""Trains the pairs by their entry scripts, each to the same budget, and keeps what it took."""

from __future__ import annotations

import dataclasses
import json
import os
import platform
import shutil
from pathlib import Path
from typing import Any

import torch

from ...files import write_aside
from ...pretrain.checkpoint import checkpoints, stored_progress
from ...pretrain.cost import Cost, read_cost
from ...pretrain.tracking import read_metrics
from .configuration import AblationConfig
from .pairs import Pair
from .processes import Processes


@dataclasses.dataclass(frozen=True)
class Trained:
    """What a run took. `training_s` is the time that its steps took, without validation, checkpoints and stops."""

    epochs: int
    steps: int
    batch: int
    signal_s: float
    flops: float
    parameters: int
    flops_per_10s: float
    training_s: float
    machine: str


def plan(config: AblationConfig, pair: Pair, data: str, processes: Processes) -> None:
    """Find what the pair's training costs, by its entry script; kept."""
    folder, terms = pair.plan(config), pair.terms(config, data, 0)
    if (folder / "cost.json").is_file() and _kept(folder / "terms.json") == terms:
        return
    command = pair.command(config, 0, folder)
    processes.run([*command, "--run.dry", "true"], folder)
    _keep(folder / "terms.json", terms)


def epochs_of(config: AblationConfig, cost: Cost) -> int:
    """The whole number of epochs that comes nearest to the budget, at least one."""
    return max(1, round(config.signal_s / cost.epoch_s))


def too_costly(config: AblationConfig, cost: Cost) -> str | None:
    """Why a pair is left out, where it is."""
    flops = epochs_of(config, cost) * cost.epoch_flops
    if config.most_flops is None or flops <= config.most_flops:
        return None
    return f"its training would take {flops:.2g} FLOPs, and most_flops is {config.most_flops:.2g}"


def train(config: AblationConfig, pair: Pair, data: str, seed: int, processes: Processes) -> None:
    """Train a pair with this seed to the budget, or go on; nothing where that is done.

    Raises `RuntimeError` where its script fails, or is stopped by somebody.
    """
    out, terms = pair.folder(config, seed), _terms(config, pair, data, seed)
    if trained(config, pair, data, seed) is not None:
        return
    epochs = epochs_of(config, read_cost(pair.plan(config)))
    # A run must not go on from what other shards of the same path, or another config, began.
    if _kept(out / "terms.json") != terms:
        if out.exists():
            shutil.rmtree(out)
        _keep(out / "terms.json", terms)
    processes.run([*pair.command(config, seed, out), "--optim.epochs", str(epochs)], out)
    progress = stored_progress(checkpoints(out)[-1])
    if progress.epoch < epochs:
        raise RuntimeError(
            f"stopped in epoch {progress.epoch + 1} of {epochs}: the same command goes on"
        )
    cost = read_cost(out)
    took = Trained(
        epochs,
        progress.step,
        cost.batch,
        epochs * cost.epoch_s,
        epochs * cost.epoch_flops,
        cost.parameters,
        cost.flops / cost.signal_s * 10,
        training_s(out, cost.batch),
        f"{machine()}, {config.jobs} at once with {config.threads} thread(s) each",
    )
    _keep(out / "trained.json", {"terms": terms, "took": dataclasses.asdict(took)})


def trained(config: AblationConfig, pair: Pair, data: str, seed: int) -> Trained | None:
    """What its training took; None where that is not done, or was of another config, budget or other shards."""
    kept = _kept(pair.folder(config, seed) / "trained.json")
    if kept is None or kept["terms"] != _terms(config, pair, data, seed):
        return None
    return Trained(**kept["took"])


def training_s(run: Path, batch: int) -> float:
    """Seconds that the steps of a run took, from the rate of each stretch of them that its metrics tell.

    Those of steps that a kill threw away are not there.
    """
    told = [line for line in read_metrics(run) if "samples_per_s" in line]
    seconds, before = 0.0, 0
    for line in told:
        seconds += (line["step"] - before) * batch / line["samples_per_s"]
        before = line["step"]
    return seconds


def machine() -> str:
    """What kind of machine this is."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    about, name = Path("/proc/cpuinfo"), platform.processor() or platform.machine()
    for line in about.read_text().splitlines() if about.is_file() else ():
        if line.startswith("model name"):
            name = line.partition(":")[2].strip()
            break
    return f"{os.cpu_count()} cores of {name}"


def _terms(config: AblationConfig, pair: Pair, data: str, seed: int) -> dict[str, Any]:
    return {**pair.terms(config, data, seed), "signal_s": config.signal_s}


def _keep(file: Path, said: dict[str, Any]) -> None:
    with write_aside(file) as aside:
        aside.write_text(json.dumps(said, indent=1) + "\n")


def _kept(file: Path) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = json.loads(file.read_text())
    except (OSError, ValueError):
        return None
    return found
