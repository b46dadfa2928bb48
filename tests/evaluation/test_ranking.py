"""AUROC and average precision under weights, against scikit-learn on the records themselves."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from biofm.evaluation.arrays import Bools, Floats
from biofm.evaluation.ranking import auroc, average_precision


def example(
    seed: int, records: int = 60, classes: int = 3, decimals: int = 1
) -> tuple[Bools, Floats]:
    """Scores with many ties."""
    random = np.random.default_rng(seed)
    truth = random.random((records, classes)) < 0.3
    truth[0], truth[1] = True, False
    return truth, np.round(random.normal(size=truth.shape) + truth, decimals)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), decimals=st.sampled_from([0, 1, 8]))
def test_both_equal_scikit_learn(seed: int, decimals: int) -> None:
    truth, score = example(seed, decimals=decimals)
    for ours, theirs in ((auroc, roc_auc_score), (average_precision, average_precision_score)):
        expected = [theirs(truth[:, k], score[:, k]) for k in range(3)]
        np.testing.assert_allclose(ours(truth, score), expected, atol=1e-12)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_weights_are_repetitions(seed: int) -> None:
    truth, score = example(seed)
    # Few draws and many are summed up differently.
    weights = np.random.default_rng(seed).integers(0, 4, size=(5 if seed % 2 else 70, len(truth)))
    weights[:, :2] += 1
    for metric in (auroc, average_precision):
        drawn = metric(truth, score, weights.astype(float))
        for draw, counts in enumerate(weights):
            rows = np.repeat(np.arange(len(truth)), counts)
            np.testing.assert_allclose(drawn[draw], metric(truth[rows], score[rows]), atol=1e-12)


def test_a_pair_by_pair_count_agrees() -> None:
    truth, score = example(3)
    above = [
        (score[i, 0] > score[j, 0]) + 0.5 * (score[i, 0] == score[j, 0])
        for i in np.flatnonzero(truth[:, 0])
        for j in np.flatnonzero(~truth[:, 0])
    ]
    assert auroc(truth, score)[0] == pytest.approx(np.mean(above))


def test_a_class_without_one_side_is_undefined_and_not_a_half() -> None:
    truth, score = example(0)
    truth[:, 0], truth[:, 1] = False, True
    assert np.isnan(auroc(truth, score)).tolist() == [True, True, False]
    assert np.isnan(average_precision(truth, score)).tolist() == [True, False, False]
    # The same where only the weights take the positives away.
    truth, score = example(0)
    without = (~truth[:, :1].T).astype(float)
    assert np.isnan(auroc(truth, score, without)[0, 0])
    assert np.isnan(average_precision(truth, score, without)[0, 0])


def test_what_is_no_score_is_refused() -> None:
    truth, score = example(0)
    score[4, 1] = np.nan
    with pytest.raises(ValueError, match="row 4"):
        auroc(truth, score)
    with pytest.raises(ValueError, match="boolean"):
        auroc(truth.astype(int), score)
    with pytest.raises(ValueError, match="one shape"):
        auroc(truth[:, :2], score)
