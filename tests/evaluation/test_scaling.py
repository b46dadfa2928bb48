"""Temperature and Platt scaling: recovered from planted distortions, and against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit, log_softmax, softmax
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator

from biofm.evaluation.arrays import Bools, Floats, Ints
from biofm.evaluation.scaling import fit_platt, fit_temperature


def several(seed: int = 0, records: int = 4000) -> tuple[Bools, Floats]:
    """Labels drawn from their logits [N, 3]."""
    random = np.random.default_rng(seed)
    logits = 2 * random.normal(size=(records, 3)) - 1
    return random.random(logits.shape) < expit(logits), logits


def exclusive(seed: int = 0, records: int = 4000) -> tuple[Ints, Floats]:
    """One class of 4 drawn from its logits."""
    random = np.random.default_rng(seed)
    logits = 2 * random.normal(size=(records, 4))
    drawn = (softmax(logits, axis=1).cumsum(axis=1) > random.random(records)[:, None]).argmax(
        axis=1
    )
    return drawn, logits


class GivenLogits(ClassifierMixin, BaseEstimator):  # type: ignore[misc] # scikit-learn is untyped
    """A classifier whose inputs are its logits."""

    def fit(self, x: Floats, y: Bools) -> GivenLogits:
        self.classes_ = np.unique(y)
        return self

    def decision_function(self, x: Floats) -> Floats:
        return x[:, 0] if len(self.classes_) == 2 else x

    def predict(self, x: Floats) -> Ints:
        return np.asarray(x.argmax(axis=1))


@pytest.mark.parametrize("distortion", [0.3, 1.0, 2.5])
def test_a_planted_temperature_is_found(distortion: float) -> None:
    for truth, logits in (several(), exclusive()):
        found = fit_temperature(truth, logits * distortion)
        assert found.value == pytest.approx(distortion, rel=0.06)
        ideal = softmax(logits, axis=1) if truth.ndim == 1 else expit(logits)
        np.testing.assert_allclose(found.probabilities(logits * distortion), ideal, atol=0.02)


def test_no_other_temperature_is_likelier() -> None:
    truth, logits = exclusive(1, records=300)
    found = fit_temperature(truth, 3 * logits).value

    def loss(value: float) -> float:
        return -float(log_softmax(3 * logits / value, axis=1)[np.arange(300), truth].mean())

    grid = np.exp(np.linspace(np.log(0.05), np.log(50), 2000))
    assert loss(found) <= min(map(loss, grid)) + 1e-9


def test_platt_equals_scikit_learns() -> None:
    truth, logits = several(2, records=500)
    distorted = 3 * logits + 2
    found = fit_platt(truth, distorted)
    for k in range(3):
        theirs = CalibratedClassifierCV(
            FrozenEstimator(GivenLogits().fit(distorted, truth[:, k])),
            method="sigmoid",
            ensemble=False,
        )
        theirs.fit(distorted[:, k : k + 1], truth[:, k])
        expected = theirs.predict_proba(distorted[:, k : k + 1])[:, 1]
        np.testing.assert_allclose(found.probabilities(distorted)[:, k], expected, atol=2e-4)


def test_platt_undoes_a_planted_slope_and_offset() -> None:
    truth, logits = several()
    found = fit_platt(truth, 4 * logits + 3)
    np.testing.assert_allclose(found.slope_K, 0.25, rtol=0.1)
    np.testing.assert_allclose(found.offset_K, -0.75, atol=0.12)


def test_platt_of_exclusive_classes_sums_to_one_and_helps() -> None:
    truth, logits = exclusive()
    distorted = 5 * logits + np.array([3.0, 0.0, -2.0, 1.0])
    found = fit_platt(truth, distorted)
    after = found.probabilities(distorted)
    np.testing.assert_allclose(after.sum(axis=1), 1.0)
    before = softmax(distorted, axis=1)
    rows = np.arange(len(truth))
    assert -np.log(after[rows, truth]).mean() < 0.6 * -np.log(before[rows, truth] + 1e-12).mean()


def test_separated_and_absent_classes_stay_finite() -> None:
    truth = np.stack([np.arange(40) < 20, np.zeros(40, dtype=bool)], axis=1)
    logits = np.where(truth, 9.0, -9.0)
    probability = fit_platt(truth, logits).probabilities(logits)
    assert np.isfinite(probability).all()
    assert probability[:20, 0].min() > 0.9
    assert probability[:, 1].max() < 0.05
    # Every record is right: the surer the better, down to the end of the search.
    assert 0.01 <= fit_temperature(truth, logits).value < 0.1


def test_what_does_not_fit_together_is_refused() -> None:
    truth, logits = exclusive(records=50)
    with pytest.raises(ValueError, match="expected logits"):
        fit_temperature(truth[:40], logits)
    with pytest.raises(ValueError, match="classes from 0 to 3, found 4"):
        fit_platt(np.where(truth == 3, 4, truth), logits)
    with pytest.raises(ValueError, match="finite logits"):
        fit_platt(truth, logits * np.nan)
