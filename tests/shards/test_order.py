"""The closed-form order: bijections, blocks, shuffle quality, exact mixtures."""

from __future__ import annotations

import itertools
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from biofm.shards.order import EpochOrder, ShardOrder, mixed, permuted, whole_shares


def permutation(size: int, key: int = 0, seed: int = 0, epoch: int = 0) -> np.ndarray:
    places = np.arange(size, dtype=np.int64)
    return permuted(places, np.full(size, size), np.full(size, key), seed, epoch)


@settings(max_examples=60, deadline=None)
@given(size=st.integers(1, 4000), key=st.integers(0, 2**62), seed=st.integers(-5, 2**40))
def test_every_place_is_taken_once(size: int, key: int, seed: int) -> None:
    assert np.array_equal(np.sort(permutation(size, key, seed)), np.arange(size))


def test_bijections_of_different_size_in_one_call_equal_each_alone() -> None:
    sizes = [1, 2, 17, 1000]
    alone = [permutation(size, key=size) for size in sizes]
    places = np.concatenate([np.arange(size) for size in sizes])
    per_place = np.repeat(sizes, sizes)
    assert np.array_equal(permuted(places, per_place, per_place, 0, 0), np.concatenate(alone))


def test_single_places_of_a_huge_domain_need_no_list() -> None:
    size = 10**12
    places = np.array([0, 1, size // 2, size - 1])
    found = permuted(places, np.full(4, size), np.zeros(4, np.int64), 1, 2)
    assert len(set(found.tolist())) == 4
    assert found.min() >= 0
    assert found.max() < size


def test_order_is_unlike_the_sorted_one_and_unlike_other_epochs() -> None:
    size = 8192
    first, second = permutation(size, epoch=0), permutation(size, epoch=1)
    # For random permutations each correlation has a deviation of 1/√8192 = 0.011.
    for a, b in [(first, np.arange(size)), (first, second), (first[1:], first[:-1])]:
        assert abs(np.corrcoef(a, b)[0, 1]) < 0.05
    assert np.abs(first - np.arange(size)).mean() == pytest.approx(size / 3, rel=0.05)
    assert (np.abs(np.diff(first)) == 1).mean() < 0.002
    assert (permutation(size, seed=1) != first).mean() > 0.99


def test_small_orders_are_all_equally_likely() -> None:
    # 24 orders, 4800 draws: 200 ± 14 of each; chi-squared of 23 degrees is 49.7 at p = 0.001.
    places, sizes = np.tile(np.arange(4), 4800), np.full(4 * 4800, 4)
    keys = np.repeat(np.arange(4800) * 1000, 4)
    drawn = permuted(places, sizes, keys, seed=3, epoch=0).reshape(4800, 4)
    counts = Counter(map(tuple, drawn.tolist()))
    assert set(counts) == set(itertools.permutations(range(4)))
    assert sum((count - 200) ** 2 / 200 for count in counts.values()) < 49.7


@settings(max_examples=50, deadline=None)
@given(
    windows=st.lists(st.integers(1, 40), min_size=1, max_size=12),
    block=st.integers(0, 13),
    turn=st.integers(0, 3),
)
def test_a_pass_takes_whole_blocks_of_shards(windows: list[int], block: int, turn: int) -> None:
    windows_S = np.array(windows)
    order = ShardOrder(windows_S, block, seed=7, source=0)
    found = order.at(np.arange(order.windows), turn)
    assert np.array_equal(np.sort(found), np.arange(order.windows))
    shard_of = np.repeat(np.arange(len(windows)), windows)
    shards = order.shards(turn)
    place = 0
    for start in range(0, len(shards), block or len(shards)):
        members = shards[start : start + (block or len(shards))]
        size = windows_S[members].sum()
        assert set(shard_of[found[place : place + size]]) == set(members)
        place += size


def test_shards_and_windows_are_shuffled_anew_in_every_pass() -> None:
    order = ShardOrder(np.full(50, 20), 5, seed=0, source=0)
    assert not np.array_equal(order.shards(0), order.shards(1))
    assert not np.array_equal(order.at(np.arange(1000), 0), order.at(np.arange(1000), 1))


@settings(max_examples=50, deadline=None)
@given(shares=st.lists(st.integers(1, 50), min_size=1, max_size=5), start=st.integers(0, 10**9))
def test_mixture_is_exact_and_gapless(shares: list[int], start: int) -> None:
    total = sum(shares)
    source, rank = mixed(np.arange(start, start + 3 * total), shares)
    for number, share in enumerate(shares):
        ranks = rank[source == number]
        assert np.array_equal(ranks, np.arange(ranks[0], ranks[0] + 3 * share))
        # Taken evenly: in any prefix the count is within one place a source of its share.
        taken = np.cumsum(source == number)
        ideal = np.arange(1, 3 * total + 1) * share / total
        assert np.abs(taken - ideal).max() <= len(shares) + 1
    at_zero = mixed(np.arange(total), shares)[0]
    assert np.bincount(at_zero, minlength=len(shares)).tolist() == shares


def test_by_default_an_epoch_is_every_window_once() -> None:
    order = EpochOrder([np.array([5, 9, 2]), np.array([31])], 1, seed=0)
    for epoch in range(3):
        windows, turns = order.at(np.arange(order.windows), epoch)
        assert np.array_equal(np.sort(windows), np.arange(47))
        assert set(turns) == {epoch}


def test_weights_hold_in_every_stretch_and_sources_go_on_over_epochs() -> None:
    order = EpochOrder([np.array([30, 60]), np.array([10])], 0, seed=0, weights=(0.5, 0.5))
    found = [order.at(np.arange(100), epoch) for epoch in range(9)]
    windows = np.concatenate([w for w, _ in found])
    turns = np.concatenate([t for _, t in found])
    small = windows >= 90
    assert (small.reshape(-1, 10).sum(axis=1) == 5).all()
    for turn in range(5):
        assert sorted(windows[~small & (turns == turn)]) == list(range(90))
    for turn in range(45):
        assert sorted(windows[small & (turns == turn)]) == list(range(90, 100))


def test_an_order_in_pieces_is_the_order() -> None:
    order = EpochOrder([np.array([13, 8]), np.array([40]), np.array([3])], 1, 5, (0.2, 0.7, 0.1))
    whole = order.at(np.arange(64), 4)
    places = np.random.default_rng(0).permutation(64)
    for column, again in zip(whole, order.at(places, 4), strict=True):
        assert np.array_equal(column[places], again)


def test_shares_are_the_smallest_whole_numbers() -> None:
    assert whole_shares((0.7, 0.3)) == [7, 3]
    assert whole_shares((2, 4, 4)) == [1, 2, 2]
    assert whole_shares((1 / 3, 1 / 3, 1 / 3)) == [1, 1, 1]
