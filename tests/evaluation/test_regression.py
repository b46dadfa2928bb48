"""Errors of estimated numbers, against numpy and scikit-learn; by subject, and in draws."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import mean_absolute_error, root_mean_squared_error

from biofm.evaluation.draws import draw_subjects
from biofm.evaluation.intervals import mean_of, sampled
from biofm.evaluation.regression import METRICS, by_subject, mae, summary, sums


def example(records: int = 90) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    subjects = np.sort(random.integers(0, 6, records))
    truth = 70 + 10 * random.normal(size=records)
    return truth, truth + 1.5 + 4 * random.normal(size=records), subjects


def test_all_records_together() -> None:
    truth, output, _ = example()
    expected = {
        "mae": mean_absolute_error(truth, output),
        "rmse": root_mean_squared_error(truth, output),
        "mean_error": np.mean(output - truth),
        "sd_error": np.std(output - truth, ddof=1),
        "correlation": np.corrcoef(truth, output)[0, 1],
    }
    assert summary(truth, output) == pytest.approx(expected)


def test_weights_are_repetitions() -> None:
    truth, output, subjects = example()
    weights = np.random.default_rng(1).integers(0, 4, size=(5, 6))
    of = sums(truth, output, subjects)
    for name, metric in METRICS.items():
        for value, counts in zip(metric(of, weights.astype(float)), weights, strict=True):
            rows = np.repeat(np.arange(90), counts[subjects])
            assert value == pytest.approx(summary(truth[rows], output[rows])[name]), name


def test_large_offsets_lose_no_digits() -> None:
    truth, output, _ = example()
    near, far = summary(truth, output), summary(truth, output + 1e6)
    assert far["sd_error"] == pytest.approx(near["sd_error"], rel=1e-6)
    assert far["correlation"] == pytest.approx(near["correlation"], rel=1e-6)


def test_what_is_undefined_is_not_a_number() -> None:
    one = summary(np.array([60.0]), np.array([63.0]))
    assert one["mae"] == 3.0
    assert np.isnan(one["sd_error"])
    assert np.isnan(one["correlation"])
    assert np.isnan(summary(np.full(9, 60.1), np.arange(9.0))["correlation"])


def test_each_subject_counts_once_however_long_its_recording() -> None:
    truth = np.zeros(101)
    output = np.concatenate([np.full(100, 1.0), [5.0]])
    of = sums(truth, output, np.array(["long"] * 100 + ["short"]))
    assert of.ids.tolist() == ["long", "short"]
    assert by_subject(mae, of).tolist() == [1.0, 5.0]
    assert summary(truth, output)["mae"] == pytest.approx(105 / 101)


def test_the_interval_of_the_mean_over_subjects() -> None:
    truth, output, subjects = example()
    values = by_subject(mae, sums(truth, output, subjects))
    draws = draw_subjects(subjects, 0, "hr", draws=500)
    (figure,) = sampled(mean_of(values), draws, per_subject=True).figures()
    assert figure.value == pytest.approx(values.mean())
    assert values.min() < figure.low < figure.value < figure.high < values.max()


def test_a_missing_output_is_refused() -> None:
    truth, output, subjects = example()
    output[17] = np.nan
    with pytest.raises(ValueError, match="in output, found nan in row 17"):
        sums(truth, output, subjects)
    with pytest.raises(ValueError, match="one length"):
        summary(truth[1:], output)
