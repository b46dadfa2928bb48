"""The order of an epoch in closed form: position → (source, window), with no list and no state.

- A bijection of 0…n−1 is a Feistel network over a place's two digits in the bases a and b, a·b ≥ n,
  with cycle walking (Black & Rogaway, "Ciphers with arbitrary finite domains", CT-RSA 2002): a·b
  exceeds n by less than √n + 1, so that hardly any place has to walk.
- In a source, shards are permuted, taken in blocks, and the windows of a block permuted.
- Sources take turns as evenly as whole numbers allow (Bresenham's line, one source after another
  peeled off), so that any stretch of positions holds every source in its share.

Everything depends on (seed, pass over the source, window counts) and nothing else.
Shape suffixes: N places asked for, S shards, K blocks.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from functools import lru_cache
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from ..signals.randomness import random_bits

Integers = NDArray[np.int64]
Places = TypeVar("Places", NDArray[np.int64], int)

ROUNDS = 8
_POSITIVE = np.int64(2**63 - 1)


def bits(seed: int, epoch: int, at_N: Integers, purpose: str) -> Integers:
    """63 random bits for each of `at_N`, as numbers from 0 up."""
    drawn: Integers = random_bits(seed, epoch, torch.from_numpy(at_N), purpose, 1)[:, 0].numpy()
    return drawn & _POSITIVE


def permuted(
    places_N: Integers, sizes_N: Integers, keys_N: Integers, seed: int, epoch: int
) -> Integers:
    """Each place 0…size−1 under the bijection that its key picks; many bijections in one call."""
    a_N = np.ceil(np.sqrt(sizes_N)).astype(np.int64)
    b_N = -(-sizes_N // a_N)
    out_N = places_N.copy()
    walking = np.arange(len(out_N))
    while walking.size:
        a, b, key = a_N[walking], b_N[walking], keys_N[walking]
        left, right = np.divmod(out_N[walking], b)
        for number in range(ROUNDS):
            if number % 2 == 0:
                left = (left + bits(seed, epoch, right + key, f"order {number}") % a) % a
            else:
                right = (right + bits(seed, epoch, left + key, f"order {number}") % b) % b
        out_N[walking] = left * b + right
        walking = walking[out_N[walking] >= sizes_N[walking]]
    return out_N


class ShardOrder:
    """One source's order: shards permuted, and windows within blocks of `block_shards` (0: all)."""

    def __init__(self, windows_S: Integers, block_shards: int, seed: int, source: int) -> None:
        self.windows = int(windows_S.sum())
        self._windows_S = windows_S
        self._block_shards = block_shards or len(windows_S)
        self._seed, self._source = seed, source
        self._tables = lru_cache(maxsize=2)(self._make_tables)

    def at(self, ranks_N: Integers, turn: int) -> Integers:
        """Window (numbered through the shards in their own order) at each rank of pass `turn`."""
        starts_S, edges_S, edges_K, keys_K = self._tables(turn)
        block_N = np.searchsorted(edges_K, ranks_N, side="right") - 1
        first_N = edges_K[block_N]
        sizes_N = edges_K[block_N + 1] - first_N
        place_N = first_N + permuted(ranks_N - first_N, sizes_N, keys_K[block_N], self._seed, turn)
        shard_N = np.searchsorted(edges_S, place_N, side="right") - 1
        return starts_S[shard_N] + place_N - edges_S[shard_N]

    def shards(self, turn: int) -> Integers:
        """The shards in the order in which pass `turn` takes them."""
        count = len(self._windows_S)
        everyone = np.arange(count, dtype=np.int64)
        key = bits(self._seed, turn, np.array([self._source]), "shard order")
        sizes, keys = np.full(count, count), np.full(count, key)
        return permuted(everyone, sizes, keys, self._seed, turn)

    def standing(self, rank: int) -> tuple[int, int]:
        """(pass, block) of a rank that is counted through all passes."""
        turn, rank = divmod(rank, self.windows)
        _, _, edges_K, _ = self._tables(turn)
        return turn, int(np.searchsorted(edges_K, rank, side="right")) - 1

    def shards_from(self, turn: int, block: int) -> list[int]:
        """The shards of a block, then those of the next, which may be the first of the next pass."""
        first = block * self._block_shards
        shards: list[int] = self.shards(turn)[first : first + 2 * self._block_shards].tolist()
        if len(shards) <= self._block_shards:
            shards += self.shards(turn + 1)[: self._block_shards].tolist()
        return shards

    def _make_tables(self, turn: int) -> tuple[Integers, Integers, Integers, Integers]:
        """Where each permuted shard starts in the source and in this pass; block edges and keys."""
        order_S = self.shards(turn)
        starts_S = (np.cumsum(self._windows_S) - self._windows_S)[order_S]
        edges_S = np.concatenate([[0], np.cumsum(self._windows_S[order_S])])
        edges_K = np.append(edges_S[: -1 : self._block_shards], edges_S[-1])
        block_K = np.arange(len(edges_K) - 1, dtype=np.int64)
        keys_K = bits(self._seed, turn, block_K, f"block order {self._source}")
        return starts_S, edges_S[:-1], edges_K, keys_K


class EpochOrder:
    """The order of a mixture: position in an epoch → window, and which pass over its source it is.

    An epoch has as many positions as there are windows. By default each source's share is its size,
    and an epoch is one pass over all of them. With `weights`, a source that is not finished goes on
    in the next epoch, and one that is starts its next pass at once.
    """

    def __init__(
        self,
        windows: Sequence[Integers],
        block_shards: int,
        seed: int,
        weights: Sequence[float] | None = None,
    ) -> None:
        self._orders = [ShardOrder(w, block_shards, seed, i) for i, w in enumerate(windows)]
        self._sizes = [order.windows for order in self._orders]
        self._first = np.cumsum([0, *self._sizes])
        self._shares = self._sizes if weights is None else whole_shares(weights)
        self.windows = sum(self._sizes)

    def at(self, positions_N: Integers, epoch: int) -> tuple[Integers, Integers]:
        """(window, numbered through all sources; pass over its source) at each position."""
        source_N, rank_N = mixed(positions_N + epoch * self.windows, self._shares)
        window_N, turn_N = np.empty_like(rank_N), np.empty_like(rank_N)
        for source, (order, first) in enumerate(zip(self._orders, self._first[:-1], strict=True)):
            here = np.flatnonzero(source_N == source)
            turn_N[here], rank = np.divmod(rank_N[here], order.windows)
            for turn in np.unique(turn_N[here]):
                now = turn_N[here] == turn
                window_N[here[now]] = first + order.at(rank[now], int(turn))
        return window_N, turn_N

    def standing(self, position: int, epoch: int) -> list[tuple[int, int]]:
        """For each source: the (pass, block) of its first window from this position of an epoch on."""
        place, ranks = position + epoch * self.windows, []
        for source, share in enumerate(self._shares[:-1]):
            before = _taken(place, share, sum(self._shares[source:]))
            ranks.append(before)
            place -= before
        ranks.append(place)
        return [order.standing(rank) for order, rank in zip(self._orders, ranks, strict=True)]

    def shards_from(self, source: int, turn: int, block: int) -> list[int]:
        """The shards of a source's block, and of the block after it."""
        return self._orders[source].shards_from(turn, block)


def mixed(places_N: Integers, shares: Sequence[int]) -> tuple[Integers, Integers]:
    """(source, how many places of that source came before) for each place of an endless mixture.

    Among any `sum(shares)` places from a multiple of it, source i has exactly `shares[i]`.
    """
    source_N = np.full_like(places_N, len(shares) - 1)
    rank_N = places_N.copy()
    open_N = np.arange(len(places_N))
    for source, share in enumerate(shares[:-1]):
        total = sum(shares[source:])
        place = rank_N[open_N]
        before, after = _taken(place, share, total), _taken(place + 1, share, total)
        mine = after > before
        source_N[open_N[mine]] = source
        rank_N[open_N] = np.where(mine, before, place - before)
        open_N = open_N[~mine]
    return source_N, rank_N


def _taken(places: Places, share: int, total: int) -> Places:
    """floor(places · share / total), without overflow for totals up to 3·10⁹."""
    return places // total * share + places % total * share // total


def whole_shares(weights: Sequence[float]) -> list[int]:
    """Weights as the smallest whole numbers in that ratio, to a thousandth of their sum."""
    total = sum(weights)
    parts = [Fraction(weight / total).limit_denominator(1000) for weight in weights]
    common = math.lcm(*(part.denominator for part in parts))
    shares = [max(1, int(part * common)) for part in parts]
    divisor = math.gcd(*shares)
    return [share // divisor for share in shares]
