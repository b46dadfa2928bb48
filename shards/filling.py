"""Windows copied out of mapped shards.

Shape suffixes: B rows of a batch, C channels, T time, R rows of the index.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..signals import MISSING
from .mapped import MappedShards
from .order import Integers
from .places import Placed
from .recordings import Segments


class Filler:
    """Copies windows of any stream: `shard_R` and `record_R` number each row's shard and recording."""

    def __init__(self, mapped: MappedShards, shard_R: Integers, record_R: Integers) -> None:
        self._samples, self._shard_R, self._record_R = mapped.samples, shard_R, record_R

    def fill(self, out_BCT: NDArray[np.int16], seg: Segments, placed: Placed) -> None:
        """Copy every window from its shard. Plain Python numbers, because this loop is the cost."""
        _, wanted, span = out_BCT.shape
        whole = tuple(range(wanted))
        plain = [tuple(source) == whole for source in seg.sources]
        rows = placed.rows_N
        # By shard, then by place: each map is touched once, and memory is read upwards.
        by_place = np.lexsort((seg.data_offset_R[rows], self._shard_R[rows]))
        columns = (
            by_place,
            *(
                column[by_place]
                for column in (
                    *placed,
                    self._shard_R[rows],
                    seg.data_offset_R[rows] // 2,
                    seg.channels_R[rows],
                    seg.samples_R[rows],
                    seg.layout_R[rows],
                )
            ),
        )
        for at, row, start, left, shard, first, channels, samples, layout in zip(
            *(column.tolist() for column in columns), strict=True
        ):
            if plain[layout] and start >= 0 and start + span <= samples and left >= span:
                array_CT = self._samples(shard)[first : first + channels * samples]
                out_BCT[at] = array_CT.reshape(channels, samples)[:wanted, start : start + span]
            else:
                self._fill_piecewise(out_BCT[at], seg, row, start, left)

    def _fill_piecewise(
        self, out_CT: NDArray[np.int16], seg: Segments, row: int, start: int, left: int
    ) -> None:
        """A window over several segments, past an end of its recording, or with other channels."""
        out_CT.fill(MISSING)
        record = self._record_R[row]
        first = int(seg.begin_R[row]) + start
        last = first + min(out_CT.shape[1], left)
        while row > 0 and self._record_R[row - 1] == record and seg.begin_R[row] > first:
            row -= 1
        while row < len(self._record_R) and self._record_R[row] == record:
            begin, samples = int(seg.begin_R[row]), int(seg.samples_R[row])
            if begin >= last:
                break
            low, high = max(first, begin), min(last, begin + samples)
            if low < high:
                source = seg.sources[seg.layout_R[row]]
                has = source >= 0
                channels, at = int(seg.channels_R[row]), int(seg.data_offset_R[row]) // 2
                array_CT = self._samples(int(self._shard_R[row]))[at : at + channels * samples]
                piece_CT = array_CT.reshape(channels, samples)[:, low - begin : high - begin]
                out_CT[has, low - first : high - first] = piece_CT[source[has]]
            row += 1
