"""What clients do on their own, written for one and mapped over many: descent, the best on validation, outputs.

A federation of 1,000 clients trains their heads as one batch (`torch.vmap`); a node of Flower calls the same with
one. Clients have unlike numbers of windows, so theirs are padded, and drawn batches never reach the padding.

Shape suffixes: C clients, N windows, S steps, B windows of a step, K classes or quantities. Functions of many
clients have C in front of every tensor.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor
from torch.func import grad_and_value, vmap
from torch.nn import functional as F

from .learners import Inputs, Learner, Params

T = TypeVar("T")
VALIDATED_AT_ONCE = 256
"""Clients whose validation is looked at together: a bound on memory."""


class Part(NamedTuple):
    """Windows: `inputs` [N, …], `truth` int64 [N] or float32 [N, K], `weight` [N].

    Quantities are in units of their deviation, NaN where not stated. `weight` is what a window counts, 0 for padding.
    """

    inputs: Inputs
    truth: Tensor
    weight: Tensor


class Batches(NamedTuple):
    """The windows of each step, int64 [S, B], and 0 in `active` [S] for steps that are not made."""

    rows: Tensor
    active: Tensor


@dataclass(frozen=True)
class Descent:
    """Gradient descent: rate, weight decay, momentum, and how strongly an anchor pulls."""

    rate: float
    decay: float
    momentum: float = 0.0
    pull: float = 0.0


def loss_of(learner: Learner, params: Params, part: Part) -> Tensor:
    """Mean loss by weight: cross-entropy of classes, absolute error of the quantities that are stated."""
    outputs_BK = learner.outputs(params, part.inputs)
    if part.truth.is_floating_point():
        stated_BK = part.truth.isfinite()
        wrong_BK = (outputs_BK - part.truth.nan_to_num()).abs() * stated_BK
        each_B = wrong_BK.sum(dim=1) / stated_BK.sum(dim=1).clamp_min(1)
    else:
        each_B = F.cross_entropy(outputs_BK, part.truth, reduction="none")
    # What is said of padding may be no number, and 0 times that is none either.
    each_B = torch.where(part.weight > 0, each_B * part.weight, 0.0)
    return each_B.sum() / part.weight.sum().clamp_min(1e-12)


def descend(
    learner: Learner,
    how: Descent,
    trained: Collection[str],
    params: Params,
    anchor: Params,
    part: Part,
    batches: Batches,
) -> tuple[Params, Tensor]:
    """Many clients: (their parameters after the steps, mean loss before each step [C]).

    Only the `trained` ones move; `anchor` has those at least.
    """

    def one(params: Params, anchor: Params, part: Part, batches: Batches) -> Params:
        def loss(moving: Params, rows_B: Tensor) -> Tensor:
            batch = chosen(part, rows_B)
            return loss_of(learner, {**params, **moving}, batch)

        moving = {name: params[name] for name in trained}
        speed = {name: torch.zeros_like(value) for name, value in moving.items()}
        total = torch.zeros_like(batches.active[0])
        for rows_B, active in zip(batches.rows, batches.active, strict=True):
            slopes, value = grad_and_value(loss)(moving, rows_B)
            total = total + active * value
            for name, slope in slopes.items():
                x = moving[name]
                slope = slope + how.decay * x + how.pull * (x - anchor[name])
                speed[name] = how.momentum * speed[name] + slope
                moving[name] = x - active * how.rate * speed[name]
        return {**params, **moving, _FOUND: total / batches.active.sum().clamp_min(1)}

    found = for_each(learner, one, params, {name: anchor[name] for name in trained}, part, batches)
    loss_C = found.pop(_FOUND)
    return found, loss_C


def best_on_validation(
    learner: Learner,
    how: Descent,
    trained: Collection[str],
    params: Params,
    anchor: Params,
    train: Part,
    validation: Part,
    batches: Batches,
    every: int,
) -> tuple[Params, Tensor]:
    """Many clients: (the parameters of least validation loss, and the step that they are of [C]).

    Looked at are those after every so many steps, and those that it begins with, step 0.
    """
    least_C = validation_loss(learner, params, validation)
    best, step_C = params, torch.zeros(len(least_C), dtype=torch.int64)
    for first in range(0, batches.rows.shape[1], every):
        some = Batches(
            batches.rows[:, first : first + every], batches.active[:, first : first + every]
        )
        params, _ = descend(learner, how, trained, params, anchor, train, some)
        loss_C = validation_loss(learner, params, validation)
        better_C = loss_C < least_C
        least_C = torch.where(better_C, loss_C, least_C)
        step_C = torch.where(better_C, first + some.rows.shape[1], step_C)
        best = {
            name: torch.where(better_C.view(-1, *[1] * (old.ndim - 1)), params[name], old)
            for name, old in best.items()
        }
    return best, step_C


@torch.no_grad()
def validation_loss(learner: Learner, params: Params, part: Part) -> Tensor:
    """Many clients: the mean loss of each [C]."""

    def one(params: Params, part: Part) -> Params:
        return {_FOUND: loss_of(learner, params, part)}

    return _some_at_once(learner, one, params, part)[_FOUND]


@torch.no_grad()
def outputs_of(learner: Learner, params: Params, inputs: Inputs) -> Tensor:
    """Many clients: outputs [C, N, K]."""

    def one(params: Params, inputs: Inputs) -> Params:
        return {_FOUND: learner.outputs(params, inputs)}

    return _some_at_once(learner, one, params, inputs)[_FOUND]


def for_each(learner: Learner, function: Callable[..., Params], *arguments: Any) -> Params:
    """`function` of every client's arguments: mapped where the learner can be, else one after another."""
    if learner.vectorised:
        mapped: Params = vmap(function)(*arguments)
        return mapped
    clients = _clients(arguments[0])
    each = [function(*(chosen(a, c) for a in arguments)) for c in range(clients)]
    return {name: torch.stack([of[name] for of in each]) for name in each[0]}


def spread(params: Params, clients: int) -> Params:
    """The same parameters for so many clients, without copies."""
    return {name: value.expand(clients, *value.shape) for name, value in params.items()}


def chosen(tree: T, which: Any) -> T:
    """`which` of the first dimension of every tensor in a dict or a named tuple."""
    if isinstance(tree, Tensor):
        return tree[which]  # type: ignore[return-value] # a tensor, as `tree`
    if isinstance(tree, dict):
        return {name: chosen(value, which) for name, value in tree.items()}  # type: ignore[return-value] # the same kind
    assert isinstance(tree, tuple)
    return type(tree)(*(chosen(value, which) for value in tree))


def _some_at_once(learner: Learner, function: Callable[..., Params], *arguments: Any) -> Params:
    parts = [
        for_each(
            learner, function, *(chosen(a, slice(c, c + VALIDATED_AT_ONCE)) for a in arguments)
        )
        for c in range(0, _clients(arguments[0]), VALIDATED_AT_ONCE)
    ]
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def _clients(params: Params) -> int:
    return len(next(iter(params.values())))


_FOUND = " found"
"""Under which a function of one client hands over what is no parameter."""
