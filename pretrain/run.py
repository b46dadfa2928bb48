"""From a config to a finished run: data, model, loop, and what is left for people to look at."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import yaml
from accelerate import Accelerator

from ..configuration import to_dict, write_config
from ..models.encoder import ViTEncoder
from ..models.pretrained import save_model
from ..shards.reader import WindowReader
from . import checkpoint
from .card import model_card
from .checkpoint import Progress
from .configuration import PretrainConfig
from .distributed import make_accelerator
from .loop import Training, fit
from .objectives.mae import MAE
from .provenance import provenance
from .report import describe, pictures, report_baselines, stored_baselines, tell_results
from .throughput import Meter, flops_per_window, peak_flops
from .tracking import Tracker, flatten
from .twin import ensure_twin

FREE_TO_CHANGE = {
    "resume",
    "data.cache",
    "optim.micro_batch",
    "run.out",
    "run.processes",
    "run.tracking",
    "run.log_every",
    "run.keep_last",
    "run.checkpoint_every",
    "run.validate_every",
}
"""Keys that a resumed run may change: they decide nothing about the weights."""


def run(config: PretrainConfig, make_objective: Callable[[ViTEncoder, str], MAE]) -> Path:
    """Train, or go on training; returns the folder of the best model."""
    out = config.run.out
    resume_from = resume_point(config)
    accelerator = make_accelerator(config.run)
    if accelerator.is_main_process:
        ensure_twin(config.data.shards)
    accelerator.wait_for_everyone()
    train = WindowReader(config.data, "train", seed=config.run.seed)
    validation = WindowReader(config.data, "validation", seed=config.run.seed)
    origin = provenance(train)
    check_rate(config, train)
    epoch_of_batches(config, train, accelerator)

    torch.manual_seed(config.run.seed)
    objective = make_objective(ViTEncoder(config.model), train.stream).to(accelerator.device)
    progress = Progress() if resume_from is None else checkpoint.stored_progress(resume_from)
    meter = make_meter(accelerator, objective, train, config)
    tracker = None
    if accelerator.is_main_process:
        describe(accelerator, config, train, validation, objective, origin, meter)
        write_config(config, out / "config.yaml")
        tags = {"synthetic": str(origin.synthetic).lower(), "objective": type(objective).__name__}
        tracker = Tracker(
            out, config.run.tracking, to_dict(config), tags, progress.mlflow_run, progress.step
        )
        progress.mlflow_run = tracker.mlflow_run
        if resume_from is None:
            report_baselines(objective, train, validation, accelerator, config, tracker)
    if config.run.compile:
        objective.encoder.blocks.compile()
        objective.decoder.blocks.compile()

    def write_model(folder: Path, facts: dict[str, Any]) -> None:
        facts = {**facts, **origin.facts(), "training_windows": train.windows}
        card = model_card(objective.encoder, config, origin, facts, stored_baselines(out))
        save_model(
            folder, objective.encoder, origin.preprocessing, config.data.window_s, facts, card
        )

    def draw(progress: Progress) -> list[Path]:
        return pictures(objective, validation, accelerator, out, progress, origin.marks)

    training = Training(
        accelerator,
        objective,
        train,
        validation,
        config.optim,
        config.run,
        tracker,
        meter,
        write_model,
        draw,
    )
    progress = fit(training, progress, resume_from)
    if accelerator.is_main_process and progress.epoch >= config.optim.epochs:
        tell_results(config, progress)
    accelerator.end_training()
    return out / "best"


def resume_point(config: PretrainConfig) -> Path | None:
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


def epoch_of_batches(config: PretrainConfig, train: WindowReader, accelerator: Accelerator) -> None:
    """Raises `ValueError` before any work where the batch cannot be dealt out to the processes."""
    ranks = accelerator.num_processes
    train.train_batches(
        global_batch=config.optim.global_batch,
        micro_batch=config.optim.micro(ranks),
        rank=accelerator.process_index,
        ranks=ranks,
        epoch=0,
    )


def check_rate(config: PretrainConfig, train: WindowReader) -> None:
    """Shards and model must agree on the sampling rate. Raises `ValueError`."""
    if train.rate_hz != config.model.patch.rate_hz:
        raise ValueError(
            f"the shards hold {config.model.patch.modality} at {train.rate_hz:g} Hz, the model reads "
            f"{config.model.patch.rate_hz:g} Hz: set model.patch.rate_hz, or build shards at that rate"
        )


def make_meter(
    accelerator: Accelerator, objective: MAE, train: WindowReader, config: PretrainConfig
) -> Meter:
    """Count the FLOPs of one window, and what the device could do."""
    batch = next(iter(train.evaluation_batches(micro_batch=2, rank=0, ranks=1))).to(
        accelerator.device
    )
    windows, tokenizer = batch.streams[objective.stream], objective.encoder.tokenizer
    with torch.no_grad():
        tokens = tokenizer(windows, tokenizer.patches(windows)).patches[0, ..., 0].numel()
    bf16 = accelerator.mixed_precision == "bf16"
    peak, _ = peak_flops(accelerator.device, torch.bfloat16 if bf16 else torch.float32)
    return Meter(
        accelerator.device,
        flops_per_window(objective, batch),
        tokens,
        peak,
        accelerator.num_processes,
    )
