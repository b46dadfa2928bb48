"""What heads on frozen features minimise, and how their outputs become scores.

Quantities are learned in units of their deviation in train, 0 being their mean there. A class that train
lacks, or that all of train has, cannot be learned: it gets the same score everywhere, as from the linear
probe.

Shape suffixes: C heads trained together, B windows, K classes or quantities.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from .arrays import Floats
from .tasks import Kind, Loss


def balance(loss: Loss, values: NDArray[Any], classes: int) -> Tensor | None:
    """Weights [K] under which every class counts the same, 1 on average over the windows; absent classes 0.

    None for a loss that does not weigh them.
    """
    if loss != "balanced_cross_entropy":
        return None
    count = np.bincount(values, minlength=classes)
    there = count > 0
    weight = len(values) / (there.sum() * np.maximum(count, 1))
    return torch.from_numpy(np.where(there, weight, 0.0)).float()


@dataclass(frozen=True)
class Goal:
    """What is to be learned of a task from train, and in which units.

    `learnable_K` marks classes that can be told apart in train; `level_K` is the share of train that has
    a class (multilabel). `weight_K` are the weights of balanced classes, `mean_K` and `spread_K` those of
    quantities.
    """

    kind: Kind
    learnable_K: Tensor
    level_K: Tensor
    weight_K: Tensor | None
    mean_K: Tensor
    spread_K: Tensor

    @classmethod
    def of(cls, kind: Kind, classes: int, loss: Loss, values: NDArray[Any]) -> Goal:
        """The goal by what is true of train. Raises `ValueError` for a quantity that train never states."""
        learnable = np.ones(classes, bool)
        level, mean, spread = np.zeros(classes), np.zeros(classes), np.ones(classes)
        weight = None
        if kind == "multilabel":
            level = values.mean(axis=0)
            learnable = (level > 0) & (level < 1)
        elif kind == "multiclass":
            count = np.bincount(values, minlength=classes)
            learnable = count > 0
            weight = balance(loss, values, classes)
        else:
            if not np.isfinite(values).any(axis=0).all():
                raise ValueError("train never states one of the quantities: give it more subjects")
            mean, spread = np.nanmean(values, axis=0), np.nanstd(values, axis=0)
            spread = np.where(spread > 0, spread, 1.0)
        numbers = (torch.from_numpy(a).float() for a in (level, mean, spread))
        level_K, mean_K, spread_K = numbers
        return cls(kind, torch.from_numpy(learnable), level_K, weight, mean_K, spread_K)

    def truth(self, values: NDArray[Any]) -> Tensor:
        """`Targets.values` as the loss takes them: float32 [B, K], or int64 [B] of exclusive classes."""
        if self.kind == "multiclass":
            return torch.from_numpy(values)
        numbers_BK = torch.from_numpy(values).float()
        return (numbers_BK - self.mean_K) / self.spread_K

    def loss(self, outputs_CBK: Tensor, truth: Tensor) -> Tensor:
        """Mean loss of each head [C]."""
        C, B, K = outputs_CBK.shape
        if self.kind == "multiclass":
            outputs_CBK = outputs_CBK.masked_fill(~self.learnable_K, -torch.inf)
            each_CB = F.cross_entropy(
                outputs_CBK.reshape(C * B, K),
                truth.repeat(C),
                weight=self.weight_K,
                reduction="none",
            )
            return each_CB.view(C, B).mean(dim=1)
        truth_CBK = truth.expand_as(outputs_CBK)
        if self.kind == "multilabel":
            counts_BK = self.learnable_K.expand(B, K)
            each_CBK = F.binary_cross_entropy_with_logits(
                outputs_CBK, truth_CBK, weight=counts_BK.float(), reduction="none"
            )
        else:
            counts_BK = truth.isfinite()
            each_CBK = (outputs_CBK - truth_CBK.nan_to_num()).abs() * counts_BK
        return each_CBK.sum(dim=(1, 2)) / counts_BK.sum().clamp_min(1)

    def scores(self, outputs_BK: Tensor) -> Floats:
        """Probabilities of classes, or estimates in the quantities' units, as `scores.Scores` has them."""
        if self.kind == "multilabel":
            said_BK = torch.where(self.learnable_K, outputs_BK.sigmoid(), self.level_K)
        elif self.kind == "multiclass":
            said_BK = outputs_BK.masked_fill(~self.learnable_K, -torch.inf).softmax(dim=-1)
        else:
            said_BK = outputs_BK * self.spread_K + self.mean_K
        said: Floats = said_BK.double().numpy()
        return said
