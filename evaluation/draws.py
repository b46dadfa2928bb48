"""Draws of whole subjects for the bootstrap, as weightings of their records.

- **Whole subjects are drawn**, with all their records: records of one person are alike, and drawing
  them singly makes intervals too narrow.
- **What must occur, occurs**: a draw that lacks a record of some set given (`must_occur_NC`: the
  positives and negatives of each counted class) is thrown away and drawn again. With 10 subjects in
  the rarest set that happens once in 22,000 draws and changes nothing; with 3 it happens to one draw
  in twenty, and the intervals come out narrower than they should. `Draws.redrawn` says how often.
- **Seeded by a number and a name** (task and split): two models judged under one name get the same
  draws, so their difference is paired.

Shape suffixes: N records, S subjects, D draws, C sets that must occur.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .arrays import Bools, Ints, Subjects

MAX_TRIES = 100
"""A draw may be repeated this often on average before the sets that must occur are called too small."""

# Numbers drawn at once: 32 MB as int64.
_CHUNK = 1 << 22


@dataclass(frozen=True)
class Draws:
    """How often each subject was drawn: `counts` [D, S]; `subject_N` is each record's column in it.

    `redrawn` draws were thrown away because something that must occur did not.
    """

    counts: NDArray[np.int32]
    subject_N: NDArray[np.intp]
    redrawn: int
    seed: tuple[int, int]

    @property
    def subjects(self) -> int:
        """How many subjects there are."""
        return int(self.counts.shape[1])


def draw_subjects(
    subjects_N: Subjects,
    seed: int,
    name: str,
    *,
    draws: int = 2000,
    must_occur_NC: Bools | None = None,
) -> Draws:
    """Draw whole subjects with replacement; the order of the records does not matter.

    Raises `ValueError` with fewer than two subjects, or where a set in `must_occur_NC` has no record or
    occurs in so few subjects that a draw with all of them is hardly ever found.
    """
    ids, subject_N = np.unique(subjects_N, return_inverse=True)
    if len(ids) < 2:
        raise ValueError(f"an interval over subjects needs at least 2 of them, found {len(ids)}")
    occurs_SC = _by_subject(must_occur_NC, subject_N, len(ids))
    key = (seed, zlib.crc32(name.encode()))
    random = np.random.default_rng(key)
    kept: list[NDArray[np.int32]] = []
    found = tried = 0
    while found < draws:
        batch = min(draws, max(1, _CHUNK // len(ids)))
        counts = _counts(random, batch, len(ids))
        good: Bools = np.all(counts @ occurs_SC > 0, axis=1)
        # Draws beyond the last one needed were never looked at.
        last = np.flatnonzero(np.cumsum(good) == draws - found)
        looked_at = int(last[0]) + 1 if len(last) else batch
        kept.append(counts[:looked_at][good[:looked_at]])
        found += len(kept[-1])
        tried += looked_at
        if tried >= MAX_TRIES * draws and found < draws:
            fewest = occurs_SC.sum(axis=0)
            raise ValueError(
                f"{found} of {tried} draws of {len(ids)} subjects held every set that must occur; "
                f"the smallest (set {int(fewest.argmin())}) is in {int(fewest.min())} subjects: "
                "leave out classes with few subjects"
            )
    return Draws(np.concatenate(kept), subject_N, tried - draws, key)


def both_sides(truth_NK: Bools) -> Bools:
    """[N, 2K]: the positives and the negatives of each class, as sets that must occur."""
    return np.concatenate([truth_NK, ~truth_NK], axis=1)


def _counts(random: np.random.Generator, draws: int, subjects: int) -> NDArray[np.int32]:
    drawn = random.integers(subjects, size=(draws, subjects), dtype=np.int64)
    drawn += np.arange(draws)[:, None] * subjects
    flat = np.bincount(drawn.ravel(), minlength=draws * subjects)
    return flat.reshape(draws, subjects).astype(np.int32)


def _by_subject(must_occur_NC: Bools | None, subject_N: Ints, subjects: int) -> NDArray[np.int32]:
    """[S, C]: 1 where a subject has a record of the set."""
    if must_occur_NC is None:
        return np.ones((subjects, 1), dtype=np.int32)
    if must_occur_NC.ndim != 2 or len(must_occur_NC) != len(subject_N):
        raise ValueError(
            f"expected sets that must occur of shape [{len(subject_N)}, sets], found "
            f"{must_occur_NC.shape}"
        )
    occurs_SC = np.zeros((subjects, must_occur_NC.shape[1]), dtype=np.int32)
    np.maximum.at(occurs_SC, subject_N, must_occur_NC.astype(np.int32))
    if not occurs_SC.any(axis=0).all():
        empty = int(np.flatnonzero(~occurs_SC.any(axis=0))[0])
        raise ValueError(f"no record is in set {empty} of those that must occur: leave it out")
    return occurs_SC
