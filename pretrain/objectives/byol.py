"""BYOL: a view of a window says what a slow copy makes of another (Grill et al., NeurIPS 2020, arXiv 2006.07733).

Each window is changed at random twice (`two_views`). Encoder, projector and predictor say of one view what the slow
copy (`ema`) of encoder and projector makes of the other, and the other way round: 2 − 2 · cosine. There are no
negatives: that the predictor is no part of the copy, and that the copy is slow, keeps embeddings apart. Nothing
proves that it does: `pretrain.watch` looks for a collapse.

As published, batch norm in the heads takes out what all rows share. Here it is taken out of the targets
(`ema.standardised`, over all ranks while training), and heads have layer norm: so a run is the same on any number of
processes, where an encoder has neither batch norm nor drop-out. Without either, a ViT's loss was 0.02 after 54 steps
of 32 windows of PTB-XL: all rows had one and the same direction.

Shape suffixes: B rows of a batch, V = 2 · B rows of both views, D width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...models.encoder import Encoder
from ...signals.windows import Batch, Windows
from .base import Objective, Outcome
from .ema import SlowCopy, check_momentum, momentum_at, standardised
from .two_views import ViewsConfig, check_widths, head, rows_there, two_views


@dataclass(frozen=True)
class BYOLConfig:
    """Prediction of one view's embedding from another's."""

    momentum: float = 0.996
    """Share of itself that the slow copy keeps at each step, at the run's begin; it grows to 1 at its end."""
    hidden: int = 256
    """Width of the first layers of projector and predictor."""
    dim: int = 128
    """Width of what is predicted."""
    views: ViewsConfig = ViewsConfig()
    """How a window becomes a view."""

    def __post_init__(self) -> None:
        check_momentum(self.momentum)
        check_widths(self.hidden, self.dim)


class BYOL(Objective):
    """Encoder, projector and predictor, and the slow copy of the first two."""

    encoder: Encoder
    method = "prediction between two views of a window (BYOL)"
    comparable = False
    loss_of = "views"

    def __init__(self, encoder: Encoder, config: BYOLConfig, stream: str) -> None:
        super().__init__(encoder, stream)
        self.config = config
        self.projector = head(encoder.dim, config.hidden, config.dim)
        self.predictor = head(config.dim, config.hidden, config.dim)
        self.slow_encoder = SlowCopy(encoder)
        self.slow_projector = SlowCopy(self.projector)

    def forward(self, batch: Batch) -> Outcome:
        """Sum over both views of every row of 2 − 2 · cosine; their number is the targets."""
        views = two_views(batch, self.stream, self.config.views)
        said_VD: Tensor = self.predictor(self.projector(self.encoder(views)))
        there_B = rows_there(self.encoder, batch, self.stream, self.config.views)
        there_V = there_B.repeat(2)
        other_VD = self.targets(views, there_V).roll(len(batch), dims=0)
        error_V = 2 - 2 * F.cosine_similarity(said_VD.float(), other_VD, dim=-1)
        return Outcome((error_V * there_V).sum(), there_V.sum().float())

    @torch.no_grad()
    def count(self, batch: Batch) -> Tensor:
        """Two for each row of which something is there in both views."""
        return 2 * rows_there(self.encoder, batch, self.stream, self.config.views).sum().float()

    def after_step(self, done: float) -> None:
        """The slow copy follows."""
        momentum = momentum_at(self.config.momentum, done)
        self.slow_encoder.follow(self.encoder, momentum)
        self.slow_projector.follow(self.projector, momentum)

    def blocks(self) -> Sequence[nn.Module]:
        """Those of the encoder and of its copy."""
        return [*super().blocks(), *self.slow_encoder.module.layers]

    @torch.no_grad()
    def targets(self, views: Windows, there_V: Tensor) -> Tensor:
        """What the slow copy makes of views, each feature normalised over those that are there [V, D]."""
        projected_VD = self.slow_projector.module(self.slow_encoder.module(views))
        return standardised(projected_VD, there_V, together=self.training)
