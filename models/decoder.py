"""The decoder of masked autoencoders: sees one group (lead) at a time, all groups of a batch at once.

ST-MEM (Na et al., ICLR 2024) decodes each lead alone, so that leads can only meet in the encoder. Here the
leads are folded into the batch, which is the same function without a loop.

Shape suffixes: B batch, G groups (leads, or 1), N patches in time, K kept tokens, E decoder width,
P samples that a token stands for.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .layers import Blocks, initialise, time_code


@dataclass(frozen=True)
class DecoderConfig:
    """A small transformer that reconstructs masked patches; it is thrown away after pretraining."""

    dim: int = 256
    """Width."""
    depth: int = 4
    """Number of blocks."""
    heads: int = 4
    """Attention heads."""


class GroupDecoder(nn.Module):
    """Kept tokens of each group → all its patches."""

    def __init__(self, config: DecoderConfig, encoder_dim: int, token_samples: int) -> None:
        super().__init__()
        self.embed = nn.Linear(encoder_dim, config.dim)
        self.mask_token = nn.Parameter(torch.randn(config.dim) * 0.02)
        self.blocks = Blocks(config.dim, config.depth, config.heads)
        self.head = nn.Linear(config.dim, token_samples)
        self.embed.apply(initialise)
        self.head.apply(initialise)

    def forward(
        self,
        encoded_BGKD: Tensor,
        keep_BGK: Tensor,
        attend_BGK: Tensor | None,
        times_N: Tensor,
        separators: bool,
    ) -> Tensor:
        """Encoded tokens (with a separator at both ends where `separators`) → patches [B, G, N, P]."""
        B, G = keep_BGK.shape[:2]
        N = len(times_N)
        x_XKE = self.embed(encoded_BGKD).flatten(0, 1)
        kept_XKE = x_XKE[:, 1:-1] if separators else x_XKE
        if attend_BGK is not None:
            kept_XKE = torch.where(
                attend_BGK.flatten(0, 1)[..., None], kept_XKE, self.mask_token.to(kept_XKE.dtype)
            )
        E = kept_XKE.shape[-1]
        index = keep_BGK.flatten(0, 1)[..., None].expand(-1, -1, E)
        full_XNE = (
            self.mask_token.to(kept_XKE.dtype).expand(B * G, N, E).scatter(1, index, kept_XKE)
        )
        full_XNE = full_XNE + time_code(times_N, E).to(full_XNE.dtype)
        if separators:
            full_XNE = torch.cat([x_XKE[:, :1], full_XNE, x_XKE[:, -1:]], dim=1)
        out_XNE = self.blocks(full_XNE)
        patches_XNP: Tensor = self.head(out_XNE[:, 1:-1] if separators else out_XNE)
        return patches_XNP.view(B, G, N, -1)
