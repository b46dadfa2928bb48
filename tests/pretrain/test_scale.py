"""Every strategy trains what one process trains: two CPU processes, the shipped accelerate configs, the product's loop.

accelerate divides weights among GPUs only. `on_cpus` shows it CPUs as if they were GPUs; nothing else differs
from a launch by the shipped config, whose environment is made by accelerate's own launcher.
"""

from __future__ import annotations

import multiprocessing
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal
from unittest.mock import patch

import pytest
import torch
from accelerate import Accelerator, DistributedType, PartialState
from accelerate.commands import launch
from accelerate.state import AcceleratorState, GradientState
from accelerate.utils import InitProcessGroupKwargs
from accelerate.utils.launch import prepare_deepspeed_cmd_env, prepare_multi_gpu_env
from safetensors.torch import load_file

import biofm
from biofm import load_model
from biofm.models.decoder import DecoderConfig
from biofm.models.encoder import EncoderConfig
from biofm.models.tokenizer import PatchConfig
from biofm.pretrain import distributed, loop
from biofm.pretrain.checkpoint import checkpoints
from biofm.pretrain.configuration import OptimConfig, RunConfig
from biofm.pretrain.loop import learning_rate
from biofm.pretrain.objectives.mae import MAE, MAEConfig
from biofm.pretrain.run import run
from biofm.pretrain.strategy import check_state
from biofm.pretrain.tracking import read_metrics
from biofm.shards.reader import DataConfig

CONFIGS = Path(biofm.__file__).resolve().parent / "configs" / "accelerate"
TIMEOUT_S = 400
SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["biofm.pretrain.run", "deepspeed"])
# See test_run.py.
sys.path.insert(0, str(Path(__file__).parent))
sys.modules["test_scale"] = sys.modules[__name__]
__name__ = "test_scale"


@dataclass(frozen=True)
class Config:
    """The config of `pretrain/mae.py`, small."""

    data: DataConfig
    run: RunConfig
    model: EncoderConfig = EncoderConfig(depth=2, patch=PatchConfig(samples=50))
    objective: MAEConfig = field(
        default_factory=lambda: MAEConfig(decoder=DecoderConfig(dim=32, depth=1, heads=2))
    )
    optim: OptimConfig = OptimConfig(
        lr=1e-3, clip_norm=0.1, global_batch=8, micro_batch=2, epochs=2, warmup_epochs=1
    )
    resume: Literal["auto", "never"] = "auto"


def small(shards: Path, out: Path, **changes: Any) -> Config:
    run_config = RunConfig(out=out, checkpoint_every=4, keep_last=9, log_every=2, tracking=None)
    return Config(DataConfig(shards=(str(shards),)), replace(run_config, **changes))


STOPPED = 6
"""The step at which runs are stopped: one after the signal is told to all ranks."""


class Slow(MAE):
    """Its decoder learns at a tenth of the rate."""

    def parameter_groups(self) -> list[tuple[list[str], float]]:
        names = [n for n, _ in self.named_parameters()]
        fast = [n for n in names if not n.startswith("decoder")]
        return [(fast, 1.0), ([n for n in names if n not in fast], 0.1)]


def train(*configs: Config, stop: bool) -> None:
    """One run after the other, the first of them stopped by a signal where that is said.

    Their processes stay together: torch does not let the same ones find each other twice.
    """
    torch.set_num_threads(1)
    for number, config in enumerate(configs):
        if number:
            AcceleratorState._reset_state(reset_partial_state=True)
            GradientState._reset_state()
        on_cpus()
        stopped = stop and number == 0
        with (
            patch.object(loop, "learning_rate", stopping) if stopped else nullcontext(),
            patch.object(Accelerator, "end_training"),
        ):
            run(config, partial(slow, config))
    torch.distributed.destroy_process_group()


def stopping(step: int, *rest: Any) -> float:
    """The learning rate, with a stop signal to the main process on the way."""
    if step == STOPPED - 2 and os.environ["RANK"] == "0":
        os.kill(os.getpid(), signal.SIGTERM)
    return learning_rate(step, *rest)


def slow(config: Config, encoder: Any, stream: str) -> Slow:
    return Slow(encoder, config.objective, stream)


def on_cpus() -> None:
    """Let accelerate divide weights among CPUs, as it does among GPUs."""
    divided = [k for k in ("FSDP", "DEEPSPEED") if os.environ.get(f"ACCELERATE_USE_{k}") == "true"]
    if divided == ["FSDP"]:
        PartialState(backend="gloo").distributed_type = DistributedType.MULTI_GPU
    if divided:
        distributed.Accelerator = accelerator_of_cpus  # type: ignore[attr-defined]


def accelerator_of_cpus(**settings: Any) -> Accelerator:
    handlers = [*settings.pop("kwargs_handlers"), InitProcessGroupKwargs(backend="gloo")]
    accelerator = Accelerator(**{**settings, "cpu": False}, kwargs_handlers=handlers)
    if accelerator.distributed_type == DistributedType.DEEPSPEED:
        # All weights in pieces, and not large ones alone.
        zero = accelerator.deepspeed_plugin.deepspeed_config["zero_optimization"]
        zero["stage3_param_persistence_threshold"] = 0
    return accelerator


def environment(name: str) -> dict[str, str]:
    """What `accelerate launch` sets for one of the shipped configs."""
    words = ["--config_file", str(CONFIGS / f"{name}.yaml"), "--num_processes", "2", "script.py"]
    arguments = launch.launch_command_parser().parse_args(words)
    with (
        patch.object(launch, "multi_gpu_launcher"),
        patch.object(launch, "deepspeed_launcher"),
    ):
        launch.launch_command(arguments)  # completes the arguments, and starts nothing
    zero = name.startswith("zero")
    made = prepare_deepspeed_cmd_env(arguments)[1] if zero else prepare_multi_gpu_env(arguments)
    return {k: v for k, v in made.items() if os.environ.get(k) != v}


def together(name: str, ranks: int, *configs: Config, stop: bool = False) -> list[int | None]:
    """Processes that find each other, as a launcher would start them; returns how they ended."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = {
        **environment(name),
        "DS_ACCELERATOR": "cpu",
        "WORLD_SIZE": str(ranks),
        "LOCAL_WORLD_SIZE": str(ranks),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
    processes = [
        SERVER.Process(target=as_rank, args=(rank, settings, configs, stop))
        for rank in range(ranks)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(TIMEOUT_S)
    return [process.exitcode for process in processes]


def as_rank(rank: int, settings: dict[str, str], configs: tuple[Config, ...], stop: bool) -> None:
    os.environ.update(settings, RANK=str(rank), LOCAL_RANK=str(rank))
    train(*configs, stop=stop)


def figures(out: Path, name: str) -> dict[int, float]:
    return {line["step"]: line[name] for line in read_metrics(out) if name in line}


def assert_same_training(one: Path, other: Path, rel: float = 1e-5) -> None:
    """Every step's loss, and what is measured of the gradient, of validation and of the embeddings."""
    for name in ("loss", "gradient_norm", "validation_loss", "effective_rank"):
        expected, found = figures(one, name), figures(other, name)
        if name == "gradient_norm":  # a run that was stopped is measured there too
            found = {step: found[step] for step in expected}
        assert found == pytest.approx(expected, rel=rel if name.endswith("loss") else 20 * rel), (
            name
        )
    weights, theirs = (load_file(out / "best" / "model.safetensors") for out in (one, other))
    for key, weight in weights.items():
        torch.testing.assert_close(theirs[key], weight, rtol=0, atol=10 * rel)


def in_bf16(shards: Path, out: Path, **changes: Any) -> Config:
    config = small(shards, out, precision="bf16", **changes)
    return replace(config, optim=replace(config.optim, epochs=1))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("scale")


@pytest.fixture(scope="module")
def one(twin_shards: Path, folder: Path) -> Path:
    """What one process makes of it, undisturbed."""
    assert together("cpu2", 1, small(twin_shards, folder / "one")) == [0]
    return folder / "one"


@pytest.fixture(scope="module")
def one_bf16(twin_shards: Path, folder: Path) -> Path:
    assert together("cpu2", 1, in_bf16(twin_shards, folder / "one_bf16")) == [0]
    return folder / "one_bf16"


@pytest.fixture(scope="module", params=["fsdp2_8", "zero1", "zero2", "zero3"])
def two(request: pytest.FixtureRequest, twin_shards: Path, folder: Path) -> Path:
    """Two processes, stopped and gone on with; and again in bf16, with recomputed blocks."""
    out: Path = folder / request.param
    whole = small(twin_shards, out)
    half = in_bf16(twin_shards, folder / f"{request.param}_bf16", recompute=True)
    assert together(request.param, 2, whole, whole, half, stop=True) == [0, 0]
    assert (out / "checkpoints" / f"step-{STOPPED:07d}").is_dir()
    return out


def test_two_processes_stopped_and_resumed_train_what_one_does(one: Path, two: Path) -> None:
    assert_same_training(one, two)
    assert load_model(two / "best").dim == load_model(one / "best").dim


def test_bf16_rounds_products_and_not_weights(one_bf16: Path, two: Path) -> None:
    half = two.with_name(f"{two.name}_bf16")
    assert_same_training(one_bf16, half, rel=1e-3)
    weights = load_file(half / "best" / "model.safetensors")
    assert {w.dtype for w in weights.values()} == {torch.float32}
    assert any(not torch.equal(w, w.bfloat16().float()) for w in weights.values())


def test_one_process_goes_on_where_two_stopped(
    twin_shards: Path, folder: Path, one: Path, two: Path
) -> None:
    """In the same order of data; under ZeRO after the conversion that its error names."""
    name = two.name
    config = small(twin_shards, folder / f"{name}_alone", watch_every=0)
    shutil.copytree(two, config.run.out)
    for later in checkpoints(config.run.out)[1:]:
        shutil.rmtree(later)
    (first,) = checkpoints(config.run.out)
    if name.startswith("zero"):
        with pytest.raises(ValueError, match="start 2, or convert it") as refused:
            check_state(processes(name, 1), first / "state")
        (command,) = re.findall("`python (.*)`", str(refused.value))
        subprocess.run([sys.executable, *command.split()], check=True, capture_output=True)
    assert together(name, 1, config) == [0]
    for figure in ("loss", "validation_loss"):
        assert figures(config.run.out, figure) == pytest.approx(figures(one, figure), rel=1e-5)


def test_a_checkpoint_of_another_strategy_is_refused(two: Path) -> None:
    state = checkpoints(two)[-1] / "state"
    other = "zero1" if two.name != "zero1" else "zero2"
    with pytest.raises(ValueError, match="start it as it was started"):
        check_state(processes(other, 2), state)


def processes(name: str, ranks: int) -> Any:
    """An accelerator as `check_state` sees it."""
    kind = DistributedType.DEEPSPEED if name.startswith("zero") else DistributedType.MULTI_CPU
    plugin = SimpleNamespace(zero_stage=int(name[-1]))
    return SimpleNamespace(distributed_type=kind, num_processes=ranks, deepspeed_plugin=plugin)
