"""Masked autoencoding of signals: ST-MEM's spatio-temporal form, and one with a twelfth of the tokens.

- Where a token is a patch of one lead, a mask is drawn for each lead on its own, with separators and a
  decoder that sees one lead at a time: ST-MEM (Na et al., ICLR 2024, arXiv 2402.09450).
- Where a token spans all leads, the mask hides instants, and of the instants that stay it hides some of
  the leads: the encoder still has to learn both the beat in time and the heart's axis across leads.

The loss is the squared error on hidden patches, over samples that were recorded. The mask of a row is a
function of (seed, epoch, position), so it is the same at any number of ranks.

Shape suffixes: B batch, C channels, N patches in time, P samples of a patch, K kept tokens of a group,
G groups of tokens (the leads, or 1).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from ...models.decoder import DecoderConfig, GroupDecoder
from ...models.encoder import Encoder
from ...models.masks import Mask
from ...models.tokenizer import Patches, moments
from ...signals.windows import Batch, Windows
from .base import Objective, Outcome
from .masking import Along, random_mask


@dataclass(frozen=True)
class MAEConfig:
    """Masked autoencoding."""

    mask_ratio: float = 0.5
    """Share of a lead's patches, of the instants or of the leads hidden, in (0, 1)."""
    lead_mask_ratio: float = 0.5
    """Share of the leads hidden at each instant that stays, in [0, 1); where a token spans all leads and both are
    masked."""
    mask: Along = "both"
    """What is hidden: `both`, each lead's own patches (where a token spans all leads: instants, and of those that
    stay some leads); `time`, the same instants of all leads; `lead`, whole leads."""
    target: Literal["patch", "window"] = "window"
    """`patch`: each patch has zero mean and unit deviation (He et al. 2022, ST-MEM), so that flat parts count
    as much as beats. `window`: all of a window is divided by one deviation."""
    decoder: DecoderConfig = field(default_factory=DecoderConfig)
    """The decoder."""

    def __post_init__(self) -> None:
        if not 0 < self.mask_ratio < 1:
            raise ValueError(f"mask_ratio must lie between 0 and 1, not {self.mask_ratio}")
        if not 0 <= self.lead_mask_ratio < 1:
            raise ValueError(f"lead_mask_ratio must lie in [0, 1), not {self.lead_mask_ratio}")


class Reconstruction(NamedTuple):
    """What the objective saw and said, in the space of the loss, [B, C, N, P].

    `signal = said · deviation + mean` leads back to the patches' values.
    """

    target: Tensor
    prediction: Tensor
    mean: Tensor
    deviation: Tensor
    patches: Patches
    mask: Mask


class MAE(Objective):
    """Encoder, decoder and loss. Called through `forward` alone, as data-parallel wrappers need."""

    encoder: Encoder
    method = "masked autoencoding"
    loss_of = "hidden samples"

    def __init__(self, encoder: Encoder, config: MAEConfig, stream: str) -> None:
        super().__init__(encoder, stream)
        self.config = config
        patch = encoder.config.patch
        if config.mask == "lead" and not encoder.tokenizer.joint and not patch.separators:
            raise ValueError(
                "objective.mask lead: a lead that is hidden as a whole leaves the decoder nothing to begin with "
                "but its separators: set model.patch.separators true, or model.patch.span all"
            )
        leads = len(patch.channels) if encoder.tokenizer.joint else 1
        self.decoder = GroupDecoder(config.decoder, encoder.width, leads * patch.samples)

    def forward(self, batch: Batch) -> Outcome:
        """Sum of squared errors over hidden, recorded samples; their number is the targets."""
        seen = self.reconstruct(batch)
        error = (seen.prediction.float() - seen.target).square()
        weight = (seen.mask.hidden[..., None] & seen.patches.valid_BCNP).to(error.dtype)
        return Outcome((error * weight).sum(), weight.sum())

    @torch.no_grad()
    def count(self, batch: Batch) -> Tensor:
        """The number of samples `forward` will sum over, without running the model."""
        patches = self.encoder.tokenizer.patches(batch.streams[self.stream])
        mask = self.draw_mask(batch, patches)
        return (mask.hidden[..., None] & patches.valid_BCNP).sum().float()

    def blocks(self) -> Sequence[nn.Module]:
        """Encoder and decoder."""
        return [*super().blocks(), self.decoder.blocks]

    def reconstruct(self, batch: Batch) -> Reconstruction:
        """Mask, encode, decode."""
        windows: Windows = batch.streams[self.stream]
        tokenizer = self.encoder.tokenizer
        patches = tokenizer.patches(windows)
        mask = self.draw_mask(batch, patches)
        seen = self.encoder.hide(windows, patches, mask)
        B, _, N, P = patches.values_BCNP.shape
        times_N = tokenizer.times_s(N, seen.tokens.device)
        prediction: Tensor = self.decoder(
            seen.tokens, seen.keep, seen.attend, times_N, seen.separators
        )
        if tokenizer.joint:
            leads = prediction.view(B, N, -1, P).transpose(1, 2)
            rows = tokenizer.rows(windows.channels)
            prediction = leads if rows == list(range(leads.shape[1])) else leads[:, rows]
        mean, deviation = self.target_scale(patches)
        target = (patches.values_BCNP - mean) / deviation
        return Reconstruction(target, prediction, mean, deviation, patches, mask)

    def target_scale(self, patches: Patches) -> tuple[Tensor, Tensor]:
        """Mean and deviation that targets are brought to, of each patch or of each window."""
        dims = (-1,) if self.config.target == "patch" else (1, 2, 3)
        return moments(patches.values_BCNP, None if patches.complete else patches.valid_BCNP, dims)

    def draw_mask(self, batch: Batch, patches: Patches) -> Mask:
        """The mask of every row, from its position."""
        return random_mask(
            batch,
            patches,
            joint=self.encoder.tokenizer.joint,
            along=self.config.mask,
            ratio=self.config.mask_ratio,
            lead_ratio=self.config.lead_mask_ratio,
        )
