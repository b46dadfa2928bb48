"""From a config to a pretrained encoder: data, objective, training, and what is left for people to look at."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

from ..models.encoder import ViTEncoder
from ..models.pretrained import save_model
from ..shards.contents import contents
from ..shards.reader import WindowReader
from .card import model_card
from .checkpoint import Progress
from .configuration import PretrainConfig
from .distributed import make_accelerator
from .engine import Parts, finished, resume_point, train
from .objectives.mae import MAE
from .provenance import Provenance, provenance
from .report import about, pictures, report_baselines, stored_baselines, tell_results
from .tracking import Tracker
from .twin import ensure_twin


def run(config: PretrainConfig, make_objective: Callable[[ViTEncoder, str], MAE]) -> Path:
    """Train, or go on training; returns the folder of the best model."""
    resume_from = resume_point(config)
    accelerator = make_accelerator(config.run)
    if accelerator.is_main_process:
        ensure_twin(config.data.shards)
    accelerator.wait_for_everyone()
    readers = [
        WindowReader(config.data, split, seed=config.run.seed) for split in ("train", "validation")
    ]
    origin = provenance(readers[0])
    check_rate(config, readers[0])
    torch.manual_seed(config.run.seed)
    objective = make_objective(ViTEncoder(config.model), readers[0].stream).to(accelerator.device)
    parts = make_parts(config, accelerator, objective, readers[0], readers[1], origin)
    progress = train(config, accelerator, resume_from, parts)
    if accelerator.is_main_process and finished(config, progress):
        tell_results(config, progress)
    accelerator.end_training()
    return config.run.out / "best"


def make_parts(
    config: PretrainConfig,
    accelerator: Accelerator,
    objective: MAE,
    training: WindowReader,
    validation: WindowReader,
    origin: Provenance,
) -> Parts:
    """What the training run calls, bound to this run's data and model."""
    out, learned = config.run.out, contents(training)

    def write_model(folder: Path, facts: dict[str, Any]) -> None:
        facts = {**facts, **origin.facts(), "training_windows": training.windows}
        card = model_card(objective.encoder, config, origin, facts, stored_baselines(out))
        save_model(
            folder,
            objective.encoder,
            origin.preprocessing,
            config.data.window_s,
            facts,
            card,
            training=learned,
        )

    def draw(progress: Progress) -> list[Path]:
        return pictures(objective, validation, accelerator, out, progress, origin.marks)

    def begin(tracker: Tracker) -> None:
        report_baselines(objective, training, validation, accelerator, config, tracker)

    return Parts(
        objective,
        training,
        validation,
        about(config, training, validation, objective, origin),
        {
            "stage": "pretrain",
            "synthetic": str(origin.synthetic).lower(),
            "objective": type(objective).__name__,
        },
        tokens_per_window(objective, training, accelerator),
        write_model,
        draw,
        blocks=[objective.encoder.blocks, objective.decoder.blocks],
        begin=begin,
    )


def tokens_per_window(objective: MAE, train: WindowReader, accelerator: Accelerator) -> float:
    """Tokens of a window before any is masked."""
    batch = next(iter(train.evaluation_batches(micro_batch=1, rank=0, ranks=1)))
    windows = batch.to(accelerator.device).streams[objective.stream]
    tokenizer = objective.encoder.tokenizer
    with torch.no_grad():
        tokens = tokenizer(windows, tokenizer.patches(windows)).patches
    return float(tokens[0, ..., 0].numel())


def check_rate(config: PretrainConfig, train: WindowReader) -> None:
    """Shards and model must agree on the sampling rate. Raises `ValueError`."""
    if train.rate_hz != config.model.patch.rate_hz:
        raise ValueError(
            f"the shards hold {config.model.patch.modality} at {train.rate_hz:g} Hz, the model reads "
            f"{config.model.patch.rate_hz:g} Hz: set model.patch.rate_hz, or build shards at that rate"
        )
