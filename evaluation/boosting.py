"""Gradient boosting on features: trees whose size and number are chosen on validation.

scikit-learn's histogram boosting, which takes missing features as they are. One model for exclusive classes, one
for each class or quantity otherwise. Classes weigh the same, however rare, where the task's loss says so.

Shape suffixes: N rows, F features, K classes or quantities.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

from .arrays import Floats
from .probes import Part, Predict, Probe, goodness
from .tasks import Kind, Loss

LEAVES = (4, 8)
"""Leaves of a tree."""
TREES = 150
EVERY = 10
"""Numbers of trees that are looked at: every tenth."""
LEARNING_RATE = 0.1
BINS = 255
SHARE_OF_FEATURES = 0.3
"""Features that a split may choose from: neighbours in time say nearly the same."""
LEAST_ROWS = 200
"""Rows in a leaf; a thirtieth of all where they are few."""

Staged = Callable[[Floats], Iterator[Floats]]
"""Features [N, F] → scores [N, K] after 1, 2, … trees."""


def fit_boosting(
    kind: Kind, loss: Loss, classes: int, train: Part, validation: Part, seed: int = 0
) -> Probe:
    """The size and number of trees that are best on validation, by what `fit_probe` chooses by.

    Its `penalty` is the number of trees. Raises `ValueError` where validation cannot tell, for it has no
    class on both sides.
    """
    bins = Bins.of(train.features)
    train, held = Part(bins(train.features), train.values), bins(validation.features)
    best: Probe | None = None
    for leaves in LEAVES:
        staged = _fitted(kind, loss, classes, train, leaves, seed)
        for looked, said in enumerate(islice(staged(held), EVERY - 1, None, EVERY), 1):
            score = goodness(kind, validation.values, said)
            if best is None or score > best.validation:
                best = Probe(_after(bins, staged, looked * EVERY), looked * EVERY, score)
    if best is None or not np.isfinite(best.validation):
        raise ValueError(
            "validation has no class on both sides, so that no trees can be chosen by it: give it more "
            "subjects"
        )
    return best


@dataclass(frozen=True)
class Bins:
    """The edges of at most `BINS` bins of each feature that hold equally many rows of train.

    The library would bin too, but where rows have weights one quantile after another, which costs more than
    the trees: two fits of 30 trees to 61 features of 800 rows took 34 s, and 0.9 s with these bins.
    """

    edges: tuple[Floats, ...]

    @classmethod
    def of(cls, x: Floats) -> Bins:
        """Of features [N, F]; missing ones have no bin."""
        shares = np.linspace(0, 1, BINS + 1)[1:-1]
        there = [column[np.isfinite(column)] for column in x.T]
        return cls(tuple(np.unique(np.quantile(c, shares)) if len(c) else c for c in there))

    def __call__(self, x: Floats) -> Floats:
        """The number of each feature's bin [N, F], NaN where it is missing."""
        numbers = [np.searchsorted(e, c, "right") for e, c in zip(self.edges, x.T, strict=True)]
        found: Floats = np.where(np.isfinite(x), np.stack(numbers, axis=1), np.nan)
        return found


def _after(bins: Bins, staged: Staged, trees: int) -> Predict:
    return lambda features: next(islice(staged(bins(features)), trees - 1, None))


def _fitted(kind: Kind, loss: Loss, classes: int, train: Part, leaves: int, seed: int) -> Staged:
    x, values = train.features, train.values
    if kind == "multiclass":
        return _exclusive(loss, classes, x, values, leaves, seed)
    each = [_column(kind, x, values[:, k], leaves, seed) for k in range(classes)]
    return lambda z: (
        np.stack(columns, axis=1) for columns in zip(*(one(z) for one in each), strict=True)
    )


def _exclusive(
    loss: Loss, classes: int, x: Floats, values: NDArray[Any], leaves: int, seed: int
) -> Staged:
    """Probabilities of exclusive classes; those of classes that train lacks are 0."""
    weights = "balanced" if loss == "balanced_cross_entropy" else None
    model = HistGradientBoostingClassifier(**_terms(len(x), leaves, seed), class_weight=weights)
    model.fit(x, values)

    def staged(z: Floats) -> Iterator[Floats]:
        for found in model.staged_predict_proba(z):
            scores_NK = np.zeros((len(z), classes))
            scores_NK[:, model.classes_] = found
            yield scores_NK

    return staged


def _column(kind: Kind, x: Floats, values: NDArray[Any], leaves: int, seed: int) -> Staged:
    """One class against the rest, or one quantity; rows without a number are left out."""
    if kind == "multilabel":
        if values.all() or not values.any():
            level = float(values.mean())
            return lambda z: (np.full(len(z), level) for _ in range(TREES))
        model = HistGradientBoostingClassifier(**_terms(len(x), leaves, seed)).fit(x, values)
        return lambda z: (found[:, 1] for found in model.staged_predict_proba(z))
    there = np.isfinite(values)
    terms = _terms(int(there.sum()), leaves, seed)
    estimate = HistGradientBoostingRegressor(**terms, loss="absolute_error")
    estimate.fit(x[there], values[there])
    return lambda z: iter(estimate.staged_predict(z))


def _terms(rows: int, leaves: int, seed: int) -> dict[str, Any]:
    return {
        "learning_rate": LEARNING_RATE,
        "max_iter": TREES,
        "max_leaf_nodes": leaves,
        "min_samples_leaf": max(1, min(LEAST_ROWS, rows // 30)),
        "max_features": SHARE_OF_FEATURES,
        "early_stopping": False,
        "random_state": seed,
    }
