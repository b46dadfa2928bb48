"""Mean and deviation of all clients' embeddings and quantities, from sums that each tells once.

Shape suffixes: N windows, D features, K quantities.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..evaluation.arrays import Floats

LEAST = 1e-6


@dataclass(frozen=True)
class Scaling:
    """`centre` and `spread` [D] of embeddings, `mean` and `deviation` [K] of quantities."""

    centre: Tensor
    spread: Tensor
    mean: Tensor
    deviation: Tensor

    def with_own(self, own: Scaling) -> Scaling:
        """These quantities, but a client's own embeddings."""
        return replace(self, centre=own.centre, spread=own.spread)


def own_sums(
    x_ND: NDArray[np.floating[Any]] | None, values_NK: NDArray[np.floating[Any]] | None
) -> dict[str, Floats]:
    """A client's number, sum and sum of squares of each column; of what is None nothing."""
    found: dict[str, Floats] = {}
    for name, values in (("x", x_ND), ("y", values_NK)):
        columns = np.zeros((0, 0)) if values is None else np.asarray(values, np.float64)
        stated = np.isfinite(columns)
        filled = np.where(stated, columns, 0.0)
        found |= {
            f"{name}.count": stated.sum(axis=0).astype(np.float64),
            f"{name}.sum": filled.sum(axis=0),
            f"{name}.square": (filled**2).sum(axis=0),
        }
    return found


def scaling_of(sums: Sequence[Mapping[str, Floats]]) -> Scaling:
    """The scaling from all clients' sums, added in their order."""
    total = {name: np.sum([one[name] for one in sums], axis=0) for name in sums[0]}
    parts = []
    for name in ("x", "y"):
        count = np.maximum(total[f"{name}.count"], 1)
        mean = total[f"{name}.sum"] / count
        variance = np.maximum(total[f"{name}.square"] / count - mean**2, 0)
        deviation = np.sqrt(variance)
        parts += [mean, np.where(deviation > LEAST, deviation, 1.0)]
    return Scaling(*(torch.from_numpy(part).float() for part in parts))
