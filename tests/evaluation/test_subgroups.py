"""Figures by group: the right rows, the counts, and groups that are named and not shown."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from biofm.evaluation.draws import both_sides
from biofm.evaluation.judging import Measure
from biofm.evaluation.ranking import auroc
from biofm.evaluation.subgroups import Built, age_bands, by_group

RANDOM = np.random.default_rng(1)
# Men have one record each, women three.
SUBJECTS = np.repeat(np.arange(100), np.tile([1, 3], 50))
TRUTH = RANDOM.random((200, 2)) < 0.5
SCORE = RANDOM.normal(size=(200, 2)) + TRUTH
SEX: list[str | None] = ["female" if s % 2 else "male" for s in SUBJECTS]
SITE = ["small" if s < 9 else "large" for s in SUBJECTS]


def build(rows: NDArray[np.intp]) -> Built:
    truth, score = TRUTH[rows], SCORE[rows]
    measure = Measure(lambda weights: auroc(truth, score, weights).mean(axis=1))
    return Built(measure, both_sides(truth), None, float(auroc(TRUTH, SCORE).mean()))


def test_each_group_has_its_own_figure_with_counts_and_interval() -> None:
    sex = SEX.copy()
    sex[:40] = [None] * 40
    groups = by_group(
        build, SUBJECTS, pl.DataFrame({"sex": sex}), ["sex"], seed=0, name="test", draws=200
    )
    assert [g.value for g in groups] == ["female", "male", "unknown"]
    assert [(g.subjects, g.records) for g in groups] == [(40, 120), (40, 40), (20, 40)]
    for group in groups:
        rows = np.array([(s or "unknown") == group.value for s in sex])
        assert group.figure is not None
        assert group.figure.value == pytest.approx(roc_auc_score(TRUTH[rows], SCORE[rows]))
        assert group.figure.low < group.figure.value < group.figure.high
        assert group.figure.subjects == group.subjects
        assert group.everybody == pytest.approx(roc_auc_score(TRUTH, SCORE))


def test_small_groups_are_named_and_not_shown() -> None:
    groups = by_group(
        build, SUBJECTS, pl.DataFrame({"site": SITE}), ["site"], seed=0, name="test", draws=200
    )
    large, small = groups
    assert large.figure is not None
    assert small.figure is None
    assert (small.value, small.subjects, small.records) == ("small", 9, 17)
    assert small.reason == "below the least of 10"


def test_a_group_says_why_it_has_no_figure() -> None:
    def rare(rows: NDArray[np.intp]) -> Built | str:
        return "no class" if SEX[rows[0]] == "male" else build(rows)

    def undefined(rows: NDArray[np.intp]) -> Built:
        return replace(build(rows), measure=Measure(lambda w: np.full(len(w), np.nan)))

    facts = pl.DataFrame({"sex": SEX})
    female, men = by_group(rare, SUBJECTS, facts, ["sex"], seed=0, name="test", draws=100)
    assert female.figure is not None
    assert (men.figure, men.reason) == (None, "no class")
    for group in by_group(undefined, SUBJECTS, facts, ["sex"], seed=0, name="test", draws=100):
        assert group.figure is None
        assert "not defined there: figure 0 is nan" in group.reason


def test_wrong_facts_are_refused() -> None:
    facts = pl.DataFrame({"sex": SEX})
    with pytest.raises(ValueError, match="no column"):
        by_group(build, SUBJECTS, facts, ["device"], seed=0, name="test")
    with pytest.raises(ValueError, match="expected 200 rows"):
        by_group(build, SUBJECTS, facts[:5], ["sex"], seed=0, name="test")


def test_bands_of_age() -> None:
    ages = pl.Series(
        [0.0, 17.9, 18.0, 39.0, 40.0, 59.0, 60.0, 79.9, 80.0, 300.0, None, float("nan")]
    )
    assert age_bands(ages).to_list() == [
        *("under 18", "under 18", "18–39", "18–39", "40–59", "40–59", "60–79", "60–79"),
        *("80 and over", "80 and over", None, None),
    ]
    with pytest.raises(ValueError, match="found -1"):
        age_bands(pl.Series([-1.0]))
