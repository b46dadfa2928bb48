"""A head that attends to the tokens of a frozen encoder: which of them matter is learned, nothing else.

- A few learned queries attend to normed tokens, and a linear layer reads what each one gathered. Keys and
  values are the tokens themselves: behind a fixed query a projection of keys, and before a linear layer one
  of values, can express nothing new, so that this is cross-attention of as many heads with fewer weights
  (Psomas et al., ICLR 2026: multi-head cross-attention with one query is attention of several queries).
- It begins as the linear probe of the mean token and departs from it as far as validation approves: queries
  begin near 0, which is the mean, and features are in units of the mean token's deviation in train.
- AdamW; learning rate, weight decay, dropout of features and the moment to stop are chosen on validation.

Shape suffixes: C heads trained together, B windows, L tokens, D width, M queries, K classes or quantities.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from .arrays import Floats
from .candidates import Setting, train_candidates
from .losses import Goal
from .probes import goodness
from .tasks import Kind, Loss
from .tokens import FrozenTokens

QUERIES = 4
SETTINGS = tuple(
    Setting(lr, weight_decay, dropout)
    for lr, (weight_decay, dropout) in product((1e-3, 3e-3), ((0.1, 0.5), (1.0, 0.0), (10.0, 0.0)))
)
BATCH = 64
AT_ONCE = 128
"""Windows that are scored together: a bound on memory."""


@dataclass(frozen=True)
class TokenPart:
    """Tokens [N, L, D] of one split, and what is true of them (`targets.Targets.values`)."""

    tokens: FrozenTokens
    values: NDArray[Any]


@dataclass(frozen=True)
class AttentionProbe:
    """A chosen head: `setting` and `step` were best on validation, where it reached `validation`.

    `predict` takes tokens [N, L, D] and gives scores [N, K].
    """

    predict: Callable[[FrozenTokens], Floats]
    setting: Setting
    step: int
    validation: float


class Pooling(nn.Module):
    """Queries [M, D] and a linear layer on what they gather."""

    def __init__(self, dim: int, outputs: int, dropout: float) -> None:
        super().__init__()
        self.query = nn.Parameter(0.02 * torch.randn(QUERIES, dim) / dim**0.5)
        self.weight = nn.Parameter(torch.zeros(outputs, QUERIES * dim))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.dropout = dropout


@dataclass(frozen=True)
class Scale:
    """Mean and deviation of the mean of normed tokens in train [D]."""

    mean: Tensor
    deviation: Tensor

    @classmethod
    def of(cls, tokens: FrozenTokens) -> Scale:
        """By all windows that have a token."""
        means = []
        for places in _pieces(len(tokens)):
            x_BLD, there_BL = _normed(*tokens.read(places))
            some_B = there_BL.any(dim=1)
            means.append(
                (x_BLD.sum(dim=1) / there_BL.sum(dim=1, keepdim=True).clamp_min(1))[some_B]
            )
        pooled = torch.cat(means).double()
        deviation = pooled.std(dim=0, correction=0)
        return cls(pooled.mean(dim=0).float(), torch.where(deviation > 0, deviation, 1.0).float())

    def __call__(self, x_BLD: Tensor, there_BL: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens as `FrozenTokens.read` gives them, normed and in units of the deviation."""
        x_BLD, there_BL = _normed(x_BLD, there_BL)
        scaled_BLD = ((x_BLD - self.mean) / self.deviation).mul_(there_BL[..., None])
        return scaled_BLD, there_BL


def fit_attention_probe(
    kind: Kind, classes: int, loss: Loss, train: TokenPart, validation: TokenPart, *, seed: int = 0
) -> AttentionProbe:
    """The head whose setting and moment are best on validation, as `fit_probe` judges it.

    `seed` decides the first weights and the order of windows. Raises `ValueError` where validation cannot
    tell, for it has no class on both sides, and for a quantity that train never states.
    """
    goal = Goal.of(kind, classes, loss, train.values)
    truth, scale = goal.truth(train.values), Scale.of(train.tokens)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        dim = train.tokens.shape[2]
        heads = [Pooling(dim, classes, setting.dropout) for setting in SETTINGS]

        def loss_of(places: Tensor) -> Tensor:
            read = scale(*train.tokens.read(places.numpy()))
            return goal.loss(outputs(heads, *read, training=True), truth[places])

        def judge() -> list[float]:
            said = _said(heads, scale, validation.tokens)
            return [goodness(kind, validation.values, goal.scores(of_head)) for of_head in said]

        best = train_candidates(heads, SETTINGS, lambda: shuffled(len(truth)), loss_of, judge)
    head = best.head
    assert isinstance(head, Pooling)

    def predict(tokens: FrozenTokens) -> Floats:
        return goal.scores(_said([head], scale, tokens)[0])

    return AttentionProbe(predict, best.setting, best.step, best.validation)


def outputs(heads: Sequence[Pooling], x_BLD: Tensor, there_BL: Tensor, *, training: bool) -> Tensor:
    """What heads make of scaled tokens [C, B, K]: all heads' queries read them in one product."""
    B, _, D = x_BLD.shape
    C = len(heads)
    query_QD = torch.cat([head.query for head in heads])
    # Not divided by √D: queries begin near 0, and Adam's steps, alike in any width, would take too long.
    key_BLD = F.layer_norm(x_BLD, (D,))
    # Where no token is there at all, all are alike, and 0.
    hidden_BL = ~there_BL & there_BL.any(dim=1, keepdim=True)
    logits_BQL = (query_QD @ key_BLD.mT).masked_fill_(hidden_BL[:, None], -torch.inf)
    gathered_BQD = logits_BQL.softmax(dim=-1) @ x_BLD
    gathered_CBF = gathered_BQD.view(B, C, -1).transpose(0, 1)
    if training:
        dropout_C11 = torch.tensor([head.dropout for head in heads])[:, None, None]
        kept_CBF = torch.rand(gathered_CBF.shape) >= dropout_C11
        gathered_CBF = gathered_CBF * kept_CBF / (1 - dropout_C11)
    weight_CKF = torch.stack([head.weight for head in heads])
    bias_C1K = torch.stack([head.bias for head in heads])[:, None]
    outputs_CBK: Tensor = gathered_CBF @ weight_CKF.mT + bias_C1K
    return outputs_CBK


def shuffled(windows: int) -> list[Tensor]:
    """Places of all windows in batches, in an order of torch's generator."""
    order = torch.randperm(windows)
    return [order[at : at + BATCH] for at in range(0, windows, BATCH)]


@torch.no_grad()
def _said(heads: Sequence[Pooling], scale: Scale, tokens: FrozenTokens) -> Tensor:
    """What heads say of all windows [C, N, K]."""
    said = [
        outputs(heads, *scale(*tokens.read(places)), training=False)
        for places in _pieces(len(tokens))
    ]
    return torch.cat(said, dim=1)


def _normed(x_BLD: Tensor, there_BL: Tensor) -> tuple[Tensor, Tensor]:
    """Each token at mean 0 and deviation 1 over its features; those that are not there stay 0."""
    return F.layer_norm(x_BLD, (x_BLD.shape[-1],)), there_BL


def _pieces(windows: int) -> list[NDArray[np.int64]]:
    return [np.arange(at, min(at + AT_ONCE, windows)) for at in range(0, windows, AT_ONCE)]
