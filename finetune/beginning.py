"""The model that a supervised run begins with: a backbone, pretrained or new, and a head for each task."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from ..evaluation.embeddings import check_windows
from ..evaluation.rounds import Round
from ..evaluation.tasks import Task
from ..models.backbones import Backbone, EncoderBackbone, ZooBackbone
from ..models.make_embedder import make_embedder
from ..models.pretrained import load_model
from ..models.task_model import InputConfig, TaskModel
from ..models.zoo.registry import MODELS
from ..shards.reader import WindowReader
from ..signals import Preprocessing
from .configuration import FinetuneConfig
from .objective import head_for

FITTED_ON = 2048
"""Windows, at random, that a channel's mean and deviation are taken from."""


def make_model(
    config: FinetuneConfig, tasks: dict[str, Task], rounds: Sequence[Round]
) -> TaskModel:
    """A new task model on the named backbone."""
    reader = rounds[0].readers["train"]
    data = reader.config
    preprocessing = {modality: preprocessing_of(reader, modality) for modality in data.channels}
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
        # In the order of training, because neighbours in that of evaluation are of a few subjects.
        some = min(64, reader.windows)
        batches = reader.train_batches(
            global_batch=some, micro_batch=some, rank=0, ranks=1, epoch=0
        )
        steps = islice(batches, FITTED_ON // some)
        backbone.input.fit(batch.streams for (batch,) in steps)
        return backbone
    if not Path(config.model).exists() and "/" not in config.model:
        near = difflib.get_close_matches(config.model, MODELS, n=1)
        raise ValueError(
            f"model: {config.model!r} is no folder, and the zoo has {', '.join(MODELS)}"
            f"{f'; did you mean {near[0]}?' if near else ''}"
        )
    pretrained = load_model(config.model)
    check_windows(pretrained, reader)
    encoder = pretrained.encoder
    if config.from_scratch:
        encoder = make_embedder(encoder.config)
    return EncoderBackbone(encoder, config.drop_path)


def preprocessing_of(reader: WindowReader, modality: str) -> Preprocessing:
    """How a modality was prepared, in the first folder that has it; `provenance` refuses others that differ."""
    folders = zip(reader.manifests, reader.held, strict=True)
    manifest = next(manifest for manifest, held in folders if modality in held)
    return Preprocessing(**manifest["config"]["preprocessing"][modality])


def new_weights(config: FinetuneConfig) -> bool:
    """Whether nothing was learned before."""
    return config.from_scratch or config.model in MODELS


def begun_from(config: FinetuneConfig) -> str:
    """A name of the zoo, or the encoder by the last two names of its path: RUN/best, owner/name."""
    return "/".join(Path(config.model).parts[-2:])
