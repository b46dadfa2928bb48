"""Whole runs of JEPA, SimCLR and BYOL on a small model: stopped and resumed, and on two processes.

Every run is a process of its own, forked from a server that has only imported things (as in test_run.py).
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from biofm.models.decoder import DecoderConfig
from biofm.models.encoder import EncoderConfig
from biofm.models.tokenizer import PatchConfig
from biofm.pretrain.checkpoint import checkpoints
from biofm.pretrain.configuration import OptimConfig, RunConfig
from biofm.pretrain.objectives.base import Objective
from biofm.pretrain.objectives.byol import BYOL, BYOLConfig
from biofm.pretrain.objectives.jepa import JEPA, JEPAConfig
from biofm.pretrain.objectives.simclr import SimCLR, SimCLRConfig
from biofm.pretrain.run import run
from biofm.pretrain.tracking import read_metrics
from biofm.shards.reader import DataConfig

TIMEOUT_S = 240
SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["biofm.pretrain.run"])
# The server's children import this file by name. pytest's name for it begins with `tests.`, and an
# installed library may have a package of that name.
sys.path.insert(0, str(Path(__file__).parent))
sys.modules["test_objective_runs"] = sys.modules[__name__]
__name__ = "test_objective_runs"

MAKE: dict[str, Callable[[Any, str], Objective]] = {
    "jepa": lambda encoder, stream: JEPA(
        encoder, JEPAConfig(momentum=0.9, predictor=DecoderConfig(32, 1, 2)), stream
    ),
    "simclr": lambda encoder, stream: SimCLR(encoder, SimCLRConfig(hidden=32, dim=16), stream),
    "byol": lambda encoder, stream: BYOL(
        encoder, BYOLConfig(momentum=0.9, hidden=32, dim=16), stream
    ),
}
VIT = EncoderConfig(depth=1, patch=PatchConfig(samples=50))
XRESNET = EncoderConfig("xresnet", patch=PatchConfig(samples=32))


@dataclass(frozen=True)
class Config:
    """The config of a pretraining, small."""

    data: DataConfig
    run: RunConfig
    model: EncoderConfig = VIT
    optim: OptimConfig = OptimConfig(lr=1e-3, global_batch=16, epochs=2, warmup_epochs=1)
    resume: Literal["auto", "never"] = "auto"


def small(shards: Path, out: Path, **changes: Any) -> Config:
    run_config = RunConfig(out=out, keep_last=1, log_every=1, validate_every=2, tracking=None)
    return replace(Config(DataConfig((str(shards),)), run_config), **changes)


def train(name: str, config: Config, stop_at: float = 2.0) -> None:
    """A run; once a share `stop_at` of its steps is done, it gets a signal to stop. Leaves the rank's state."""
    kept: list[Objective] = []
    signals = [signal.SIGTERM]

    def make(encoder: Any, stream: str) -> Objective:
        objective = MAKE[name](encoder, stream)
        follow = objective.after_step

        def after_step(done: float) -> None:
            follow(done)
            if done >= stop_at and signals:
                os.kill(os.getpid(), signals.pop())

        objective.after_step = after_step  # type: ignore[method-assign]
        kept.append(objective)
        return objective

    torch.set_num_threads(1)
    run(config, make, idle=name != "jepa")  # as their entry scripts say
    rank = os.environ.get("RANK", "0")
    torch.save(kept[0].state_dict(), config.run.out / f"rank{rank}.pt")


def forked(*args: Any) -> None:
    finish([SERVER.Process(target=train, args=args)])


def on_two_ranks(*args: Any) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    finish([SERVER.Process(target=as_rank, args=(rank, port, *args)) for rank in (0, 1)])


def finish(processes: list[Any]) -> None:
    for process in processes:
        process.start()
    for process in processes:
        process.join(TIMEOUT_S)
        assert process.exitcode == 0


def as_rank(rank: int, port: int, *args: Any) -> None:
    """As a launcher would start it."""
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE="2", LOCAL_WORLD_SIZE="2")
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    train(*args)


def figures(out: Path, name: str) -> dict[int, float]:
    return {line["step"]: line[name] for line in read_metrics(out) if name in line}


def state(out: Path, rank: int = 0) -> dict[str, Tensor]:
    kept: dict[str, Tensor] = torch.load(out / f"rank{rank}.pt", weights_only=True)
    return kept


def check_copies(kept: dict[str, Tensor], name: str) -> None:
    """The slow copy is neither what it began as nor what it follows."""
    prefix = {"jepa": "slow.module.", "byol": "slow_encoder.module."}[name]
    pairs = [
        (v, kept["encoder." + k.removeprefix(prefix)])
        for k, v in kept.items()
        if k.startswith(prefix) and k.endswith("weight") and v.ndim >= 2
    ]
    assert pairs
    assert all(not torch.equal(slow, fast) for slow, fast in pairs)


@pytest.fixture(scope="module")
def whole(twin_shards: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Runs that nobody disturbed."""
    folder = tmp_path_factory.mktemp("runs")
    for name in MAKE:
        forked(name, small(twin_shards, folder / name))
    return {name: folder / name for name in MAKE}


@pytest.mark.parametrize("name", ["jepa", "byol"])
def test_stopped_and_resumed_it_is_the_run_that_was_not_copy_included(
    twin_shards: Path, whole: dict[str, Path], tmp_path: Path, name: str
) -> None:
    config = small(twin_shards, tmp_path / name)
    steps = max(figures(whole[name], "loss"))
    forked(name, config, 0.5)
    stopped = max(figures(config.run.out, "loss"))
    assert 1 < stopped < steps
    saved = load_file(checkpoints(config.run.out)[-1] / "state" / "model.safetensors")
    check_copies(saved, name)
    forked(name, config)
    assert figures(config.run.out, "loss") == figures(whole[name], "loss")
    one, other = state(config.run.out), state(whole[name])
    assert one.keys() == other.keys()
    assert all(torch.equal(one[k], other[k]) for k in other)


@pytest.mark.parametrize("name", MAKE)
def test_two_processes_train_as_one_and_keep_equal_copies(
    twin_shards: Path, whole: dict[str, Path], tmp_path: Path, name: str
) -> None:
    config = small(twin_shards, tmp_path / name)
    on_two_ranks(name, config)
    zero, one, alone = state(config.run.out), state(config.run.out, 1), state(whole[name])
    assert all(torch.equal(zero[k], one[k]) for k in zero)
    for key, weight in alone.items():
        torch.testing.assert_close(zero[key], weight, rtol=1e-3, atol=1e-4)
    expected, found = figures(whole[name], "loss"), figures(config.run.out, "loss")
    assert found.keys() == expected.keys()
    assert max(abs(found[s] - expected[s]) / expected[s] for s in expected) < 1e-3


def test_ranks_with_batch_norm_are_judged_by_one_copy(twin_shards: Path, tmp_path: Path) -> None:
    """Running statistics differ between ranks until a validation shares them: the copy's as its source's."""
    optim = OptimConfig(lr=1e-3, global_batch=16, epochs=1, warmup_epochs=0)
    config = small(twin_shards, tmp_path / "norm", model=XRESNET, optim=optim)
    on_two_ranks("byol", config)
    zero, one = state(config.run.out), state(config.run.out, 1)
    assert all(torch.equal(zero[k], one[k]) for k in zero)
    check_copies(zero, "byol")


@pytest.mark.parametrize("name", MAKE)
def test_the_representation_has_not_collapsed(whole: dict[str, Path], name: str) -> None:
    ranks, collapsed = (figures(whole[name], k) for k in ("effective_rank", "collapsed"))
    last = max(figures(whole[name], "loss"))
    assert sorted(ranks) == [0, last]
    assert ranks[last] > 0.4 * ranks[0]
    assert collapsed[last] == 0
