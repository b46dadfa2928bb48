"""Draws of whole subjects: their law, their seed, and what happens where something must occur."""

from __future__ import annotations

import numpy as np
import pytest

from biofm.evaluation.draws import both_sides, draw_subjects


def test_whole_subjects_are_drawn_as_often_as_there_are_subjects() -> None:
    subjects = np.array(["b", "a", "b", "c", "c", "c"])
    draws = draw_subjects(subjects, 0, "test", draws=3000)
    assert draws.counts.shape == (3000, 3)
    assert (draws.counts.sum(axis=1) == 3).all()
    assert draws.subject_N.tolist() == [1, 0, 1, 2, 2, 2]
    assert draws.redrawn == 0
    # Each subject once on average, and as spread out as a binomial count of 3 · 1/3.
    np.testing.assert_allclose(draws.counts.mean(axis=0), 1.0, atol=0.06)
    np.testing.assert_allclose(draws.counts.var(axis=0), 3 * (1 / 3) * (2 / 3), atol=0.06)


def test_seed_and_name_decide_and_the_order_of_records_does_not() -> None:
    subjects = np.repeat(np.arange(12), 3)
    first = draw_subjects(subjects, 1, "ptbxl/test", draws=20).counts
    shuffled = np.random.default_rng(0).permutation(subjects)
    np.testing.assert_array_equal(first, draw_subjects(shuffled, 1, "ptbxl/test", draws=20).counts)
    for seed, name in ((2, "ptbxl/test"), (1, "ptbxl/validation")):
        assert (first != draw_subjects(subjects, seed, name, draws=20).counts).any()


@pytest.mark.parametrize("holders", [1, 3, 10])
def test_what_must_occur_occurs_and_is_drawn_again_as_often_as_theory_says(holders: int) -> None:
    subjects = np.arange(60)
    rare = (subjects < holders)[:, None]
    draws = draw_subjects(subjects, 0, "test", draws=4000, must_occur_NC=rare)
    assert draws.counts.shape == (4000, 60)
    assert (draws.counts[:, :holders].sum(axis=1) > 0).all()
    missed = (1 - holders / 60) ** 60
    assert draws.redrawn / (4000 + draws.redrawn) == pytest.approx(missed, abs=0.02)
    # The price: those who must occur are drawn too often. With 10 of them it cannot be seen.
    mean = draws.counts[:, :holders].sum(axis=1).mean() / holders
    assert mean == pytest.approx(1 / (1 - missed), rel=0.06)


def test_more_draws_begin_with_the_same_ones() -> None:
    subjects = np.arange(30)
    rare = (subjects < 2)[:, None]
    few = draw_subjects(subjects, 3, "test", draws=100, must_occur_NC=rare)
    many = draw_subjects(subjects, 3, "test", draws=400, must_occur_NC=rare)
    assert 0 < few.redrawn < many.redrawn
    np.testing.assert_array_equal(few.counts, many.counts[:100])
    assert len(np.unique(many.counts, axis=0)) == 400


def test_a_set_is_of_records_and_any_record_of_a_subject_will_do() -> None:
    subjects = np.array([0, 0, 1, 1, 2, 2])
    truth = np.array([[1, 0], [0, 0], [0, 1], [0, 1], [0, 1], [1, 1]], dtype=bool)
    draws = draw_subjects(subjects, 0, "test", draws=200, must_occur_NC=both_sides(truth))
    with_first, with_second = (
        draws.counts[:, [0, 2]].sum(axis=1),
        draws.counts[:, [1, 2]].sum(axis=1),
    )
    assert (with_first > 0).all()
    assert (with_second > 0).all()
    # Only subject 0 has records without the second class: it is in every draw.
    assert (draws.counts[:, 0] > 0).all()


def test_what_cannot_be_drawn_is_named() -> None:
    with pytest.raises(ValueError, match="at least 2 of them, found 1"):
        draw_subjects(np.zeros(9), 0, "test")
    nobody = np.zeros((9, 2), dtype=bool)
    nobody[:, 0] = True
    with pytest.raises(ValueError, match="no record is in set 1"):
        draw_subjects(np.arange(9), 0, "test", must_occur_NC=nobody)
    with pytest.raises(ValueError, match=r"shape \[9, sets\]"):
        draw_subjects(np.arange(9), 0, "test", must_occur_NC=nobody[:4])
    everybody = np.eye(40, dtype=bool)
    with pytest.raises(ValueError, match=r"the smallest \(set 0\) is in 1 subjects"):
        draw_subjects(np.arange(40), 0, "test", draws=50, must_occur_NC=everybody)
