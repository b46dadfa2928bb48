"""Reliability, expected calibration error and Brier score, against scikit-learn and slow counting."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss

from biofm.evaluation.arrays import Bools, Floats
from biofm.evaluation.calibration import (
    bins_of,
    brier,
    brier_exclusive,
    ece,
    reliability,
    top_label,
)


def example(seed: int = 0, records: int = 300) -> tuple[Bools, Floats]:
    random = np.random.default_rng(seed)
    probability = np.round(random.random(records), 2)
    return random.random(records) < probability**1.5, probability


def test_the_curve_equals_scikit_learns() -> None:
    truth, probability = example()
    probability = np.clip(
        probability + 0.0013, 0, 1
    )  # on no edge, where the two conventions differ
    curve = reliability(truth, probability, bins=10)
    frequency, mean = calibration_curve(truth, probability, n_bins=10)
    np.testing.assert_allclose(curve.frequency, frequency)
    np.testing.assert_allclose(curve.probability, mean)
    assert curve.count.sum() == 300


def test_a_bin_holds_its_upper_edge() -> None:
    edges = np.array([0.0, 0.25, 0.2500001, 0.5, 0.75, 1.0])
    assert bins_of(edges, bins=4).tolist() == [0, 0, 1, 1, 2, 3]


def test_adaptive_bins_hold_equally_many_and_keep_equal_values_together() -> None:
    values = np.random.default_rng(0).permutation(np.linspace(0, 0.1, 90))
    assert np.bincount(bins_of(values, bins=9, adaptive=True)).tolist() == [10] * 9
    tied = np.array([0.1] * 7 + [0.2] * 3)
    assert bins_of(tied, bins=5, adaptive=True).tolist() == [0] * 7 + [3] * 3
    curve = reliability(np.arange(10) < 5, tied, bins=5, adaptive=True)
    assert curve.count.tolist() == [7, 3]


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), adaptive=st.booleans())
def test_the_error_equals_slow_counting_alone_and_in_draws(seed: int, adaptive: bool) -> None:
    truth, probability = example(seed, records=80)
    bins = bins_of(probability, 8, adaptive)

    def slow(rows: np.ndarray) -> float:
        gaps = [
            (bins[rows] == b).mean()
            * abs(truth[rows][bins[rows] == b].mean() - probability[rows][bins[rows] == b].mean())
            for b in np.unique(bins[rows])
        ]
        return float(sum(gaps))

    assert reliability(truth, probability, 8, adaptive).ece == pytest.approx(slow(np.arange(80)))
    counts = np.random.default_rng(seed).integers(0, 3, size=(3, 80))
    found = ece(truth, probability, np.arange(80), 8, adaptive)
    for value, draw in zip(found(counts.astype(float)), counts, strict=True):
        assert value == pytest.approx(slow(np.repeat(np.arange(80), draw)))


def test_the_error_over_subjects_is_that_of_all_their_records() -> None:
    truth, probability = example()
    subjects = np.random.default_rng(2).integers(0, 40, 300)
    counts = np.random.default_rng(3).integers(0, 3, size=(5, 40)).astype(float)
    by_subject = ece(truth, probability, subjects)
    by_record = ece(truth, probability, np.arange(300))
    np.testing.assert_allclose(by_subject(counts), by_record(counts[:, subjects]))


def test_errors_worked_by_hand() -> None:
    # 10 records say 0.9 and 7 are right; 10 say 0.1 and 3 are right: both bins are 0.2 off.
    probability = np.repeat([0.9, 0.1], 10)
    truth = np.concatenate([np.arange(10) < 7, np.arange(10) < 3])
    curve = reliability(truth, probability, bins=5)
    assert curve.ece == pytest.approx(0.2)
    assert curve.largest_gap == pytest.approx(0.2)
    assert curve.count.tolist() == [10, 10]
    assert brier(truth, probability).mean() == pytest.approx(0.21 + 0.04)


def test_the_brier_score_equals_scikit_learns() -> None:
    truth, probability = example()
    assert brier(truth, probability).mean() == pytest.approx(brier_score_loss(truth, probability))
    random = np.random.default_rng(0)
    classes, many = random.integers(0, 4, 50), random.dirichlet(np.ones(4), 50)
    slow = sum(((many[i] - np.eye(4)[c]) ** 2).sum() for i, c in enumerate(classes)) / 50
    assert brier_exclusive(classes, many).mean() == pytest.approx(slow)
    assert brier_exclusive(np.array([0]), np.array([[0.0, 1.0]])).tolist() == [2.0]


def test_the_top_label_of_exclusive_classes() -> None:
    probability = np.array([[0.5, 0.3, 0.2], [0.1, 0.2, 0.7]])
    right, sure = top_label(np.array([0, 1]), probability)
    assert right.tolist() == [True, False]
    assert sure.tolist() == [0.5, 0.7]


def test_what_is_no_probability_is_refused() -> None:
    for wrong in (-0.1, 1.2, np.nan):
        with pytest.raises(ValueError, match="from 0 to 1"):
            reliability(np.array([True]), np.array([wrong]))
    with pytest.raises(ValueError, match="at least 1 bin"):
        bins_of(np.array([0.5]), bins=0)
    with pytest.raises(ValueError, match="one shape"):
        reliability(np.array([True]), np.array([0.5, 0.6]))
