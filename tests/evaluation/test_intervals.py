"""Intervals: they cover, they hold their value, they count subjects, and pairs are narrower."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import bootstrap as scipy_bootstrap
from scipy.stats import kurtosis, norm
from scipy.stats import t as student
from sklearn.metrics import roc_auc_score

from biofm.evaluation.arrays import Bools, Floats
from biofm.evaluation.calibration import ece
from biofm.evaluation.draws import both_sides, draw_subjects
from biofm.evaluation.intervals import (
    Statistic,
    figures,
    mean_of,
    of_rows,
    sampled,
    share_of,
)
from biofm.evaluation.ranking import auroc

Example = tuple[Bools, Floats, NDArray[np.int64]]


def labelled(random: np.random.Generator, subjects: int = 120, classes: int = 3) -> Example:
    """Classes of 15 to 30 % of subjects, each with one to three records; AUROC Φ(1.5 / √2)."""
    rows = np.repeat(np.arange(subjects), random.integers(1, 4, subjects))
    truth = (random.random((subjects, classes)) < np.linspace(0.15, 0.3, classes))[rows]
    own, noise = random.normal(size=(subjects, classes))[rows], random.normal(size=truth.shape)
    return truth, 0.8 * own + 0.6 * noise + 1.5 * truth, rows


def macro_auroc(truth: Bools, score: Floats) -> Statistic:
    return lambda weights: auroc(truth, score, weights).mean(axis=1)


def coverage(make: Callable[[np.random.Generator, int], tuple[Statistic, NDArray[np.int64], Bools | None]],
             true: float, sets: int) -> float:  # fmt: skip
    random = np.random.default_rng(0)
    hits = 0
    for i in range(sets):
        statistic, subjects, must_occur = make(random, i)
        draws = draw_subjects(subjects, i, "coverage", draws=600, must_occur_NC=must_occur)
        hits += not figures(statistic, draws)[0].excludes(true)
    return hits / sets


def test_intervals_of_macro_auroc_cover() -> None:
    true = norm.cdf(1.5 / np.sqrt(2))

    def make(
        random: np.random.Generator, i: int
    ) -> tuple[Statistic, NDArray[np.int64], Bools | None]:
        truth, score, rows = labelled(random)
        return macro_auroc(truth, score), rows, both_sides(truth)

    assert 0.91 <= coverage(make, true, sets=300) <= 0.98


def test_intervals_of_few_subjects_cover_and_by_record_they_would_not() -> None:
    def make(
        random: np.random.Generator, i: int
    ) -> tuple[Statistic, NDArray[np.int64], Bools | None]:
        rows = np.repeat(np.arange(15), random.integers(20, 60, 15))
        return (
            mean_of(0.3 * random.normal(size=15)[rows] + random.normal(size=len(rows))),
            rows,
            None,
        )

    def ignorant(
        random: np.random.Generator, i: int
    ) -> tuple[Statistic, NDArray[np.int64], Bools | None]:
        statistic, rows, _ = make(random, i)
        return statistic, np.arange(len(rows)), None

    assert 0.91 <= coverage(make, 0.0, sets=300) <= 0.98
    # Drawing records instead of subjects is what makes published intervals too narrow.
    assert coverage(ignorant, 0.0, sets=60) < 0.85


def test_intervals_of_a_rare_class_cover() -> None:
    true = norm.cdf(1.5 / np.sqrt(2))

    def make(
        random: np.random.Generator, i: int
    ) -> tuple[Statistic, NDArray[np.int64], Bools | None]:
        truth = (np.arange(200) < 10)[:, None]
        score = random.normal(size=truth.shape) + 1.5 * truth
        return macro_auroc(truth, score), np.arange(200), both_sides(truth)

    assert 0.91 <= coverage(make, true, sets=300) <= 0.98


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), shift=st.sampled_from([0.0, 0.7, 3.0, 9.0]))
def test_every_auroc_is_inside_its_interval(seed: int, shift: float) -> None:
    random = np.random.default_rng(seed)
    truth = np.arange(60)[:, None] % 6 < np.array([1, 2, 3])
    score = np.round(random.normal(size=truth.shape), 1) + shift * truth
    draws = draw_subjects(
        np.arange(60) // 2, seed, "test", draws=200, must_occur_NC=both_sides(truth)
    )
    for figure in figures(lambda weights: auroc(truth, score, weights), draws):
        assert figure.low <= figure.value <= figure.high <= 1.0
        assert not figure.stretched


def test_a_figure_that_rises_when_records_repeat_is_mended_and_marked() -> None:
    # An ideally calibrated model: its true error is 0, what is measured is not, and draws have more.
    random = np.random.default_rng(0)
    probability = random.random(500)
    truth = random.random(500) < probability
    draws = draw_subjects(np.arange(500), 0, "test", draws=500)
    (figure,) = figures(ece(truth, probability, np.arange(500)), draws)
    assert figure.stretched
    assert figure.bias > 0.005
    assert figure.low < figure.value <= figure.high
    # The interval lies where the value is without the bias.
    assert figure.low <= figure.value - figure.bias <= figure.high


def test_vectorised_statistics_equal_a_loop_over_rows() -> None:
    truth, score, rows = labelled(np.random.default_rng(2), subjects=40)
    draws = draw_subjects(rows, 5, "test", draws=60, must_occur_NC=both_sides(truth))
    slow = of_rows(lambda r: float(roc_auc_score(truth[r], score[r], average="macro")))
    (expected,), (found,) = figures(slow, draws), figures(macro_auroc(truth, score), draws)
    assert (found.value, found.low, found.high, found.bias) == pytest.approx(
        (expected.value, expected.low, expected.high, expected.bias)
    )
    assert (found.subjects, found.records) == (40, len(rows))


def test_the_limits_are_scipys_bca_with_the_tails_of_student() -> None:
    # Skewed values, so that bias, acceleration and kurtosis all matter.
    values = np.exp(np.random.default_rng(4).normal(size=25))
    draws = draw_subjects(np.arange(25), 0, "test", draws=40000)
    (found,) = figures(mean_of(values), draws)
    # The jackknife of a mean is the values themselves, up to scale.
    freedom = 2 * 25 / (kurtosis(values, fisher=False) - 22 / 24)
    assert 2 < freedom < 8
    width = student.ppf(0.975, freedom) * np.sqrt((freedom + 1) / freedom)
    theirs = scipy_bootstrap(
        (values,),
        np.mean,
        confidence_level=float(1 - 2 * norm.sf(width)),
        n_resamples=40000,
        method="BCa",
        rng=np.random.default_rng(2),
    ).confidence_interval
    reach = theirs.high - theirs.low
    assert found.low == pytest.approx(theirs.low, abs=0.015 * reach)
    assert found.high == pytest.approx(theirs.high, abs=0.05 * reach)


def test_the_mean_of_many_subjects_has_the_textbook_interval() -> None:
    values = np.random.default_rng(0).normal(size=400)
    (figure,) = figures(mean_of(values), draw_subjects(np.arange(400), 0, "test", draws=8000))
    half = 1.966 * values.std(ddof=1) / np.sqrt(400)
    assert figure.low == pytest.approx(values.mean() - half, abs=0.05 * half)
    assert figure.high == pytest.approx(values.mean() + half, abs=0.05 * half)


def test_more_confidence_takes_a_wider_interval() -> None:
    values = np.random.default_rng(0).normal(size=50)
    draws = draw_subjects(np.arange(50), 0, "test", draws=2000)
    narrow, wide = figures(mean_of(values), draws, 0.8)[0], figures(mean_of(values), draws, 0.99)[0]
    assert wide.low < narrow.low < narrow.high < wide.high
    assert (narrow.level, wide.level) == (0.8, 0.99)


def test_a_paired_difference_is_narrower_than_the_difference_of_two_intervals() -> None:
    random = np.random.default_rng(3)
    truth, score, rows = labelled(random)
    better = score + 0.15 * truth + 0.05 * random.normal(size=score.shape)
    first, second = macro_auroc(truth, better), macro_auroc(truth, score)
    draws = draw_subjects(rows, 0, "test", must_occur_NC=both_sides(truth))
    (difference,) = (sampled(first, draws) - sampled(second, draws)).figures()
    one, other = figures(first, draws)[0], figures(second, draws)[0]
    assert difference.value == pytest.approx(one.value - other.value)
    assert difference.excludes(0.0)
    assert one.low < other.high  # the intervals overlap, though the difference is sure
    (same,) = (sampled(second, draws) - sampled(second, draws)).figures()
    assert (same.value, same.low, same.high) == (0.0, 0.0, 0.0)


def test_means_and_values_of_subjects_are_those_of_their_statistics() -> None:
    truth, score, rows = labelled(np.random.default_rng(6), subjects=40)
    draws = draw_subjects(rows, 0, "test", draws=100, must_occur_NC=both_sides(truth))
    each = sampled(lambda weights: auroc(truth, score, weights), draws)
    assert each.mean().figures() == figures(macro_auroc(truth, score), draws)
    # The mean over subjects of the number of their records, by subject and by record.
    count = np.bincount(rows).astype(float)
    (found,) = sampled(mean_of(count), draws, per_subject=True).figures()
    (expected,) = figures(lambda w: (w @ np.ones(len(rows))) / (w @ (1 / count[rows])), draws)
    assert (found.value, found.low, found.high) == pytest.approx(
        (expected.value, expected.low, expected.high)
    )
    assert (found.subjects, found.records) == (40, len(rows))


def test_a_share_over_subjects_is_that_of_their_rows() -> None:
    truth, score, rows = labelled(np.random.default_rng(7), subjects=30)
    found = share_of(truth[:, 0] & (score[:, 0] > 1), truth[:, 0], rows)
    counts = np.random.default_rng(8).integers(1, 3, size=(4, 30)).astype(float)
    for value, count in zip(found(counts), counts[:, rows], strict=True):
        expected = np.average(score[truth[:, 0], 0] > 1, weights=count[truth[:, 0]])
        assert value == pytest.approx(expected)


def test_leaving_out_groups_of_subjects_changes_little(monkeypatch: pytest.MonkeyPatch) -> None:
    truth, score, rows = labelled(np.random.default_rng(4), subjects=300)
    draws = draw_subjects(rows, 0, "test", must_occur_NC=both_sides(truth))
    (each,) = figures(macro_auroc(truth, score), draws)
    monkeypatch.setattr("biofm.evaluation.intervals.MAX_LEFT_OUT", 60)
    (groups,) = figures(macro_auroc(truth, score), draws)
    width = each.high - each.low
    assert groups.low == pytest.approx(each.low, abs=0.1 * width)
    assert groups.high == pytest.approx(each.high, abs=0.1 * width)


def test_a_figure_undefined_in_a_draw_is_refused() -> None:
    truth = (np.arange(30) < 2)[:, None]
    score = np.random.default_rng(0).normal(size=truth.shape)
    draws = draw_subjects(np.arange(30), 0, "test", draws=200)
    with pytest.raises(ValueError, match=r"figure 0 is .* not defined in \d+ of 200 draws"):
        figures(macro_auroc(truth, score), draws)
