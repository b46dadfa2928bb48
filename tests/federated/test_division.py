"""What a client learns from, chooses on and is judged on are apart."""

from __future__ import annotations

import itertools
from typing import Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from biofm.federated.configuration import DivisionConfig
from biofm.federated.division import LEFT_OUT, TEST, TRAIN, VALIDATION, roles

Kind = Literal["blocks", "chronological"]


def night(hours: float, record: str = "a/1", step_s: float = 30.0) -> tuple[np.ndarray, np.ndarray]:
    onset_s = np.arange(0, hours * 3600, step_s)
    return np.full(len(onset_s), record), onset_s


@given(
    st.sampled_from(["blocks", "chronological"]),
    st.integers(0, 600),
    st.integers(1, 900),
    st.floats(0.5, 9),
    st.text(max_size=5),
)
def test_windows_of_unlike_parts_share_no_sample(
    kind: Kind, guard_s: int, longer_s: int, hours: float, subject: str
) -> None:
    division = DivisionConfig(kind, block_s=2 * guard_s + longer_s, guard_s=guard_s)
    records, onset_s = night(hours)
    found = roles(division, subject, records, onset_s)
    window_s = 2 * guard_s
    kept = np.flatnonzero(found != LEFT_OUT)
    for a, b in itertools.pairwise(kept):
        if found[a] != found[b]:
            # Onsets are those of what is judged, anywhere in the window but at the same place in each.
            assert onset_s[b] - onset_s[a] >= window_s


@pytest.mark.parametrize("kind", ["blocks", "chronological"])
def test_without_guards_nothing_is_left_out_and_windows_do_share_samples(kind: Kind) -> None:
    records, onset_s = night(8)
    found = roles(DivisionConfig(kind, guard_s=0), "s", records, onset_s)
    assert not (found == LEFT_OUT).any()
    border = np.flatnonzero(np.diff(found))
    assert len(border)
    assert (np.diff(onset_s)[border] == 30).all()


def test_blocks_go_in_turn_from_a_start_of_the_subject() -> None:
    records, onset_s = night(8)
    division = DivisionConfig(guard_s=0)
    starts = set()
    for number in range(40):
        found = roles(division, f"subject {number}", records, onset_s)
        blocks = found.reshape(16, 60)
        assert (blocks == blocks[:, :1]).all()
        order = blocks[:, 0].tolist()
        assert order[:4] * 4 == order
        turn = order.index(VALIDATION)
        assert [order[(turn + i) % 4] for i in range(4)] == [VALIDATION, TRAIN, TEST, TRAIN]
        assert np.bincount(found).tolist() == [480, 240, 240]
        starts.add(tuple(order[:4]))
    assert len(starts) == 4
    one, other = (
        np.stack([roles(division, f"s{n}", records, onset_s, seed) for n in range(9)])
        for seed in (0, 1)
    )
    assert not np.array_equal(one, other)


def test_chronological_is_the_first_half_the_next_quarter_and_the_last() -> None:
    records, onset_s = night(8)
    found = roles(DivisionConfig("chronological", guard_s=300), "s", records, onset_s)
    kept = found[found != LEFT_OUT]
    assert (np.diff(kept) >= 0).all()
    share = np.bincount(kept) / len(found)
    np.testing.assert_allclose(
        share, [0.5 - 10 / 960, 0.25 - 20 / 960, 0.25 - 10 / 960], atol=0.003
    )


def test_each_night_has_blocks_of_its_own_beginning() -> None:
    one, onset_s = night(4, "a/1")
    both = np.concatenate([one, np.full(len(one), "a/2")])
    # Onsets of a recording need not begin at 0.
    times = np.concatenate([onset_s, onset_s + 12345.0])
    found = roles(DivisionConfig(), "s", both, times)
    assert np.array_equal(found[: len(one)], found[len(one) :])
    assert np.array_equal(found[: len(one)], roles(DivisionConfig(), "s", one, onset_s))


def test_recordings_go_whole_and_in_turn() -> None:
    records = np.repeat([f"a/{n}" for n in range(8)], 7)
    # Beats and whole recordings alike: times are no matter.
    found = roles(DivisionConfig("recordings"), "s", records, np.full(len(records), np.nan))
    each = found.reshape(8, 7)
    assert (each == each[:, :1]).all()
    assert np.bincount(each[:, 0]).tolist() == [4, 2, 2]
    assert np.array_equal(found, roles(DivisionConfig("recordings"), "s", records, None))


def test_random_deals_single_windows_evenly_by_the_seed() -> None:
    records, onset_s = night(8)
    division = DivisionConfig("random")
    found = roles(division, "s", records, onset_s)
    assert np.bincount(found).tolist() == [480, 240, 240]
    # Nearly every window has a neighbour of another part: what this division is known to hide.
    assert (np.diff(found) != 0).mean() > 0.5
    assert np.array_equal(found, roles(division, "s", records, onset_s))
    assert not np.array_equal(found, roles(division, "s", records, onset_s, seed=1))
    assert not np.array_equal(found, roles(division, "t", records, onset_s))


@given(st.sampled_from(["blocks", "chronological", "recordings"]), st.integers(0, 2**32 - 1))
def test_the_order_of_windows_does_not_matter(
    kind: Literal["blocks", "chronological", "recordings"], seed: int
) -> None:
    records = np.concatenate([night(3, f"a/{n}")[0] for n in range(4)])
    onset_s = np.tile(night(3)[1], 4)
    order = np.random.default_rng(seed).permutation(len(records))
    found = roles(DivisionConfig(kind), "s", records, onset_s)
    mixed = roles(DivisionConfig(kind), "s", records[order], onset_s[order])
    assert np.array_equal(found[order], mixed)
    assert {TRAIN, VALIDATION, TEST} <= set(found)


@pytest.mark.parametrize("kind", ["blocks", "chronological"])
@pytest.mark.parametrize("without", [None, "nan"])
def test_blocks_of_what_has_no_time_are_refused(kind: Kind, without: str | None) -> None:
    onset_s = None if without is None else np.array([0.0, np.nan])
    with pytest.raises(
        ValueError, match=f"division {kind}: .* choose recordings, random or unseen"
    ):
        roles(DivisionConfig(kind), "s", np.array(["a/1", "a/1"]), onset_s)


def test_a_guard_of_half_a_block_leaves_nothing() -> None:
    with pytest.raises(ValueError, match=r"guard_s must be .* less than half of block_s, not 900"):
        DivisionConfig(block_s=1800, guard_s=900)
