"""Masked autoencoding of signals: ST-MEM's spatio-temporal form, and a time-masked form that is cheap.

- `span: lead` patches with a mask drawn for each lead on its own, separators and a decoder that sees one
  lead at a time are ST-MEM (Na et al., ICLR 2024, arXiv 2402.09450).
- `span: all` patches cover all leads at one time: the mask hides instants, and a record costs a twelfth
  of the tokens.

The loss is the squared error on masked patches, over samples that were recorded. The mask of a row is a
function of (seed, epoch, position), so it is the same at any number of ranks.

Shape suffixes: B batch, G groups (leads, or 1), N patches in time, K kept patches, P samples of a patch.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from ...models.decoder import DecoderConfig, GroupDecoder
from ...models.encoder import ViTEncoder
from ...models.tokenizer import Patches
from ...signals.randomness import uniform
from ...signals.windows import Batch, Windows
from .base import Outcome


@dataclass(frozen=True)
class MAEConfig:
    """Masked autoencoding."""

    mask_ratio: float = 0.75
    """Share of a lead's patches that are hidden, in (0, 1)."""
    target: Literal["patch", "window"] = "patch"
    """`patch`: each patch is normalised to zero mean and unit deviation (He et al. 2022); `window`: not."""
    decoder: DecoderConfig = field(default_factory=DecoderConfig)
    """The decoder."""

    def __post_init__(self) -> None:
        if not 0 < self.mask_ratio < 1:
            raise ValueError(f"mask_ratio must lie between 0 and 1, not {self.mask_ratio}")


class Mask(NamedTuple):
    """`keep` [B, G, K] indices of visible patches; `attend` [B, G, K] False for padding, None if none;
    `masked` [B, G, N] patches to reconstruct."""

    keep: Tensor
    attend: Tensor | None
    masked: Tensor


class Reconstruction(NamedTuple):
    """What the objective saw and said, in the space of the loss, [B, G, N, P]."""

    target: Tensor
    prediction: Tensor
    patches: Patches
    mask: Mask


class MAE(nn.Module):
    """Encoder, decoder and loss. Called through `forward` alone, as data-parallel wrappers need."""

    def __init__(self, encoder: ViTEncoder, config: MAEConfig, stream: str) -> None:
        super().__init__()
        self.encoder = encoder
        self.config = config
        self.stream = stream
        patch = encoder.config.patch
        leads = 1 if patch.span == "lead" else len(patch.channels)
        self.decoder = GroupDecoder(config.decoder, encoder.dim, leads * patch.samples)

    def forward(self, batch: Batch) -> Outcome:
        """Sum of squared errors over masked, recorded samples; their number is the targets."""
        seen = self.reconstruct(batch)
        error = (seen.prediction.float() - seen.target).square()
        weight = (seen.mask.masked[..., None] & seen.patches.valid_BGNP).to(error.dtype)
        return Outcome((error * weight).sum(), weight.sum())

    @torch.no_grad()
    def count(self, batch: Batch) -> Tensor:
        """The number of samples `forward` will sum over, without running the model."""
        patches = self.encoder.tokenizer.patches(batch.streams[self.stream])
        B, G, N, P = patches.values_BGNP.shape
        if patches.complete:
            hidden = N - kept_of(N, self.config.mask_ratio)
            return torch.tensor(float(B * G * hidden * P), device=patches.values_BGNP.device)
        mask = draw_mask(batch, patches, self.config.mask_ratio)
        return (mask.masked[..., None] & patches.valid_BGNP).sum().float()

    def reconstruct(self, batch: Batch) -> Reconstruction:
        """Mask, encode, decode."""
        windows: Windows = batch.streams[self.stream]
        patches, tokens = self.encoder.tokenize(windows)
        mask = draw_mask(batch, patches, self.config.mask_ratio)
        encoding = self.encoder.encode(tokens, mask.keep, mask.attend)
        G, N = patches.present_BGN.shape[1:]
        prediction = self.decoder(
            encoding.tokens.view(len(batch), G, -1, self.encoder.dim),
            mask.keep,
            mask.attend,
            self.encoder.tokenizer.times_s(N, encoding.tokens.device),
            tokens.separators is not None,
        )
        target = normalise(patches) if self.config.target == "patch" else patches.values_BGNP
        return Reconstruction(target, prediction, patches, mask)


def draw_mask(batch: Batch, patches: Patches, ratio: float) -> Mask:
    """Keep `int(n · (1 − ratio))` of the n present patches of each group, at least one; hide the others.

    Missing patches are neither kept nor hidden. Where a group has fewer present patches than the batch's
    longest, its surplus places are padding.
    """
    present_BGN = patches.present_BGN
    B, G, N = present_BGN.shape
    noise_BGN = uniform(batch.seed, batch.epoch, batch.positions, "mask", G * N).view(B, G, N)
    if patches.complete:
        keep = noise_BGN.argsort(dim=-1)[..., : kept_of(N, ratio)]
        masked = torch.ones_like(present_BGN).scatter(-1, keep, False)
        return Mask(keep, None, masked)
    order = (noise_BGN + (~present_BGN).float()).argsort(dim=-1)
    there_BG = present_BGN.sum(dim=-1).int()
    kept_BG = (there_BG * (1 - ratio)).int().clamp_min(1).minimum(there_BG)
    K = kept_of(N, ratio)
    attend = torch.arange(K, device=order.device) < kept_BG[..., None]
    keep = order[..., :K]
    hidden = torch.ones_like(present_BGN).scatter(-1, keep, ~attend)
    return Mask(keep, attend, hidden & present_BGN)


def kept_of(patches: int, ratio: float) -> int:
    """How many of a complete group's patches stay visible (ST-MEM: 7 of 30 at 0.75)."""
    return max(1, int(patches * (1 - ratio)))


def normalise(patches: Patches) -> Tensor:
    """Patches [B, G, N, P] with zero mean and unit deviation over their recorded samples."""
    x, valid = patches.values_BGNP, patches.valid_BGNP.to(patches.values_BGNP.dtype)
    count = valid.sum(dim=-1, keepdim=True).clamp_min(1)
    mean = (x * valid).sum(dim=-1, keepdim=True) / count
    variance = ((x - mean).square() * valid).sum(dim=-1, keepdim=True) / count
    return (x - mean) / (variance + 1e-6).sqrt()
