"""What every training run does around the loop, whatever it trains: resume, describe, track, fit.

A run is given its parts (`Parts`) and a config with `optim`, `run` and `resume`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from accelerate import Accelerator
from torch import nn

from ..configuration import to_dict, write_config
from ..shards.reader import WindowReader
from . import checkpoint
from .checkpoint import Progress
from .configuration import TrainingConfig
from .cost import cost_of, write_cost
from .loop import Training, fit
from .strategy import recompute, strategy, trained_module, uses_bf16
from .throughput import Meter, flops_per_window, peak_flops
from .tracking import Tracker, flatten

FREE_TO_CHANGE = {
    "resume",
    "run.dry",
    "data.cache",
    "optim.micro_batch",
    "run.out",
    "run.processes",
    "run.recompute",
    "run.tracking",
    "run.log_every",
    "run.keep_last",
    "run.checkpoint_every",
    "run.validate_every",
    "run.watch_every",
    "run.watch_labels",
}
"""Keys that a resumed run may change: they decide nothing about the weights."""


@dataclass
class Parts:
    """What is particular to a run.

    `write_model` writes the model's folder with the facts it is given; `draw` makes the pictures of a
    validation; `judge`, where there is one, gives the validation's figures and the number that decides
    which model is the best (lower is better; without it the validation loss decides); `watch`, where there
    is one, is called on all ranks at each validation and gives figures that decide nothing, and lines for
    people; `begin` is called once, before the first step of a new run; `blocks` are what `run.compile`
    compiles; `about` are lines for people, `tags` go to the tracker.
    """

    objective: nn.Module
    train: WindowReader
    validation: WindowReader
    about: Sequence[str]
    tags: dict[str, str]
    tokens_per_window: float
    write_model: Callable[[Path, dict[str, Any]], None]
    draw: Callable[[Progress], list[Path]]
    blocks: Sequence[nn.Module] = ()
    judge: Callable[[], tuple[dict[str, float], float]] | None = None
    begin: Callable[[Tracker], None] | None = None
    watch: Callable[[Progress], tuple[dict[str, float], list[str]]] | None = None


def train(
    config: TrainingConfig, accelerator: Accelerator, resume_from: Path | None, parts: Parts
) -> Progress:
    """Train, or go on training from a checkpoint; returns where the run stands."""
    check_watch(config, parts)
    epoch_of_batches(config, parts.train, accelerator)
    progress = Progress() if resume_from is None else checkpoint.stored_progress(resume_from)
    meter = make_meter(accelerator, parts)
    tracker = None
    if accelerator.is_main_process:
        describe(config, accelerator, parts, meter)
        batch, flops = config.optim.global_batch, meter.flops_per_window
        write_cost(config.run.out, cost_of(parts.objective, parts.train, batch, flops))
    if config.run.dry:
        return progress
    if accelerator.is_main_process:
        write_config(config, config.run.out / "config.yaml")
        tracker = Tracker(
            config.run.out,
            config.run.tracking,
            to_dict(config),
            parts.tags,
            progress.mlflow_run,
            # A run killed before its first checkpoint begins again, and so do its lines.
            -1 if resume_from is None else progress.step,
        )
        progress.mlflow_run = tracker.mlflow_run
        if resume_from is None and parts.begin is not None:
            parts.begin(tracker)
    trained = trained_module(accelerator, parts.objective)
    if config.run.recompute:
        recompute(trained)
    if config.run.compile:
        names = {block: name for name, block in parts.objective.named_modules()}
        for block in parts.blocks:
            trained.get_submodule(names[block]).compile()
    training = Training(
        accelerator,
        parts.objective,
        trained,
        parts.train,
        parts.validation,
        config.optim,
        config.run,
        tracker,
        meter,
        parts.write_model,
        parts.draw,
        parts.judge,
        parts.watch,
    )
    return fit(training, progress, resume_from)


def finished(config: TrainingConfig, progress: Progress) -> bool:
    """Whether the last epoch was reached, and not a stop signal."""
    return progress.epoch >= config.optim.epochs


def resume_point(config: TrainingConfig) -> Path | None:
    """The checkpoint to go on from. Raises `ValueError` where the run folder belongs to another config."""
    out = config.run.out
    found = checkpoint.checkpoints(out)
    if not found:
        return None
    if config.resume == "never":
        raise ValueError(
            f"{out} already holds checkpoints: choose another run.out, or --resume auto to go on"
        )
    try:
        before = flatten(yaml.safe_load((out / "config.yaml").read_text()))
    except (OSError, AttributeError, yaml.YAMLError) as error:
        raise ValueError(
            f"{out / 'config.yaml'} cannot be read, so nobody knows what {found[-1]} was trained with: "
            "choose another run.out"
        ) from error
    now = flatten(to_dict(config))
    changed = [
        k
        for k in sorted(before.keys() | now.keys())
        if before.get(k) != now.get(k) and k not in FREE_TO_CHANGE
    ]
    if changed:
        shown = "; ".join(f"{k} was {before.get(k)!r}, is {now.get(k)!r}" for k in changed[:5])
        raise ValueError(
            f"{out} was trained with another config ({shown}): choose another run.out, or the old values"
        )
    return found[-1]


def check_watch(config: TrainingConfig, parts: Parts) -> None:
    """Raises `ValueError` before any work where labels are to be watched and nothing watches."""
    if config.run.watch_labels is not None and parts.watch is None:
        raise ValueError(
            f"run.watch_labels is {config.run.watch_labels!r}, but only pretraining watches its representation: "
            "leave it null"
        )


def epoch_of_batches(config: TrainingConfig, train: WindowReader, accelerator: Accelerator) -> None:
    """Raises `ValueError` before any work where the batch cannot be dealt out to the processes."""
    ranks = accelerator.num_processes
    train.train_batches(
        global_batch=config.optim.global_batch,
        micro_batch=config.optim.micro(ranks),
        rank=accelerator.process_index,
        ranks=ranks,
        epoch=0,
    )


def make_meter(accelerator: Accelerator, parts: Parts) -> Meter:
    """Count the FLOPs of one window, and what the device could do."""
    batch = next(iter(parts.train.evaluation_batches(micro_batch=2, rank=0, ranks=1))).to(
        accelerator.device
    )
    bf16 = uses_bf16(accelerator)
    peak, _ = peak_flops(accelerator.device, torch.bfloat16 if bf16 else torch.float32)
    return Meter(
        accelerator.device,
        flops_per_window(parts.objective, batch),
        parts.tokens_per_window,
        peak,
        accelerator.num_processes,
    )


def describe(config: TrainingConfig, accelerator: Accelerator, parts: Parts, meter: Meter) -> None:
    """Say what was chosen, and why."""
    device, optim, run = accelerator.device, config.optim, config.run
    why = "a GPU is there" if device.type == "cuda" else "no GPU was found"
    precision = "bf16" if uses_bf16(accelerator) else "fp32"
    steps = parts.train.steps_per_epoch(optim.global_batch)
    micro = optim.micro(accelerator.num_processes)
    lines = [
        f"device     {device} ({why}), {precision}, {accelerator.num_processes} process(es) "
        f"({strategy(accelerator)}), {torch.get_num_threads()} thread(s) each",
        *parts.about,
        f"cost       {meter.flops_per_window / 1e9:.2f} GFLOP a training window",
        f"steps      {optim.epochs} epochs of {steps} steps, {optim.global_batch} windows each "
        f"(micro-batch {micro}); the last {parts.train.dropped_windows(optim.global_batch)} windows of an "
        "epoch fill no batch and are left out",
        f"run        {run.out}; seed {run.seed}; checkpoint every {run.checkpoint_every} steps",
        f"to stop    Ctrl-C, or kill -TERM {os.getpid()}: it saves and leaves; the same command goes on",
    ]
    print("\n".join(lines), flush=True)
