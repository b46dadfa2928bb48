"""Models by name."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from .base import Classifier
from .inception_former import InceptionFormer
from .inception_time import InceptionTime
from .mina import MINA
from .mobilenet import MobileNetV2
from .resnet import ResNet
from .s4d import S4Classifier
from .se_ecgnet import SEECGNet
from .xresnet import XResNet101

MODELS: dict[str, Callable[..., Classifier]] = {
    "resnet18": partial(ResNet, blocks=(2, 2, 2, 2)),
    "resnet34": partial(ResNet, blocks=(3, 4, 6, 3)),
    "xresnet1d101": XResNet101,
    "mobilenet_v2": MobileNetV2,
    "inception_time": InceptionTime,
    "inception_former": InceptionFormer,
    "s4": S4Classifier,
    "se_ecgnet": SEECGNet,
    "mina": MINA,
}


def create_model(
    name: str, *, channels: int, outputs: int, rate_hz: float | None = None, **options: Any
) -> Classifier:
    """A new model, randomly initialised, that maps float [B, `channels`, T] to logits [B, `outputs`].

    `rate_hz` is the sampling rate of the windows; only models that filter use it (`mina`), and they are not
    made without it. `options` are the keyword arguments of the model's class. Raises `ValueError` for an
    unknown name or option, naming the known ones and the nearest.
    """
    if name not in MODELS:
        raise ValueError(_unknown("model", name, list(MODELS)))
    build = MODELS[name]
    known = [
        p.name
        for p in inspect.signature(build).parameters.values()
        if p.kind is inspect.Parameter.KEYWORD_ONLY
    ]
    for option in options:
        if option not in known:
            raise ValueError(_unknown(f"option of {name}", option, known))
    if "rate_hz" in known:
        if rate_hz is None:
            raise ValueError(f"{name} filters its windows: say their rate_hz")
        options["rate_hz"] = rate_hz
    return build(channels, outputs, **options)


def list_models(channels: int = 12, outputs: int = 5) -> dict[str, int]:
    """Name → number of parameters, with that many channels and outputs."""
    with torch.device("meta"):
        models = {
            name: create_model(name, channels=channels, outputs=outputs, rate_hz=100.0)
            for name in MODELS
        }
    return {name: sum(p.numel() for p in model.parameters()) for name, model in models.items()}


def _unknown(what: str, name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
    nearest = f"; did you mean {near[0]!r}?" if near else ""
    return f"unknown {what} {name!r}: there are {sorted(known)}{nearest}"
