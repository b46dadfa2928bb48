"""The processes of a run: made once, checked, and asked to agree."""

from __future__ import annotations

import os
import signal
from types import FrameType

import torch
from accelerate import Accelerator, DistributedDataParallelKwargs, DistributedType
from torch import Tensor, nn

from .configuration import RunConfig

CPU_COMMAND = "accelerate launch --config_file configs/accelerate/cpu2.yaml pretrain/mae.py"


def make_accelerator(run: RunConfig, *, unused: bool = False) -> Accelerator:
    """An `Accelerator` on the GPU where there is one, with the precision the run asks for.

    `unused` says that a step may leave parameters out, such as those that stand in for missing channels:
    data-parallel wrappers wait for their gradients unless told.

    Raises `RuntimeError` when the processes that were started are not the ones that take part, or the
    strategy that was asked for is not the one they follow: accelerate would otherwise train the same model
    several times, side by side and in silence.
    """
    gpu = torch.cuda.is_available()
    bf16 = (
        gpu and torch.cuda.is_bf16_supported(including_emulation=False)
        if run.precision == "auto"
        else run.precision == "bf16"
    )
    deepspeed = asked_for("DEEPSPEED")
    accelerator = Accelerator(
        cpu=not gpu,
        # DeepSpeed's own bf16 rounds the weights; torch's autocast, set below, does not.
        mixed_precision="bf16" if bf16 and not deepspeed else "no",
        kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=unused)],
    )
    check_processes(accelerator, run)
    check_strategy(accelerator, unused)
    if deepspeed:
        accelerator.deepspeed_plugin.deepspeed_config["torch_autocast"] = {
            "enabled": bf16,
            "dtype": "bfloat16",
            "lower_precision_safe_modules": [],  # gradients are summed in fp32, as under DDP
        }
    return accelerator


def check_processes(accelerator: Accelerator, run: RunConfig) -> None:
    """Raises `RuntimeError` where other processes take part than were started, or asked for."""
    started = int(os.environ.get("WORLD_SIZE", "1"))
    if accelerator.num_processes != started:
        raise RuntimeError(
            f"{started} processes were started but accelerate sees {accelerator.num_processes}; "
            f"start them with the command that works, `{CPU_COMMAND}` on CPUs"
        )
    if run.processes is not None and run.processes != accelerator.num_processes:
        raise RuntimeError(
            f"run.processes is {run.processes}, but {accelerator.num_processes} take part "
            "(`accelerate launch --cpu --num_processes N` starts one, whatever N is); on CPUs: "
            f"`{CPU_COMMAND}`, on GPUs: `accelerate launch --multi_gpu --num_processes {run.processes} …`"
        )


def check_strategy(accelerator: Accelerator, unused: bool) -> None:
    """Raises `RuntimeError` where the launcher asked for a strategy that is not followed, or not fit."""
    for name, kind in (("FSDP", DistributedType.FSDP), ("DEEPSPEED", DistributedType.DEEPSPEED)):
        if asked_for(name) and accelerator.distributed_type != kind:
            raise RuntimeError(
                f"the launcher asked for {name}, but accelerate took {accelerator.distributed_type.value}: it divides "
                f"weights among GPUs only. On CPUs: `{CPU_COMMAND}`; on one GPU: configs/accelerate/gpu1.yaml"
            )
    if asked_for("FSDP") and not accelerator.is_fsdp2:
        raise RuntimeError(
            "FSDP was asked for in its first version: set fsdp_version: 2, as configs/accelerate/fsdp2_8.yaml does"
        )
    if asked_for("DEEPSPEED") and (unused or accelerator.deepspeed_plugin.zero_stage == 0):
        raise RuntimeError(
            "steps of this run may leave parameters out, and DeepSpeed waits for their gradients for ever: use DDP "
            "or FSDP2 (configs/accelerate/node8.yaml, fsdp2_8.yaml)"
            if unused
            else "DeepSpeed without ZeRO is DDP: use configs/accelerate/node8.yaml, or set zero_stage to 1, 2 or 3"
        )
    if accelerator.gradient_accumulation_steps != 1:
        raise RuntimeError(
            f"the launcher asked for {accelerator.gradient_accumulation_steps} accumulated micro-batches; set 1 there, "
            "and optim.micro_batch here"
        )


def asked_for(name: str) -> bool:
    """Whether `accelerate launch` was told to use it."""
    return os.environ.get(f"ACCELERATE_USE_{name}", "false").lower() == "true"


def synchronise_norms(module: nn.Module, accelerator: Accelerator) -> list[str]:
    """Let the batch norms inside a module take their statistics over all GPUs; lines for people where they do not.

    To be called before the optimizer is made. Weights and their names stay what they were.
    """
    norms = [m for m in module.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    if accelerator.num_processes == 1 or not norms:
        return []
    if accelerator.device.type != "cuda":
        return [
            f"norms      {len(norms)} batch norm(s) take their statistics in each process alone, because torch "
            "synchronises them on GPUs only: a run depends a little on how its batches are dealt out"
        ]
    nn.SyncBatchNorm.convert_sync_batchnorm(module)  # type: ignore[no-untyped-call]
    return []


def total(accelerator: Accelerator, values: Tensor) -> Tensor:
    """Sum over ranks, on every rank."""
    if accelerator.num_processes == 1:
        return values
    summed: Tensor = accelerator.reduce(values, reduction="sum")
    return summed


class StopSignal:
    """Remembers that SIGTERM or SIGINT came, so that the loop can save at the next step and leave.

    A second signal acts as it would have without us.
    """

    def __init__(self) -> None:
        self.came = False
        self.pending: Tensor | None = None
        self.previous = {
            s: signal.signal(s, self._receive) for s in (signal.SIGTERM, signal.SIGINT)
        }

    def agreed(self, flag: Tensor) -> bool:
        """Whether all ranks leave, from the sum of their `came` flags of the step before.

        One step late, because reading a number off a GPU at once would make it wait.
        """
        earlier, self.pending = self.pending, flag
        return earlier is not None and bool(earlier > 0)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self.came = True
        self.restore()

    def restore(self) -> None:
        """Give the signals back."""
        for number, handler in self.previous.items():
            signal.signal(number, handler)
