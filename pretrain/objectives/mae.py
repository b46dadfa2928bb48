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

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from ...models.decoder import DecoderConfig, GroupDecoder
from ...models.encoder import ViTEncoder
from ...models.tokenizer import Patches, Tokens, moments
from ...signals.randomness import uniform
from ...signals.windows import Batch, Windows
from .base import Objective, Outcome


@dataclass(frozen=True)
class MAEConfig:
    """Masked autoencoding."""

    mask_ratio: float = 0.5
    """Share of a lead's patches (of the instants, where a token spans all leads) hidden, in (0, 1)."""
    lead_mask_ratio: float = 0.5
    """Share of the leads hidden at each instant that stays, in [0, 1); where a token spans all leads."""
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


class Mask(NamedTuple):
    """What the encoder sees: `keep` [B, G, K] indices of tokens; `attend` [B, G, K] False for padding, None
    where there is none; `visible` and `hidden` [B, C, N] patches that are input and target."""

    keep: Tensor
    attend: Tensor | None
    visible: Tensor
    hidden: Tensor


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

    method = "masked autoencoding"
    loss_of = "hidden samples"

    def __init__(self, encoder: ViTEncoder, config: MAEConfig, stream: str) -> None:
        super().__init__(encoder, stream)
        self.config = config
        patch = encoder.config.patch
        leads = len(patch.channels) if encoder.tokenizer.joint else 1
        self.decoder = GroupDecoder(config.decoder, encoder.dim, leads * patch.samples)

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
        return [self.encoder.blocks, self.decoder.blocks]

    def reconstruct(self, batch: Batch) -> Reconstruction:
        """Mask, encode, decode."""
        windows: Windows = batch.streams[self.stream]
        tokenizer = self.encoder.tokenizer
        patches = tokenizer.patches(windows)
        mask = self.draw_mask(batch, patches)
        tokens: Tokens = tokenizer(windows, patches, mask.visible)
        encoding = self.encoder.encode(tokens, mask.keep, mask.attend)
        B, _, N, P = patches.values_BCNP.shape
        prediction: Tensor = self.decoder(
            encoding.tokens.view(B, mask.keep.shape[1], -1, self.encoder.dim),
            mask.keep,
            mask.attend,
            tokenizer.times_s(N, encoding.tokens.device),
            tokens.separators is not None,
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
        """The mask of every row, from its position. Missing patches are neither visible nor hidden."""
        present_BCN, ratio = patches.present_BCN, self.config.mask_ratio
        B, C, N = present_BCN.shape
        if N < 2:
            raise ValueError(
                "a window of one patch leaves nothing to hide: shorten model.patch.samples or lengthen data.window_s"
            )
        if not self.encoder.tokenizer.joint:
            noise_BCN = uniform(batch.seed, batch.epoch, batch.positions, "mask", C * N).view(
                B, C, N
            )
            keep, attend, kept_BCN = keep_some(noise_BCN, present_BCN, ratio, patches.complete)
            return Mask(keep, attend, kept_BCN, present_BCN & ~kept_BCN)
        noise_B1N = uniform(batch.seed, batch.epoch, batch.positions, "mask", N).view(B, 1, N)
        there_B1N = present_BCN.any(dim=1, keepdim=True)
        keep, attend, kept_B1N = keep_some(noise_B1N, there_B1N, ratio, patches.complete)
        noise_BCN = uniform(batch.seed, batch.epoch, batch.positions, "leads", C * N).view(B, C, N)
        # Ranks among the leads that are there: at each instant the same share of them is hidden.
        rank_BCN = (noise_BCN + (~present_BCN).float()).argsort(dim=1, stable=True).argsort(dim=1)
        shown_B1N = present_BCN.sum(dim=1, keepdim=True) * (1 - self.config.lead_mask_ratio)
        visible_BCN = present_BCN & kept_B1N & (rank_BCN < shown_B1N.round().clamp_min(1))
        return Mask(keep, attend, visible_BCN, present_BCN & ~visible_BCN)


def keep_some(
    noise_BGN: Tensor, present_BGN: Tensor, ratio: float, complete: bool
) -> tuple[Tensor, Tensor | None, Tensor]:
    """Keep `⌊n · (1 − ratio)⌋` of the n present tokens of each group, at least one.

    Returns their indices [B, G, K], False for those that are padding [B, G, K] (None when complete), and
    the kept tokens as flags [B, G, N]. ST-MEM keeps 7 of 30 at 0.75.
    """
    there_BG = present_BGN.sum(dim=-1)
    # In float64, and with a hair's breadth of room, so that 20 · (1 − 0.8) is 4 and not 3.99.
    kept_BG = (there_BG.double() * (1 - ratio) + 1e-9).floor().long().clamp_min(1).minimum(there_BG)
    N = noise_BGN.shape[-1]
    K = max(1, math.floor(N * (1 - ratio) + 1e-9))
    keep = (noise_BGN + (~present_BGN).float()).argsort(dim=-1, stable=True)[..., :K]
    if complete:
        return keep, None, torch.zeros_like(present_BGN).scatter(-1, keep, True)
    attend = torch.arange(K, device=keep.device) < kept_BG[..., None]
    return keep, attend, torch.zeros_like(present_BGN).scatter(-1, keep, attend)
