"""Linear heads: what they can learn they learn, choices never see the test split, odd classes do not stop them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from biofm.evaluation.probes import LOGISTIC_C, Head, Part, fit_probe

RNG = np.random.default_rng(0)
HEADS: list[Head] = ["logistic", "ridge"]


def parts(kind: str, count: int = 400, seed: int = 0) -> tuple[Part, Part]:
    """Train and validation of 12 features of unlike sizes, three of which tell the classes."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(2 * count, 12)) * 10.0 ** rng.integers(-3, 4, 12) + 5
    told = (x - x.mean(axis=0)) / x.std(axis=0)
    values: NDArray[Any]
    if kind == "multilabel":
        values = told[:, :3] + 0.3 * rng.normal(size=(2 * count, 3)) > 0.4
    elif kind == "multiclass":
        values = (told[:, :3] + 0.2 * rng.normal(size=(2 * count, 3))).argmax(axis=1)
    else:
        values = 120 + 15 * told[:, :2] + rng.normal(size=(2 * count, 2))
    return Part(x[:count], values[:count]), Part(x[count:], values[count:])


@pytest.mark.parametrize("head", HEADS)
def test_multilabel_scores_rank_the_classes(head: Head) -> None:
    train, validation = parts("multilabel")
    probe = fit_probe("multilabel", 3, head, train, validation)
    scores = probe.predict(validation.features)
    assert probe.validation == pytest.approx(roc_auc_score(validation.values, scores))
    assert probe.validation > 0.95


@pytest.mark.parametrize("head", HEADS)
def test_one_of_several_classes_is_called(head: Head) -> None:
    train, validation = parts("multiclass")
    probe = fit_probe("multiclass", 3, head, train, validation)
    called = probe.predict(validation.features).argmax(axis=1)
    assert (called == validation.values).mean() > 0.75
    assert 0.6 < probe.validation <= 1


def test_numbers_are_estimated_and_missing_ones_left_out() -> None:
    train, validation = parts("regression")
    train.values[::3, 1] = np.nan
    validation.values[::4, 0] = np.nan
    probe = fit_probe("regression", 2, "logistic", train, validation)
    error = np.abs(probe.predict(validation.features) - validation.values)
    assert np.nanmax(error.mean(where=np.isfinite(error), axis=0)) < 2


def test_the_penalty_is_the_one_that_validation_likes_best() -> None:
    train, validation = parts("multilabel", count=60, seed=3)
    probe = fit_probe("multilabel", 3, "logistic", train, validation)
    mean, spread = train.features.mean(axis=0), train.features.std(axis=0)
    scores = {}
    for c in LOGISTIC_C:
        columns = [
            LogisticRegression(C=c, max_iter=5000, tol=1e-8)
            .fit((train.features - mean) / spread, train.values[:, k])
            .predict_proba((validation.features - mean) / spread)[:, 1]
            for k in range(3)
        ]
        scores[c] = roc_auc_score(validation.values, np.stack(columns, axis=1))
    assert probe.validation == pytest.approx(max(scores.values()), abs=1e-3)
    assert scores[probe.penalty] == pytest.approx(max(scores.values()), abs=1e-3)


def test_a_class_that_train_lacks_scores_alike_everywhere() -> None:
    train, validation = parts("multilabel")
    train.values[:, 1] = False
    probe = fit_probe("multilabel", 3, "logistic", train, validation)
    assert (probe.predict(validation.features)[:, 1] == 0).all()
    exclusive, other = parts("multiclass")
    exclusive.values[exclusive.values == 2] = 0
    scores = fit_probe("multiclass", 3, "logistic", exclusive, other).predict(other.features)
    assert (scores[:, 2] == 0).all()
    assert scores.sum(axis=1) == pytest.approx(1)


def test_one_class_alone_in_train_is_no_error() -> None:
    exclusive, other = parts("multiclass", count=60)
    exclusive.values[:] = 1
    probe = fit_probe("multiclass", 3, "logistic", exclusive, other)
    assert (probe.predict(other.features) == [0, 1, 0]).all()
    assert probe.validation == 0


def test_more_features_than_windows_are_fitted_to_the_end() -> None:
    rng = np.random.default_rng(4)
    x = rng.normal(size=(80, 300))
    values = x[:, :2] + 0.5 * rng.normal(size=(80, 2)) > 0
    train, validation = Part(x[:40], values[:40]), Part(x[40:], values[40:])
    probe = fit_probe("multilabel", 2, "logistic", train, validation)
    mean, spread = x[:40].mean(axis=0), x[:40].std(axis=0)
    for k in range(2):
        alone = LogisticRegression(C=probe.penalty, solver="newton-cholesky", tol=1e-10)
        alone.fit((x[:40] - mean) / spread, values[:40, k])
        expected = alone.predict_proba((x[40:] - mean) / spread)[:, 1]
        np.testing.assert_allclose(probe.predict(x[40:])[:, k], expected, atol=2e-3)


def test_a_validation_that_tells_nothing_is_refused() -> None:
    train, validation = parts("multilabel")
    validation.values[:] = True
    with pytest.raises(ValueError, match="no class on both sides"):
        fit_probe("multilabel", 3, "logistic", train, validation)
