"""SimCLR: two views of a window are alike, and unlike all others (Chen et al., ICML 2020, arXiv 2002.05709).

Each window is changed at random twice (`two_views`). What an encoder and a head of two layers make of both is
contrasted over the batch by NT-Xent (`contrast`).

- Over several ranks the batch is that of all of them, so a run is the same on any number of processes, where an
  encoder has neither batch norm nor drop-out.
- Validation contrasts each rank's micro-batch by itself, as `clocs` says.

Shape suffixes: B rows of a batch, D width.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ...models.encoder import Encoder
from ...signals.windows import Batch
from .base import Objective, Outcome
from .contrast import gathered, nt_xent
from .two_views import ViewsConfig, check_widths, head, rows_there, two_views


@dataclass(frozen=True)
class SimCLRConfig:
    """Contrast between two views of each window.

    A micro-batch, over all processes together, is one contrast: accumulated micro-batches
    (`optim.micro_batch`) do not see one another. Leave optim.micro_batch null where memory allows.
    """

    temperature: float = 0.1
    """What cosines are divided by."""
    hidden: int = 256
    """Width of the head's first layer."""
    dim: int = 128
    """Width of what is contrasted."""
    views: ViewsConfig = ViewsConfig()
    """How a window becomes a view."""

    def __post_init__(self) -> None:
        if not self.temperature > 0:
            raise ValueError(f"temperature must be above 0, not {self.temperature}")
        check_widths(self.hidden, self.dim)


class SimCLR(Objective):
    """Encoder, head and loss."""

    encoder: Encoder
    method = "contrast between two views of a window (SimCLR)"
    loss_of = "windows"

    def __init__(self, encoder: Encoder, config: SimCLRConfig, stream: str) -> None:
        super().__init__(encoder, stream)
        self.config = config
        self.head = head(encoder.dim, config.hidden, config.dim)

    def forward(self, batch: Batch) -> Outcome:
        """The loss of the contrast, of all ranks' rows while training, times this rank's rows."""
        views = two_views(batch, self.stream, self.config.views)
        a_BD, b_BD = self.head(self.encoder(views)).chunk(2)
        mine_B = rows_there(self.encoder, batch, self.stream, self.config.views)
        there_B = gathered(mine_B.long()).bool()
        loss = nt_xent(gathered(a_BD)[there_B], gathered(b_BD)[there_B], self.config.temperature)
        targets = mine_B.sum().float()
        return Outcome(loss * targets, targets)

    @torch.no_grad()
    def count(self, batch: Batch) -> Tensor:
        """Rows of which something is there in both views."""
        return rows_there(self.encoder, batch, self.stream, self.config.views).sum().float()
