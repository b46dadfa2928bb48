"""Where windows stand: on a grid with a random phase over all samples, or at annotations.

Segments of one recording that follow each other without a gap are one stretch of samples: a window
may begin in one and end in another. A stretch of fewer samples than a window counts as one window.

Shape suffixes: R rows of the index (segments), S stretches, N windows asked for, A anchors.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np
import polars as pl
from numpy.typing import NDArray

from .index import annotations_of
from .order import Integers, bits
from .recordings import Segments


class Placed(NamedTuple):
    """N windows: row in which each is found, its first sample there (before it: negative), and how many
    samples from there on belong to it."""

    rows_N: Integers
    starts_N: Integers
    lefts_N: Integers


class Table(Protocol):
    """All windows of an index, numbered in its order."""

    windows: int

    def windows_per_row(self) -> tuple[Integers, Integers]:
        """(row, windows counted there), rows rising."""
        ...

    def locate(self, windows_N: Integers, seed: int, turns_N: Integers | None) -> Placed:
        """`turns_N` is the pass each window is read in; None: as in no pass, without any phase."""
        ...

    def complete(self, placed: Placed) -> NDArray[np.bool_]:
        """Which windows have every sample of every channel [N]."""
        ...


class WindowTable:
    """Windows every `hop_samples` of each stretch, all shifted by one phase in each pass."""

    def __init__(
        self,
        index: pl.DataFrame,
        record_R: Integers,
        segments: Segments,
        window_samples: int,
        hop_samples: int,
    ) -> None:
        self._hop = hop_samples
        having = np.flatnonzero(segments.samples_R)
        first_H = np.append(True, ~_continues(index, having, record_R, segments))
        self.first_row_S = having[first_H]
        # Rows as one line of samples: a stretch is a piece of it, and a window one search away.
        self._start_R = np.cumsum(segments.samples_R) - segments.samples_R
        self.samples_S = np.add.reduceat(segments.samples_R, self.first_row_S)
        self.windows_S = np.maximum(self.samples_S - window_samples, 0) // hop_samples + 1
        self._slack_S = np.maximum(
            self.samples_S - window_samples - (self.windows_S - 1) * hop_samples, 0
        )
        self._first_window_S = np.cumsum(self.windows_S) - self.windows_S
        self.windows = int(self.windows_S.sum())
        whole_S = np.logical_and.reduceat(segments.complete_R[having], np.flatnonzero(first_H))
        whole_S &= self.samples_S >= window_samples
        # For every row: has its stretch every sample of every channel, and enough of them?
        self._complete_R = np.zeros(len(record_R), bool)
        self._complete_R[having] = whole_S[np.cumsum(first_H) - 1]

    def windows_per_row(self) -> tuple[Integers, Integers]:
        """Windows count where their stretch begins."""
        return self.first_row_S, self.windows_S

    def complete(self, placed: Placed) -> NDArray[np.bool_]:
        """Windows of whole stretches."""
        complete: NDArray[np.bool_] = self._complete_R[placed.rows_N]
        return complete

    def phase(self, stretches_N: Integers, seed: int, turns_N: Integers) -> Integers:
        """How far all windows of a stretch are shifted in a pass: from 0 to what is left over."""
        phase_N = np.empty_like(stretches_N)
        for turn in np.unique(turns_N):
            now = turns_N == turn
            drawn = bits(seed, int(turn), stretches_N[now], "phase")
            phase_N[now] = drawn % (self._slack_S[stretches_N[now]] + 1)
        return phase_N

    def locate(self, windows_N: Integers, seed: int, turns_N: Integers | None) -> Placed:
        """Each window's row and first sample; none reaches beyond its stretch."""
        stretch_N = np.searchsorted(self._first_window_S, windows_N, side="right") - 1
        start_N = (windows_N - self._first_window_S[stretch_N]) * self._hop
        if turns_N is not None:
            start_N += self.phase(stretch_N, seed, turns_N)
        line_N = self._start_R[self.first_row_S[stretch_N]] + start_N
        row_N = np.searchsorted(self._start_R, line_N, side="right") - 1
        return Placed(row_N, line_N - self._start_R[row_N], self.samples_S[stretch_N] - start_N)


class AnchorTable:
    """One window for each annotation of a kind, `before_s` before its onset.

    `anchors` has the columns row, onset_s, duration_s, code and value, in the order of the index.
    A window may reach over gaps and beyond its recording: what is not there is missing.
    """

    def __init__(
        self, index: pl.DataFrame, segments: Segments, kind: str, before_s: float, samples: int
    ) -> None:
        self._segments, self._samples = segments, samples
        found = anchors_of(index, kind)
        self.anchors = found.filter(segments.samples_R[found["row"].to_numpy()] > 0)
        if found.is_empty():
            raise ValueError(
                f"no annotation of kind {kind!r} in these shards; they have {kinds_of(index)}"
            )
        if self.anchors.is_empty():
            raise ValueError(
                f"none of the {found.height} annotations of kind {kind!r} begins where there is "
                f"{segments.modality}: name another modality first in `channels`"
            )
        self._row_A = self.anchors["row"].to_numpy().astype(np.int64)
        first_A = (self.anchors["onset_s"].to_numpy() - before_s) * segments.rate_hz
        self._start_A = np.rint(first_A).astype(np.int64) - segments.begin_R[self._row_A]
        self.windows = len(self._row_A)

    def windows_per_row(self) -> tuple[Integers, Integers]:
        """Annotations by the row in which they begin."""
        rows, counts = np.unique(self._row_A, return_counts=True)
        return rows, counts.astype(np.int64)

    def complete(self, placed: Placed) -> NDArray[np.bool_]:
        """Windows that lie in one complete row."""
        return inside(self._segments, placed, self._samples)

    def locate(self, windows_N: Integers, seed: int, turns_N: Integers | None) -> Placed:
        """Annotations stand where they stand, in every pass."""
        lefts_N = np.full(len(windows_N), self._samples, np.int64)
        return Placed(self._row_A[windows_N], self._start_A[windows_N], lefts_N)


def inside(segments: Segments, placed: Placed, samples: int) -> NDArray[np.bool_]:
    """Which windows [N] of so many samples lie in one row that is complete."""
    rows_N, starts_N, lefts_N = placed
    enough_N = (starts_N + samples <= segments.samples_R[rows_N]) & (lefts_N >= samples)
    complete: NDArray[np.bool_] = segments.complete_R[rows_N] & (starts_N >= 0) & enough_N
    return complete


def anchors_of(index: pl.DataFrame, kind: str) -> pl.DataFrame:
    """The annotations of a kind, each in the row in which it begins."""
    of_kind = (pl.col("code") == kind) | pl.col("code").str.starts_with(f"{kind}:")
    return annotations_of(index).filter(of_kind).drop("split")


def kinds_of(index: pl.DataFrame) -> list[str]:
    """The kinds of annotation that an index has."""
    codes = index["annotations"].explode(empty_as_null=False).struct.field("code")
    kinds: list[str] = codes.str.split(":").list.first().drop_nulls().unique().sort().to_list()
    return kinds


def _continues(
    index: pl.DataFrame, having: Integers, record_R: Integers, segments: Segments
) -> NDArray[np.bool_]:
    """For every row of `having` but the first: is it the direct continuation of the one before?

    Raises `ValueError` where channels or scale change inside a recording.
    """
    follows: NDArray[np.bool_] = np.diff(record_R[having]) == 0
    # On the grid of samples, and not in seconds: an edge may lie between two samples.
    ends = segments.begin_R + segments.samples_R
    follows &= ends[having[:-1]] == segments.begin_R[having[1:]]
    changed = np.diff(segments.layout_R[having]) != 0
    for table in (segments.scale_RC[having], segments.offset_RC[having]):
        changed |= (table[1:] != table[:-1]).any(axis=1)
    if (bad := np.flatnonzero(follows & changed)).size:
        row = int(having[bad[0] + 1])
        raise ValueError(
            f"record {index['record'][row]} changes its channels or scale at segment "
            f"{index['segment'][row]}: the segments of a recording must share them; "
            "build the shards again"
        )
    return follows
