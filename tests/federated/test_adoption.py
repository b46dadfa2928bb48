"""The rule of no harm on cases made by hand, and what it promises whatever the case."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import t as student

from biofm.federated.adoption import goodness_N, pieces, standard_error, verdict
from biofm.federated.keeping import Kept

Floats = NDArray[np.float64]

BLOCK_S = 1800.0


def said(right: Floats, truth: NDArray[np.int64]) -> Floats:
    """Probabilities of three classes: the true one likeliest where `right`, else the next."""
    likeliest = np.where(right > 0, truth, (truth + 1) % 3)
    found: Floats = 0.1 + 0.7 * np.eye(3)[likeliest]
    return found


def kept(
    own: dict[str, Floats] | None,
    common: dict[str, Floats] | None,
    truth: dict[str, NDArray[np.int64]],
    strategy: str = "fedavg",
) -> Kept:
    """What a client kept: windows of 30 s, 60 of them in a block, and blocks two hours apart."""
    onset_s: dict[str, Floats] = {}
    for split, values in truth.items():
        place = np.arange(len(values), dtype=np.float64)
        onset_s[split] = place % 60 * 30 + place // 60 * 7200
    return Kept(
        "s",
        strategy,  # type: ignore[arg-type] # a strategy's name
        common,
        own,
        truth,  # type: ignore[arg-type] # of one type, where several are possible
        onset_s,
        {k: np.full(len(v), "a/1") for k, v in truth.items()},
        learned=10,
        step=3,
    )


def case(
    own: Floats, common: Floats, base: Floats | None = None, test: tuple[float, float] = (0.9, 0.5)
) -> tuple[Kept, Kept | None]:
    """By which windows of validation [N] are right; on test the shares of the own and of all others."""
    truth = {"validation": np.arange(len(own)) % 3, "test": np.arange(100) % 3}
    right_own, right_other = (np.arange(100) < 100 * share for share in test)

    def both(right: Floats, on_test: NDArray[np.bool_]) -> dict[str, Floats]:
        return {
            "validation": said(right, truth["validation"]),
            "test": said(on_test.astype(float), truth["test"]),
        }

    of = kept(both(own, right_own), both(common, right_other), truth)
    beside = None if base is None else kept(both(base, right_other), None, truth, "base")
    return of, beside


def blocks(*shares: float) -> Floats:
    """So many of a block's 60 windows are right, for each block."""
    return np.concatenate([(np.arange(60) < round(60 * share)).astype(float) for share in shares])


def test_a_head_that_is_better_in_every_block_is_adopted() -> None:
    of, _ = case(blocks(0.9, 0.8, 0.9, 0.8), blocks(0.5, 0.5, 0.5, 0.5))
    found = verdict(of, None, 0.95, BLOCK_S)
    assert (found.fallback, found.adopted, found.harmed) == ("common", True, False)
    assert found.gain == pytest.approx(0.35)
    # Gains of the blocks are 0.4, 0.3, 0.4 and 0.3: the error of their mean, as a textbook has it.
    assert found.error == pytest.approx(np.std([0.4, 0.3, 0.4, 0.3], ddof=1) / 2)
    assert found.test_gain == pytest.approx(0.4)


def test_a_head_that_is_better_in_one_block_alone_is_not() -> None:
    of, _ = case(blocks(1.0, 0.5, 0.5, 0.5), blocks(0.5, 0.5, 0.5, 0.5))
    found = verdict(of, None, 0.95, BLOCK_S)
    # On single windows the gain of 0.125 would be 6 standard errors.
    assert found.gain == pytest.approx(0.125)
    assert found.gain > 3 * standard_error(np.repeat([1.0, 0.0], [30, 210]), np.arange(240))
    assert not found.adopted
    assert found.test_gain == 0
    assert not found.harmed


def test_confidence_is_that_of_a_one_sided_t_test() -> None:
    gains = np.array([0.4, 0.1, 0.3, 0.2])
    of, _ = case(blocks(*(0.5 + gains)), blocks(0.5, 0.5, 0.5, 0.5))
    ratio = gains.mean() / (gains.std(ddof=1) / 2)
    share = float(student.cdf(ratio, 3))
    assert 0.9 < share < 0.999
    assert verdict(of, None, share - 1e-3, BLOCK_S).adopted
    assert not verdict(of, None, share + 1e-3 * (1 - share), BLOCK_S).adopted


def test_the_fallback_is_whichever_is_right_more_often_and_ties_go_to_the_model_for_all() -> None:
    own, low, high = blocks(0.9, 0.8), blocks(0.4, 0.4), blocks(0.6, 0.6)
    for common, base, wanted in (
        (low, high, "base"),
        (high, low, "common"),
        (high, high, "common"),
    ):
        assert verdict(*case(own, common, base), 0.95, BLOCK_S).fallback == wanted


def test_a_head_is_measured_against_the_better_of_both() -> None:
    of, base = case(blocks(0.8, 0.7, 0.8), blocks(0.3, 0.3, 0.3), blocks(0.9, 0.9, 0.9))
    found = verdict(of, base, 0.95, BLOCK_S)
    assert (found.fallback, found.adopted) == ("base", False)
    assert found.gain < 0


def test_who_adopts_what_is_worse_on_test_is_harmed() -> None:
    of, _ = case(blocks(0.9, 0.8, 0.9), blocks(0.5, 0.5, 0.5), test=(0.3, 0.5))
    found = verdict(of, None, 0.95, BLOCK_S)
    assert found.adopted
    assert found.harmed
    assert found.test_gain == pytest.approx(-0.2)


def test_with_nothing_beside_it_a_head_is_used_as_it_is() -> None:
    of, _ = case(blocks(0.9, 0.8), blocks(0.5, 0.5))
    alone = Kept("s", "local", None, of.own, of.truth, of.onset_s, of.records, 10, 3)
    found = verdict(alone, None, 0.95, BLOCK_S)
    assert found.fallback is None
    assert found.adopted
    assert not found.harmed
    assert np.isnan([found.gain, found.error, found.test_gain]).all()


def test_a_single_block_proves_nothing() -> None:
    of, _ = case(blocks(1.0), blocks(0.0))
    found = verdict(of, None, 0.5, BLOCK_S)
    assert found.gain == 1
    assert not found.adopted


@given(st.integers(0, 2**32 - 1), st.sampled_from([0.5, 0.8, 0.95]), st.booleans())
def test_who_does_not_adopt_gains_and_loses_nothing(
    seed: int, confidence: float, beside: bool
) -> None:
    random = np.random.default_rng(seed)
    count = 60 * int(random.integers(1, 6))
    own, common, base = (np.floor(random.random(count) + random.random()) for _ in range(3))
    of, extra = case(own, common, base if beside else None, test=tuple(random.random(2)))
    found = verdict(of, extra, confidence, BLOCK_S)
    if not found.adopted:
        assert found.test_gain == 0
        assert not found.harmed
    else:
        assert found.gain > 0
        assert found.harmed == (found.test_gain < 0)


def test_test_windows_have_no_say() -> None:
    own, common = blocks(0.8, 0.6, 0.7), blocks(0.5, 0.5, 0.6)
    found = [
        verdict(*case(own, common, test=test), 0.8, BLOCK_S) for test in ((0.0, 1.0), (1.0, 0.0))
    ]
    assert [(v.adopted, v.gain, v.error) for v in found[:1]] == [
        (v.adopted, v.gain, v.error) for v in found[1:]
    ]


def test_the_standard_error_is_that_of_drawing_pieces_anew() -> None:
    random = np.random.default_rng(0)
    sizes = random.integers(20, 60, 40)
    piece_N = np.repeat(np.arange(40), sizes)
    # What is alike within pieces: a level of each, and a little beside.
    values_N = np.repeat(random.normal(0, 1, 40), sizes) + random.normal(0, 0.5, len(piece_N))
    by_piece = [values_N[piece_N == p] for p in range(40)]
    means = [
        np.concatenate([by_piece[p] for p in random.integers(0, 40, 40)]).mean()
        for _ in range(4000)
    ]
    found = standard_error(values_N, piece_N)
    assert found == pytest.approx(np.std(means), rel=0.1)
    assert found > 3 * values_N.std() / np.sqrt(len(values_N))


def test_pieces_are_of_one_recording_and_one_time() -> None:
    records = np.array(["b", "b", "a", "a", "a"])
    found = pieces(records, np.array([0.0, 1799.0, 0.0, 1800.0, 1900.0]), 1800.0)
    assert found[0] == found[1]
    assert found[3] == found[4]
    assert len(set(found)) == 3
    without_times = pieces(records, np.full(5, np.nan), 1800.0)
    assert without_times.tolist() == [1, 1, 0, 0, 0]


def test_errors_of_quantities_are_in_units_of_their_deviation() -> None:
    truth = np.array([[60.0, 1000.0], [80.0, np.nan], [np.nan, np.nan]])
    scale = np.array([[50.0, 900.0], [70.0, 1100.0]])
    found = goodness_N(truth, truth + np.array([5.0, 100.0]), scale)
    # Deviations are 10 and 100: errors of 0.5 and 1, of those that are stated.
    np.testing.assert_allclose(found, [-0.75, -0.5, 0.0])


def test_blocks_that_begin_anywhere_are_whole_pieces() -> None:
    """Validation blocks lie four blocks apart; from the recording's start, each of these would be cut in two."""
    onset_s = np.array([1700.0, 1900.0, 1700.0 + 4 * 1800, 1900.0 + 4 * 1800])
    assert pieces(np.full(4, "night"), onset_s, 1800.0).tolist() == [0, 0, 1, 1]
