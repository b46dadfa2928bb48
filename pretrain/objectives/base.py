"""What a pretraining run asks of an objective.

- `forward(batch) -> Outcome`. Gradients flow through it alone: that is where DDP, FSDP and DeepSpeed
  synchronise.
- `count(batch)`, the number of targets that `forward` will return, found without the model, so that a step's
  total is known before its first backward pass.
- `parameter_groups()`, where parameters learn at different rates: (their names, factor on the rate).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar, NamedTuple

from torch import Tensor, nn

from ...models.encoder import ViTEncoder
from ...signals.windows import Batch


class Outcome(NamedTuple):
    """A micro-batch's loss summed over its targets, and their number.

    The loop divides the sums by the counts of all ranks and micro-batches of a step together, so that a
    step does not depend on how its windows were dealt out.
    """

    loss_sum: Tensor
    targets: Tensor


class Objective(nn.Module):
    """An encoder, and what it is trained by; `stream` names the windows it reads."""

    views: ClassVar[int] = 1
    """Adjacent windows in a row of a batch."""
    method: ClassVar[str]
    """What cards call it: `masked autoencoding`."""
    loss_of: ClassVar[str]
    """What cards call its validation loss."""

    def __init__(self, encoder: ViTEncoder, stream: str) -> None:
        super().__init__()
        self.encoder = encoder
        self.stream = stream

    @abstractmethod
    def forward(self, batch: Batch) -> Outcome:
        """The loss of a batch."""

    @abstractmethod
    def count(self, batch: Batch) -> Tensor:
        """The number of targets of a batch."""

    def blocks(self) -> Sequence[nn.Module]:
        """What `run.compile` compiles."""
        return [self.encoder.blocks]
