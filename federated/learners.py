"""What is trained on a client: a head on frozen embeddings, the encoder's biases and norms too, or a small model.

All are functions of parameters held apart, as `torch.func` wants them: the same function then serves one client, or
many at once where it can be mapped over them (`vectorised`).

Shape suffixes: N windows, B batch, D features, H hidden, K outputs, C channels, T time.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from ..models.encoder import Embedder
from ..signals.windows import Windows

Params = dict[str, Tensor]
Inputs = dict[str, Tensor]
HIDDEN, OUTPUT = "hidden", "output"
"""How the names of a head's two layers begin."""


class Learner(ABC):
    """Parameters by name, and what they say of a client's inputs."""

    vectorised = False
    """Whether `outputs` may be mapped over clients by `torch.vmap`."""

    @abstractmethod
    def initial(self, seed: int) -> Params:
        """The parameters that every client and the server begin with."""

    @abstractmethod
    def outputs(self, params: Params, inputs: Inputs) -> Tensor:
        """Outputs [B, K] for inputs whose first dimension is B."""


class Head(Learner):
    """One linear layer, or two with a ReLU between, on embeddings `x` [B, D]."""

    vectorised = True

    def __init__(self, width: int, outputs: int, hidden: int) -> None:
        self.width, self.classes, self.hidden = width, outputs, hidden

    def initial(self, seed: int) -> Params:
        """The hidden layer is drawn; the last one begins at 0."""
        inner = self.hidden or self.width
        last = {
            f"{OUTPUT}.weight": torch.zeros(self.classes, inner),
            f"{OUTPUT}.bias": torch.zeros(self.classes),
        }
        if not self.hidden:
            return last
        generator = torch.Generator().manual_seed(seed)
        weight_HD = torch.randn(self.hidden, self.width, generator=generator)
        return {
            f"{HIDDEN}.weight": weight_HD * math.sqrt(2 / self.width),
            f"{HIDDEN}.bias": torch.zeros(self.hidden),
            **last,
        }

    def outputs(self, params: Params, inputs: Inputs) -> Tensor:
        """[B, D] → [B, K]."""
        x = inputs["x"]
        if self.hidden:
            x = F.relu(F.linear(x, params[f"{HIDDEN}.weight"], params[f"{HIDDEN}.bias"]))
        return F.linear(x, params[f"{OUTPUT}.weight"], params[f"{OUTPUT}.bias"])


class BiasNorm(Learner):
    """The head and the encoder's biases and norms (BitFit: Ben Zaken et al., ACL 2022); all else is frozen.

    Embeddings are made anew in every step, and scaled by fixed numbers so that the head sees what `Head` would.
    """

    def __init__(self, encoder: Embedder, like: Mapping[str, Windows], head: Head) -> None:
        # The encoder's own tensors stay as they are: those that move are handed in.
        self.embedding, self.like, self.head = _Embedding(encoder), dict(like), head
        self.embedding.requires_grad_(False)
        self.adapted = adapted_names(self.embedding)
        if not self.adapted:
            raise ValueError("bias_norm: the encoder has no bias and no norm to adapt")

    def initial(self, seed: int) -> Params:
        """The encoder's own values, and a head's beginning."""
        own = dict(self.embedding.named_parameters())
        return {
            **{name: own[name].detach().clone() for name in self.adapted},
            **self.head.initial(seed),
        }

    def outputs(self, params: Params, inputs: Inputs) -> Tensor:
        """Windows as `windows_to_inputs` gives them → [B, K]."""
        own = {name: params[name] for name in self.adapted}
        x_BD = functional_call(self.embedding, own, (inputs_to_windows(inputs, self.like),))
        x_BD = (x_BD - inputs["centre"]) / inputs["spread"]
        return self.head.outputs(params, {"x": x_BD})


class _Embedding(nn.Module):
    """`Encoder.embed` as a forward pass, which `functional_call` calls."""

    def __init__(self, encoder: Embedder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, streams: Mapping[str, Windows]) -> Tensor:
        return self.encoder.embed(streams)


def adapted_names(encoder: nn.Module) -> list[str]:
    """Biases, and the weights of norms."""
    norms = (nn.LayerNorm, nn.GroupNorm, nn.RMSNorm, nn.modules.batchnorm._BatchNorm)
    names = {
        f"{where}.{name}" if where else name
        for where, module in encoder.named_modules()
        for name, _ in module.named_parameters(recurse=False)
        if isinstance(module, norms) or name == "bias"
    }
    return [name for name, _ in encoder.named_parameters() if name in names]


class SmallModel(Learner):
    """Three convolutions a modality on the raw signal, pooled, and a linear layer: what a client has on its own.

    A modality of fewer than `SHORTEST` samples goes to the linear layer as it is.
    """

    SHORTEST = 32
    WIDTHS = (16, 32, 32)

    def __init__(self, shapes: Mapping[str, tuple[int, int]], outputs: int) -> None:
        """`shapes` are (channels, samples) of a window by modality."""
        self.shapes, self.classes = dict(shapes), outputs

    def initial(self, seed: int) -> Params:
        """He et al. (ICCV 2015)."""
        generator = torch.Generator().manual_seed(seed)
        params: Params = {}
        width = 0
        for modality, (channels, samples) in self.shapes.items():
            if samples < self.SHORTEST:
                width += channels * samples
                continue
            before = channels
            for layer, maps in enumerate(self.WIDTHS):
                weight = torch.randn(maps, before, 7, generator=generator)
                params[f"{modality}.{layer}.weight"] = weight * math.sqrt(2 / (7 * before))
                params[f"{modality}.{layer}.bias"] = torch.zeros(maps)
                before = maps
            width += before
        params[f"{OUTPUT}.weight"] = torch.zeros(self.classes, width)
        params[f"{OUTPUT}.bias"] = torch.zeros(self.classes)
        return params

    def outputs(self, params: Params, inputs: Inputs) -> Tensor:
        """float [B, C, T] by modality → [B, K]."""
        parts = []
        for modality, (_, samples) in self.shapes.items():
            x = inputs[modality]
            if samples >= self.SHORTEST:
                for layer in range(len(self.WIDTHS)):
                    weight, bias = (params[f"{modality}.{layer}.{p}"] for p in ("weight", "bias"))
                    x = F.relu(F.conv1d(x, weight, bias, stride=4 if layer == 0 else 2, padding=3))
                x = x.mean(dim=2)
            parts.append(x.flatten(1))
        return F.linear(torch.cat(parts, 1), params[f"{OUTPUT}.weight"], params[f"{OUTPUT}.bias"])


def windows_to_inputs(streams: Mapping[str, Windows]) -> Inputs:
    """Windows as plain tensors by `<stream>|<part>`, which can be chosen from by row."""
    return {
        f"{name}|{part}": getattr(windows, part)
        for name, windows in streams.items()
        for part in ("samples", "scale", "offset")
    }


def inputs_to_windows(inputs: Inputs, like: Mapping[str, Windows]) -> dict[str, Windows]:
    """The same back; what else a stream has is that of `like`."""
    return {
        name: replace(
            windows,
            samples=inputs[f"{name}|samples"],
            scale=inputs[f"{name}|scale"],
            offset=inputs[f"{name}|offset"],
            complete=False,
        )
        for name, windows in like.items()
    }
