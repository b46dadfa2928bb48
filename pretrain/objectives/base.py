"""What a pretraining run asks of an objective.

- `forward(batch) -> Outcome`. Gradients flow through it alone: that is where DDP, FSDP and DeepSpeed
  synchronise.
- `count(batch)`, the number of targets that `forward` will return, found without the model, so that a step's
  total is known before its first backward pass.
- `begin(train)`, where its parts depend on the training windows (how many subjects there are).
- `after_step(done)`, where something follows each optimizer step (a target that moves slowly).
- `parameter_groups()`, where parameters learn at different rates: (their names, factor on the rate).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar, NamedTuple

from torch import Tensor, nn

from ...models.encoder import Embedder
from ...shards.reader import WindowReader
from ...signals.windows import Batch


class Outcome(NamedTuple):
    """A micro-batch's loss summed over its targets, and their number.

    The loop divides the sums by the counts of all ranks and micro-batches of a step together, so that a
    step does not depend on how its windows were dealt out.
    """

    loss_sum: Tensor
    targets: Tensor


class Objective(nn.Module):
    """An encoder, and what it is trained by; `stream` names the windows it reads, the first of several."""

    views: int = 1
    """Adjacent windows that stand end to end in a row of a batch."""
    method: ClassVar[str]
    """What cards call it: `masked autoencoding`."""
    loss_of: ClassVar[str]
    """What cards call its validation loss."""

    comparable: ClassVar[bool] = True
    """Whether validation losses of different steps say which model is better. Where the target moves they do not,
    and the last model is kept as the best."""

    def __init__(self, encoder: Embedder, stream: str) -> None:
        super().__init__()
        self.encoder = encoder
        self.stream = stream

    @abstractmethod
    def forward(self, batch: Batch) -> Outcome:
        """The loss of a batch."""

    def begin(self, train: WindowReader) -> None:
        """What depends on who is trained on: called once before the parameters go to the optimizer."""

    def after_step(self, done: float) -> None:
        """What follows an optimizer step; `done` is the share of the run's steps that are behind it, in (0, 1]."""

    @abstractmethod
    def count(self, batch: Batch) -> Tensor:
        """The number of targets of a batch."""

    def blocks(self) -> Sequence[nn.Module]:
        """What `run.compile` compiles."""
        return self.encoder.layers
