"""What goes wrong does so by the seed alone, for the share that is asked for."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from biofm.federated.configuration import RealityConfig
from biofm.federated.reality import (
    asked,
    drops_out,
    few_labels,
    lacks,
    poisoned,
    round_half_up,
    steps_made,
)

NAMES = [f"s{n}" for n in range(200)]


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_shares_are_kept(share: float) -> None:
    drop = RealityConfig(dropout=share)
    late = RealityConfig(stragglers=share)
    rounds = [(r, s) for r in range(1, 11) for s in NAMES]
    dropped = np.mean([drops_out(drop, 0, r, s) for r, s in rounds])
    halved = np.mean([steps_made(late, 0, r, s, 10) == 5 for r, s in rounds])
    few = np.mean(
        [len(few_labels(RealityConfig(few_labels=share), 0, s, np.arange(50))) == 20 for s in NAMES]
    )
    assert dropped == pytest.approx(share, abs=0.04)
    assert halved == pytest.approx(share, abs=0.04)
    assert few == pytest.approx(share, abs=0.12)
    assert len(lacks(RealityConfig(missing=("hr",), lacking=share), 0, NAMES)) == round(200 * share)
    assert len(asked(RealityConfig(participation=share), 0, 1, range(200))) == round(200 * share)


def test_nothing_goes_wrong_unasked() -> None:
    clean = RealityConfig()
    assert not any(drops_out(clean, 0, r, s) for r in range(5) for s in NAMES)
    assert all(steps_made(clean, 0, r, s, 7) == 7 for r in range(5) for s in NAMES)
    assert not lacks(clean, 0, NAMES)
    assert not poisoned(clean, 0, NAMES)
    assert len(few_labels(clean, 0, "s", np.arange(50))) == 50
    assert asked(clean, 0, 1, [3, 1, 2]) == [1, 2, 3]


def test_a_straggler_makes_a_step_at_least() -> None:
    late = RealityConfig(stragglers=1.0)
    assert [steps_made(late, 0, 1, "s", steps) for steps in (1, 2, 3, 10)] == [1, 1, 1, 5]


@given(st.permutations(range(30)), st.integers(0, 5), st.integers(1, 9))
def test_the_order_of_clients_does_not_matter(order: list[int], seed: int, round: int) -> None:
    part = RealityConfig(participation=0.3, missing=("hr",), lacking=0.3, poisoned=4)
    assert asked(part, seed, round, order) == asked(part, seed, round, range(30))
    names = [f"s{n}" for n in order]
    assert lacks(part, seed, names) == lacks(part, seed, sorted(names))
    chosen = poisoned(part, seed, names)
    assert chosen == poisoned(part, seed, sorted(names))
    assert len(chosen) == 4


def test_rounds_seeds_and_purposes_are_drawn_apart() -> None:
    part = RealityConfig(participation=0.5, dropout=0.5, stragglers=0.5)

    def drawn(seed: int, round: int) -> tuple[tuple[bool, ...], ...]:
        there = set(asked(part, seed, round, range(200)))
        return (
            tuple(n in there for n in range(200)),
            tuple(drops_out(part, seed, round, s) for s in NAMES),
            tuple(steps_made(part, seed, round, s, 2) == 1 for s in NAMES),
        )

    assert drawn(0, 1) == drawn(0, 1)
    kinds = [what for seed, round in ((0, 1), (0, 2), (1, 1)) for what in drawn(seed, round)]
    assert len(set(kinds)) == len(kinds)
    # Who drops out is not who is late, nor who dropped out before.
    alike = [np.mean(np.equal(a, b)) for i, a in enumerate(kinds) for b in kinds[:i]]
    assert max(abs(np.array(alike) - 0.5)) < 0.2


def test_who_has_few_labels_keeps_some_of_its_own() -> None:
    rows = np.arange(100, 200, 3)
    kept = few_labels(RealityConfig(few_labels=1.0, labels=7), 0, "s", rows)
    assert len(kept) == 7
    assert set(kept) <= set(rows)
    assert (np.diff(kept) > 0).all()
    assert len(few_labels(RealityConfig(few_labels=1.0, labels=70), 0, "s", rows)) == len(rows)


def test_halves_are_rounded_up() -> None:
    assert [round_half_up(v) for v in (0.4, 0.5, 1.5, 2.5)] == [0, 1, 2, 3]


@pytest.mark.parametrize("wrong", [{"participation": 0.0}, {"dropout": 1.1}, {"lacking": -0.1}])
def test_shares_beyond_all_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="shares lie between 0 and 1"):
        RealityConfig(**wrong)  # type: ignore[arg-type] # shares, all of them
