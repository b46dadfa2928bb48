"""Masked autoencoding over several modalities in one transformer (as MultiMAE; Bachmann et al., ECCV 2022).

Of each modality instants are hidden, of those that stay some channels, and now and then a modality as a whole: the
rest, of all modalities, has to say what was there. Modalities count alike, however fast they were sampled: the loss
of a window is the mean squared error over the hidden samples of a modality, and what is counted are windows ×
modalities.

Shape suffixes: B batch, M modalities, C channels, N patches in time, P samples of a patch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn

from ...models.decoder import DecoderConfig
from ...models.fused import FusedEncoder
from ...models.fused_decoder import FusedDecoder
from ...models.masks import Mask
from ...models.tokenizer import Patches, moments
from ...signals.randomness import uniform
from ...signals.windows import Batch
from .base import Objective, Outcome
from .masking import random_mask


@dataclass(frozen=True)
class MultimodalMAEConfig:
    """Masked autoencoding of several modalities."""

    mask_ratio: float = 0.5
    """Share of the instants of each modality hidden, in (0, 1)."""
    channel_mask_ratio: float = 0.5
    """Share of the channels hidden at each instant that stays, in [0, 1); of one channel, none."""
    modality_mask_ratio: float = 0.2
    """With which probability a modality of a window is hidden as a whole, in [0, 1); one always stays."""
    target: Literal["patch", "window"] = "window"
    """`patch`: each patch has zero mean and unit deviation. `window`: all of a window's modality is divided by
    one deviation."""
    decoder: DecoderConfig = field(default_factory=DecoderConfig)
    """The decoder."""

    def __post_init__(self) -> None:
        if not 0 < self.mask_ratio < 1:
            raise ValueError(f"mask_ratio must lie between 0 and 1, not {self.mask_ratio}")
        for name in ("channel_mask_ratio", "modality_mask_ratio"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} must lie in [0, 1), not {getattr(self, name)}")


class MultimodalMAE(Objective):
    """Encoder, decoder and loss."""

    encoder: FusedEncoder
    method = "masked autoencoding of several modalities"
    loss_of = "hidden samples, each modality counting alike"

    def __init__(self, encoder: FusedEncoder, config: MultimodalMAEConfig, stream: str) -> None:
        super().__init__(encoder, stream)
        self.config = config
        outputs = {p.modality: len(p.channels) * p.samples for p in encoder.inputs}
        self.decoder = FusedDecoder(config.decoder, encoder.width, outputs)

    def forward(self, batch: Batch) -> Outcome:
        """Sum over windows and modalities of the mean squared error over hidden, recorded samples."""
        windows = self.encoder.own(batch.streams)
        patches = {m: self.encoder.tokenizer(m).patches(w) for m, w in windows.items()}
        masks = self.draw_masks(batch, patches)
        times = {
            m: self.encoder.tokenizer(m).times_s(p.present_BCN.shape[2], p.values_BCNP.device)
            for m, p in patches.items()
        }
        said = self.decoder(self.encoder.hide(windows, patches, masks), times)
        loss_sum, targets = [], []
        for m, part in patches.items():
            weight_BCNP = hidden_samples(part, masks[m])
            error_BCNP = (
                self.as_channels(m, said[m], windows[m].channels) - self.target(part)
            ).square()
            count_B = weight_BCNP.sum(dim=(1, 2, 3))
            loss_sum.append(
                ((error_BCNP * weight_BCNP).sum(dim=(1, 2, 3)) / count_B.clamp_min(1)).sum()
            )
            targets.append((count_B > 0).sum())
        return Outcome(torch.stack(loss_sum).sum(), torch.stack(targets).sum().float())

    @torch.no_grad()
    def count(self, batch: Batch) -> Tensor:
        """Windows × modalities with anything hidden, without running the model."""
        windows = self.encoder.own(batch.streams)
        patches = {m: self.encoder.tokenizer(m).patches(w) for m, w in windows.items()}
        masks = self.draw_masks(batch, patches)
        hidden = [
            hidden_samples(part, masks[m]).flatten(1).any(dim=1) for m, part in patches.items()
        ]
        return torch.stack(hidden).sum().float()

    def blocks(self) -> Sequence[nn.Module]:
        """Encoder and decoder."""
        return [*super().blocks(), self.decoder.blocks]

    def as_channels(self, modality: str, said_BNO: Tensor, channels: tuple[str, ...]) -> Tensor:
        """What was said of each patch, of the windows' channels in their order [B, C, N, P], float32."""
        tokenizer = self.encoder.tokenizer(modality)
        B, N, _ = said_BNO.shape
        said_BMNP = said_BNO.float().view(B, N, -1, tokenizer.config.samples).transpose(1, 2)
        return said_BMNP[:, tokenizer.rows(channels)]

    def target(self, patches: Patches) -> Tensor:
        """Patches in the space of the loss [B, C, N, P]."""
        dims = (-1,) if self.config.target == "patch" else (1, 2, 3)
        valid = None if patches.complete else patches.valid_BCNP
        mean, deviation = moments(patches.values_BCNP, valid, dims)
        return (patches.values_BCNP - mean) / deviation

    def draw_masks(self, batch: Batch, patches: dict[str, Patches]) -> dict[str, Mask]:
        """The masks of every row, from its position."""
        masks = {
            m: random_mask(
                batch,
                part,
                joint=True,
                along="both",
                ratio=self.config.mask_ratio,
                lead_ratio=self.config.channel_mask_ratio,
                apart=f" {m}",
            )
            for m, part in patches.items()
        }
        there_BM = torch.stack(
            [part.present_BCN.flatten(1).any(dim=1) for part in patches.values()], dim=1
        )
        gone_BM = self.whole_modalities(batch, there_BM)
        return {
            m: without(masks[m], part, gone_BM[:, place])
            for place, (m, part) in enumerate(patches.items())
        }

    def whole_modalities(self, batch: Batch, there_BM: Tensor) -> Tensor:
        """Which modalities of a row are hidden as a whole [B, M]: never the last of those that are there."""
        M = there_BM.shape[1]
        draw_BM = uniform(batch.seed, batch.epoch, batch.positions, "modalities", M)
        staying_BM = (draw_BM - (~there_BM).float()).argmax(dim=1, keepdim=True)
        gone_BM = draw_BM < self.config.modality_mask_ratio
        return gone_BM.scatter(1, staying_BM, False)


def without(mask: Mask, patches: Patches, gone_B: Tensor) -> Mask:
    """The mask, with all that is there hidden in the rows that are `gone`."""
    attend = torch.ones_like(mask.keep, dtype=torch.bool) if mask.attend is None else mask.attend
    visible_BCN = mask.visible & ~gone_B[:, None, None]
    return Mask(
        mask.keep,
        attend & ~gone_B[:, None, None],
        visible_BCN,
        patches.present_BCN & ~visible_BCN,
    )


def hidden_samples(patches: Patches, mask: Mask) -> Tensor:
    """1 for hidden samples that were recorded, else 0 [B, C, N, P]."""
    return (mask.hidden[..., None] & patches.valid_BCNP).float()
