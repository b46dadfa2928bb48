"""From a config to a task model: data, backbone, training, and what it says of validation and test.

The model that is kept is the one that is best on validation, by the mean over the tasks of the figure that
probes are chosen by; the test split is looked at once, when it is found.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from numpy.typing import NDArray
from torch import nn

from ..evaluation.embeddings import check_windows
from ..evaluation.probes import goodness
from ..evaluation.rounds import Round, round_of
from ..evaluation.scores import Scores
from ..evaluation.splits import task_reader
from ..evaluation.tasks import Task, load_task
from ..models.backbones import Backbone, EncoderBackbone, ZooBackbone
from ..models.encoder import ViTEncoder
from ..models.pretrained import load_model
from ..models.task_model import InputConfig, TaskModel, load_task_model, save_task_model
from ..models.zoo.registry import MODELS
from ..pretrain.checkpoint import Progress
from ..pretrain.distributed import make_accelerator
from ..pretrain.engine import Parts, finished, resume_point, train
from ..pretrain.provenance import Provenance, provenance
from ..shards.index import SPLITS
from ..shards.reader import WindowReader
from ..signals import Preprocessing
from .card import task_card
from .configuration import FinetuneConfig
from .objective import Learned, Supervised, balance_of, head_for

FITTED_ON = 32
"""Batches that a channel's mean and deviation are taken from."""


def learn(config: FinetuneConfig) -> dict[str, Scores] | None:
    """Train, or go on training; each task's scores, or None where a signal stopped the run."""
    resume_from = resume_point(config)
    accelerator = make_accelerator(config.run)
    tasks = {Path(name).stem: load_task(name) for name in config.tasks}
    rounds = rounds_together(config, list(tasks.values()))
    torch.manual_seed(config.run.seed)
    model = make_model(config, tasks, rounds)
    objective = make_objective(config, list(tasks.values()), rounds, model, accelerator.device)
    parts = make_parts(config, accelerator, tasks, objective, rounds)
    progress = train(config, accelerator, resume_from, parts)
    scores = None
    if finished(config, progress):
        scores = final_scores(config, accelerator, rounds)
    accelerator.end_training()
    return scores


def rounds_together(config: FinetuneConfig, tasks: Sequence[Task]) -> list[Round]:
    """The round of each task, on shared readers. Raises `ValueError` where tasks differ in their windows."""
    first = tasks[0]
    for task in tasks[1:]:
        for what in ("datasets", "folds", "cross_validation", "exclude_subjects"):
            if getattr(task, what) != getattr(first, what):
                raise ValueError(
                    f"{task.title!r} and {first.title!r} differ in {what}: learn them in runs of their own"
                )
        if task.data(config.shards) != first.data(config.shards):
            raise ValueError(
                f"{task.title!r} and {first.title!r} read different windows: learn them in runs of their own"
            )
    readers = {
        split: task_reader(first, config.shards, split, round=config.round, seed=config.run.seed)
        for split in SPLITS
    }
    return [round_of(task, readers) for task in tasks]


def make_model(
    config: FinetuneConfig, tasks: dict[str, Task], rounds: Sequence[Round]
) -> TaskModel:
    """A new task model on the named backbone."""
    reader = rounds[0].readers["train"]
    data = reader.config
    preprocessing = {
        modality: Preprocessing(**reader.manifests[0]["config"]["preprocessing"][modality])
        for modality in data.channels
    }
    inputs = InputConfig(data.channels, data.window_s, preprocessing, config.crop_s)
    heads = [
        head_for(name, task, one.truth["train"])
        for (name, task), one in zip(tasks.items(), rounds, strict=True)
    ]
    return TaskModel(make_backbone(config, reader), heads, inputs)


def make_backbone(config: FinetuneConfig, reader: WindowReader) -> Backbone:
    """The named backbone: an encoder from its folder, or an architecture fitted to the windows' scale."""
    if config.model in MODELS:
        first = next(iter(reader.evaluation_batches(micro_batch=1, rank=0, ranks=1)))
        rates = {windows.modality: windows.rate_hz for windows in first.streams.values()}
        channels = tuple((m, c, rates[m]) for m, of in reader.config.channels.items() for c in of)
        backbone = ZooBackbone(config.model, channels)
        batches = reader.evaluation_batches(micro_batch=64, rank=0, ranks=1)
        backbone.input.fit(b.streams for b, _ in zip(batches, range(FITTED_ON), strict=False))
        return backbone
    if not Path(config.model).exists() and "/" not in config.model:
        raise ValueError(
            f"model: {config.model!r} is no folder, and the zoo has {', '.join(MODELS)}"
        )
    pretrained = load_model(config.model)
    check_windows(pretrained, reader)
    encoder = pretrained.encoder
    if config.from_scratch:
        encoder = ViTEncoder(encoder.config)
    return EncoderBackbone(encoder, config.drop_path)


def make_objective(
    config: FinetuneConfig,
    tasks: Sequence[Task],
    rounds: Sequence[Round],
    model: TaskModel,
    device: torch.device,
) -> Supervised:
    """The model with the truth of train and validation."""
    train, validation = (
        [Learned.of(t, r.truth[split], device) for t, r in zip(tasks, rounds, strict=True)]
        for split in ("train", "validation")
    )
    balance = [balance_of(t, r.truth["train"], device) for t, r in zip(tasks, rounds, strict=True)]
    return Supervised(model, train, validation, balance, config.layer_decay).to(device)


def make_parts(
    config: FinetuneConfig,
    accelerator: Accelerator,
    tasks: dict[str, Task],
    objective: Supervised,
    rounds: Sequence[Round],
) -> Parts:
    """What the training run calls, bound to this run's data and model."""
    readers, model = rounds[0].readers, objective.model
    origin = provenance(readers["train"])

    def write_model(folder: Path, facts: dict[str, Any]) -> None:
        facts = {**facts, **origin.facts(), "from": Path(config.model).name}
        model.facts = facts
        save_task_model(folder, model, task_card(config, model, tasks, origin, facts))

    def judge() -> tuple[dict[str, float], float]:
        said = answers(accelerator, model, readers["validation"])
        reached = {
            name: reached_on_validation(task, one, scores)
            for (name, task), one, scores in zip(tasks.items(), rounds, said, strict=True)
        }
        return {f"validation_{n}": v for n, v in reached.items()}, -float(
            np.mean(list(reached.values()))
        )

    def draw(progress: Progress) -> list[Path]:
        return []

    return Parts(
        objective,
        readers["train"],
        readers["validation"],
        about(config, model, rounds, tasks, origin),
        {
            "stage": "finetune",
            "synthetic": str(origin.synthetic).lower(),
            "model": Path(config.model).name,
        },
        0.0,
        write_model,
        draw,
        blocks=[m for m in model.backbone.stages() if not isinstance(m, nn.ModuleList)],
        judge=judge,
    )


def about(
    config: FinetuneConfig,
    model: TaskModel,
    rounds: Sequence[Round],
    tasks: dict[str, Task],
    origin: Provenance,
) -> list[str]:
    """What is trained on what, in lines for people; first what must stand beside every figure."""
    parameters = sum(p.numel() for p in model.parameters())
    begun = "new weights" if config.from_scratch or config.model in MODELS else "pretrained"
    return [
        *origin.notices,
        f"data       {origin.title}, windows of {model.inputs.window_s:g} s",
        *(
            f"task       {name}: {len(one.truth['train'].classes)} outputs; train {one.truth['train']}"
            for name, one in zip(tasks, rounds, strict=True)
        ),
        f"model      {config.model} ({begun}), {parameters / 1e6:.2f} M parameters",
    ]


@torch.no_grad()
def answers(
    accelerator: Accelerator, model: TaskModel, reader: WindowReader
) -> list[NDArray[np.float64]]:
    """What each head says of every window [W, K] in the order of evaluation, on every rank."""
    training = model.training
    model.eval()
    batches = reader.evaluation_batches(
        micro_batch=64, rank=accelerator.process_index, ranks=accelerator.num_processes
    )
    mine = []
    for batch in batches:
        if len(batch):
            with accelerator.autocast():
                said = model.answers(batch.to(accelerator.device).streams)
            mine.append((batch.positions.numpy(), [one.double().cpu().numpy() for one in said]))
    model.train(training)
    everybody = gather_object(mine)
    found = [np.zeros((reader.windows, len(head.classes))) for head in model.heads]
    for positions, said in everybody:
        for one, part in zip(found, said, strict=True):
            one[positions] = part
    return found


def reached_on_validation(task: Task, one: Round, said_WK: NDArray[np.float64]) -> float:
    """The figure that choices are made by."""
    truth = one.truth["validation"]
    return goodness(
        task.kind,
        one.of("validation", truth.values),
        one.of("validation", said_WK[truth.windows]),
    )


def final_scores(
    config: FinetuneConfig, accelerator: Accelerator, rounds: Sequence[Round]
) -> dict[str, Scores]:
    """What the best model says of validation and test, by task."""
    accelerator.wait_for_everyone()
    model = load_task_model(config.run.out / "best").to(accelerator.device)
    readers = rounds[0].readers
    said = {split: answers(accelerator, model, readers[split]) for split in ("validation", "test")}
    found = {}
    for number, (head, one) in enumerate(zip(model.heads, rounds, strict=True)):
        parts = {
            split: one.of(split, said[split][number][one.truth[split].windows]) for split in said
        }
        chosen = float(model.facts[f"validation_{head.task}"])
        found[head.task] = Scores(parts["test"], parts["validation"], chosen)
    return found
