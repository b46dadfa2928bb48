"""What goes wrong among devices, drawn from (seed, round, subject): the same on any engine."""

from __future__ import annotations

import zlib
from collections.abc import Collection, Sequence

import numpy as np
from numpy.typing import NDArray

from .configuration import RealityConfig

POISON = -10.0
"""A poisoned client sends so many times what it learned."""


def generator(seed: int, purpose: str, subject: str, round: int = 0) -> np.random.Generator:
    """Random numbers for one purpose of one subject in one round."""
    return np.random.default_rng(
        [seed, round, zlib.crc32(purpose.encode()), zlib.crc32(subject.encode())]
    )


def asked(reality: RealityConfig, seed: int, round: int, places: Collection[int]) -> list[int]:
    """Whom a round asks, in order: a share of the partitions, at least one."""
    number = max(1, round_half_up(reality.participation * len(places)))
    luck = {p: generator(seed, "asked", str(p), round).random() for p in places}
    return sorted(sorted(places, key=lambda p: (luck[p], p))[:number])


def drops_out(reality: RealityConfig, seed: int, round: int, subject: str) -> bool:
    """Whether a client does not answer in a round."""
    if not reality.dropout:
        return False
    return bool(generator(seed, "dropout", subject, round).random() < reality.dropout)


def steps_made(reality: RealityConfig, seed: int, round: int, subject: str, steps: int) -> int:
    """How many of its steps a client finishes: all, or half of them where it straggles."""
    if not reality.stragglers:
        return steps
    late = generator(seed, "straggler", subject, round).random() < reality.stragglers
    return max(1, steps // 2) if late else steps


def poisoned(reality: RealityConfig, seed: int, subjects: Sequence[str]) -> set[str]:
    """Who sends the opposite."""
    return _first(seed, "poisoned", subjects, reality.poisoned)


def lacks(reality: RealityConfig, seed: int, subjects: Sequence[str]) -> set[str]:
    """Who has no sensor for the missing modalities."""
    return _first(seed, "lacks", subjects, round_half_up(reality.lacking * len(subjects)))


def few_labels(
    reality: RealityConfig, seed: int, subject: str, train_N: NDArray[np.intp]
) -> NDArray[np.intp]:
    """The windows that a client has labels of, among those it learns from."""
    random = generator(seed, "few labels", subject)
    if not reality.few_labels or random.random() >= reality.few_labels:
        return train_N
    return np.sort(random.permutation(train_N)[: reality.labels])


def round_half_up(value: float) -> int:
    """2.5 → 3, not to the even number."""
    return int(value + 0.5)


def _first(seed: int, purpose: str, subjects: Sequence[str], number: int) -> set[str]:
    """So many of the subjects, as luck has it."""
    if not number:
        return set()
    luck = {s: generator(seed, purpose, s).random() for s in subjects}
    return set(sorted(subjects, key=lambda s: (luck[s], s))[:number])
