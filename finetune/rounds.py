"""What a supervised run learns from and chooses by: the round of each of its tasks, on shared readers.

Shape suffixes: W windows of a split, K classes or quantities.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from ..evaluation.label_subsets import labelled
from ..evaluation.probes import goodness
from ..evaluation.rounds import Round, round_of
from ..evaluation.splits import task_reader
from ..evaluation.tasks import Task
from ..shards.index import SPLITS
from .configuration import FinetuneConfig


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
    make = partial(task_reader, first, config.shards, round=config.round, seed=config.run.seed)
    readers = {split: make(split) for split in SPLITS}
    rounds = [round_of(task, readers) for task in tasks]
    if config.labelled == 1:
        return rounds
    of_tasks = [one.truth["train"].subjects for one in rounds]
    only = labelled(of_tasks, config.labelled, config.subset_seed)
    readers = {**readers, "train": make("train", only=only)}
    return [round_of(task, readers) for task in tasks]


def check_validation(tasks: Sequence[Task], rounds: Sequence[Round]) -> None:
    """Raises `ValueError` where nobody could say on validation which model is the best."""
    for task, one in zip(tasks, rounds, strict=True):
        truth = one.truth["validation"]
        same = np.zeros((one.readers["validation"].windows, len(truth.classes)))
        if task.kind == "multiclass":
            # Kappa needs two classes, said or true.
            told = len(np.unique(one.of("validation", truth.values))) > 1
        else:
            told = bool(np.isfinite(reached_on_validation(task, one, same)))
        if not told:
            raise ValueError(
                f"{task.title!r}: validation has one value alone of {', '.join(truth.classes)}, so that no model "
                "can be chosen by it: give it more subjects"
            )


def reached_on_validation(task: Task, one: Round, said_WK: NDArray[np.float64]) -> float:
    """The figure that choices are made by."""
    truth = one.truth["validation"]
    return goodness(
        task.kind,
        one.of("validation", truth.values),
        one.of("validation", said_WK[truth.windows]),
    )
