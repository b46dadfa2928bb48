"""Linear heads on frozen features: fitted on train, chosen on validation, never shown the test split.

- `logistic`: logistic regression, of each class alone or of exclusive classes together.
- `ridge`: least squares with a quadratic penalty, on the numbers to estimate or on the classes as 0 and
  1 (what random convolution kernels are used with: Dempster et al., DMKD 34:1454, 2020).

Features are brought to mean 0 and deviation 1 as they are in train.

Shape suffixes: N windows, F features, K classes or quantities.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.preprocessing import StandardScaler

from .arrays import Floats
from .ranking import auroc
from .sleep import confusions, kappa
from .tasks import Kind

Head = Literal["logistic", "ridge"]
Predict = Callable[[Floats], Floats]
"""Features [N, F] → scores or estimates [N, K]."""

LOGISTIC_C = 10.0 ** np.arange(-5, 1.1, 0.5)
RIDGE_ALPHA = 10.0 ** np.arange(0, 6.1, 0.5)


@dataclass(frozen=True)
class Part:
    """Features [N, F] of one split, and what is true of them (`targets.Targets.values`)."""

    features: Floats
    values: NDArray[Any]


@dataclass(frozen=True)
class Probe:
    """A chosen head: `penalty` (C or alpha) was best on validation, where it reached `validation`."""

    predict: Predict
    penalty: float
    validation: float


def fit_probe(kind: Kind, classes: int, head: Head, train: Part, validation: Part) -> Probe:
    """The head whose penalty is best on validation.

    Best is: the highest mean AUROC of the classes that validation has and lacks (multilabel), the highest
    kappa (multiclass), the lowest mean absolute error over its quantities (regression, always `ridge`).
    Raises `ValueError` where validation cannot tell, for it has no class on both sides.
    """
    scaler = StandardScaler().fit(train.features)
    x, x_validation = scaler.transform(train.features), scaler.transform(validation.features)
    ridge = head == "ridge" or kind == "regression"
    best: Probe | None = None
    for penalty in (RIDGE_ALPHA if ridge else LOGISTIC_C).tolist():
        predict = (_ridge if ridge else _logistic)(kind, classes, penalty, x, train.values)
        score = goodness(kind, validation.values, predict(x_validation))
        if best is None or score > best.validation:
            best = Probe(_scaled(scaler, predict), penalty, score)
    if best is None or not np.isfinite(best.validation):
        raise ValueError(
            "validation has no class on both sides, so that no penalty can be chosen by it: give it "
            "more subjects"
        )
    return best


def _scaled(scaler: StandardScaler, predict: Predict) -> Predict:
    return lambda features: predict(np.asarray(scaler.transform(features)))


def _logistic(kind: Kind, classes: int, c: float, x: Floats, values: NDArray[Any]) -> Predict:
    """A regression for each class; for exclusive classes one of all, columns of absent ones 0."""
    if kind == "multilabel":
        each = [_one_class(c, x, values[:, k]) for k in range(classes)]
        return lambda z: np.stack([predict(z) for predict in each], axis=1)
    model = LogisticRegression(C=c, max_iter=1000).fit(x, values)

    def predict(z: Floats) -> Floats:
        scores_NK = np.zeros((len(z), classes))
        scores_NK[:, model.classes_] = model.predict_proba(z)
        return scores_NK

    return predict


def _one_class(c: float, x: Floats, present: NDArray[np.bool_]) -> Predict:
    if present.all() or not present.any():
        level = float(present.mean())
        return lambda z: np.full(len(z), level)
    # Newton's steps by Cholesky: as many features as here are few for it, and it takes a dozen.
    model = LogisticRegression(C=c, solver="newton-cholesky").fit(x, present)
    return lambda z: np.asarray(model.predict_proba(z)[:, 1])


def _ridge(kind: Kind, classes: int, alpha: float, x: Floats, values: NDArray[Any]) -> Predict:
    """One least-squares fit for each column; a row without a number is left out of that column."""
    if kind != "regression":
        wanted = np.eye(classes)[values] if kind == "multiclass" else values.astype(np.float64)
        model = Ridge(alpha=alpha).fit(x, wanted)
        return lambda z: np.asarray(model.predict(z)).reshape(len(z), -1)
    stated = np.isfinite(values)
    models = [
        Ridge(alpha=alpha).fit(x[stated[:, k]], values[stated[:, k], k]) for k in range(classes)
    ]
    return lambda z: np.stack([np.asarray(model.predict(z)) for model in models], axis=1)


def goodness(kind: Kind, values: NDArray[Any], scores_NK: Floats) -> float:
    """What choices are made by, higher is better (`fit_probe` says what it is); NaN where nothing can tell."""
    if kind == "multilabel":
        usable = values.any(axis=0) & ~values.all(axis=0)
        return (
            float(auroc(values[:, usable], scores_NK[:, usable]).mean()) if usable.any() else np.nan
        )
    if kind == "multiclass":
        called = scores_NK.argmax(axis=1)
        _, counts = confusions(values, called, np.zeros(len(values)), scores_NK.shape[1])
        return float(kappa(counts[0]))
    # Each quantity in units of its own spread, or the largest unit would decide alone.
    return -float(np.nanmean(np.abs(scores_NK - values) / np.nanstd(values, axis=0)))
