"""`biofm probe`: what a frozen encoder is worth for a task, beside what needs no training.

Three rows on exactly the same windows: a logistic regression on the pretrained encoder's mean-pooled
embeddings, the same on that encoder untrained, and random convolution kernels with ridge regression.
The encoder is never changed, every choice is made on validation, and the test split is scored once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from ..evaluation.comparison import compare, counted_columns
from ..evaluation.embeddings import embeddings, features
from ..evaluation.probes import Head, Part, fit_probe
from ..evaluation.rounds import Round, rounds_of, truth_of
from ..evaluation.scores import Scores
from ..evaluation.tasks import Task, load_task
from ..models.encoder import ViTEncoder
from ..models.pretrained import PretrainedModel, load_model
from ..models.zoo.random_kernels import RandomKernels
from ..shards.index import SPLITS
from ..shards.reader import WindowReader
from .report import table, write

KERNELS = 300
Floats = NDArray[np.float64]
Features = Callable[[WindowReader], Floats]
"""A reader → features [windows, F] in its order of evaluation."""


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
    rounds = rounds_of(wanted, [str(folder) for folder in shards])
    untrained = [untrained_like(loaded[0], seed) for seed in range(seeds)]
    lines: dict[str, tuple[Head, list[Features]]] = {
        "pretrained, frozen": ("logistic", [embedded(model, cache) for model in loaded]),
        "the same, untrained": ("logistic", [embedded(model, cache) for model in untrained]),
        f"{KERNELS} random kernels": ("ridge", [convolved(seed, cache) for seed in range(seeds)]),
    }
    test, validation = truth_of(rounds, "test"), truth_of(rounds, "validation")
    columns, told = counted_columns(wanted, truth_of(rounds, "train"), test)
    rows = {
        name: [frozen_scores(wanted, rounds, head, one) for one in makers]
        for name, (head, makers) in lines.items()
    }
    found = compare(wanted, test, validation, rows, columns)
    text = table(wanted, about(rounds, told), notices(rounds), found)
    print(text)
    if out is not None:
        write(out, wanted.title, found, text)


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


def frozen_scores(task: Task, rounds: Sequence[Round], head: Head, make: Features) -> Scores:
    """What a head on frozen features says, fitted in each round on train and chosen on validation."""
    test, validation, chosen = [], [], []
    for one in rounds:
        x = {split: make(reader)[one.truth[split].windows] for split, reader in one.readers.items()}
        parts = {
            split: Part(x[split], one.truth[split].values) for split in ("train", "validation")
        }
        classes = len(one.truth["train"].classes)
        fitted = fit_probe(task.kind, classes, head, parts["train"], parts["validation"])
        test.append(one.of("test", fitted.predict(x["test"])))
        validation.append(one.of("validation", fitted.predict(x["validation"])))
        chosen.append(fitted.validation)
    return Scores(np.concatenate(test), np.concatenate(validation), float(np.mean(chosen)))


def notices(rounds: Sequence[Round]) -> list[str]:
    """What the shards have to say to whoever reads a figure, such as that they are synthetic."""
    said = [n for r in rounds for m in r.readers["test"].manifests for n in m["notices"]]
    return list(dict.fromkeys(said))


def about(rounds: Sequence[Round], told: str) -> list[str]:
    """What stands above the table: windows of each split, and which classes count."""
    sizes = [
        f"{split}{f', round {number}' if len(rounds) > 1 else ''}: {one.truth[split]}"
        for number, one in enumerate(rounds)
        for split in SPLITS
    ]
    return [*sizes, told]
