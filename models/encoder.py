"""What every encoder is: windows with any subset of channels → tokens, and one embedding.

Shape suffixes: B batch, G groups (leads, or 1), N patches in time, K kept patches of a group, L tokens
(G · N), W width of a token, D width of an embedding.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from torch import Tensor, nn

from ..signals.windows import Windows
from .masks import Mask
from .tokenizer import PatchConfig, Patcher, Patches

SIZES: dict[str, dict[str, tuple[int, ...]]] = {
    # Width, depth, heads (Dosovitskiy et al. 2021; tiny as in DeiT; mini is half of it).
    "vit": {
        "mini": (192, 6, 3),
        "tiny": (192, 12, 3),
        "small": (384, 12, 6),
        "base": (768, 12, 12),
        "large": (1024, 24, 16),
    },
    # Blocks of each stage (He et al. 2016; mini is ResNet-26).
    "xresnet": {
        "mini": (2, 2, 2, 2),
        "small": (3, 4, 6, 3),
        "base": (3, 4, 23, 3),
        "large": (3, 8, 36, 3),
    },
    # Width, depth of the context; base as published (arXiv 2103.12676).
    "lstm": {"mini": (128, 2), "small": (256, 2), "base": (512, 2)},
    "s4": {"mini": (128, 4), "small": (256, 4), "base": (512, 4)},
    "s4_causal": {"mini": (128, 4), "small": (256, 4), "base": (512, 4)},
    # Width (Kiyasseh et al. 2021, who compare these five).
    "clocs": {"mini": (32,), "tiny": (64,), "small": (128,), "base": (256,), "large": (320,)},
}
"""Backbone → size → its numbers."""


@dataclass(frozen=True)
class EncoderConfig:
    """An encoder of the windows of one modality."""

    backbone: Literal["vit", "xresnet", "lstm", "s4", "s4_causal", "clocs"] = "vit"
    """`vit`: transformer over patches. `xresnet`: convolutions. `lstm`, `s4_causal`: a convolution for each
    patch, and a recurrent or state-space net that sees the past alone. `s4`: the same, in both directions.
    `clocs`: three convolutions over a patch of one lead, with no context."""
    size: Literal["mini", "tiny", "small", "base", "large"] = "mini"
    """Width, depth and heads of a vit: mini 192/6/3 (for laptops), tiny 192/12/3, small 384/12/6, base
    768/12/12, large 1024/24/16. Layers of an xresnet: mini 26, small 50, base 101, large 152. Width of an lstm
    or s4: mini 128, small 256, base 512. Width of a clocs: 32, 64, 128, 256, 320."""
    depth: int | None = None
    """Number of blocks of a vit, or of layers of an lstm or s4, where it is not the size's own."""
    norm: Literal["tokens", "mean"] = "tokens"
    """vit: what the final norm of an embedding is taken of: the `tokens`, which are averaged then, or their
    `mean` (ST-MEM)."""
    pool: Literal["mean", "concat"] = "mean"
    """What an embedding is: the `mean` of the tokens; or their maximum, mean and last one side by side
    (`concat`), thrice as wide."""
    patch: PatchConfig = field(default_factory=PatchConfig)
    """How windows become tokens. `samples` of an xresnet is its stride: 4, 8, 16 or 32."""

    def __post_init__(self) -> None:
        sizes = SIZES[self.backbone]
        if self.size not in sizes:
            raise ValueError(f"size: {self.backbone} comes in {', '.join(sizes)}, not {self.size}")
        if self.depth is not None and self.depth < 1:
            raise ValueError(f"depth must be at least 1, not {self.depth}")
        if self.depth is not None and self.backbone in ("xresnet", "clocs"):
            raise ValueError(f"depth: that of {self.backbone} is its size's own; leave it null")
        if self.backbone == "vit":
            if self.pool == "concat" and self.norm == "mean":
                raise ValueError("norm: mean is for pool: mean")
            return
        if self.norm != "tokens":
            raise ValueError(f"norm: {self.backbone} has no final norm; leave it at tokens")
        if self.patch.separators or self.patch.positions is not None:
            raise ValueError(
                f"patch: separators and positions are a vit's, and not for {self.backbone}"
            )
        span = "lead" if self.backbone == "clocs" else "all"
        if self.patch.span != span:
            raise ValueError(
                f"patch.span must be {span} for {self.backbone}, not {self.patch.span}"
            )

    @property
    def numbers(self) -> tuple[int, ...]:
        """What the size means for this backbone."""
        return SIZES[self.backbone][self.size]


class Encoding(NamedTuple):
    """Tokens as the last layer leaves them [B, G, K, W], with a separator at both ends of each group where
    `separators`; `keep` [B, G, K] says which patches in time they stand for, `attend` [B, G, K] is False for
    padding, None where there is none."""

    tokens: Tensor
    keep: Tensor
    attend: Tensor | None
    separators: bool


class Embedder(nn.Module):
    """Streams of windows, of one modality or several → one embedding a window, and tokens."""

    config: Any
    """What it is made from: a frozen dataclass."""
    width: int
    """Of a token."""

    @property
    @abstractmethod
    def kind(self) -> str:
        """What people call it: its backbone and size."""

    @property
    @abstractmethod
    def dim(self) -> int:
        """Width of an embedding."""

    @property
    @abstractmethod
    def inputs(self) -> Sequence[PatchConfig]:
        """What it reads of each modality."""

    @abstractmethod
    def embed(self, streams: Mapping[str, Windows], weight_BM2: Tensor | None = None) -> Tensor:
        """Embeddings [B, D]. `weight_BM2` are factors on the two branches of each of the M blocks that may be
        skipped (stochastic depth). Raises `ValueError` where nothing that it reads is among the streams."""

    @abstractmethod
    def embed_tokens(self, streams: Mapping[str, Windows]) -> tuple[Tensor, Tensor]:
        """(tokens [B, L, W]; which have samples, bool [B, L])."""

    @abstractmethod
    def token_count(self, channels: Mapping[str, Sequence[str]], window_s: float) -> int:
        """L, of windows of so many seconds with these channels of each modality; of one that is not named, with all
        that the encoder knows."""

    @property
    @abstractmethod
    def layers(self) -> Sequence[nn.Module]:
        """Blocks in order, each of which leaves what the next one reads."""

    @abstractmethod
    def stages(self) -> Iterator[nn.Module]:
        """All parts from the input to the output, which may learn at different rates."""

    @property
    def skippable(self) -> int:
        """Blocks that stochastic depth may skip."""
        return 0


class Encoder(Embedder):
    """Windows of one modality → tokens and embeddings. A subclass sets `width` and `tokenizer`.

    `forward` of one batch's windows gives the embeddings [B, D]; missing patches have no part in them.
    """

    causal: ClassVar[bool] = False
    """Whether a token knows nothing of what comes after it."""
    config: EncoderConfig
    tokenizer: Patcher

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config

    @property
    def dim(self) -> int:
        """Width of an embedding."""
        return self.width * (3 if self.config.pool == "concat" else 1)

    @abstractmethod
    def run(self, windows: Windows, patches: Patches, weight_BM2: Tensor | None = None) -> Tensor:
        """Whole windows → tokens as the last layer leaves them [B, …, W].

        `weight_BM2` are factors on the two branches of each of the M blocks (stochastic depth).
        """

    @abstractmethod
    def hide(self, windows: Windows, patches: Patches, mask: Mask) -> Encoding:
        """Windows of which the encoder sees what the mask leaves visible → tokens after the final norm."""

    @abstractmethod
    def normed(self, tokens: Tensor) -> Tensor:
        """The final norm, where there is one."""

    @property
    def kind(self) -> str:
        return f"{self.config.backbone} {self.config.size}"

    @property
    def inputs(self) -> Sequence[PatchConfig]:
        return (self.config.patch,)

    def embed(self, streams: Mapping[str, Windows], weight_BM2: Tensor | None = None) -> Tensor:
        embeddings: Tensor = self(self.own(streams), weight_BM2)
        return embeddings

    def embed_tokens(self, streams: Mapping[str, Windows]) -> tuple[Tensor, Tensor]:
        return self.tokens(self.own(streams))

    def own(self, streams: Mapping[str, Windows]) -> Windows:
        """The windows that it reads. Raises `ValueError` where they are not there."""
        found = of_modality(streams, self.config.patch.modality)
        if found is None:
            raise ValueError(
                f"the encoder reads {self.config.patch.modality}, but the windows hold "
                f"{', '.join(streams) or 'nothing'}"
            )
        return found

    def token_count(self, channels: Mapping[str, Sequence[str]], window_s: float) -> int:
        patch = self.config.patch
        groups = 1 if self.tokenizer.joint else len(channels.get(patch.modality, patch.channels))
        return groups * (round(window_s * patch.rate_hz) // patch.samples)

    def forward(self, windows: Windows, weight_BM2: Tensor | None = None) -> Tensor:
        """Windows → embeddings [B, D]."""
        patches = self.tokenizer.patches(windows)
        return self.pool(self.run(windows, patches, weight_BM2), self.there(patches))

    def tokens(self, windows: Windows) -> tuple[Tensor, Tensor]:
        """(tokens after the final norm, without separators [B, L, W]; which have samples, bool [B, L])."""
        patches = self.tokenizer.patches(windows)
        there_BGN = self.there(patches)
        normed = self.normed(self.run(windows, patches))
        return self.grouped(normed, there_BGN.shape[1]).flatten(1, 2), there_BGN.flatten(1)

    def there(self, patches: Patches) -> Tensor:
        """Which patches of each group of tokens have samples [B, G, N]."""
        present_BCN = patches.present_BCN
        return present_BCN.any(dim=1, keepdim=True) if self.tokenizer.joint else present_BCN

    def grouped(self, tokens: Tensor, groups: int) -> Tensor:
        """Tokens as a layer leaves them → [B, G, N, W], those of patches alone."""
        return tokens.view(len(tokens), groups, -1, self.width)

    def pool(self, tokens: Tensor, there_BGN: Tensor) -> Tensor:
        """Tokens as a layer leaves them → embeddings [B, D], of patches that are there."""
        tokens_BGNW = self.grouped(self.normed(tokens), there_BGN.shape[1])
        return pooled(tokens_BGNW.flatten(1, 2), there_BGN.flatten(1), self.config.pool)


def of_modality(streams: Mapping[str, Windows], modality: str) -> Windows | None:
    """The stream of a modality, whatever it is called."""
    return next((w for w in streams.values() if w.modality == modality), None)


def pooled(tokens_BLW: Tensor, there_BL: Tensor, how: str) -> Tensor:
    """The mean of the tokens that are there [B, W]; or maximum, mean and last [B, 3 W]. Of none, 0."""
    weight_BL1 = there_BL.to(tokens_BLW.dtype)[..., None]
    mean_BW = (tokens_BLW * weight_BL1).sum(dim=1) / weight_BL1.sum(dim=1).clamp_min(1)
    if how == "mean":
        return mean_BW
    least = torch.finfo(tokens_BLW.dtype).min
    some_B1 = there_BL.any(dim=1, keepdim=True)
    most_BW = tokens_BLW.masked_fill(~there_BL[..., None], least).amax(dim=1)
    places_L = torch.arange(there_BL.shape[1], device=there_BL.device)
    last_B = (there_BL * places_L).amax(dim=1)
    last_BW = tokens_BLW[torch.arange(len(tokens_BLW), device=last_B.device), last_B]
    return torch.cat([most_BW * some_B1, mean_BW, last_BW * some_B1], dim=1)
