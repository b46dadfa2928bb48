"""Small heads with different settings, trained side by side; the one that validation likes best is kept.

All heads see the same batches in one order that a seed decides. They share nothing else: each has its own
weights, learning rate and weight decay, so that each ends where it would alone. Validation is looked at 30
times on the way, and chooses among heads and moments at once.

Shape suffixes: C heads.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

EPOCHS = 30
LEAST_STEPS = 300
"""Where train is so small that its epochs are a few steps each."""
MOST_STEPS = 4000
"""Where train is so large that a small head needs no 30 epochs of it."""
LOOKS = 30
"""How often validation is looked at."""
WARMUP = 0.1
"""Share of the steps in which the learning rate rises; then it falls along a cosine."""
LARGEST_GRADIENT = 1.0


@dataclass(frozen=True)
class Setting:
    """How one head is trained (AdamW)."""

    lr: float
    weight_decay: float
    dropout: float


@dataclass(frozen=True)
class Best:
    """The head that was best on validation, at the step where it was, and what it reached there."""

    head: nn.Module
    setting: Setting
    step: int
    validation: float


def train_candidates(
    heads: Sequence[nn.Module],
    settings: Sequence[Setting],
    batches: Callable[[], Sequence[Tensor]],
    loss: Callable[[Tensor], Tensor],
    judge: Callable[[], Sequence[float]],
) -> Best:
    """Train each head by its setting, and keep the best one at its best.

    `batches` deals an epoch anew: places in train. `loss` gives each head's loss on one batch [C]; `judge`
    each head's goodness on validation, higher is better. Raises `ValueError` where validation cannot tell.
    """
    optimizer = torch.optim.AdamW(
        [
            {"params": some, "lr": setting.lr, "weight_decay": decay}
            for head, setting in zip(heads, settings, strict=True)
            for some, decay in (
                ([p for p in head.parameters() if p.ndim > 1], setting.weight_decay),
                ([p for p in head.parameters() if p.ndim == 1], 0.0),
            )
        ]
    )
    first = batches()
    steps = min(max(EPOCHS * len(first), LEAST_STEPS), MOST_STEPS)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, steps))
    every = math.ceil(steps / LOOKS)
    best: Best | None = None
    for step, places in zip(range(1, steps + 1), _endless(first, batches), strict=False):
        optimizer.zero_grad()
        for head in heads:
            head.train()
        loss(places).sum().backward()  # type: ignore[no-untyped-call] # torch leaves it untyped
        for head in heads:
            nn.utils.clip_grad_norm_(head.parameters(), LARGEST_GRADIENT)
        optimizer.step()
        schedule.step()
        if step % every == 0 or step == steps:
            best = _better(best, heads, settings, step, judge)
    if best is None:
        raise ValueError(
            "validation has no class on both sides, so that no setting can be chosen by it: give it "
            "more subjects"
        )
    return best


def _better(
    best: Best | None,
    heads: Sequence[nn.Module],
    settings: Sequence[Setting],
    step: int,
    judge: Callable[[], Sequence[float]],
) -> Best | None:
    for head in heads:
        head.eval()
    with torch.no_grad():
        reached = judge()
    for head, setting, found in zip(heads, settings, reached, strict=True):
        if math.isfinite(found) and (best is None or found > best.validation):
            best = Best(copy.deepcopy(head), setting, step, found)
    return best


def _endless(first: Sequence[Tensor], batches: Callable[[], Sequence[Tensor]]) -> Iterator[Tensor]:
    yield from first
    while True:
        yield from batches()


def _rate(step: int, steps: int) -> float:
    """Share of the learning rate at a step: a linear rise, then half a cosine to 0."""
    rise = max(1, round(WARMUP * steps))
    if step < rise:
        return (step + 1) / rise
    return 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1, steps - rise)))
