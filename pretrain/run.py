"""From a config to a pretrained encoder: data, objective, training, and what is left for people to look at."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from accelerate import Accelerator

from ..configuration import USER_ERRORS, parse, tell
from ..models.encoder import Embedder
from ..models.make_embedder import make_embedder
from ..models.pretrained import save_model
from ..shards.contents import contents
from ..shards.index import stream_name
from ..shards.reader import WindowReader
from .card import model_card
from .checkpoint import Progress
from .configuration import PretrainConfig
from .distributed import make_accelerator, synchronise_norms
from .engine import Parts, finished, resume_point, train
from .objectives.base import Objective
from .provenance import Provenance, provenance
from .report import about, draw_loss, keep_baselines, stored_baselines, tell_results
from .tracking import Tracker
from .twin import ensure_twin
from .watch import Watch
from .whole_windows import with_whole_windows

T = TypeVar("T", bound=Objective)


@dataclass(frozen=True)
class Shown(Generic[T]):
    """What an objective has to show beside its loss, where it has.

    `pictures` of validation windows after each of some epochs, as files; `baselines` are what its validation
    loss has to beat, by name, found before the first step.
    """

    pictures: Callable[[T, WindowReader, torch.device, Path, str], list[Path]]
    baselines: Callable[[T, WindowReader, WindowReader, torch.device], dict[str, float]]


def start(
    config_type: type,
    objective: Callable[[Any, Any, str], T],
    description: str,
    shown: Shown[T] | None = None,
    *,
    idle: bool = False,
) -> None:
    """What an entry script does: read the command line, and train `objective(encoder, config.objective, stream)`.

    What users can mend is told in a line, and ends the program with status 1. `idle` as in `run`.
    """
    config: Any = parse(config_type, description=description)
    try:
        run(
            config,
            lambda encoder, stream: objective(encoder, config.objective, stream),
            shown,
            idle=idle,
        )
    except USER_ERRORS as error:
        tell(error)
        raise SystemExit(1) from None


def run(
    config: PretrainConfig,
    make_objective: Callable[[Any, str], T],
    shown: Shown[T] | None = None,
    *,
    idle: bool = False,
) -> Path:
    """Train, or go on training; returns the folder of the best model.

    `make_objective` is given the encoder that `config.model` says, and the name of the (first) stream it reads.
    `idle` says that a step may leave parameters out, such as those that stand in for missing channels.
    """
    resume_from = resume_point(config)
    accelerator = make_accelerator(config.run, unused=idle)
    if accelerator.is_main_process:
        ensure_twin(config.data.shards)
    accelerator.wait_for_everyone()
    torch.manual_seed(config.run.seed)
    encoder = make_embedder(config.model)
    stream = stream_name(encoder.inputs[0].modality, encoder.inputs[0].rate_hz)
    objective = make_objective(encoder, stream)
    readers = [
        WindowReader(config.data, split, seed=config.run.seed, views=objective.views)
        for split in ("train", "validation")
    ]
    check_rates(encoder, readers[0])
    objective.begin(readers[0])
    objective.to(accelerator.device)
    unsynchronised = synchronise_norms(objective, accelerator)
    origin = provenance(readers[0])
    parts = make_parts(config, accelerator, objective, readers[0], readers[1], origin, shown)
    parts.about = [*parts.about, *unsynchronised]
    progress = train(config, accelerator, resume_from, parts)
    if accelerator.is_main_process and finished(config, progress):
        tell_results(config, progress)
    accelerator.end_training()
    return config.run.out / "best"


def make_parts(
    config: PretrainConfig,
    accelerator: Accelerator,
    objective: T,
    training: WindowReader,
    validation: WindowReader,
    origin: Provenance,
    shown: Shown[T] | None,
) -> Parts:
    """What the training run calls, bound to this run's data and model."""
    out, learned, chosen = config.run.out, contents(training), contents(validation)
    watch = Watch(config, accelerator, objective, training, validation)

    def write_model(folder: Path, facts: dict[str, Any]) -> None:
        facts = {**facts, **origin.facts(), "training_windows": training.windows}
        card = model_card(objective, config, origin, facts, stored_baselines(out))
        save_model(
            folder,
            with_whole_windows(objective.encoder, watch.training),
            origin.preprocessing,
            config.data.window_s,
            facts,
            card,
            training=learned,
            chosen=chosen,
        )

    def draw(progress: Progress) -> list[Path]:
        note = f"{origin.marks}after {progress.epoch} epochs"
        folder = out / "figures"
        files = [draw_loss(out, origin.marks), *watch.draw(folder, note)]
        if shown is not None:
            files += shown.pictures(objective, validation, accelerator.device, folder, note)
        return files

    def begin(tracker: Tracker) -> None:
        watch.begin(tracker)
        if shown is not None:
            known = shown.baselines(objective, training, validation, accelerator.device)
            keep_baselines(out, known, tracker)

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
        tokens_per_window(objective, training),
        write_model,
        draw,
        blocks=objective.blocks(),
        begin=begin,
        watch=watch,
    )


def tokens_per_window(objective: Objective, train: WindowReader) -> float:
    """Tokens of a window before any is masked."""
    return float(
        objective.encoder.token_count(
            train.config.channels, train.config.window_s * objective.views
        )
    )


def check_rates(encoder: Embedder, train: WindowReader) -> None:
    """Shards and model must agree on modalities and sampling rates. Raises `ValueError`."""
    found = train.rates_hz
    for patch in encoder.inputs:
        if patch.modality not in found:
            raise ValueError(
                f"the model reads {patch.modality}, but data.channels names {', '.join(found)}: name its channels "
                "there too"
            )
        if found[patch.modality] != patch.rate_hz:
            raise ValueError(
                f"the shards hold {patch.modality} at {found[patch.modality]:g} Hz, the model reads "
                f"{patch.rate_hz:g} Hz: set model.patch.rate_hz, or build shards at that rate"
            )
