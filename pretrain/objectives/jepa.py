"""JEPA: what an encoder would make of hidden parts of a signal is said from the parts that it sees.

Assran et al. (CVPR 2023, arXiv 2301.08243) for images; ECG-JEPA (Kim 2024, arXiv 2410.08559) for ECG. Blocks in time
are hidden from the encoder. A slow copy of it (`ema`) sees the whole window, and a narrow predictor says the copy's
tokens at hidden places from the encoder's tokens at visible ones. Nothing has to be reconstructed sample by sample:
noise that nobody can foretell is nobody's target.

Targets are normalised over their width, as published, and then each feature over the tokens of the batch
(`ema.standardised`). Without the latter the model of configs/pretrain/jepa_ptbxl.yaml learned within 348 steps to
make all tokens alike: 94 % of its targets' squares was then one vector that all tokens shared (70 % before the
first step; 97 % at momentum 0.99), and the loss fell twentyfold.

The blocks of a row are a function of (seed, epoch, position), the same at any number of ranks. That the targets
move means two things: validation losses at different steps are not of one and the same task, so the last model is
kept as the best; and all tokens could become equal: `pretrain.watch` looks for that.

Shape suffixes: B batch, G groups of tokens (the leads, or 1), N patches in time, W width of a token.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...models.decoder import DecoderConfig, GroupDecoder
from ...models.encoder import Encoder
from ...models.masks import Mask
from ...models.tokenizer import Patches
from ...signals.windows import Batch, Windows
from .base import Objective, Outcome
from .ema import SlowCopy, check_momentum, momentum_at, standardised
from .masking import block_mask


@dataclass(frozen=True)
class JEPAConfig:
    """Prediction of the tokens of hidden blocks."""

    mask_ratio: float = 0.5
    """Share of a window's time that is hidden, in (0, 1); rounded to whole blocks."""
    block_s: float = 1.0
    """Length of a hidden block in seconds; rounded to whole patches."""
    momentum: float = 0.996
    """Share of itself that the slow copy keeps at each step, at the run's begin; it grows to 1 at its end."""
    predictor: DecoderConfig = field(
        default_factory=lambda: DecoderConfig(dim=96, depth=3, heads=3)
    )
    """The predictor, narrower than the encoder; it is thrown away after pretraining."""

    def __post_init__(self) -> None:
        if not 0 < self.mask_ratio < 1:
            raise ValueError(f"mask_ratio must lie between 0 and 1, not {self.mask_ratio}")
        if not self.block_s > 0:
            raise ValueError(f"block_s must be above 0 s, not {self.block_s}")
        check_momentum(self.momentum)


class JEPA(Objective):
    """Encoder, its slow copy, and the predictor between them."""

    encoder: Encoder
    method = "prediction of the tokens of hidden blocks (JEPA)"
    comparable = False
    loss_of = "hidden tokens"

    def __init__(self, encoder: Encoder, config: JEPAConfig, stream: str) -> None:
        super().__init__(encoder, stream)
        self.config = config
        self.slow = SlowCopy(encoder)
        self.predictor = GroupDecoder(config.predictor, encoder.width, encoder.width)

    def forward(self, batch: Batch) -> Outcome:
        """Sum over hidden tokens of the smooth L1 error, the mean over their width; their number is the targets."""
        windows: Windows = batch.streams[self.stream]
        patches = self.encoder.tokenizer.patches(windows)
        mask = self.draw_mask(batch, patches)
        seen = self.encoder.hide(windows, patches, mask)
        times_N = self.encoder.tokenizer.times_s(mask.hidden.shape[2], seen.tokens.device)
        said_BGNW: Tensor = self.predictor(
            seen.tokens, seen.keep, seen.attend, times_N, seen.separators
        )
        target_BGNW = self.targets(windows).view_as(said_BGNW)
        error_BGN = F.smooth_l1_loss(said_BGNW.float(), target_BGNW, reduction="none").mean(dim=-1)
        hidden_BGN = self.hidden(mask).to(error_BGN.dtype)
        return Outcome((error_BGN * hidden_BGN).sum(), hidden_BGN.sum())

    @torch.no_grad()
    def count(self, batch: Batch) -> Tensor:
        """The number of hidden tokens, without running the model."""
        patches = self.encoder.tokenizer.patches(batch.streams[self.stream])
        return self.hidden(self.draw_mask(batch, patches)).sum().float()

    def after_step(self, done: float) -> None:
        """The slow copy follows."""
        self.slow.follow(self.encoder, momentum_at(self.config.momentum, done))

    def blocks(self) -> Sequence[nn.Module]:
        """Encoder, its copy and the predictor."""
        return [*super().blocks(), *self.slow.module.layers, self.predictor.blocks]

    @torch.no_grad()
    def targets(self, windows: Windows) -> Tensor:
        """The slow copy's tokens of whole windows, normalised over their width and over the batch [B, G · N, W]."""
        tokens_BLW, there_BL = self.slow.module.tokens(windows)
        normed_BLW = F.layer_norm(tokens_BLW.float(), tokens_BLW.shape[-1:])
        return standardised(normed_BLW, there_BL, together=self.training)

    def hidden(self, mask: Mask) -> Tensor:
        """Which tokens are hidden, and there [B, G, N]."""
        if self.encoder.tokenizer.joint:
            return mask.hidden.any(dim=1, keepdim=True)
        return mask.hidden

    def draw_mask(self, batch: Batch, patches: Patches) -> Mask:
        """The mask of every row, from its position."""
        patch = self.encoder.config.patch
        return block_mask(
            batch,
            patches,
            joint=self.encoder.tokenizer.joint,
            ratio=self.config.mask_ratio,
            block=max(1, round(self.config.block_s * patch.rate_hz / patch.samples)),
        )
