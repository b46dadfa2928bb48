"""`biofm probe`: what a frozen encoder is worth for a task, beside what needs no training.

Three rows on exactly the same windows: a logistic regression on the pretrained encoder's mean-pooled
embeddings, the same on that encoder untrained, and random convolution kernels with ridge regression.
The encoder is never changed, every choice is made on validation, and the test split is scored once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..evaluation.embeddings import embeddings, features
from ..evaluation.figure import Figure
from ..evaluation.intervals import figures, paired_differences
from ..evaluation.judging import Judged, averaged, draws_for, statistics
from ..evaluation.multilabel import counted_classes
from ..evaluation.probes import Head, Part, fit_probe
from ..evaluation.splits import task_reader
from ..evaluation.targets import Targets, targets
from ..evaluation.tasks import Task, load_task
from ..models.encoder import ViTEncoder
from ..models.pretrained import PretrainedModel, load_model
from ..models.zoo.random_kernels import RandomKernels
from ..shards.index import SPLITS
from ..shards.reader import WindowReader
from .report import Row, table, write

KERNELS = 300
Floats = NDArray[np.float64]
Features = Callable[[WindowReader], Floats]
"""A reader → features [windows, F] in its order of evaluation."""


@dataclass(frozen=True)
class Windows:
    """Readers and truths of a round's splits.

    Where a label is of a whole recording, its windows are judged together: a recording's score is the
    mean of theirs, and it counts once.
    """

    readers: dict[str, WindowReader]
    truth: dict[str, Targets]
    whole: bool

    def of(self, split: str, values: NDArray[Any]) -> NDArray[Any]:
        """Values of a split's windows [N, …] as what is judged: recordings, or the windows."""
        if not self.whole:
            return values
        _, first, number = np.unique(
            self.truth[split].records, return_index=True, return_inverse=True
        )
        if values.dtype.kind != "f":  # a label or an id is the same for all windows of a recording
            return values[first]
        total = np.zeros((len(first), *values.shape[1:]))
        np.add.at(total, number, values)
        return total / np.bincount(number).reshape(-1, *[1] * (values.ndim - 1))


def probe(
    models: list[Path],
    *,
    shards: list[Path],
    task: str,
    out: Path | None = None,
    seeds: int = 3,
    cache: Path = Path("data/cache/embeddings"),
) -> None:
    """Judge frozen encoders on a task by a linear head, beside the same encoder untrained.

    Prints a table with 95 % intervals over subjects, and the paired differences between the rows. Choices
    are made on validation; the test split is scored once.

    Args:
        models: model folders, such as RUN/best: seeds of one configuration.
        shards: shard folders of the task's data set.
        task: a shipped task, such as ptbxl_superdiagnostic, or one's own YAML file.
        out: folder for the table (Markdown) and all figures (JSON).
        seeds: untrained encoders and sets of random kernels to average over.
        cache: folder in which embeddings are kept, to be computed once.
    """
    wanted = load_task(task)
    loaded = [load_model(folder) for folder in models]
    configs = {(repr(m.encoder.config), m.window_s, m.preprocessing) for m in loaded}
    if len(configs) > 1:
        raise ValueError("the models must be seeds of one configuration: probe others on their own")
    if seeds < 1:
        raise ValueError(f"seeds must be 1 or more, not {seeds}")
    rounds = [
        windows_of(wanted, [str(folder) for folder in shards], number)
        for number in range(max(1, wanted.cross_validation))
    ]
    untrained = [untrained_like(loaded[0], seed) for seed in range(seeds)]
    lines: dict[str, tuple[Head, list[Features]]] = {
        "pretrained, frozen": ("logistic", [embedded(model, cache) for model in loaded]),
        "the same, untrained": ("logistic", [embedded(model, cache) for model in untrained]),
        f"{KERNELS} random kernels": ("ridge", [convolved(seed, cache) for seed in range(seeds)]),
    }
    counted, told = columns(wanted, rounds)
    rows, differences = judge(wanted, rounds, lines, counted)
    text = table(wanted.title, about(rounds, told), rows, differences)
    print(text)
    if out is not None:
        write(out, wanted.title, rows, differences, text)


def windows_of(task: Task, shards: Sequence[str], number: int) -> Windows:
    """The readers and truths of one round of a task."""
    readers = {split: task_reader(task, shards, split, round=number) for split in SPLITS}
    truth = {split: targets(task, reader) for split, reader in readers.items()}
    return Windows(readers, truth, whole=task.anchor is None)


def untrained_like(model: PretrainedModel, seed: int) -> PretrainedModel:
    """The same encoder with the weights that training would begin with."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        encoder = ViTEncoder(model.encoder.config)
    return PretrainedModel(encoder, model.preprocessing, model.window_s, {}).eval()


def embedded(model: PretrainedModel, cache: Path) -> Features:
    """A frozen encoder's embeddings."""
    return lambda reader: embeddings(model, reader, cache).astype(np.float64)


def convolved(seed: int, cache: Path) -> Features:
    """Random convolution kernels over the windows of the first modality, in physical units."""

    def made(reader: WindowReader) -> Floats:
        size = (len(reader.channels), reader.window_samples)
        kernels = RandomKernels(*size, kernels=KERNELS, seed=seed)
        source = {"random kernels": KERNELS, "seed": seed}
        modality = next(iter(reader.config.channels))
        found = features(
            source, lambda w: kernels(w.physical()[0]), reader, modality, kernels.width, cache
        )
        return found.astype(np.float64)

    return made


def columns(task: Task, rounds: Sequence[Windows]) -> tuple[NDArray[np.intp], str]:
    """(places of the classes that enter a macro figure, which those are and why others are not)."""
    classes = rounds[0].truth["test"].classes
    if task.kind != "multilabel":
        return np.arange(len(classes)), f"{len(classes)}: {', '.join(classes)}"
    train, test = (
        (rounds[0].truth[split].values, rounds[0].truth[split].subjects)
        for split in ("train", "test")
    )
    counted = counted_classes(classes, train, test, task.least_subjects)
    if not counted.kept:
        raise ValueError(f"no class is left to judge by: {counted}")
    return counted.columns, str(counted)


def judge(
    task: Task,
    rounds: Sequence[Windows],
    lines: dict[str, tuple[Head, list[Features]]],
    counted: NDArray[np.intp],
) -> tuple[list[Row], dict[str, dict[str, Figure]]]:
    """(rows; other row → figure → first row − it), all in the same draws of the test subjects."""
    truth = np.concatenate([r.of("test", r.truth["test"].values) for r in rounds])
    subjects = np.concatenate([r.of("test", r.truth["test"].subjects) for r in rounds])
    classes = rounds[0].truth["test"].classes
    if task.kind == "multilabel":
        truth, classes = truth[:, counted], tuple(classes[k] for k in counted)
    draws = draws_for(task, truth, subjects)
    rows, found = [], {}
    for name, (head, makers) in lines.items():
        each, reached = [], []
        for one in makers:
            judged, validation = outputs(task, rounds, head, one, counted)
            each.append(statistics(task, classes, truth, subjects, judged))
            reached.append(validation)
        found[name] = averaged(each)
        values = {figure: figures(s, draws)[0] for figure, s in found[name].items()}
        rows.append(Row(name, len(makers), float(np.mean(reached)), values))
    first, *others = found
    differences = {
        other: {
            figure: paired_differences(found[first][figure], found[other][figure], draws)[0]
            for figure in found[first]
        }
        for other in others
    }
    return rows, differences


def outputs(
    task: Task, rounds: Sequence[Windows], head: Head, make: Features, counted: NDArray[np.intp]
) -> tuple[Judged, float]:
    """(what the head says of all rounds' test windows; its mean score on validation)."""
    parts = list(_fitted(task, rounds, head, make))
    multilabel = task.kind == "multilabel"
    test, truth, validation = (np.concatenate([part[i] for part in parts]) for i in range(3))
    if multilabel:
        test, truth, validation = test[:, counted], truth[:, counted], validation[:, counted]
    return Judged(test, truth, validation), float(np.mean([part[3] for part in parts]))


def _fitted(
    task: Task, rounds: Sequence[Windows], head: Head, make: Features
) -> Iterator[tuple[Floats, NDArray[Any], Floats, float]]:
    """Of each round: scores of test, truth and scores of validation, score on validation."""
    for one in rounds:
        x = {split: make(reader)[one.truth[split].windows] for split, reader in one.readers.items()}
        parts = {
            split: Part(x[split], one.truth[split].values) for split in ("train", "validation")
        }
        classes = len(one.truth["train"].classes)
        fitted = fit_probe(task.kind, classes, head, parts["train"], parts["validation"])
        yield (
            one.of("test", fitted.predict(x["test"])),
            one.of("validation", parts["validation"].values),
            one.of("validation", fitted.predict(x["validation"])),
            fitted.validation,
        )


def about(rounds: Sequence[Windows], told: str) -> list[str]:
    """What stands above the table: notices, windows of each split, and which classes count."""
    notices = {n: None for r in rounds for m in r.readers["test"].manifests for n in m["notices"]}
    sizes = [
        f"- {split}{f', round {number}' if len(rounds) > 1 else ''}: {one.truth[split]}"
        for number, one in enumerate(rounds)
        for split in SPLITS
    ]
    return [*(f"**{notice}**\n" for notice in notices), *sizes, f"- classes: {told}"]
