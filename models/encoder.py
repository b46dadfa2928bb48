"""The ViT encoder: windows with any subset of channels → tokens and one pooled embedding.

Masked tokens are dropped before the blocks (He et al. 2022): at a mask ratio of 0.75 the encoder does a
quarter of the work. Rows of a batch keep equally many tokens; where samples are missing, the surplus
ones are padding that nobody attends to.

Shape suffixes: B batch, G groups, N patches in time, K kept patches of a group, L tokens, D width.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from ..signals.windows import Windows
from .layers import Blocks
from .tokenizer import PatchConfig, PatchTokenizer, Tokens

SIZES: dict[str, tuple[int, int, int]] = {
    "mini": (192, 6, 3),
    "tiny": (192, 12, 3),
    "small": (384, 12, 6),
    "base": (768, 12, 12),
    "large": (1024, 24, 16),
}
"""Size → width, depth, heads (Dosovitskiy et al. 2021; tiny as in DeiT; mini is half of it)."""


@dataclass(frozen=True)
class EncoderConfig:
    """A vision transformer over patches of a signal."""

    size: Literal["mini", "tiny", "small", "base", "large"] = "mini"
    """Width, depth and heads: mini 192/6/3 (for laptops), tiny 192/12/3, small 384/12/6, base 768/12/12,
    large 1024/24/16."""
    depth: int | None = None
    """Number of blocks, where it is not the size's own."""
    norm: Literal["tokens", "mean"] = "tokens"
    """What the final norm of an embedding is taken of: the `tokens`, which are averaged then, or their
    `mean` (ST-MEM)."""
    patch: PatchConfig = field(default_factory=PatchConfig)
    """How windows become tokens."""

    def __post_init__(self) -> None:
        if self.depth is not None and self.depth < 1:
            raise ValueError(f"depth must be at least 1, not {self.depth}")


class Encoding(NamedTuple):
    """`tokens` [B, L, D] after the final norm, or before it where that was asked for; `attend` [B, L] is
    False for padding, None where there is none."""

    tokens: Tensor
    attend: Tensor | None


class ViTEncoder(nn.Module):
    """Patch tokenizer and transformer blocks."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        dim, depth, heads = SIZES[config.size]
        self.dim = dim
        self.tokenizer = PatchTokenizer(config.patch, dim)
        self.blocks = Blocks(dim, config.depth or depth, heads)

    def forward(self, windows: Windows, weight_BM2: Tensor | None = None) -> Tensor:
        """Windows → embeddings [B, D]: the mean of the tokens, without separators and missing patches.

        `weight_BM2` are factors on the two branches of each of the M blocks (stochastic depth).
        """
        patches = self.tokenizer.patches(windows)
        tokens: Tokens = self.tokenizer(windows, patches)
        B, G, N, _ = tokens.patches.shape
        everything = torch.arange(N, device=tokens.patches.device).expand(B, G, N)
        there_BGN = patches.present_BCN
        if self.tokenizer.joint:
            there_BGN = there_BGN.any(dim=1, keepdim=True)
        encoding = self.encode(
            tokens, everything, None if patches.complete else there_BGN, weight_BM2, normed=False
        )
        return self.pool(encoding.tokens, there_BGN)

    def pool(self, tokens_BLD: Tensor, there_BGN: Tensor) -> Tensor:
        """Tokens as a block leaves them → embeddings [B, D]: mean over those of patches that are there."""
        if self.config.norm == "tokens":
            tokens_BLD = self.blocks.norm(tokens_BLD)
        kept_BGND = self.without_separators(tokens_BLD, there_BGN.shape[1])
        weight = there_BGN.to(kept_BGND.dtype)[..., None]
        mean_BD = (kept_BGND * weight).sum(dim=(1, 2)) / weight.sum(dim=(1, 2)).clamp_min(1)
        return mean_BD if self.config.norm == "tokens" else self.blocks.norm(mean_BD)

    def encode(
        self,
        tokens: Tokens,
        keep_BGK: Tensor,
        attend_BGK: Tensor | None = None,
        weight_BM2: Tensor | None = None,
        *,
        normed: bool = True,
    ) -> Encoding:
        """Run the blocks over the kept tokens of all groups, jointly; then the final norm where `normed`.

        `keep_BGK` are indices along N; `attend_BGK` is False for kept tokens that are only padding;
        `weight_BM2` are factors on the two branches of each of the M blocks.
        """
        D = self.dim
        x_BGKD = tokens.patches.gather(2, keep_BGK[..., None].expand(-1, -1, -1, D))
        if tokens.separators is not None:
            B, G = keep_BGK.shape[:2]
            before_BG1D, after_BG1D = (
                tokens.separators.to(x_BGKD.dtype)[:, None, :, None].expand(2, B, G, 1, D).unbind()
            )
            x_BGKD = torch.cat([before_BG1D, x_BGKD, after_BG1D], dim=2)
            if attend_BGK is not None:
                # A lead with nothing to show is as good as absent: so are its separators.
                edge_BG1 = attend_BGK.any(dim=2, keepdim=True)
                attend_BGK = torch.cat([edge_BG1, attend_BGK, edge_BG1], dim=2)
        attend_BL = None
        if attend_BGK is not None:
            attend_BL = attend_BGK.flatten(1)
            # A row with nothing to attend to would be NaN: it looks at its padding instead.
            attend_BL = attend_BL | ~attend_BL.any(dim=1, keepdim=True)
        encoded_BLD = self.blocks(x_BGKD.flatten(1, 2), attend_BL, weight_BM2, normed=normed)
        return Encoding(encoded_BLD, attend_BL)

    def without_separators(self, tokens_BLD: Tensor, groups: int) -> Tensor:
        """[B, L, D] → [B, G, K, D], the tokens of patches alone."""
        tokens_BGKD = tokens_BLD.view(len(tokens_BLD), groups, -1, self.dim)
        return tokens_BGKD[:, :, 1:-1] if self.config.patch.separators else tokens_BGKD
