"""Conformal sets: the limit by hand, coverage by simulation, sets against slow loops."""

from __future__ import annotations

import zlib

import numpy as np
import pytest
from scipy.special import expit, softmax

from biofm.evaluation.arrays import Bools, Floats, Ints
from biofm.evaluation.conformal import aps_sets, label_sets, lac_sets, limit, quality


def exclusive(random: np.random.Generator, records: int) -> tuple[Ints, Floats]:
    """Four classes, and probabilities that are too sure of themselves."""
    logits = 1.5 * random.normal(size=(records, 4))
    drawn = (softmax(logits, axis=1).cumsum(axis=1) > random.random(records)[:, None]).argmax(
        axis=1
    )
    return drawn, softmax(3 * logits, axis=1)


def several(random: np.random.Generator, records: int) -> tuple[Bools, Floats]:
    logits = 2 * random.normal(size=(records, 3)) - 1
    return random.random(logits.shape) < expit(logits), expit(2 * logits + 1)


def test_the_limit_is_the_rank_that_theory_names() -> None:
    measures = np.random.default_rng(0).permutation(np.arange(1.0, 20.0))  # 19 measures
    assert limit(measures, 0.1) == 18.0  # ⌈20 · 0.9⌉
    assert limit(measures, 0.05) == 19.0  # ⌈20 · 0.95⌉: just enough
    assert limit(measures, 0.04) == np.inf
    assert limit(np.arange(1.0, 10.0), 0.1) == 9.0
    assert limit(np.empty(0), 0.1) == np.inf
    with pytest.raises(ValueError, match="alpha"):
        limit(measures, 0.0)


@pytest.mark.parametrize("method", ["lac", "aps"])
@pytest.mark.parametrize("alpha", [0.1, 0.3])
def test_the_sets_hold_the_truth_as_often_as_promised(method: str, alpha: float) -> None:
    random = np.random.default_rng(0)
    coverages = []
    for i in range(200):
        truth, probability = exclusive(random, 60)
        test_truth, test = exclusive(random, 200)
        if method == "lac":
            sets = lac_sets(truth, probability, test, alpha)
        else:
            sets = aps_sets(truth, probability, test, alpha, seed=i, name="test")
        coverages.append(quality(test_truth, sets).coverage)
    # Theory: between 1 − α and 1 − α + 1/61 on average.
    assert 1 - alpha - 0.008 <= np.mean(coverages) <= 1 - alpha + 1 / 61 + 0.008


def test_the_sets_of_labels_hold_on_both_sides() -> None:
    random = np.random.default_rng(1)
    coverages = []
    for _ in range(150):
        truth, probability = several(random, 150)
        test_truth, test = several(random, 300)
        sets = label_sets(truth, probability, test, 0.1)
        for k in range(3):
            for side in (False, True):
                rows = test_truth[:, k] == side
                found = quality(test_truth[rows, k].astype(int), sets[rows, k])
                coverages.append((k, side, found.coverage))
    for k in range(3):
        for side in (False, True):
            mean = np.mean([c for label, s, c in coverages if (label, s) == (k, side)])
            assert 0.885 <= mean <= 0.945


def test_adaptive_sets_equal_a_slow_loop() -> None:
    random = np.random.default_rng(2)
    truth, probability = exclusive(random, 40)
    _, test = exclusive(random, 20)
    sets = aps_sets(truth, probability, test, 0.2, seed=3, name="x")
    draw = np.random.default_rng((3, zlib.crc32(b"x")))
    own, other = draw.random(40), draw.random(20)

    def measure(p: Floats, k: int, u: float) -> float:
        return float(sum(q for q in p if q > p[k]) + u * p[k])

    limits = sorted(measure(probability[i], int(truth[i]), own[i]) for i in range(40))
    threshold = limits[int(np.ceil(41 * 0.8)) - 1]
    expected = [
        [measure(p, k, u) <= threshold for k in range(4)] for p, u in zip(test, other, strict=True)
    ]
    np.testing.assert_array_equal(sets, expected)


def test_seed_and_name_fix_the_sets() -> None:
    random = np.random.default_rng(4)
    truth, probability = exclusive(random, 100)
    _, test = exclusive(random, 200)
    first = aps_sets(truth, probability, test, seed=0, name="a")
    np.testing.assert_array_equal(first, aps_sets(truth, probability, test, seed=0, name="a"))
    assert (first != aps_sets(truth, probability, test, seed=1, name="a")).any()
    assert (first != aps_sets(truth, probability, test, seed=0, name="b")).any()


def test_with_too_few_records_to_learn_from_nothing_is_excluded() -> None:
    random = np.random.default_rng(5)
    truth, probability = exclusive(random, 8)
    _, test = exclusive(random, 30)
    assert lac_sets(truth, probability, test, 0.1).all()
    labels, scores = several(random, 60)
    labels[:, 0] = np.arange(60) < 8  # 9 are needed for α = 0.1
    assert label_sets(labels, scores, scores, 0.1)[:, 0, 1].all()


def test_what_sets_are_worth() -> None:
    sets = np.array([[1, 0, 0], [1, 1, 0], [0, 0, 0], [0, 1, 0]], dtype=bool)
    found = quality(np.array([0, 1, 2, 2]), sets)
    assert (found.coverage, found.size, found.single, found.empty) == (0.5, 1.0, 0.5, 0.25)
    with pytest.raises(ValueError, match="no test record"):
        quality(np.empty(0, dtype=int), sets[:0])
    with pytest.raises(ValueError, match="expected truth"):
        quality(np.array([0, 1]), sets)
