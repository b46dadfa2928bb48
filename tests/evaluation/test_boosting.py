"""Gradient boosting: what it learns, and that validation alone chooses."""

from __future__ import annotations

from itertools import islice
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier

from biofm.evaluation import boosting
from biofm.evaluation.arrays import Floats
from biofm.evaluation.boosting import Bins, fit_boosting
from biofm.evaluation.probes import Part, goodness


@pytest.fixture(autouse=True)
def few_trees(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boosting, "TREES", 30)


def features(seed: int, rows: int = 300) -> Floats:
    rng = np.random.default_rng(seed)
    x: Floats = rng.normal(size=(rows, 5))
    x[rng.random(x.shape) < 0.05] = np.nan
    return x


def rings(x: Floats) -> NDArray[np.int64]:
    """Classes that no line parts; the last is rare."""
    radius = np.hypot(np.nan_to_num(x[:, 0]), np.nan_to_num(x[:, 1]))
    return np.digitize(radius, (0.9, 2.2)).astype(np.int64)


def parts(values: Any) -> tuple[Part, Part, Part]:
    return tuple(Part(features(seed), values(features(seed))) for seed in range(3))  # type: ignore[return-value]


def test_exclusive_classes_that_no_line_parts() -> None:
    train, validation, test = parts(rings)
    fitted = fit_boosting("multiclass", "cross_entropy", 3, train, validation)
    said = fitted.predict(test.features)
    np.testing.assert_allclose(said.sum(axis=1), 1)
    assert goodness("multiclass", test.values, said) > 0.6
    assert fitted.validation == goodness(
        "multiclass", validation.values, fitted.predict(validation.features)
    )


def test_a_class_that_train_lacks_has_probability_0() -> None:
    train, validation, test = parts(rings)
    fitted = fit_boosting("multiclass", "cross_entropy", 5, train, validation)
    assert fitted.predict(test.features).shape == (300, 5)
    assert (fitted.predict(test.features)[:, 3:] == 0).all()


def test_balanced_classes_find_the_rare_one() -> None:
    train, validation, test = parts(rings)
    found = {}
    for loss in ("cross_entropy", "balanced_cross_entropy"):
        said = fit_boosting("multiclass", loss, 3, train, validation).predict(test.features)
        found[loss] = (said.argmax(axis=1) == 2)[test.values == 2].mean()
    assert found["balanced_cross_entropy"] > found["cross_entropy"]


def test_labels_each_on_their_own() -> None:
    def values(x: Floats) -> NDArray[np.bool_]:
        ring = rings(x)
        return np.stack([ring == 0, ring == 1, np.ones(len(x), bool)], axis=1)

    train, validation, test = parts(values)
    said = fit_boosting("multilabel", "bce", 3, train, validation).predict(test.features)
    assert goodness("multilabel", test.values, said) > 0.9
    assert (said[:, 2] == 1).all()


def test_quantities_of_which_some_are_not_stated() -> None:
    def values(x: Floats) -> Floats:
        y = np.stack([np.nan_to_num(x[:, 0]) ** 2 * 10, np.abs(np.nan_to_num(x[:, 1]))], axis=1)
        y[::3, 0] = np.nan
        return y

    train, validation, test = parts(values)
    said = fit_boosting("regression", "mae", 2, train, validation).predict(test.features)
    error = np.nanmean(np.abs(said - test.values), axis=0)
    usual = np.nanmean(np.abs(test.values - np.nanmedian(test.values, axis=0)), axis=0)
    assert (error < 0.6 * usual).all()


def test_the_choice_is_the_best_of_all_on_validation() -> None:
    """Against a plain loop over models fitted with so many trees."""
    train, validation, test = parts(rings)
    fitted = fit_boosting("multiclass", "cross_entropy", 3, train, validation, seed=7)
    tried, bins = {}, Bins.of(train.features)
    for leaves in boosting.LEAVES:
        for trees in (10, 20, 30):
            terms = {**boosting._terms(300, leaves, 7), "max_iter": trees}
            model = HistGradientBoostingClassifier(**terms).fit(bins(train.features), train.values)
            score = goodness(
                "multiclass", validation.values, model.predict_proba(bins(validation.features))
            )
            tried[leaves, trees] = (score, model.predict_proba(bins(test.features)))
    score, said = max(tried.values(), key=lambda one: one[0])
    assert fitted.validation == pytest.approx(score)
    np.testing.assert_allclose(fitted.predict(test.features), said)
    assert len({round(score, 6) for score, _ in islice(tried.values(), 6)}) > 1


def test_bins_hold_equally_many_rows_in_order_and_leave_what_is_missing() -> None:
    x = features(3, 1000) ** 3
    x[:, 4] = np.nan
    x[:, 3] = np.rint(x[:, 3])
    codes = Bins.of(x)(x)
    np.testing.assert_array_equal(np.isnan(codes), np.isnan(x))
    for column in (0, 1, 2):
        there = np.isfinite(x[:, column])
        order = np.argsort(x[there, column])
        assert (np.diff(codes[there, column][order]) >= 0).all()
        assert np.bincount(codes[there, column].astype(int)).max() <= 5
    same = np.isfinite(x[:, 3])
    # Equal values share a bin.
    assert len({(a, b) for a, b in zip(x[same, 3], codes[same, 3], strict=True)}) == len(
        np.unique(x[same, 3])
    )


def test_validation_that_cannot_tell_is_refused() -> None:
    train, validation, _ = parts(lambda x: rings(x)[:, None] == 0)
    none = Part(validation.features, np.zeros_like(validation.values))
    with pytest.raises(ValueError, match="no class on both sides"):
        fit_boosting("multilabel", "bce", 1, train, none)
