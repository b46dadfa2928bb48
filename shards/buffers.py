"""Memory for batches: taken again only when nobody looks at it any more."""

from __future__ import annotations

import weakref

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Samples = NDArray[np.int16]


class BufferPool:
    """int16 tensors of one shape, uninitialised.

    Fresh memory costs a page fault every 4 kB, more than the copy into it. On CUDA machines pinned
    memory comes from torch's own cache, which also waits for copies in flight. Elsewhere each array
    is lent through a view that dies with the last tensor over it; then the array is free again.
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        self._shape = shape
        self._pinned = torch.cuda.is_available()
        self._lent: list[tuple[Samples, weakref.ref[Samples]]] = []

    def take(self) -> Tensor:
        """A tensor of the pool's shape that nobody else uses."""
        if self._pinned:
            return torch.empty(self._shape, dtype=torch.int16, pin_memory=True)
        free = (number for number, (_, view) in enumerate(self._lent) if view() is None)
        number = next(free, None)
        array = np.empty(self._shape, np.int16) if number is None else self._lent.pop(number)[0]
        view = array[:]
        self._lent.append((array, weakref.ref(view)))
        return torch.from_numpy(view)
