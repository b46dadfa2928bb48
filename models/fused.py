"""Several modalities in one transformer: patches of each become tokens, and all tokens attend to one another.

Rows may lack modalities, whole or in part: what is missing, or hidden, is padding that nobody attends to. Modalities
are told apart by a learned code, and meet in the time in seconds that every token carries.

A token spans all channels of its modality. Shape suffixes: B batch, N patches in time, K kept ones, L tokens of all
modalities, W width.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from ..signals.windows import Windows
from .encoder import SIZES, Embedder, Encoding, of_modality, pooled
from .layers import Blocks
from .masks import Mask
from .tokenizer import PatchConfig, Patches, PatchTokenizer


@dataclass(frozen=True)
class FusedConfig:
    """A vision transformer over patches of several modalities."""

    patches: Mapping[str, PatchConfig] = field(default_factory=dict)
    """Modality → how its windows become tokens; two or more."""
    size: Literal["mini", "tiny", "small", "base", "large"] = "mini"
    """Width, depth and heads: mini 192/6/3, tiny 192/12/3, small 384/12/6, base 768/12/12, large 1024/24/16."""
    depth: int | None = None
    """Number of blocks, where it is not the size's own."""

    def __post_init__(self) -> None:
        if len(self.patches) < 2:
            raise ValueError(
                f"patches: name two modalities or more, not {', '.join(self.patches) or 'none'}"
            )
        for modality, patch in self.patches.items():
            if patch.modality != modality:
                raise ValueError(
                    f"patches.{modality}: its modality must be {modality}, not {patch.modality}"
                )
            if patch.span != "all":
                raise ValueError(f"patches.{modality}: its span must be all, not {patch.span}")
        if self.depth is not None and self.depth < 1:
            raise ValueError(f"depth must be at least 1, not {self.depth}")


class Part(NamedTuple):
    """The tokens of one modality [B, 1, K, W]; which patches in time they stand for, and which of them may be
    attended to, bool [B, 1, K]."""

    tokens: Tensor
    keep: Tensor
    attend: Tensor


class FusedEncoder(Embedder):
    """A tokenizer for each modality, and blocks over the tokens of all."""

    config: FusedConfig

    def __init__(self, config: FusedConfig) -> None:
        super().__init__()
        self.config = config
        self.width, depth, heads = SIZES["vit"][config.size]
        self.tokenizers = nn.ModuleDict(
            {m: PatchTokenizer(patch, self.width) for m, patch in config.patches.items()}
        )
        codes = torch.randn(len(config.patches), self.width) * 0.02
        self.modality_embedding = nn.Parameter(codes)
        self.blocks = Blocks(self.width, config.depth or depth, heads)

    @property
    def kind(self) -> str:
        return f"vit {self.config.size} over {', '.join(self.config.patches)}"

    @property
    def dim(self) -> int:
        return self.width

    @property
    def inputs(self) -> Sequence[PatchConfig]:
        return list(self.config.patches.values())

    @property
    def layers(self) -> Sequence[nn.Module]:
        return list(self.blocks.blocks)

    def stages(self) -> Iterator[nn.Module]:
        yield self.tokenizers
        yield from self.blocks.blocks

    @property
    def skippable(self) -> int:
        return len(self.blocks.blocks)

    def tokenizer(self, modality: str) -> PatchTokenizer:
        """That of a modality."""
        found = self.tokenizers[modality]
        assert isinstance(found, PatchTokenizer)
        return found

    def own(self, streams: Mapping[str, Windows]) -> dict[str, Windows]:
        """The streams that it reads, by modality. Raises `ValueError` where there is none."""
        found = {m: of_modality(streams, m) for m in self.config.patches}
        there = {m: windows for m, windows in found.items() if windows is not None}
        if not there:
            raise ValueError(
                f"the encoder reads {', '.join(found)}, but the windows hold "
                f"{', '.join(w.modality for w in streams.values()) or 'nothing'}"
            )
        return there

    def part(self, windows: Windows, patches: Patches, mask: Mask | None = None) -> Part:
        """The tokens of a modality that are kept, before the blocks."""
        tokenizer = self.tokenizer(windows.modality)
        tokens_B1NW = tokenizer(windows, patches, None if mask is None else mask.visible).patches
        place = list(self.config.patches).index(windows.modality)
        tokens_B1NW = tokens_B1NW + self.modality_embedding[place]
        B, _, N, W = tokens_B1NW.shape
        if mask is None:
            everything = torch.arange(N, device=tokens_B1NW.device).expand(B, 1, N)
            return Part(tokens_B1NW, everything, patches.present_BCN.any(dim=1, keepdim=True))
        kept_B1KW = tokens_B1NW.gather(2, mask.keep[..., None].expand(-1, -1, -1, W))
        attend = (
            torch.ones_like(mask.keep, dtype=torch.bool) if mask.attend is None else mask.attend
        )
        return Part(kept_B1KW, mask.keep, attend)

    def through(self, parts: Sequence[Part], weight_BM2: Tensor | None = None) -> Tensor:
        """The blocks and the final norm over the tokens of all parts [B, L, W]."""
        attend_BL = torch.cat([part.attend.flatten(1) for part in parts], dim=1)
        # A row with nothing to attend to would be NaN: it looks at its padding instead.
        attend_BL = attend_BL | ~attend_BL.any(dim=1, keepdim=True)
        x_BLW = torch.cat([part.tokens.flatten(1, 2) for part in parts], dim=1)
        encoded_BLW: Tensor = self.blocks(x_BLW, attend_BL, weight_BM2)
        return encoded_BLW

    def embed(self, streams: Mapping[str, Windows], weight_BM2: Tensor | None = None) -> Tensor:
        """The mean of all tokens that are there."""
        tokens_BLW, there_BL = self._tokens(streams, weight_BM2)
        return pooled(tokens_BLW, there_BL, "mean")

    def embed_tokens(self, streams: Mapping[str, Windows]) -> tuple[Tensor, Tensor]:
        return self._tokens(streams, None)

    def _tokens(
        self, streams: Mapping[str, Windows], weight_BM2: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        parts = [
            self.part(windows, self.tokenizer(m).patches(windows))
            for m, windows in self.own(streams).items()
        ]
        there_BL = torch.cat([part.attend.flatten(1) for part in parts], dim=1)
        return self.through(parts, weight_BM2), there_BL

    def token_count(self, channels: Mapping[str, Sequence[str]], window_s: float) -> int:
        read = (patch for m, patch in self.config.patches.items() if m in channels)
        return sum(round(window_s * patch.rate_hz) // patch.samples for patch in read)

    def hide(
        self,
        windows: Mapping[str, Windows],
        patches: Mapping[str, Patches],
        masks: Mapping[str, Mask],
    ) -> dict[str, Encoding]:
        """What it makes of each modality, having seen of all what the masks leave visible."""
        parts = {m: self.part(windows[m], patches[m], masks[m]) for m in windows}
        encoded_BLW = self.through(list(parts.values()))
        sizes = [part.attend.flatten(1).shape[1] for part in parts.values()]
        found = {}
        for (m, part), own_BLW in zip(
            parts.items(), torch.split(encoded_BLW, sizes, dim=1), strict=True
        ):
            found[m] = Encoding(own_BLW.view_as(part.tokens), part.keep, part.attend, False)
        return found
