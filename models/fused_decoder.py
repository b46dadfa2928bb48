"""The decoder of masked autoencoders of several modalities: sees the tokens of all, and fills in those of each.

One that saw a modality at a time, as decoders of one modality see a lead at a time, could say nothing of a modality
that is hidden as a whole.

Shape suffixes: B batch, N patches in time, K kept ones, L tokens of all modalities, E decoder width, O numbers of a
patch.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from .decoder import DecoderConfig
from .encoder import Encoding
from .layers import Blocks, initialise, time_code


class FusedDecoder(nn.Module):
    """What an encoder made of each modality → all its patches; `outputs` are the numbers of a patch of each."""

    def __init__(self, config: DecoderConfig, width: int, outputs: Mapping[str, int]) -> None:
        super().__init__()
        self.embed = nn.Linear(width, config.dim)
        self.mask_token = nn.ParameterDict(
            {m: nn.Parameter(torch.randn(config.dim) * 0.02) for m in outputs}
        )
        self.blocks = Blocks(config.dim, config.depth, config.heads)
        self.heads = nn.ModuleDict({m: nn.Linear(config.dim, size) for m, size in outputs.items()})
        self.embed.apply(initialise)
        self.heads.apply(initialise)

    def forward(
        self, seen: Mapping[str, Encoding], times: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """Modality → patches [B, N, O]; `times` are where they lie, in seconds [N]."""
        parts = [self._whole(m, encoding, times[m]) for m, encoding in seen.items()]
        out_BLE = self.blocks(torch.cat(parts, dim=1))
        split = torch.split(out_BLE, [part.shape[1] for part in parts], dim=1)
        return {m: self.heads[m](own_BNE) for m, own_BNE in zip(seen, split, strict=True)}

    def _whole(self, modality: str, seen: Encoding, times_N: Tensor) -> Tensor:
        """What is known at each patch, the mask's token elsewhere, and their times [B, N, E]."""
        kept_BKE = self.embed(seen.tokens[:, 0])
        blank_E = self.mask_token[modality].to(kept_BKE.dtype)
        if seen.attend is not None:
            kept_BKE = torch.where(seen.attend[:, 0, :, None], kept_BKE, blank_E)
        B, _, E = kept_BKE.shape
        index_BKE = seen.keep[:, 0, :, None].expand(-1, -1, E)
        whole_BNE = blank_E.expand(B, len(times_N), E).scatter(1, index_BKE, kept_BKE)
        placed_BNE: Tensor = whole_BNE + time_code(times_N, E).to(whole_BNE.dtype)
        return placed_BNE
