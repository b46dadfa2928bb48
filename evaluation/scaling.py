"""Recalibration on validation records: temperature and Platt scaling, for both kinds of labels.

Exclusive classes (softmax) have truth int [N]; several labels at once (sigmoid) truth bool [N, K].
Logits are [N, K] in both. Neither method is to see the records it is judged on.

Shape suffixes: N records, K classes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize, minimize_scalar
from scipy.special import expit, log_softmax, softmax

from .arrays import Bools, Floats, Ints

# A temperature outside of this says that the logits tell nothing, or that every record is right.
_TEMPERATURES = (0.01, 100.0)


@dataclass(frozen=True)
class Temperature:
    """Logits are divided by `value`: above 1 makes probabilities less sure. No order changes."""

    value: float
    exclusive: bool

    def probabilities(self, logits_NK: Floats) -> Floats:
        """Calibrated probabilities [N, K]."""
        scaled_NK = logits_NK / self.value
        return np.asarray(softmax(scaled_NK, axis=1) if self.exclusive else expit(scaled_NK))


@dataclass(frozen=True)
class Platt:
    """σ(slope · logit + offset) class by class; of exclusive classes then scaled to sum to 1."""

    slope_K: Floats
    offset_K: Floats
    exclusive: bool

    def probabilities(self, logits_NK: Floats) -> Floats:
        """Calibrated probabilities [N, K]."""
        probability_NK = np.asarray(expit(logits_NK * self.slope_K + self.offset_K))
        if self.exclusive:
            probability_NK = probability_NK / probability_NK.sum(axis=1, keepdims=True)
        return probability_NK


def fit_temperature(truth: Bools | Ints, logits_NK: Floats) -> Temperature:
    """The temperature with the least negative log likelihood (Guo et al., ICML 2017).

    One for all classes. Searched between 0.01 and 100, on a logarithmic scale.
    """
    exclusive = _exclusive(truth, logits_NK)

    def loss(log_temperature: float) -> float:
        scaled_NK = logits_NK / np.exp(log_temperature)
        if exclusive:
            log_NK = log_softmax(scaled_NK, axis=1)
            return -float(log_NK[np.arange(len(truth)), truth].mean())
        return float((np.logaddexp(0, scaled_NK) - truth * scaled_NK).mean())

    found = minimize_scalar(
        loss, bounds=tuple(np.log(_TEMPERATURES)), method="bounded", options={"xatol": 1e-6}
    )
    return Temperature(float(np.exp(found.x)), exclusive)


def fit_platt(truth: Bools | Ints, logits_NK: Floats) -> Platt:
    """Slope and offset of each class by maximum likelihood (Platt, 1999).

    The targets are Platt's (P + 1) / (P + 2) and 1 / (Q + 2) for P positives and Q negatives, so that a
    class which the logits separate gets finite values, and one without positives a small probability.
    """
    exclusive = _exclusive(truth, logits_NK)
    classes = logits_NK.shape[1]
    truth_NK = np.arange(classes) == truth[:, None] if exclusive else np.asarray(truth, dtype=bool)
    fits = np.array([_platt(truth_NK[:, k], logits_NK[:, k]) for k in range(classes)])
    return Platt(fits[:, 0], fits[:, 1], exclusive)


def _platt(truth_N: Bools, logits_N: Floats) -> tuple[float, float]:
    positives = int(truth_N.sum())
    target_N = np.where(
        truth_N, (positives + 1) / (positives + 2), 1 / (len(truth_N) - positives + 2)
    )
    # Fitted to standardized logits: with any scale of them the search takes the same few steps.
    middle, spread = float(logits_N.mean()), float(logits_N.std()) or 1.0
    z_N = (logits_N - middle) / spread

    def loss(at: Floats) -> tuple[float, Floats]:
        score_N = at[0] * z_N + at[1]
        wrong_N = expit(score_N) - target_N
        value = float((np.logaddexp(0, score_N) - target_N * score_N).mean())
        return value, np.array([(wrong_N * z_N).mean(), wrong_N.mean()])

    found = minimize(loss, np.array([1.0, 0.0]), jac=True, method="BFGS", options={"gtol": 1e-8})
    slope = float(found.x[0]) / spread
    return slope, float(found.x[1]) - slope * middle


def _exclusive(truth: Bools | Ints, logits_NK: Floats) -> bool:
    """Whether the classes exclude each other. Raises `ValueError` where truth and logits do not fit."""
    exclusive = truth.ndim == 1
    expected = logits_NK.shape[:1] if exclusive else logits_NK.shape
    kind = truth.dtype.kind in "iu" if exclusive else truth.dtype == np.bool_
    if logits_NK.ndim != 2 or truth.shape != expected or not kind or not len(truth):
        raise ValueError(
            "expected logits [N, K] with truth int [N] (exclusive classes) or bool [N, K], found "
            f"{logits_NK.shape} with {truth.dtype} {truth.shape}"
        )
    if not np.isfinite(logits_NK).all():
        raise ValueError("expected finite logits")
    if exclusive and not (truth.min() >= 0 and truth.max() < logits_NK.shape[1]):
        raise ValueError(
            f"expected classes from 0 to {logits_NK.shape[1] - 1}, found {truth.max()}"
        )
    return exclusive
