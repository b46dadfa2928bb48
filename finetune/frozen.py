"""What heads on frozen features say of a task: the encoder's embeddings, or random convolution kernels.

Shape suffixes: W windows of a reader in its order of evaluation, F features.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..evaluation.attention_probe import TokenPart, fit_attention_probe
from ..evaluation.embeddings import embeddings, features
from ..evaluation.probes import Head, Part, fit_probe
from ..evaluation.rounds import Round
from ..evaluation.scores import Scores, joined
from ..evaluation.sequence_probe import Series, SeriesPart, fit_sequence_probe
from ..evaluation.tasks import Task
from ..evaluation.tokens import tokens
from ..models.make_embedder import make_embedder
from ..models.pretrained import PretrainedModel
from ..models.zoo.random_kernels import LENGTHS, RandomKernels
from ..pretrain.whole_windows import with_whole_windows
from ..shards.reader import WindowReader
from ..signals.windows import Windows

KERNELS = 300
JUDGED = ("test", "validation")
Floats = NDArray[np.float64]
Features = Callable[[WindowReader], Floats]
"""A reader → features [W, F]."""


def untrained_like(model: PretrainedModel, seed: int, train: WindowReader) -> PretrainedModel:
    """The same encoder with the weights that training would begin with; batch norms know the windows of `train`, as
    those of trained encoders do."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        encoder = make_embedder(model.encoder.config)
    encoder = with_whole_windows(encoder, train)
    return PretrainedModel(encoder, model.preprocessing, model.window_s, {}).eval()


def embedded(model: PretrainedModel, cache: Path, layers: Sequence[int] = ()) -> Features:
    """A frozen encoder's mean-pooled embeddings, after its last block or after several side by side.

    Of modalities that it does not read, random kernels beside them.
    """

    def made(reader: WindowReader) -> Floats:
        own = embeddings(model, reader, cache, layers=layers).astype(np.float64)
        read = {patch.modality for patch in model.encoder.inputs}
        others = [w for w in _streams(reader) if w.modality not in read]
        return np.concatenate([own, *(_kernels(reader, w, 0, cache) for w in others)], axis=1)

    return made


def convolved(seed: int, cache: Path) -> Features:
    """Random convolution kernels over the windows of each modality."""
    return lambda reader: np.concatenate(
        [_kernels(reader, windows, seed, cache) for windows in _streams(reader)], axis=1
    )


def _streams(reader: WindowReader) -> list[Windows]:
    """One window of each modality."""
    first = next(iter(reader.evaluation_batches(micro_batch=1, rank=0, ranks=1)))
    return list(first.streams.values())


def _kernels(reader: WindowReader, windows: Windows, seed: int, cache: Path) -> Floats:
    """Random kernels over a modality in physical units; of one too slow for them, its samples themselves."""
    _, channels, samples = windows.samples.shape
    if samples <= max(LENGTHS):
        what: dict[str, Any] = {"samples of": windows.modality}
        width = channels * samples
        compute: Callable[[Windows], Tensor] = flat
    else:
        kernels = RandomKernels(channels, samples, kernels=KERNELS, seed=seed)
        what = {"random kernels": KERNELS, "seed": seed, "modality": windows.modality}
        width = kernels.width
        compute = partial(_convolve, kernels)
    found = features(what, lambda streams: compute(_of(streams, windows)), reader, width, cache)
    return found.astype(np.float64)


def _of(streams: Mapping[str, Windows], like: Windows) -> Windows:
    """The stream of the same modality."""
    return next(windows for windows in streams.values() if windows.modality == like.modality)


def _convolve(kernels: RandomKernels, windows: Windows) -> Tensor:
    return kernels.features(windows.physical()[0])


def flat(windows: Windows) -> Tensor:
    """The samples in physical units, 0 where missing [B, C · T]."""
    return windows.physical()[0].flatten(1)


def linear_scores(
    task: Task, rounds: Sequence[Round], head: Head, make: Sequence[Features]
) -> Scores:
    """What a linear head says, fitted in each round on train and chosen on validation.

    `make` gives the features of each round.
    """

    def of_round(one: Round, of: Features) -> Scores:
        x, truth = _features(one, of), one.truth
        parts = {s: Part(x[s], truth[s].values) for s in ("train", "validation")}
        classes = len(truth["train"].classes)
        fitted = fit_probe(task.kind, classes, head, parts["train"], parts["validation"])
        return _said(one, {s: fitted.predict(x[s]) for s in JUDGED}, fitted.validation)

    return joined([of_round(*each) for each in zip(rounds, make, strict=True)])


def sequence_scores(
    task: Task, rounds: Sequence[Round], make: Sequence[Features], seed: int
) -> Scores:
    """The same of a recurrent head over the windows of each recording in order of time."""

    def of_round(one: Round, of: Features) -> Scores:
        series = {s: Series.of(x, one.truth[s]) for s, x in _features(one, of).items()}
        parts = {s: SeriesPart(series[s], one.truth[s].values) for s in ("train", "validation")}
        classes = len(one.truth["train"].classes)
        fitted = fit_sequence_probe(
            task.kind, classes, task.loss, parts["train"], parts["validation"], seed=seed
        )
        return _said(one, {s: fitted.predict(series[s]) for s in JUDGED}, fitted.validation)

    return joined([of_round(*each) for each in zip(rounds, make, strict=True)])


def attention_scores(
    task: Task, rounds: Sequence[Round], models: Sequence[PretrainedModel], cache: Path, seed: int
) -> Scores:
    """The same of a head that attends to the frozen tokens of each window; `models` are of each round."""

    def of_round(one: Round, model: PretrainedModel) -> Scores:
        x = {
            split: tokens(model, reader, cache)[one.truth[split].windows]
            for split, reader in one.readers.items()
        }
        parts = {s: TokenPart(x[s], one.truth[s].values) for s in ("train", "validation")}
        classes = len(one.truth["train"].classes)
        fitted = fit_attention_probe(
            task.kind, classes, task.loss, parts["train"], parts["validation"], seed=seed
        )
        return _said(one, {s: fitted.predict(x[s]) for s in JUDGED}, fitted.validation)

    return joined([of_round(*each) for each in zip(rounds, models, strict=True)])


def _features(one: Round, make: Features) -> dict[str, Floats]:
    return {s: make(reader)[one.truth[s].windows] for s, reader in one.readers.items()}


def _said(one: Round, scores: Mapping[str, Floats], chosen: float) -> Scores:
    test, validation = (one.of(split, scores[split]) for split in JUDGED)
    return Scores(test, validation, chosen)
