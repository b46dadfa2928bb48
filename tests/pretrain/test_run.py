"""Whole runs on a small model: killed and resumed, on one process and on two, and what they leave behind.

Every run is a process of its own, so that it has a fresh accelerator and can be killed with -9 at any
moment. They are forked from a server that has only imported things: polars' threads do not survive a fork.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from mlflow.tracking import MlflowClient
from safetensors.torch import load_file

import biofm
from biofm import load_model
from biofm.models.decoder import DecoderConfig
from biofm.models.encoder import EncoderConfig
from biofm.models.tokenizer import PatchConfig
from biofm.pretrain.checkpoint import checkpoints
from biofm.pretrain.configuration import OptimConfig, RunConfig
from biofm.pretrain.mae_shown import reconstructions, trivial
from biofm.pretrain.objectives.mae import MAE, MAEConfig
from biofm.pretrain.run import Shown, run
from biofm.pretrain.tracking import read_metrics
from biofm.shards.reader import DataConfig

ROOT = Path(biofm.__file__).resolve().parent
GOLDEN = Path(__file__).parents[1] / "golden" / "mae_small.json"
SHOWN = Shown(reconstructions, trivial)
TIMEOUT_S = 240
SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["biofm.pretrain.run"])
# The server's children import this file by name. pytest's name for it begins with `tests.`, and an
# installed library may have a package of that name.
sys.path.insert(0, str(Path(__file__).parent))
sys.modules["test_run"] = sys.modules[__name__]
__name__ = "test_run"


@dataclass(frozen=True)
class Config:
    """The config of `pretrain/mae.py`, small."""

    data: DataConfig
    run: RunConfig
    model: EncoderConfig = EncoderConfig(depth=1, patch=PatchConfig(samples=50))
    objective: MAEConfig = field(
        default_factory=lambda: MAEConfig(decoder=DecoderConfig(dim=32, depth=1, heads=2))
    )
    optim: OptimConfig = OptimConfig(lr=1e-3, global_batch=8, epochs=4, warmup_epochs=1)
    resume: Literal["auto", "never"] = "auto"


def small(shards: Path, out: Path, **changes: Any) -> Config:
    run_config = RunConfig(
        out=out, checkpoint_every=3, keep_last=2, log_every=4, validate_every=2, tracking=None
    )
    return replace(Config(DataConfig(shards=(str(shards),)), run_config), **changes)


def train(config: Config) -> None:
    torch.set_num_threads(1)
    run(config, lambda encoder, stream: MAE(encoder, config.objective, stream), SHOWN)


def forked(config: Config) -> Any:
    process = SERVER.Process(target=train, args=(config,))
    process.start()
    return process


def finished(config: Config) -> None:
    process = forked(config)
    process.join(TIMEOUT_S)
    assert process.exitcode == 0


def failure(config: Config) -> str:
    """The message with which a run stops."""
    here, there = SERVER.Pipe()
    process = SERVER.Process(target=attempt, args=(config, there))
    process.start()
    there.close()  # or recv would wait for ever where the process dies without an answer
    process.join(TIMEOUT_S)
    return str(here.recv())


def attempt(config: Config, answer: Any) -> None:
    try:
        train(config)
    except (ValueError, RuntimeError) as error:
        answer.send(str(error))
    else:
        answer.send("it did not fail")


def on_two_ranks(target: Callable[..., None], *args: Any) -> None:
    """Two processes that find each other, as a launcher would start them."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    processes = [SERVER.Process(target=as_rank, args=(rank, port, target, args)) for rank in (0, 1)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(TIMEOUT_S)
        assert process.exitcode == 0


def as_rank(rank: int, port: int, target: Callable[..., None], args: tuple[Any, ...]) -> None:
    os.environ.update(
        RANK=str(rank),
        LOCAL_RANK=str(rank),
        WORLD_SIZE="2",
        LOCAL_WORLD_SIZE="2",
        MASTER_ADDR="127.0.0.1",
        MASTER_PORT=str(port),
    )
    target(*args)


def curve(out: Path) -> dict[int, float]:
    """Every step's training loss."""
    return {line["step"]: line["loss"] for line in read_metrics(out) if "loss" in line}


def same_weights(one: Path, two: Path) -> bool:
    a, b = (load_file(p / "best" / "model.safetensors") for p in (one, two))
    return all(torch.equal(a[k], b[k]) for k in a | b)


def last_state(out: Path) -> dict[str, Any]:
    return load_file(checkpoints(out)[-1] / "state" / "model.safetensors")


def wait_for(condition: Callable[[], bool], process: Any) -> None:
    """Until it holds, or the process has ended."""
    while process.is_alive() and not condition():
        time.sleep(0.01)


def has_reached(out: Path, step: int) -> bool:
    return max(curve(out), default=0) >= step


@pytest.fixture(scope="module")
def whole(twin_shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nobody disturbed."""
    out = tmp_path_factory.mktemp("runs") / "whole"
    finished(small(twin_shards, out))
    return out


def test_a_run_leaves_a_model_pictures_metrics_and_its_config(whole: Path) -> None:
    assert {p.name for p in whole.iterdir()} >= {
        "best",
        "checkpoints",
        "config.yaml",
        "figures",
        "metrics.jsonl",
    }
    assert {p.name for p in (whole / "best").iterdir()} == {
        "model.safetensors",
        "training.parquet",
        "chosen.parquet",
        "config.json",
        "README.md",
    }
    card = (whole / "best" / "README.md").read_text()
    assert "SYNTHETIC" in card
    assert json.loads((whole / "best" / "config.json").read_text())["facts"]["synthetic"] is True
    assert sorted(p.name for p in (whole / "figures").iterdir()) == [
        "embeddings.png",
        "loss.png",
        *(f"reconstruction-{i}.png" for i in range(3)),
    ]
    steps = curve(whole)
    assert sorted(steps) == list(range(1, max(steps) + 1))
    assert len(checkpoints(whole)) == 2
    assert load_model(whole / "best").dim == 192


@pytest.mark.parametrize("seed", [0, 1])
def test_killed_at_random_steps_and_resumed_it_is_the_run_that_was_not(
    twin_shards: Path, whole: Path, tmp_path: Path, seed: int
) -> None:
    config = small(twin_shards, tmp_path / "killed")
    steps = max(curve(whole))
    chance = random.Random(seed)
    kills = sorted(chance.sample(range(3, steps), 2))
    for step in kills:
        process = forked(config)
        reached = partial(has_reached, config.run.out, step)
        wait_for(reached, process)
        time.sleep(chance.uniform(0, 0.1))
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        assert process.exitcode == -signal.SIGKILL
    finished(config)
    assert curve(config.run.out) == curve(whole)
    assert same_weights(config.run.out, whole)
    states = last_state(config.run.out), last_state(whole)
    assert all(torch.equal(states[0][k], states[1][k]) for k in states[1])


def test_a_stop_signal_saves_and_leaves_and_the_same_command_goes_on(
    twin_shards: Path, whole: Path, tmp_path: Path
) -> None:
    config = small(twin_shards, tmp_path / "stopped")
    process = forked(config)
    wait_for(lambda: bool(curve(config.run.out)), process)
    os.kill(process.pid, signal.SIGTERM)
    process.join()
    assert process.exitcode == 0
    progress = json.loads((checkpoints(config.run.out)[-1] / "progress.json").read_text())
    assert 0 < progress["step"] < max(curve(whole))
    finished(config)
    assert curve(config.run.out) == curve(whole)


def test_a_finished_run_is_not_run_again_and_another_config_is_refused(
    twin_shards: Path, whole: Path
) -> None:
    before = read_metrics(whole)
    finished(small(twin_shards, whole))
    assert read_metrics(whole) == before
    assert len(checkpoints(whole)) == 2
    other = small(twin_shards, whole, objective=MAEConfig(mask_ratio=0.6))
    assert re.search(r"another config.*mask_ratio was 0.5, is 0.6", failure(other))
    assert "already holds checkpoints" in failure(small(twin_shards, whole, resume="never"))


def test_the_loss_curve_is_the_golden_one(whole: Path) -> None:
    """A change of training shows here; where it is meant, write the new curve and say so in the commit."""
    golden = {int(k): v for k, v in json.loads(GOLDEN.read_text()).items()}
    found = curve(whole)
    assert found.keys() == golden.keys()
    for step, loss in golden.items():
        assert found[step] == pytest.approx(loss, rel=2e-3), f"step {step}"


def test_a_damaged_checkpoint_says_what_to_do_and_the_one_before_it_serves(
    twin_shards: Path, whole: Path, tmp_path: Path
) -> None:
    out = tmp_path / "damaged"
    shutil.copytree(whole, out)
    config = small(twin_shards, out)
    last = checkpoints(out)[-1]
    weights = last / "state" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    assert re.search(rf"{last} is damaged.*delete that folder", failure(config))
    shutil.rmtree(last)
    finished(config)
    assert curve(out) == curve(whole)
    (out / "config.yaml").unlink()
    assert "config.yaml cannot be read" in failure(config)


def test_a_loss_that_is_not_finite_stops_the_run_and_saves_nothing(
    twin_shards: Path, tmp_path: Path
) -> None:
    optim = replace(Config.optim, lr=1e12, clip_norm=1e12, warmup_epochs=0)
    config = small(twin_shards, tmp_path / "burst", optim=optim)
    assert "not finite at step" in failure(config)
    assert not checkpoints(config.run.out)


def test_a_batch_that_cannot_be_dealt_out_stops_before_any_work(
    twin_shards: Path, tmp_path: Path
) -> None:
    config = small(twin_shards, tmp_path / "batch", optim=replace(Config.optim, micro_batch=3))
    assert re.search(r"global batch \(8\) must be micro_batch \(3\)", failure(config))
    assert not config.run.out.exists()


def test_two_processes_by_accelerate_launch_train_as_one(
    twin_shards: Path, whole: Path, tmp_path: Path
) -> None:
    """Three uneven shards, one validation shard for two processes: no hang, and the same losses."""
    out = tmp_path / "two"
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--config_file"]
    launch += [
        str(ROOT / "configs" / "accelerate" / "cpu2.yaml"),
        str(ROOT / "pretrain" / "mae.py"),
    ]
    options = {
        "data.shards": f"[{twin_shards}]",
        "model.depth": "1",
        "model.patch.samples": "50",
        "objective.decoder.dim": "32",
        "objective.decoder.depth": "1",
        "objective.decoder.heads": "2",
        "optim.global_batch": "8",
        "optim.lr": "1e-3",
        "optim.epochs": "4",
        "optim.warmup_epochs": "1",
        "run.out": str(out),
        "run.tracking": f"sqlite:///{tmp_path}/mlflow.db",
        "run.validate_every": "2",
        "run.processes": "2",
    }
    words = [word for key, value in options.items() for word in (f"--{key}", value)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*launch, *words],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    one, two = curve(whole), curve(out)
    assert one.keys() == two.keys()
    assert max(abs(one[s] - two[s]) / one[s] for s in one) < 1e-4
    losses = [
        [m["validation_loss"] for m in read_metrics(o) if "validation_loss" in m]
        for o in (whole, out)
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    check_mlflow(f"sqlite:///{tmp_path}/mlflow.db", two)


def check_mlflow(uri: str, losses: dict[int, float]) -> None:
    """One run, from the main process alone, with every step's loss, the config and the pictures."""
    client = MlflowClient(uri)
    (experiment,) = [e for e in client.search_experiments() if e.name == "pretrain"]
    (found,) = client.search_runs([experiment.experiment_id])
    assert found.info.status == "FINISHED"
    assert found.data.params["optim.global_batch"] == "8"
    assert found.data.tags["synthetic"] == "true"
    history = {m.step: m.value for m in client.get_metric_history(found.info.run_id, "loss")}
    assert history == pytest.approx(losses)
    pictures = [f.path for f in client.list_artifacts(found.info.run_id, "figures")]
    assert "figures/reconstruction-0.png" in pictures


def test_a_run_of_one_process_goes_on_with_two_in_the_same_order(
    twin_shards: Path, whole: Path, tmp_path: Path
) -> None:
    config = small(twin_shards, tmp_path / "elastic")
    process = forked(config)
    wait_for(lambda: len(checkpoints(config.run.out)) > 1, process)
    os.kill(process.pid, signal.SIGTERM)
    process.join()
    stopped_at = max(curve(config.run.out))
    assert stopped_at < max(curve(whole))
    on_two_ranks(train, config)
    one, two = curve(whole), curve(config.run.out)
    assert one.keys() == two.keys()
    assert [one[s] for s in range(1, stopped_at + 1)] == [two[s] for s in range(1, stopped_at + 1)]
    assert max(abs(one[s] - two[s]) / one[s] for s in one) < 1e-4


def weights_after_an_epoch(config: Config, folder: Path) -> None:
    """Every rank leaves its weights behind."""
    kept: list[MAE] = []

    def make(encoder: Any, stream: str) -> MAE:
        kept.append(MAE(encoder, config.objective, stream))
        return kept[0]

    torch.set_num_threads(1)
    run(config, make, SHOWN)
    torch.save(kept[0].state_dict(), folder / f"rank{os.environ.get('RANK', '0')}.pt")


def test_ranks_keep_the_same_weights_bit_for_bit(twin_shards: Path, tmp_path: Path) -> None:
    optim = OptimConfig(global_batch=8, epochs=1, warmup_epochs=0)
    config = small(twin_shards, tmp_path / "ranks", optim=optim)
    on_two_ranks(weights_after_an_epoch, config, tmp_path)
    one, two = (torch.load(tmp_path / f"rank{r}.pt", weights_only=True) for r in (0, 1))
    assert all(torch.equal(one[k], two[k]) for k in one)
    alone = replace(config, run=replace(config.run, out=tmp_path / "alone"))
    process = SERVER.Process(target=weights_after_an_epoch, args=(alone, tmp_path))
    process.start()
    process.join()
    single = torch.load(tmp_path / "rank0.pt", weights_only=True)
    for key, weight in single.items():
        torch.testing.assert_close(weight, one[key], rtol=1e-3, atol=1e-5)


def test_accumulation_changes_nothing_but_rounding(
    twin_shards: Path, whole: Path, tmp_path: Path
) -> None:
    optim = replace(Config.optim, micro_batch=2)
    config = small(twin_shards, tmp_path / "accumulated", optim=optim)
    finished(config)
    one, two = curve(whole), curve(config.run.out)
    assert max(abs(one[s] - two[s]) / one[s] for s in one) < 1e-4


def test_the_wrong_number_of_processes_is_an_error_with_the_command_that_works(
    twin_shards: Path, tmp_path: Path
) -> None:
    config = small(twin_shards, tmp_path / "wrong")
    asked = replace(config, run=replace(config.run, processes=2))
    assert re.search(r"run.processes is 2, but 1 take part.*cpu2.yaml", failure(asked))


def test_a_model_at_another_rate_than_the_shards_is_refused(
    twin_shards: Path, tmp_path: Path
) -> None:
    model = EncoderConfig(depth=1, patch=PatchConfig(rate_hz=250.0))
    message = failure(small(twin_shards, tmp_path / "rate", model=model))
    assert "the shards hold ecg at 100 Hz, the model reads 250 Hz" in message
