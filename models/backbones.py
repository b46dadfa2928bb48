"""What a task model learns on top of: an encoder, pretrained or not, or an architecture of the zoo.

All map the streams of a batch to one feature vector a window.

Shape suffixes: B batch, D features, M blocks.
"""

from __future__ import annotations

import dataclasses
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ..signals.windows import Windows
from .encoder import Embedder
from .make_embedder import make_embedder, stored_config
from .stacked import StackedInput
from .zoo.registry import create_model


class Backbone(nn.Module):
    """Streams of windows → features [B, D], with `dim` = D."""

    dim: int

    @abstractmethod
    def forward(self, streams: Mapping[str, Windows], draws_BM2: Tensor | None = None) -> Tensor:
        """Features [B, D]. `draws_BM2` are uniform numbers that decide which branches training skips."""

    @abstractmethod
    def stages(self) -> Iterator[nn.Module]:
        """Its parts from the input to the output, which may learn at different rates; what is in none of them
        learns as the heads do."""

    @abstractmethod
    def described(self) -> dict[str, Any]:
        """Plain values that `make_backbone` makes it from."""

    @property
    def draws(self) -> int:
        """Blocks that stochastic depth may skip."""
        return 0


class EncoderBackbone(Backbone):
    """An encoder; in training a branch of a ViT's block is skipped with a probability that rises linearly to
    `drop_path` at the last one (stochastic depth; Huang et al., ECCV 2016)."""

    def __init__(self, encoder: Embedder, drop_path: float = 0.0) -> None:
        super().__init__()
        if not 0 <= drop_path < 1:
            raise ValueError(f"drop_path must lie in [0, 1), not {drop_path}")
        self.encoder = encoder
        self.drop_path = drop_path
        self.dim = encoder.dim
        self.norm = nn.LayerNorm(encoder.dim)

    @property
    def draws(self) -> int:
        return self.encoder.skippable if self.drop_path else 0

    def forward(self, streams: Mapping[str, Windows], draws_BM2: Tensor | None = None) -> Tensor:
        """Mean of the tokens, normalised (He et al., CVPR 2022) [B, D]. Raises `ValueError` where nothing that
        the encoder reads is among them."""
        weight_BM2 = None
        if draws_BM2 is not None and self.training:
            last = draws_BM2.shape[1] - 1
            skip_M = torch.linspace(0, self.drop_path, last + 1, device=draws_BM2.device)
            # What stays counts for what is skipped, so that the expectation is that of the whole.
            weight_BM2 = (draws_BM2 >= skip_M[:, None]) / (1 - skip_M[:, None])
        features_BD: Tensor = self.norm(self.encoder.embed(streams, weight_BM2))
        return features_BD

    def stages(self) -> Iterator[nn.Module]:
        yield from self.encoder.stages()

    def described(self) -> dict[str, Any]:
        return {"encoder": dataclasses.asdict(self.encoder.config)}


class ZooBackbone(Backbone):
    """An architecture of the zoo, without its last layer, on stacked channels."""

    def __init__(self, name: str, channels: tuple[tuple[str, str, float], ...]) -> None:
        super().__init__()
        self.name = name
        self.input = StackedInput(channels)
        self.body = create_model(
            name, channels=len(channels), outputs=1, rate_hz=self.input.rate_hz
        )
        self.dim = self.body.head.in_features
        self.body.head = nn.Identity()  # type: ignore[assignment] # the task has heads of its own

    def forward(self, streams: Mapping[str, Windows], draws_BM2: Tensor | None = None) -> Tensor:
        """What the architecture's last layer would read [B, D]."""
        return self.body.features(self.input(streams))

    def stages(self) -> Iterator[nn.Module]:
        yield self.body

    def described(self) -> dict[str, Any]:
        return {"zoo": self.name, "channels": [list(channel) for channel in self.input.channels]}


def make_backbone(described: Mapping[str, Any]) -> Backbone:
    """A new backbone from what `described` said of one."""
    if "zoo" in described:
        channels = tuple((str(m), str(n), float(r)) for m, n, r in described["channels"])
        return ZooBackbone(described["zoo"], channels)
    return EncoderBackbone(make_embedder(stored_config(described["encoder"])))
