"""A copy of a network that follows it slowly: the target of JEPA and of BYOL.

Its parameters have no gradient: after each optimizer step they move towards the network's by a share of the way,
1 − momentum. Every rank moves its copy by itself, and as weights are equal on all ranks, so are the copies. They
are part of the objective's state, so checkpoints hold them.

What the copy says is `standardised` before it is a target: a network whose answers come to be all alike would
otherwise be rewarded, because such answers are easily said.

Shape suffixes: W width.
"""

from __future__ import annotations

import copy
from typing import Generic, TypeVar

import torch
from torch import Tensor, distributed, nn

M = TypeVar("M", bound=nn.Module)

FLOOR = 1e-4
"""Added to the variance of a feature: what hardly differs is not blown up."""


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


@torch.no_grad()
def standardised(x: Tensor, there: Tensor, *, together: bool) -> Tensor:
    """[…, W] with each feature of mean 0 and deviation 1 over those that are `there` […]; in float32.

    Over those of all ranks where `together`, as all of them must ask.
    """
    x, weight = x.float(), there[..., None].float()
    others = tuple(range(x.ndim - 1))
    count = total(weight.sum(), together).clamp_min(1)
    centred = x - total((x * weight).sum(dim=others), together) / count
    variance_W = total((centred.square() * weight).sum(dim=others), together) / count
    return centred / (variance_W + FLOOR).sqrt()


def total(x: Tensor, together: bool) -> Tensor:
    """The sum over ranks, where `together`."""
    if together and distributed.is_available() and distributed.is_initialized():
        distributed.all_reduce(x)
    return x
