"""What contrastive objectives share: batches gathered over ranks, and NT-Xent.

Shape suffixes: B rows of a batch, N rows of both views, D width.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, distributed
from torch.nn import functional as F


def gathered(x: Tensor) -> Tensor:
    """The rows of all ranks, in the order of the ranks; gradients flow back to the rank that a row is of.

    Every rank must bring equally many rows, as the micro-batches of training do. Where no gradient is asked for
    (`torch.no_grad`), and on one process, the rows are the rank's own: the batches of an evaluation differ in
    length, and a rank may have none.

    The gradient that arrives at a row is the sum over ranks. So where each rank returns the loss of the whole
    batch times its own number of targets, the loop's scaling gives exactly the gradient of one process.
    """
    together = distributed.is_available() and distributed.is_initialized()
    if not (together and torch.is_grad_enabled() and distributed.get_world_size() > 1):
        return x
    rows: Tensor = _Gather.apply(x)  # type: ignore[no-untyped-call]
    return rows


class _Gather(torch.autograd.Function):
    """All ranks' rows. (`torch.distributed.nn` has the same, deprecated from 2.13 on for what 2.6 lacks.)"""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        parts = [torch.empty_like(x) for _ in range(distributed.get_world_size())]
        distributed.all_gather(parts, x.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (gradient,) = gradients
        gradient = gradient.contiguous().clone()
        distributed.all_reduce(gradient)
        return gradient.chunk(distributed.get_world_size())[distributed.get_rank()]


def nt_xent(a_BD: Tensor, b_BD: Tensor, temperature: float) -> Tensor:
    """SimCLR's loss of two views of each row, the mean over both (Chen et al., ICML 2020, arXiv 2002.05709).

    For each of the 2 B embeddings, −log of the share that its other view has among all others, by
    exp(cosine / temperature). In float32, or in float64 where they are. Of no row, 0.
    """
    rows = len(a_BD)
    with torch.autocast(a_BD.device.type, enabled=False):
        x_ND = F.normalize(at_least_float32(torch.cat([a_BD, b_BD])), dim=-1)
        logits_NN = x_ND @ x_ND.T / temperature
        logits_NN = logits_NN.masked_fill(
            torch.eye(2 * rows, dtype=torch.bool, device=x_ND.device), -torch.inf
        )
        other_N = torch.arange(2 * rows, device=x_ND.device).roll(rows)
        return F.cross_entropy(logits_NN, other_N, reduction="sum") / max(1, 2 * rows)


def at_least_float32(x: Tensor) -> Tensor:
    """Half-precision numbers as float32: sums of exponentials need its digits."""
    return x.to(torch.promote_types(x.dtype, torch.float32))
