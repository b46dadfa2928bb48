"""Which of a client's windows it learns from, chooses on, and is judged on.

The main way is blocks of half an hour in turn: train, validation, train, test, from a start that a hash of the
subject decides. A cut in the middle of a night would confound with what sleep does in its second half, and single
windows dealt at random have their neighbours, with nearly the same signal, on the other side.

Shape suffixes: N windows of a subject.
"""

from __future__ import annotations

import zlib

import numpy as np
from numpy.typing import NDArray

from ..evaluation.arrays import Floats
from .configuration import DivisionConfig

TRAIN, VALIDATION, TEST, LEFT_OUT = 0, 1, 2, -1
IN_TURN = (TRAIN, VALIDATION, TRAIN, TEST)
Roles = NDArray[np.int8]


def roles(
    division: DivisionConfig,
    subject: str,
    records_N: NDArray[np.str_],
    onset_s: Floats | None,
    seed: int = 0,
) -> Roles:
    """The part of each window [N]: TRAIN, VALIDATION, TEST, or LEFT_OUT.

    Raises `ValueError` where blocks of time are asked of windows without a time.
    """
    start = zlib.crc32(f"{seed} {subject}".encode()) % len(IN_TURN)
    if division.kind == "random":
        order = np.random.default_rng([seed, zlib.crc32(subject.encode())]).permutation(
            len(records_N)
        )
        return _in_turn(order)
    _, record_N = np.unique(records_N, return_inverse=True)
    if division.kind == "recordings":
        return _in_turn(record_N + start)
    if onset_s is None or not np.isfinite(onset_s).all():
        raise ValueError(
            f"division {division.kind}: the labels of this task are of whole recordings, which have no times: "
            "choose recordings, random or unseen"
        )
    found = np.empty(len(records_N), np.int8)
    for record in range(record_N.max() + 1):
        rows = np.flatnonzero(record_N == record)
        time = onset_s[rows] - onset_s[rows].min()
        if division.kind == "blocks":
            edges = np.arange(1.0, time.max() // division.block_s + 1) * division.block_s
            parts = _in_turn(np.arange(len(edges) + 1) + start)
        else:
            edges = np.array([0.5, 0.75]) * float(time.max())
            parts = np.array([TRAIN, VALIDATION, TEST], np.int8)
        found[rows] = _between(time, edges, parts, division.guard_s)
    return found


def _in_turn(number: NDArray[np.intp]) -> Roles:
    return np.array(IN_TURN, np.int8)[number % len(IN_TURN)]


def _between(time: Floats, edges: Floats, parts: Roles, guard_s: float) -> Roles:
    """The part that each time lies in; left out near an edge between unlike parts."""
    found = parts[np.searchsorted(edges, time, side="right")]
    for edge in edges[parts[:-1] != parts[1:]]:
        found[(time >= edge - guard_s) & (time < edge + guard_s)] = LEFT_OUT
    return found
