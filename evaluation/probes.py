"""Linear heads on frozen features: fitted on train, chosen on validation, never shown the test split.

- `logistic`: logistic regression, of each class alone or of exclusive classes together.
- `ridge`: least squares with a quadratic penalty, on the numbers to estimate or on the classes as 0 and
  1 (what random convolution kernels are used with: Dempster et al., DMKD 34:1454, 2020).

Features are brought to mean 0 and deviation 1 as they are in train.

Shape suffixes: N windows, F features, K classes or quantities.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
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
    for penalty, predict in (_ridges if ridge else _logistics)(kind, classes, x, train.values):
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


def _logistics(
    kind: Kind, classes: int, x: Floats, values: NDArray[Any]
) -> Iterator[tuple[float, Predict]]:
    """For each C a regression of each class, or one of all exclusive classes."""
    if kind == "multilabel":
        each = [_logistic_path(x, values[:, k]) for k in range(classes)]
        for c, *of_C in zip(LOGISTIC_C.tolist(), *each, strict=True):
            yield c, _side_by_side(of_C)
    else:
        for c, predict in zip(LOGISTIC_C.tolist(), _logistic_path(x, values), strict=True):
            yield c, _by_class(predict, np.unique(values), classes)


def _logistic_path(x: Floats, values: NDArray[Any]) -> Iterator[Predict]:
    """For each C the probability of each value that there is [N, values]; of bools, that of True [N, 1].

    Each begins where the last one ended. L-BFGS and not Newton's steps, whose cost grows with the square of
    the number of features: 1,378 windows of 1,152 features take it 7 s for 5 classes, Newton's 39 s.
    """
    present = np.unique(values)
    if len(present) == 1:
        level = np.full((1, 1), float(present[0] if values.dtype == np.bool_ else 1))
        for _ in LOGISTIC_C:
            yield lambda z: np.repeat(level, len(z), axis=0)
        return
    model = LogisticRegression(warm_start=True, max_iter=1000)
    columns = slice(1, None) if values.dtype == np.bool_ else slice(None)
    for c in LOGISTIC_C.tolist():
        model.set_params(C=c).fit(x, values)
        yield _probabilities(copy.deepcopy(model), columns)


def _probabilities(model: LogisticRegression, columns: slice) -> Predict:
    return lambda z: np.asarray(model.predict_proba(z)[:, columns])


def _side_by_side(each: Sequence[Predict]) -> Predict:
    return lambda z: np.concatenate([predict(z) for predict in each], axis=1)


def _by_class(predict: Predict, present: NDArray[np.int64], classes: int) -> Predict:
    """Columns of absent classes are 0."""

    def predict_all(z: Floats) -> Floats:
        scores_NK = np.zeros((len(z), classes))
        scores_NK[:, present] = predict(z)
        return scores_NK

    return predict_all


def _ridges(
    kind: Kind, classes: int, x: Floats, values: NDArray[Any]
) -> Iterator[tuple[float, Predict]]:
    for alpha in RIDGE_ALPHA.tolist():
        yield alpha, _ridge(kind, classes, alpha, x, values)


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
