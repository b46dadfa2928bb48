"""From a config to a task model: data, backbone, training, and what it says of validation and test.

The model that is kept is the one that is best on validation, by the mean over the tasks of the figure that
probes are chosen by; the test split is looked at once, when it is found.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from numpy.typing import NDArray

from ..evaluation.losses import balance
from ..evaluation.rounds import Round
from ..evaluation.scores import Scores
from ..evaluation.tasks import Task, load_task
from ..models.pretrained import training_contents
from ..models.task_model import TaskModel, load_task_model, save_task_model
from ..models.zoo.registry import MODELS
from ..pretrain.checkpoint import Progress
from ..pretrain.distributed import make_accelerator, synchronise_norms
from ..pretrain.engine import Parts, finished, resume_point, train
from ..pretrain.provenance import Provenance, provenance
from ..shards.contents import contents
from ..shards.reader import WindowReader
from .beginning import begun_from, make_model, new_weights
from .card import task_card
from .configuration import FinetuneConfig
from .objective import Learned, Supervised
from .rounds import check_validation, reached_on_validation, rounds_together


def learn(config: FinetuneConfig) -> dict[str, Scores] | None:
    """Train, or go on training; each task's scores, or None where a signal stopped the run."""
    resume_from = resume_point(config)
    accelerator = make_accelerator(config.run, unused=config.model not in MODELS)
    tasks = {Path(name).stem: load_task(name, config.window_s) for name in config.tasks}
    rounds = rounds_together(config, list(tasks.values()))
    check_validation(list(tasks.values()), rounds)
    torch.manual_seed(config.run.seed)
    model = make_model(config, tasks, rounds)
    objective = make_objective(config, list(tasks.values()), rounds, model, accelerator.device)
    unsynchronised = synchronise_norms(objective, accelerator)
    parts = make_parts(config, accelerator, tasks, objective, rounds)
    parts.about = [*parts.about, *unsynchronised]
    progress = train(config, accelerator, resume_from, parts)
    scores = None
    if finished(config, progress):
        scores = final_scores(config, accelerator, rounds)
    accelerator.end_training()
    return scores


def make_objective(
    config: FinetuneConfig,
    tasks: Sequence[Task],
    rounds: Sequence[Round],
    model: TaskModel,
    device: torch.device,
) -> Supervised:
    """The model with the truth of train and validation."""
    train, validation = (
        [Learned.of(h, r.truth[split], device) for h, r in zip(model.heads, rounds, strict=True)]
        for split in ("train", "validation")
    )
    weights = [
        balance(task.loss, one.truth["train"].values, len(one.truth["train"].classes))
        for task, one in zip(tasks, rounds, strict=True)
    ]
    on_device = [None if weight is None else weight.to(device) for weight in weights]
    decay = 1.0 if new_weights(config) else config.layer_decay
    objective = Supervised(model, train, validation, on_device, decay, config.augment)
    return objective.to(device)


def make_parts(
    config: FinetuneConfig,
    accelerator: Accelerator,
    tasks: dict[str, Task],
    objective: Supervised,
    rounds: Sequence[Round],
) -> Parts:
    """What the training run calls, bound to this run's data and model."""
    readers, model = rounds[0].readers, objective.model
    origin, learned = provenance(readers["train"]), learned_from(config, readers)

    def write_model(folder: Path, facts: dict[str, Any]) -> None:
        facts = {**facts, **origin.facts(), "from": begun_from(config)}
        model.facts = facts
        card = task_card(config, model, tasks, origin, facts)
        save_task_model(folder, model, card, training=learned)

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
            "model": begun_from(config),
        },
        0.0,
        write_model,
        draw,
        blocks=list(model.backbone.stages()),
        judge=judge,
    )


def learned_from(
    config: FinetuneConfig, readers: Mapping[str, WindowReader]
) -> pl.DataFrame | None:
    """What a task model has seen: whom it learned from, whom it was chosen on, and what its encoder had seen.

    None where nobody knows the latter.
    """
    own = pl.concat([contents(readers[split]) for split in ("train", "validation")])
    if new_weights(config):
        return own
    before = training_contents(config.model)
    return None if before is None else pl.concat([before, own]).unique(maintain_order=True)


def about(
    config: FinetuneConfig,
    model: TaskModel,
    rounds: Sequence[Round],
    tasks: dict[str, Task],
    origin: Provenance,
) -> list[str]:
    """What is trained on what, in lines for people; first what must stand beside every figure."""
    parameters = sum(p.numel() for p in model.parameters())
    begun = "new weights" if new_weights(config) else "pretrained"
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
    kept = []
    for batch in batches:
        if len(batch):
            with accelerator.autocast():
                kept.append((batch.positions, model.answers(batch.to(accelerator.device).streams)))
    model.train(training)
    # Copied at the end, so that a GPU is not waited for after every batch.
    mine = [(at.numpy(), [one.double().cpu().numpy() for one in said]) for at, said in kept]
    everybody = gather_object(mine)
    found = [np.zeros((reader.windows, len(head.classes))) for head in model.heads]
    for positions, said in everybody:
        for one, part in zip(found, said, strict=True):
            one[positions] = part
    return found


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
