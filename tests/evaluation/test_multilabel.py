"""Counted classes, thresholds, F1, Fβ and Gβ: against scikit-learn and slow counting."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example as example_of
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score, recall_score

from biofm.evaluation.arrays import Bools, Floats
from biofm.evaluation.multilabel import (
    best_thresholds,
    counted_classes,
    f1,
    f2_g2,
    sensitivity,
    specificity,
)


def example(seed: int, records: int = 40, classes: int = 3) -> tuple[Bools, Floats]:
    random = np.random.default_rng(seed)
    truth = random.random((records, classes)) < 0.4
    truth[0] = True
    return truth, np.round(random.normal(size=truth.shape) + truth, 1)


def test_classes_are_counted_by_subjects_and_not_by_records() -> None:
    subjects = np.repeat(np.arange(20), 3)
    truth = np.zeros((60, 4), dtype=bool)
    truth[:30, 0] = True  # 10 subjects
    truth[:27, 1] = True  # 9 subjects with 27 records
    truth[::6, 2] = True  # one record of each of 10 subjects
    truth[:, 3] = True  # nobody without it
    counted = counted_classes("abcd", (truth, subjects), (truth, subjects))
    assert counted.kept == ("a", "c")
    assert counted.dropped == ("b", "d")
    assert counted.subjects == {"a": (10, 10), "b": (9, 9), "c": (10, 10), "d": (20, 20)}
    assert counted.columns.tolist() == [0, 2]
    assert "2 dropped, with too few subjects with or without: b (9 in train, 9 in test)" in str(
        counted
    )


def test_a_class_must_be_in_both_parts() -> None:
    subjects = np.arange(40)
    train, test = np.zeros((40, 2), dtype=bool), np.zeros((40, 2), dtype=bool)
    train[:15] = True
    test[:15, 0], test[:3, 1] = True, True
    for first, second in ((train, test), (test, train)):
        assert counted_classes("ab", (first, subjects), (second, subjects)).kept == ("a",)
    assert counted_classes("ab", (train, subjects), (test, subjects), least=3).dropped == ()


def criterion(rule: str, truth: Bools, called: Bools, weight: Floats) -> float:
    hit, wrong = weight[truth & called].sum(), weight[~truth & called].sum()
    missed = weight[truth & ~called].sum()
    if rule == "max_f1":
        return float(2 * hit / (2 * hit + wrong + missed))
    return float(hit / (hit + wrong + 2 * missed))


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6))
@example_of(seed=192)  # equal but for rounding
@pytest.mark.parametrize("rule", ["max_f1", "max_g2"])
def test_no_threshold_is_better_and_none_as_good_is_higher(rule: str, seed: int) -> None:
    truth, score = example(seed)
    labels = np.maximum(truth.sum(axis=1), 1)
    weight = 1.0 / labels if rule == "max_g2" else np.ones(len(truth))
    found = best_thresholds(truth, score, rule)  # type: ignore[arg-type] # plain text for a Literal
    for k in range(3):
        candidates = np.unique(score[:, k])
        values = [criterion(rule, truth[:, k], score[:, k] >= t, weight) for t in candidates]
        best = max(t for t, v in zip(candidates, values, strict=True) if v >= max(values) - 1e-12)
        assert found[k] == best


def test_a_class_without_positives_is_never_called() -> None:
    truth, score = example(0)
    truth[:, 1] = False
    thresholds = best_thresholds(truth, score)
    assert thresholds[1] == np.inf
    assert not (score >= thresholds)[:, 1].any()


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_f1_equals_scikit_learn_alone_and_under_weights(seed: int) -> None:
    truth, score = example(seed)
    called = score > 0.5
    np.testing.assert_allclose(f1(truth, called), f1_score(truth, called, average=None))
    weights = np.random.default_rng(seed).integers(0, 3, size=(4, len(truth))).astype(float)
    weights[:, 0] += 1
    for draw, values in zip(weights, f1(truth, called, weights), strict=True):
        expected = f1_score(truth, called, average=None, sample_weight=draw)
        np.testing.assert_allclose(values, expected)


def test_sensitivity_and_specificity_are_recalls_of_both_sides() -> None:
    truth, score = example(7)
    called = score > 0.5
    weights = np.random.default_rng(0).integers(0, 3, size=(4, len(truth))).astype(float)
    found = sensitivity(truth, called, weights), specificity(truth, called, weights)
    for draw, counts in enumerate(weights):
        for k in range(3):
            for values, side in zip(found, (1, 0), strict=True):
                expected = recall_score(
                    truth[:, k], called[:, k], pos_label=side, sample_weight=counts
                )
                assert values[draw, k] == pytest.approx(expected)


def test_f2_and_g2_of_a_case_worked_by_hand() -> None:
    # Three records: labels a and b, label a, no label. Called: a; a and b; b.
    truth = np.array([[1, 1], [1, 0], [0, 0]], dtype=bool)
    called = np.array([[1, 0], [1, 1], [0, 1]], dtype=bool)
    # Class a: TP = 1/2 + 1, no FP, no FN. Class b: TP = 0, FP = 1 + 1 (no label counts as one), FN = 1/2.
    f, g = f2_g2(truth, called)
    assert f.tolist() == [1.0, 0.0]
    assert g.tolist() == [1.0, 0.0]
    called[0, 1] = True  # now b has TP = 1/2, FP = 2, FN = 0
    f, g = f2_g2(truth, called)
    assert f[1] == pytest.approx(2.5 / (2.5 + 2))
    assert g[1] == pytest.approx(0.5 / 2.5)


def test_f2_and_g2_equal_slow_counting() -> None:
    truth, score = example(5, records=80)
    called = score > 0.3
    f, g = f2_g2(truth, called)
    for k in range(3):
        tp = fp = fn = 0.0
        for i in range(80):
            share = 1 / max(int(truth[i].sum()), 1)
            tp += share * bool(truth[i, k] and called[i, k])
            fp += share * bool(called[i, k] and not truth[i, k])
            fn += share * bool(truth[i, k] and not called[i, k])
        assert f[k] == pytest.approx(5 * tp / (5 * tp + fp + 4 * fn))
        assert g[k] == pytest.approx(tp / (tp + fp + 2 * fn))
    many = f2_g2(truth, called, np.ones((1, 80)))
    assert many[0].shape == (1, 3)


def test_outputs_of_another_shape_are_refused() -> None:
    truth, score = example(0)
    with pytest.raises(ValueError, match="one shape"):
        f1(truth, score[:, :2] > 0)
