"""Labels that are off by an epoch are noticed, those that are not are left in peace."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from biofm.evaluation.arrays import Floats, Ints
from biofm.evaluation.label_shift import label_shift, section
from biofm.evaluation.rounds import Truth
from biofm.evaluation.sleep import confusions, kappa

EPOCHS, CLASSES = 240, 4


def hypnogram(rng: np.random.Generator, epochs: int = EPOCHS) -> Ints:
    """Stages that last some minutes each."""
    stages = np.zeros(epochs, np.int64)
    for epoch in range(1, epochs):
        stays = rng.random() < 0.9
        stages[epoch] = stages[epoch - 1] if stays else rng.integers(CLASSES)
    return stages


def called(rng: np.random.Generator, stages: Ints) -> Floats:
    """A model that sees the stages dimly: kappa about 0.4."""
    scores: Floats = np.eye(CLASSES)[stages] * 1.1 + rng.normal(0, 0.8, (len(stages), CLASSES))
    return scores


def truth_of_nights(nights: list[Ints], onset_s: list[Floats] | None = None) -> Truth:
    onsets = onset_s or [np.arange(len(night), dtype=np.float64) * 30 for night in nights]
    names = np.repeat([f"s{i}" for i in range(len(nights))], [len(night) for night in nights])
    rows = pl.DataFrame({"onset_s": np.concatenate(onsets)})
    values = np.concatenate(nights)
    classes = ("W", "light", "deep", "R")
    return Truth(values, classes, names, names, rows, np.zeros(len(values), np.intp))


def shifted(nights: list[Ints], by: int) -> list[Ints]:
    """Each label stands where that of so many epochs later should."""
    return [np.roll(night, -by) for night in nights]


@pytest.fixture(scope="module")
def nights() -> list[Ints]:
    rng = np.random.default_rng(3)
    return [hypnogram(rng) for _ in range(16)]


@pytest.fixture(scope="module")
def scores(nights: list[Ints]) -> Floats:
    rng = np.random.default_rng(4)
    return np.concatenate([called(rng, night) for night in nights])


def test_labels_in_their_place_are_left_in_peace(nights: list[Ints], scores: Floats) -> None:
    found = label_shift(truth_of_nights(nights), scores)
    assert (found.best, found.shifted, found.step_s) == (0, False, 30.0)
    assert all(figure.high < 0 for figure in found.ahead.values())
    assert found.subjects == {}
    assert "No shift" in section(found).paragraphs[0]


@pytest.mark.parametrize("by", [-1, 1, 2])
def test_labels_off_by_an_epoch_are_noticed(nights: list[Ints], scores: Floats, by: int) -> None:
    found = label_shift(truth_of_nights(shifted(nights, by)), scores)
    # A label that stands an epoch early must move later.
    assert (found.best, found.shifted) == (by, True)
    assert len(found.subjects) > 12
    assert set(found.subjects.values()) == {by}
    text = section(found)
    assert f"({30 * by:+d} s)" in text.paragraphs[0]
    assert len(text.tables[0].rows) == 7


def test_one_night_of_many_is_named(nights: list[Ints], scores: Floats) -> None:
    moved = [*nights[:5], *shifted(nights[5:6], 1), *nights[6:]]
    found = label_shift(truth_of_nights(moved), scores)
    assert (found.best, found.shifted) == (0, False)
    assert found.subjects == {"s5": 1}
    assert "s5 (+1)" in section(found).paragraphs[1]


def test_chance_is_seldom_taken_for_a_shift() -> None:
    """Calls that know nothing of the labels: at most a few of 40 sets are called shifted."""
    rng = np.random.default_rng(5)
    nights = [hypnogram(rng, 60) for _ in range(6)]
    truth = truth_of_nights(nights)
    alarms = sum(
        label_shift(
            truth, np.concatenate([called(rng, hypnogram(rng, 60)) for _ in nights])
        ).shifted
        for _ in range(40)
    )
    assert alarms <= 6


def test_every_shift_is_judged_on_the_same_epochs(nights: list[Ints], scores: Floats) -> None:
    """Against a plain loop, with a gap in a night."""
    there = np.r_[0:100, 110:EPOCHS]
    kept = np.concatenate([there if i == 0 else EPOCHS * i + np.arange(EPOCHS) for i in range(16)])
    onsets = [there * 30.0, *([np.arange(EPOCHS) * 30.0] * 15)]
    truth = truth_of_nights([nights[0][there], *nights[1:]], onsets)
    found = label_shift(truth, scores[kept])
    at = {
        (name, onset): i
        for i, (name, onset) in enumerate(zip(truth.records, truth.facts["onset_s"], strict=True))
    }
    places = [
        [at.get((name, onset + 30.0 * k), -1) for k in range(-3, 4)]
        for name, onset in zip(truth.records, truth.facts["onset_s"], strict=True)
    ]
    whole = np.array([row for row in places if min(row) >= 0])
    assert len(whole) == 16 * (EPOCHS - 6) - 16
    calls = scores[kept].argmax(axis=1)
    for k in range(-3, 4):
        of_k = confusions(
            truth.values[whole[:, 3]], calls[whole[:, k + 3]], np.zeros(len(whole)), CLASSES
        )[1][0]
        assert found.kappa[k].value == pytest.approx(float(kappa(of_k)))


def test_what_has_no_place_in_time_is_refused(nights: list[Ints], scores: Floats) -> None:
    truth = truth_of_nights([nights[0][:5], nights[1][:5]])
    with pytest.raises(ValueError, match="no label has 3 others to either side"):
        label_shift(truth, scores[:10])
    rows = pl.DataFrame({"onset_s": [None] * 10}, schema={"onset_s": pl.Float64})
    without = Truth(truth.values, truth.classes, truth.subjects, truth.records, rows, truth.round)
    with pytest.raises(ValueError, match="an onset each"):
        label_shift(without, scores[:10])
