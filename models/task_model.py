"""A model for tasks: a backbone with one linear head a task, and the folder it is kept in.

A head says what it answers: its classes, or the quantities and their units of spread. Windows may be longer than
what the backbone was trained on: it then sees crops of `crop_s`, and their answers are averaged.

Shape suffixes: B batch, D features, K classes or quantities, M blocks.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import polars as pl
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from ..signals import Preprocessing, Recording, preprocess, quantize
from ..signals.windows import Windows, crop, with_channels
from .backbones import Backbone, make_backbone
from .pretrained import cut_windows, write_model_folder

FORMAT = 1
"""Version of the folder's layout."""


@dataclass(frozen=True)
class HeadConfig:
    """What one head answers."""

    task: str
    """Name of the task."""
    kind: Literal["multilabel", "multiclass", "regression"]
    """Several classes may be true, one is, or numbers are estimated."""
    classes: tuple[str, ...]
    """Classes or quantities, in the order of the outputs."""
    mean: tuple[float, ...] = ()
    """Of quantities, their mean in training, which the head's 0 stands for."""
    spread: tuple[float, ...] = ()
    """Of quantities, their deviation in training, which the head's 1 stands for."""

    def answers(self, outputs_BK: Tensor) -> Tensor:
        """Outputs → probabilities, or estimates in the quantities' units [B, K]."""
        if self.kind == "multilabel":
            return outputs_BK.sigmoid()
        if self.kind == "multiclass":
            return outputs_BK.softmax(dim=1)
        return outputs_BK * outputs_BK.new_tensor(self.spread) + outputs_BK.new_tensor(self.mean)


@dataclass(frozen=True)
class InputConfig:
    """What windows a task model reads."""

    channels: Mapping[str, tuple[str, ...]]
    """Modality → its channels by name."""
    window_s: float
    """Length of a window in seconds."""
    preprocessing: Mapping[str, Preprocessing]
    """Modality → how its signals were prepared."""
    crop_s: float | None = None
    """What the backbone sees at once, in seconds; null for the whole window."""

    def starts_s(self) -> list[float]:
        """Where the crops of a window begin: one after the other, the last one at the window's end."""
        if self.crop_s is None or self.crop_s >= self.window_s:
            return [0.0]
        # Ten crops of 0.1 s fill a window of 1 s, whatever 1 / 0.1 is in binary.
        crops = math.ceil(self.window_s / self.crop_s - 1e-6)
        return [*(n * self.crop_s for n in range(crops - 1)), self.window_s - self.crop_s]


class TaskModel(nn.Module):
    """Backbone and heads."""

    def __init__(
        self,
        backbone: Backbone,
        heads: Sequence[HeadConfig],
        inputs: InputConfig,
        facts: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.heads = tuple(heads)
        self.inputs = inputs
        self.facts = facts or {}
        self.outputs = nn.ModuleList(nn.Linear(backbone.dim, len(h.classes)) for h in heads)
        for layer in self.outputs:
            assert isinstance(layer, nn.Linear)
            nn.init.trunc_normal_(layer.weight, std=0.02)
            nn.init.zeros_(layer.bias)

    def forward(
        self, streams: Mapping[str, Windows], draws_BM2: Tensor | None = None
    ) -> list[Tensor]:
        """Outputs of each head [B, K], before sigmoid, softmax or units."""
        features_BD = self.backbone(streams, draws_BM2)
        return [head(features_BD) for head in self.outputs]

    @torch.no_grad()
    def answers(self, streams: Mapping[str, Windows]) -> list[Tensor]:
        """What each head says of whole windows [B, K]: the mean over their crops."""
        sums: list[Tensor] = []
        starts = self.inputs.starts_s()
        for start_s in starts:
            outputs = self(self.cropped(streams, start_s))
            said = [h.answers(o.float()) for h, o in zip(self.heads, outputs, strict=True)]
            sums = [a + b for a, b in zip(sums, said, strict=True)] if sums else said
        return [one / len(starts) for one in sums]

    @torch.no_grad()
    def predict(self, recording: Recording) -> dict[str, Tensor]:
        """Task → what its head says of each window of a recording [windows, K], at its own rate and lead order.

        Windows follow one another; channels that the recording lacks are missing. Raises `KeyError` where it has
        none of a modality's.
        """
        training = self.training
        self.eval()
        device = next(self.parameters()).device
        streams = {m: windows.to(device) for m, windows in self.windows(recording).items()}
        said = {h.task: a.cpu() for h, a in zip(self.heads, self.answers(streams), strict=True)}
        self.train(training)
        return said

    def windows(self, recording: Recording) -> dict[str, Windows]:
        """A recording as windows of each modality, prepared as for training."""
        found = {}
        for modality, channels in self.inputs.channels.items():
            signal = recording.signal(modality)
            present = tuple(name for name in channels if name in signal.channels)
            if not present:
                raise KeyError(
                    f"{recording.dataset} {recording.record}: none of the model's {modality} channels "
                    f"{list(channels)} is among {list(signal.channels)}"
                )
            how = self.inputs.preprocessing[modality]
            found[modality] = quantize(preprocess(signal.select(present), how))
        cut = cut_windows(found, self.inputs.window_s)
        return {m: with_channels(windows, self.inputs.channels[m]) for m, windows in cut.items()}

    def cropped(
        self, streams: Mapping[str, Windows], start_s: float | Tensor
    ) -> Mapping[str, Windows]:
        """The stretch of `crop_s` that begins at `start_s` (one for all rows, or [B])."""
        if self.inputs.crop_s is None or self.inputs.crop_s >= self.inputs.window_s:
            return streams
        return {k: crop(w, start_s, self.inputs.crop_s) for k, w in streams.items()}


def save_task_model(
    folder: Path, model: TaskModel, card: str, *, training: pl.DataFrame | None = None
) -> None:
    """Write the model folder at once, or not at all; `training` is what it learned from, as of an encoder."""
    config = {
        "format": FORMAT,
        "kind": "task",
        "backbone": model.backbone.described(),
        "heads": [dataclasses.asdict(head) for head in model.heads],
        "inputs": dataclasses.asdict(model.inputs),
        "facts": model.facts,
    }
    write_model_folder(folder, model, config, card, training)


def is_task_model(folder: Path) -> bool:
    """Whether a folder holds one, and not an encoder or nothing."""
    path = folder / "config.json"
    try:
        return bool(json.loads(path.read_text()).get("kind") == "task")
    except (OSError, ValueError, AttributeError):
        return False


def load_task_model(folder: Path) -> TaskModel:
    """A task model from its folder, in evaluation mode.

    Raises `FileNotFoundError` where there is none, `ValueError` for another kind of model, a newer layout,
    or a folder that is damaged.
    """
    path = folder / "config.json"
    if not path.is_file():
        raise FileNotFoundError(
            f"no model folder {folder} (config.json is missing): a fine-tuned model is in <run folder>/best"
        )
    try:
        config = json.loads(path.read_text())
        kind, layout = config.get("kind"), config.get("format")
    except (ValueError, AttributeError) as error:
        raise _damaged(path, error) from error
    if kind != "task":
        raise ValueError(
            f"{path} is an encoder, which answers nothing yet: `biofm finetune --model {folder}` makes a task "
            "model of it, and `load_model` loads it as it is"
        )
    if layout != FORMAT:
        raise ValueError(
            f"{path} has layout {layout!r}, this biofm reads {FORMAT}: install the version that wrote it"
        )
    try:
        model = _model_of(config)
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise _damaged(path, error) from error
    try:
        model.load_state_dict(load_file(folder / "model.safetensors"))
    except (OSError, RuntimeError, SafetensorError) as error:
        raise _damaged(folder / "model.safetensors", error) from error
    return model.eval()


def _model_of(config: Mapping[str, Any]) -> TaskModel:
    """The model that a `config.json` describes, with new weights."""
    inputs = config["inputs"]
    return TaskModel(
        make_backbone(config["backbone"]),
        [
            HeadConfig(
                h["task"], h["kind"], tuple(h["classes"]), tuple(h["mean"]), tuple(h["spread"])
            )
            for h in config["heads"]
        ],
        InputConfig(
            {m: tuple(c) for m, c in inputs["channels"].items()},
            inputs["window_s"],
            {m: Preprocessing(**p) for m, p in inputs["preprocessing"].items()},
            inputs["crop_s"],
        ),
        config["facts"],
    )


def _damaged(path: Path, error: Exception) -> ValueError:
    said = " ".join(str(error).split())[:300]
    return ValueError(
        f"{path} is damaged or not of this folder ({type(error).__name__}: {said}): get the folder again"
    )
