"""The rows of an evaluation as cells: heads on what is frozen, and models whose weights learn from labels."""

from __future__ import annotations

import hashlib
import json
import math
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ..configuration import to_dict
from ..evaluation.handmade import handmade_scores, handmade_sequence_scores
from ..evaluation.label_subsets import narrowed
from ..evaluation.rounds import Round
from ..evaluation.scores import Scores, joined
from ..evaluation.stretches import MAKERS
from ..evaluation.tasks import Task
from ..files import write_aside
from ..models.pretrained import PretrainedModel
from ..models.zoo.registry import MODELS
from ..pretrain.configuration import OptimConfig, RunConfig
from .cells import Cell, name_of
from .configuration import FinetuneConfig
from .encoders import Seed
from .evaluation_configuration import EvaluationConfig, Supervised
from .frozen import (
    KERNELS,
    attention_scores,
    convolved,
    embedded,
    linear_scores,
    sequence_scores,
    untrained_like,
)
from .learning import learn

HANDMADE = {
    "hand-made features, gradient boosting": handmade_scores,
    "hand-made features, sequence": handmade_sequence_scores,
}
HANDMADE_FORMAT = "by hand, 2"
"""Changes when these features do."""
DECIDING = (
    "from_scratch",
    "labelled",
    "subset_seed",
    "crop_s",
    "layer_decay",
    "drop_path",
    "augment",
    "optim",
)
"""Settings of a supervised run that decide its scores, besides model, data and seed."""


@dataclass(frozen=True)
class Judged:
    """A task with its rounds; `asked` is the name or file it was asked for by."""

    asked: str
    task: Task
    rounds: Sequence[Round]

    @property
    def name(self) -> str:
        """What reports and files call it."""
        return Path(self.asked).stem

    def narrowed(self, together: Sequence[Judged], share: float, seed: int) -> Judged:
        """The same with the labels of a share of the subjects whom any of the tasks has labels of."""
        rounds = narrowed(self.rounds, share, seed, [judged.rounds for judged in together])
        return replace(self, rounds=rounds)

    def taught(self, together: Sequence[Judged], share: float) -> int:
        """How many subjects that is of those with a label of this task, in the first round by the first seed."""
        return len(np.unique(self.narrowed(together, share, 0).rounds[0].truth["train"].subjects))

    def terms(self) -> dict[str, Any]:
        """What decides any score on it: the task, and what is true of which windows of which shards."""
        digest = hashlib.sha256()
        for one in self.rounds:
            for split, truth in one.truth.items():
                for manifest in one.readers[split].manifests:
                    digest.update(str(manifest["index_sha256"]).encode())
                    digest.update("".join(shard["sha256"] for shard in manifest["shards"]).encode())
                digest.update(truth.values.tobytes() + truth.windows.tobytes())
        judging = ("title", "metrics", "threshold", "least_subjects")
        learned = to_dict(replace(self.task, challenge_weights=None))
        task = {k: v for k, v in learned.items() if k not in judging}
        return {"task": task, "data": digest.hexdigest()}


def frozen_cells(config: EvaluationConfig, judged: Judged, seeds: Sequence[Seed]) -> Iterator[Cell]:
    """Heads on what is never trained for the task; of encoders, where there are any."""
    if seeds:
        yield from _encoder_cells(config, judged, seeds)
    for number in range(config.seeds):
        yield _kernels(config, judged, number)
    if judged.task.anchor == "stage" and set(judged.task.channels) <= set(MAKERS):
        for row, make in HANDMADE.items():
            for number in range(config.seeds):
                make_scores = partial(make, judged.task, judged.rounds, number)
                yield _cell(judged, row, number, {"features": HANDMADE_FORMAT}, make_scores)


def _encoder_cells(
    config: EvaluationConfig, judged: Judged, seeds: Sequence[Seed]
) -> Iterator[Cell]:
    """The frozen regimes of the encoder, and of the same untrained."""
    twins = [_untrained(seeds[0].models[0], seed, judged) for seed in range(config.seeds)]
    for begun, several in (("pretrained", seeds), ("untrained", twins)):
        for number, seed in enumerate(several):
            yield from _of_encoder(config, judged, begun, number, seed)


def _untrained(model: PretrainedModel, seed: int, judged: Judged) -> Seed:
    """The encoder as training would begin with it, in each round."""
    return Seed(
        (), tuple(untrained_like(model, seed, one.readers["train"]) for one in judged.rounds)
    )


def share_cells(
    config: EvaluationConfig, together: Sequence[Judged], seeds: Sequence[Seed], share: float
) -> Iterator[Cell]:
    """Curves of label efficiency: linear heads on what is frozen, and what learns from labels alone.

    Each seed has its own nested subsets of the subjects.
    """
    for judged in together:
        for number in range(config.seeds):
            fewer = judged.narrowed(together, share, number)
            if seeds:
                own = seeds[number % len(seeds)]
                twins = _untrained(own.models[0], number, judged)
                few = replace(config, regimes=tuple(r for r in config.regimes if r == "linear"))
                for begun, seed in (("pretrained", own), ("untrained", twins)):
                    for cell in _of_encoder(few, fewer, begun, number, seed):
                        yield replace(cell, share=share)
            yield replace(_kernels(config, fewer, number), share=share)
    yield from trained_cells(config, together, seeds, share)


def _kernels(config: EvaluationConfig, judged: Judged, number: int) -> Cell:
    make = [convolved(number, config.cache)] * len(judged.rounds)
    return _cell(
        judged,
        "random kernels, ridge",
        number,
        {"kernels": KERNELS},
        partial(linear_scores, judged.task, judged.rounds, "ridge", make),
    )


def _of_encoder(
    config: EvaluationConfig, judged: Judged, begun: str, number: int, seed: Seed
) -> Iterator[Cell]:
    """The frozen regimes of one encoder."""
    task, rounds = judged.task, judged.rounds
    make = [embedded(model, config.cache, config.layers) for model in seed.models]
    terms = {**seed.terms(), "layers": list(config.layers)}
    if "linear" in config.regimes:
        linear = partial(linear_scores, task, rounds, "logistic", make)
        yield _cell(judged, f"{begun}, linear", number, terms, linear)
        if task.head == "sequence":
            sequence = partial(sequence_scores, task, rounds, make, number)
            yield _cell(judged, f"{begun}, sequence", number, terms, sequence)
    if "attention" in config.regimes:
        attention = partial(attention_scores, task, rounds, seed.models, config.cache, number)
        yield _cell(judged, f"{begun}, attention", number, seed.terms(), attention)


def _cell(
    judged: Judged, row: str, seed: int, terms: dict[str, Any], make: Callable[[], Scores]
) -> Cell:
    """A cell of one task."""
    decided = {**judged.terms(), **terms, "seed": seed}
    return Cell(row, seed, (judged.name,), decided, lambda: {judged.name: make()})


def trained_cells(
    config: EvaluationConfig, together: Sequence[Judged], seeds: Sequence[Seed], share: float = 1.0
) -> Iterator[Cell]:
    """Models that learn from the labels of tasks of the same windows, together.

    Of few labels batches are smaller and epochs more, so that there are steps to learn in.
    """
    if share < 1:
        optim = with_few(config.optim, together, share)
        config = replace(config, optim=optim, zoo=first(config.zoo, share))
    names = tuple(judged.name for judged in together)
    asked = tuple(judged.asked for judged in together)
    terms = {judged.name: judged.terms() for judged in together}
    for row, number, runs in supervised_runs(config, asked, seeds, len(together[0].rounds)):
        out = config.out / "runs" / name_of(row, number, share)
        wanted = [
            replace(
                one,
                round=r,
                labelled=share,
                subset_seed=number if share < 1 else 0,
                run=replace(one.run, out=out / f"round-{r}", seed=number),
            )
            for r, one in enumerate(runs)
        ]
        said = {k: v for k, v in to_dict(wanted[0]).items() if k in DECIDING}
        if wanted[0].model in MODELS:
            begun: Any = wanted[0].model
        elif wanted[0].from_scratch:
            begun = repr(seeds[0].models[0].encoder.config)
        else:
            begun = seeds[number].terms()
        precision = wanted[0].run.precision
        decided = {"tasks": terms, **said, "precision": precision, "model": begun, "seed": number}
        yield Cell(row, number, names, decided, partial(learned, wanted, out, decided), share)


def with_few(optim: OptimConfig, together: Sequence[Judged], share: float) -> OptimConfig:
    """At least four batches an epoch, and up to four times the epochs."""
    windows = min(len(one.truth["train"]) for judged in together for one in judged.rounds)
    batch = max(1, min(optim.global_batch, int(share * windows) // 4))
    micro = optim.micro_batch and min(optim.micro_batch, batch)
    return replace(
        optim,
        global_batch=batch - batch % micro if micro else batch,
        micro_batch=micro,
        epochs=more_epochs(optim.epochs, share),
    )


def more_epochs(epochs: int, share: float) -> int:
    """Up to four times as many, where labels are few."""
    return math.ceil(epochs * min(4, 1 / share))


def first(zoo: Mapping[str, Supervised], share: float) -> dict[str, Supervised]:
    """The first reference alone, because a curve needs one; its own epochs, if it has any, are more too."""
    return {
        name: replace(how, epochs=how.epochs and more_epochs(how.epochs, share))
        for name, how in list(zoo.items())[:1]
    }


def supervised_runs(
    config: EvaluationConfig, asked: tuple[str, ...], seeds: Sequence[Seed], rounds: int
) -> Iterator[tuple[str, int, list[FinetuneConfig]]]:
    """(row, seed, what is trained in each round), but for the run's folder and seed."""

    def wanted(model: str, optim: OptimConfig, from_scratch: bool) -> FinetuneConfig:
        return FinetuneConfig(
            shards=config.shards,
            tasks=asked,
            model=model,
            from_scratch=from_scratch,
            window_s=config.window_s,
            crop_s=config.crop_s,
            layer_decay=1.0 if from_scratch else config.layer_decay,
            drop_path=config.drop_path,
            augment=config.augment,
            optim=optim,
            run=RunConfig(precision=config.precision, tracking=None, keep_last=1),
        )

    if seeds and "finetune" in config.regimes:
        for number, seed in enumerate(seeds):
            runs = [wanted(str(folder), config.optim, False) for folder in seed.folders]
            yield "pretrained, fine-tuned", number, runs
        scratch = wanted(str(seeds[0].folders[0]), config.optim, True)
        for number in range(config.seeds):
            yield "same encoder, from scratch", number, [scratch] * rounds
    for name, how in config.zoo.items():
        optim = replace(config.optim, epochs=how.epochs or config.optim.epochs)
        for number in range(how.seeds):
            yield f"{name}, supervised", number, [wanted(name, optim, True)] * rounds


def learned(
    rounds: Sequence[FinetuneConfig], out: Path, terms: Mapping[str, Any]
) -> dict[str, Scores]:
    """The scores of a model trained in each round. Raises `KeyboardInterrupt` where a signal stopped it.

    What lies in `out` of other terms goes: a run must not go on from what another encoder, or other shards of
    the same path, began. Checkpoints stay until the last round is there, so that no round is trained twice.
    """
    begun, said = out / "terms.json", json.dumps(terms, sort_keys=True)
    if not begun.is_file() or begun.read_text() != said:
        if out.exists():
            shutil.rmtree(out)
        with write_aside(begun) as aside:
            aside.write_text(said)
    each = []
    for wanted in rounds:
        scores = learn(wanted)
        if scores is None:
            raise KeyboardInterrupt
        each.append(scores)
    # First, so that checkpoints that a kill left half-removed are not gone on from.
    begun.unlink()
    for wanted in rounds:
        shutil.rmtree(wanted.run.out / "checkpoints")
    return {task: joined([scores[task] for scores in each]) for task in each[0]}


def groups(judged: Sequence[Judged]) -> list[list[Judged]]:
    """Tasks that read the same windows of the same subjects, together."""
    found: dict[str, list[Judged]] = {}
    for one in judged:
        task = one.task
        same = [task.data(("any",)), task.datasets, task.folds]
        same += [task.cross_validation, task.exclude_subjects]
        found.setdefault(json.dumps(same, default=str), []).append(one)
    return list(found.values())
