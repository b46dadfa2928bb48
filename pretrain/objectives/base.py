"""What the loop asks of an objective: an `nn.Module` with an `encoder` and two methods.

- `forward(batch) -> Outcome`. Gradients flow through it alone: that is where DDP, FSDP and DeepSpeed
  synchronise.
- `count(batch)`, the number of targets that `forward` will return, found without the model, so that a step's
  total is known before its first backward pass.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class Outcome(NamedTuple):
    """A micro-batch's loss summed over its targets, and their number.

    The loop divides the sums by the counts of all ranks and micro-batches of a step together, so that a
    step does not depend on how its windows were dealt out.
    """

    loss_sum: Tensor
    targets: Tensor
