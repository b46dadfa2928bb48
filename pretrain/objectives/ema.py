"""A copy of a network that follows it slowly: the target of JEPA and of BYOL.

Its parameters have no gradient: after each optimizer step they move towards the network's by a share of the way,
1 − momentum. Every rank moves its copy by itself, and as weights are equal on all ranks, so are the copies. They
are part of the objective's state, so checkpoints hold them.
"""

from __future__ import annotations

import copy
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

M = TypeVar("M", bound=nn.Module)


class SlowCopy(nn.Module, Generic[M]):
    """`module` begins as the source is and follows it by exponential moving averages.

    Buffers (batch norm's running statistics) are averages already: they are copied as they are. In training a copy
    normalises by the statistics of the batch, as its source does.
    """

    module: M

    def __init__(self, source: M) -> None:
        super().__init__()
        self.module = copy.deepcopy(source).requires_grad_(False)

    @torch.no_grad()
    def follow(self, source: M, momentum: float) -> None:
        """Keep a share `momentum` of what it was."""
        mine: list[Tensor] = list(self.module.parameters())
        its: list[Tensor] = list(source.parameters())
        torch._foreach_lerp_(mine, its, 1 - momentum)
        for own, other in zip(self.module.buffers(), source.buffers(), strict=True):
            own.copy_(other)


def momentum_at(start: float, done: float) -> float:
    """From `start` to 1 in a straight line; `done` is the share of the run's steps that are behind it."""
    return 1 - (1 - start) * (1 - done)


def check_momentum(momentum: float) -> None:
    """Raises `ValueError` for what is no share."""
    if not 0 <= momentum <= 1:
        raise ValueError(f"momentum must lie in [0, 1], not {momentum}")
