"""Total sleep time, efficiency, latency and wake after onset, worked by hand."""

from __future__ import annotations

import numpy as np
import pytest

from biofm.evaluation.nights import Night, night, night_errors

W, N2, R, UNSCORED = 0, 2, 4, -1


def test_a_night_worked_by_hand() -> None:
    # 10 epochs awake, 20 asleep, 4 awake, 6 asleep, 2 awake: 42 epochs, 21 minutes.
    stages = np.repeat([W, N2, W, R, W], [10, 20, 4, 6, 2])
    assert night(stages) == Night(
        total_sleep_min=13.0, efficiency=26 / 42, onset_latency_min=5.0, wake_after_onset_min=3.0
    )


def test_without_unscored_epochs_the_parts_make_the_whole() -> None:
    for seed in range(20):
        stages = np.random.default_rng(seed).choice([W, 1, N2, 3, R], size=200)
        found = night(stages)
        parts = found.total_sleep_min + found.onset_latency_min + found.wake_after_onset_min
        assert parts == pytest.approx(100.0)
        assert found.efficiency == pytest.approx(found.total_sleep_min / 100.0)


def test_unscored_epochs_at_the_ends_are_outside_and_those_within_pass_as_time() -> None:
    inner = [W, W, UNSCORED, N2, N2, UNSCORED, W, N2]
    found = night(np.array([UNSCORED] * 3 + inner + [UNSCORED] * 5))
    assert found == night(np.array(inner))
    assert found == Night(
        total_sleep_min=1.5, efficiency=3 / 6, onset_latency_min=1.5, wake_after_onset_min=0.5
    )


def test_a_night_without_sleep_has_no_onset() -> None:
    found = night(np.zeros(40, dtype=int))
    assert (found.total_sleep_min, found.efficiency) == (0.0, 0.0)
    assert np.isnan(found.onset_latency_min)
    assert np.isnan(found.wake_after_onset_min)
    with pytest.raises(ValueError, match="40 unscored"):
        night(np.full(40, UNSCORED))


def test_errors_of_each_night_on_the_scored_epochs() -> None:
    truth = np.array([UNSCORED, W, W, N2, N2, W, R, R, W, N2, N2, W])
    output = np.array([N2, W, N2, N2, N2, N2, R, R, W, W, N2, W])
    nights = np.array(["b"] * 8 + ["a"] * 4)
    ids, errors = night_errors(truth, output, nights)
    assert ids.tolist() == ["a", "b"]
    assert errors["total_sleep_min"].tolist() == [-0.5, 1.0]
    assert errors["efficiency"].tolist() == pytest.approx([-1 / 4, 2 / 7])
    assert errors["onset_latency_min"].tolist() == [0.5, -0.5]
    assert errors["wake_after_onset_min"].tolist() == [0.0, -0.5]


def test_a_hypnogram_shifted_by_one_epoch_moves_the_onset() -> None:
    truth = np.repeat([W, N2, W], [20, 60, 20])
    _, errors = night_errors(truth, np.roll(truth, 1), np.zeros(100, dtype=int))
    assert errors["onset_latency_min"].tolist() == [0.5]


def test_a_missing_output_is_refused() -> None:
    truth = np.array([W, N2, N2])
    with pytest.raises(ValueError, match="night 7: expected an output"):
        night_errors(truth, np.array([W, UNSCORED, N2]), np.full(3, 7))
