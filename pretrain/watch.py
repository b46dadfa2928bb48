"""Watching what an encoder makes of windows while it learns, whatever the objective: a loss can fall while
all windows come to get one and the same embedding (a collapse).

At validations, all ranks embed the validation windows (of more than 2,000 a sample, always the same). The
main process then says how far the embeddings are spread (`evaluation.representation`), and how well those
of a sample of train tell the labels of their neighbours in validation, where a label set was named. Before
the first step it does so alone, for a collapse is told by what the untrained encoder showed. None of it
decides anything: which model is kept follows from the validation loss alone.

The encoder is called as a module of its own. That is safe because the objective it belongs to holds whole
weights on every rank, under any strategy (`strategy.gather`), and without gradients nothing is synchronised.

Shape suffixes: N windows, D width.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from numpy.typing import NDArray

from ..evaluation.arrays import Bools, Floats
from ..evaluation.probes import Part
from ..evaluation.representation import (
    alignment,
    deviation,
    effective_rank,
    knn_score,
    same_subject,
    uniformity,
)
from ..evaluation.targets import Targets, targets
from ..evaluation.tasks import Kind, Task
from ..shards.reader import WindowReader
from ..signals.windows import Batch
from .checkpoint import Progress
from .configuration import PretrainConfig
from .figures import draw_embeddings
from .objectives.base import Objective
from .strategy import autocast
from .tracking import Tracker, read_metrics

BATCH = 50
MOST = 2000
"""Windows of a split that are looked at."""
LEAST = 10
"""With fewer validation windows, a collapse cannot be told from windows that are alike."""
LEAST_PAIRS = 20
"""With fewer pairs of one subject, their alignment is left out."""

LEAST_DEVIATION = 0.01
"""Deviation of normalised embeddings, in units of 1/√D, below which they have collapsed to a point."""
LEAST_RANK = 1.5
"""Effective rank below which embeddings have collapsed to a line."""
FALL = 0.2
"""Share of what the untrained encoder showed, below which either of both has collapsed. Encoders that learned
PTB-XL by masking kept 1.1 of the rank and 0.7 of the deviation; one rewarded for equal embeddings had 0.1
of the deviation after an epoch, and its whole rank."""

ADVICE = (
    "lower optim.lr or lengthen optim.warmup_epochs; give the objective what keeps embeddings apart (more "
    "negatives, a variance term, a slower target); and begin again in another run.out. Which model is kept as the "
    "best does not follow from this: see what effective_rank was at its step"
)


@dataclass(frozen=True)
class Seen:
    """Embeddings [N, D], whose they are [N], and the places of their truth in `Targets.values` (−1: none)."""

    embeddings: Floats
    subjects: NDArray[np.int64]
    places: NDArray[np.int64]


@dataclass(frozen=True)
class Labels:
    """What windows of both splits are, by a label set."""

    kind: Kind
    train: Targets
    validation: Targets


class Watch:
    """Looks at an objective's encoder. Raises `ValueError` where the labels to look at cannot be had."""

    def __init__(
        self,
        config: PretrainConfig,
        accelerator: Accelerator,
        objective: Objective,
        training: WindowReader,
        validation: WindowReader,
    ) -> None:
        self.run, self.epochs = config.run, config.optim.epochs
        self.accelerator, self.objective = accelerator, objective
        # One window each, where the objective reads several side by side.
        alone = [
            reader
            if objective.views == 1
            else WindowReader(config.data, reader.split, seed=reader.seed)
            for reader in (training, validation)
        ]
        self.training, self.validation = alone
        self.labels = labels(config, *alone) if config.run.watch_labels else None
        self.seen: Seen | None = None
        self.first: dict[str, float] | None = None

    def begin(self, tracker: Tracker) -> None:
        """Log what the untrained encoder shows; by the main process alone, before the first step."""
        if self.run.watch_every:
            found, lines = self.look(Progress(), alone=True)
            tracker.log(0, found)
            print("untrained", *lines, flush=True)

    def __call__(self, progress: Progress) -> tuple[dict[str, float], list[str]]:
        """(figures, lines for people), on the main process; on the others nothing. All ranks must call it."""
        return self.look(progress) if self.due(progress) else ({}, [])

    def look(
        self, progress: Progress, *, alone: bool = False
    ) -> tuple[dict[str, float], list[str]]:
        """What `__call__` gives, at any time; `alone` where no other rank takes part."""
        start, truth = time.perf_counter(), self.labels
        judged = None if truth is None else truth.validation
        self.seen = seen = self.embed(self.validation, judged, alone=alone)
        known = None if truth is None else self.embed(self.training, truth.train, alone=alone)
        if not self.accelerator.is_main_process:
            return {}, []
        if not all(np.isfinite(s.embeddings).all() for s in (seen, known) if s is not None):
            self.seen = None
            fault = "the encoder's embeddings are not finite"
            return {"collapsed": 1.0}, [f"COLLAPSE   step {progress.step}: {fault}; {ADVICE}"]
        found = spread(seen)
        if truth is not None and known is not None:
            found |= told_by_neighbours(truth, known, seen)
        if self.first is None:
            before = (m for m in read_metrics(self.run.out) if "effective_rank" in m)
            self.first = next(before, found)
        told = ", ".join(f"{name.replace('_', ' ')} {value:.3f}" for name, value in found.items())
        lines = [f"  {told} ({time.perf_counter() - start:.1f} s to look)"]
        why = collapse(found, self.first, seen.embeddings.shape)
        if why is not None:
            lines.append(f"COLLAPSE   step {progress.step}: {why}. What to do: {ADVICE}")
        return {**found, "collapsed": float(why is not None)}, lines

    def due(self, progress: Progress) -> bool:
        """Whether this validation is looked at: the first, the last, and each `watch_every`-th."""
        if not self.run.watch_every:
            return False
        number = -(-progress.epoch // self.run.validate_every)
        return (number - 1) % self.run.watch_every == 0 or progress.epoch == self.epochs

    @torch.no_grad()
    def embed(self, reader: WindowReader, truth: Targets | None, *, alone: bool = False) -> Seen:
        """A split's windows as the encoder has them now, on every rank."""
        encoder, accelerator = self.objective.encoder, self.accelerator
        rank, ranks = accelerator.process_index, 1 if alone else accelerator.num_processes
        training = encoder.training
        encoder.eval()
        kept = []
        for number, batch in enumerate(fixed_batches(reader)):
            # Batches are the same at any number of ranks, and with them the numbers to the last bit.
            if number % ranks != rank:
                continue
            with autocast(accelerator):
                z_BD = encoder.embed(batch.to(accelerator.device).streams)
            places = np.full(len(batch), -1) if truth is None else truth.places(batch)
            kept.append((number, z_BD, batch.subjects.numpy(), places))
        encoder.train(training)
        # Copied at the end, so that a GPU is not waited for after every batch.
        mine = [(number, z.double().cpu().numpy(), *rest) for number, z, *rest in kept]
        everybody = sorted(mine if alone else gather_object(mine), key=lambda part: part[0])
        return Seen(*(np.concatenate(parts) for parts in list(zip(*everybody, strict=True))[1:]))

    def draw(self, folder: Path, note: str) -> list[Path]:
        """The picture of the last look, as a file; none where there was none."""
        if self.seen is None:
            return []
        path = folder / "embeddings.png"
        classes: dict[str, Bools] = {}
        if self.labels is not None:
            truth, places = self.labels.validation, self.seen.places
            has_NK = one_hot(truth)[np.maximum(places, 0)] & (places >= 0)[:, None]
            classes = {name: has_NK[:, k] for k, name in enumerate(truth.classes)}
        draw_embeddings(self.seen.embeddings, classes, path, f"{note}; validation windows")
        self.seen = None
        return [path]


def fixed_batches(reader: WindowReader) -> Iterator[Batch]:
    """All windows, or the first `MOST` of the order of its first epoch: always the same, from everywhere."""
    if reader.windows <= MOST:
        return reader.evaluation_batches(micro_batch=BATCH, rank=0, ranks=1)
    steps = reader.train_batches(global_batch=BATCH, micro_batch=BATCH, rank=0, ranks=1, epoch=0)
    return (batch for (batch,) in itertools.islice(steps, MOST // BATCH))


def labels(config: PretrainConfig, training: WindowReader, validation: WindowReader) -> Labels:
    """The truth of both splits by `run.watch_labels`. Raises `ValueError` where they have not what it takes."""
    name = config.run.watch_labels or ""
    # Several labels may be true of a recording; an annotation has one.
    kind: Kind = "multilabel" if config.data.anchor is None else "multiclass"
    task = Task(
        title=name,
        datasets=tuple(manifest["dataset"] for manifest in training.manifests),
        label_set=name,
        kind=kind,
        metrics=("auroc",),
        loss="bce" if kind == "multilabel" else "cross_entropy",
        anchor=config.data.anchor,
    )
    try:
        found = Labels(kind, targets(task, training), targets(task, validation))
    except ValueError as error:
        raise ValueError(f"run.watch_labels: {error}") from error
    for split, truth in (("train", found.train), ("validation", found.validation)):
        has_NK = one_hot(truth)
        if not (has_NK.any(axis=0) & ~has_NK.all(axis=0)).any():
            raise ValueError(
                f"run.watch_labels: every window of split {split!r} with a label of {name!r} has the same: "
                "there is nothing to tell; name another label set, or null"
            )
    return found


def one_hot(truth: Targets) -> Bools:
    """Which classes are true of each window [N, K]."""
    if truth.values.dtype == np.bool_:
        return truth.values
    has_NK: Bools = truth.values[:, None] == np.arange(len(truth.classes))
    return has_NK


def spread(seen: Seen) -> dict[str, float]:
    """How far embeddings are spread. An offset that all of them share says nothing, and is no dimension."""
    x_ND = seen.embeddings
    found = {
        "effective_rank": effective_rank(x_ND, centred=True),
        "embedding_deviation": deviation(x_ND),
    }
    if len(x_ND) > 1:
        found["uniformity"] = uniformity(x_ND)
    one, other = same_subject(seen.subjects)
    if len(one) >= LEAST_PAIRS:
        found["alignment"] = alignment(x_ND[one], x_ND[other])
    return found


def told_by_neighbours(truth: Labels, known: Seen, seen: Seen) -> dict[str, float]:
    """The k-NN score of validation by train; nothing where these windows do not allow one."""
    train, validation = _part(known, truth.train), _part(seen, truth.validation)
    if not (len(train.values) and len(validation.values)):
        return {}
    score, _ = knn_score(truth.kind, len(truth.train.classes), train, validation)
    name = "knn_auroc" if truth.kind == "multilabel" else "knn_kappa"
    return {name: score} if np.isfinite(score) else {}


def _part(seen: Seen, truth: Targets) -> Part:
    has = seen.places >= 0
    return Part(seen.embeddings[has], truth.values[seen.places[has]])


def collapse(
    found: dict[str, float], first: dict[str, float], shape: tuple[int, ...]
) -> str | None:
    """What has collapsed since the `first` look (of the untrained encoder), in words.

    None where nothing has, or windows are too few to tell.
    """
    N, D = shape
    if N < LEAST:
        return None
    rank, apart = found["effective_rank"], found["embedding_deviation"]
    if apart < LEAST_DEVIATION:
        return f"all windows get nearly one embedding (deviation {apart:.4f} of 1/√{D}, below {LEAST_DEVIATION})"
    if rank < LEAST_RANK:
        return f"embeddings lie on a line (effective rank {rank:.2f} of {D}, below {LEAST_RANK})"
    for name, value in (("effective_rank", rank), ("embedding_deviation", apart)):
        if value < FALL * first[name]:
            return f"{name} fell to {value:.3f}, below {FALL:g} of the {first[name]:.3f} of the untrained encoder"
    return None
