"""The processes of a run: made once, checked, and asked to agree."""

from __future__ import annotations

import os
import signal
from types import FrameType

import torch
from accelerate import Accelerator, DistributedDataParallelKwargs
from torch import Tensor

from .configuration import RunConfig

CPU_COMMAND = "accelerate launch --config_file configs/accelerate/cpu2.yaml pretrain/mae.py"


def make_accelerator(run: RunConfig, *, unused: bool = False) -> Accelerator:
    """An `Accelerator` on the GPU where there is one, with the precision the run asks for.

    `unused` says that a step may leave parameters out, such as those that stand in for missing channels:
    data-parallel wrappers wait for their gradients unless told.

    Raises `RuntimeError` when the processes that were started are not the ones that take part:
    accelerate would otherwise train the same model several times, side by side and in silence.
    """
    gpu = torch.cuda.is_available()
    bf16 = (
        gpu and torch.cuda.is_bf16_supported(including_emulation=False)
        if run.precision == "auto"
        else run.precision == "bf16"
    )
    accelerator = Accelerator(
        cpu=not gpu,
        mixed_precision="bf16" if bf16 else "no",
        kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=unused)],
    )
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
    return accelerator


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
