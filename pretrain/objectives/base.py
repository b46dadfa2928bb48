"""What the loop asks of an objective."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from torch import Tensor

from ...signals.windows import Batch


class Outcome(NamedTuple):
    """A micro-batch's loss summed over its targets, and their number.

    The loop divides the sums by the counts of all ranks and micro-batches of a step together, so that a
    step does not depend on how its windows were dealt out.
    """

    loss_sum: Tensor
    targets: Tensor


class Objective(Protocol):
    """An `nn.Module` with an `encoder`. Gradients flow through `forward` alone: that is where DDP, FSDP
    and DeepSpeed synchronise."""

    def forward(self, batch: Batch) -> Outcome:
        """Loss sum and count of a micro-batch."""
        ...

    def count(self, batch: Batch) -> Tensor:
        """The count that `forward` will return, found without the model: a step's total is known first."""
        ...
