"""Agreement of sleep stages, against scikit-learn, by subject and pooled, in every scheme."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import cohen_kappa_score, confusion_matrix, f1_score, recall_score

from biofm.datasets.sleep_stages import STAGE_SETS
from biofm.evaluation import sleep
from biofm.evaluation.draws import draw_subjects
from biofm.evaluation.intervals import figures, of_rows, sampled

Stages = NDArray[np.int64]


def example(seed: int = 0) -> tuple[Stages, Stages, Stages]:
    """Truth with unscored epochs, output, subject of each epoch; subject 3 has no N3."""
    random = np.random.default_rng(seed)
    subjects = np.repeat(np.arange(4), (200, 150, 300, 100))
    truth = random.integers(0, 5, len(subjects))
    output = np.where(random.random(len(truth)) < 0.6, truth, random.integers(0, 5, len(truth)))
    for stages in (truth, output):
        stages[(subjects == 3) & (stages == 3)] = 2
    truth[random.random(len(truth)) < 0.05] = sleep.UNSCORED
    return truth, output, subjects


def test_the_metrics_equal_scikit_learn_by_subject_and_pooled() -> None:
    truth, output, subjects = example()
    ids, counts = sleep.confusions(truth, output, subjects, 5)
    assert ids.tolist() == [0, 1, 2, 3]
    scored = truth != sleep.UNSCORED
    for confusion, rows in [
        *((counts[s], scored & (subjects == s)) for s in range(4)),
        (counts.sum(axis=0), scored),
    ]:
        t, o = truth[rows], output[rows]
        np.testing.assert_array_equal(confusion, confusion_matrix(t, o, labels=range(5)))
        assert sleep.accuracy(confusion) == pytest.approx(np.mean(t == o))
        assert sleep.kappa(confusion) == pytest.approx(cohen_kappa_score(t, o))
        assert sleep.macro_f1(confusion) == pytest.approx(f1_score(t, o, average="macro"))
        for k in np.unique(t):
            assert sleep.sensitivity(confusion)[k] == pytest.approx(recall_score(t == k, o == k))
            assert sleep.specificity(confusion)[k] == pytest.approx(recall_score(t != k, o != k))
    by_subject = sleep.kappa(counts)
    assert by_subject.shape == (4,)
    assert by_subject[2] == sleep.kappa(counts[2])
    assert np.isnan(sleep.sensitivity(counts)[3, 3])
    assert np.isnan(sleep.f1_by_stage(counts)[3, 3])


def test_kappa_of_a_textbook_case() -> None:
    # 50 cases: both yes 20, both no 15, 5 and 10 apart: 0.7 observed, 0.5 by chance.
    assert sleep.kappa(np.array([[20, 5], [10, 15]])) == pytest.approx(0.4)


def test_one_stage_throughout_has_no_kappa() -> None:
    assert np.isnan(sleep.kappa(np.array([[30, 0], [0, 0]])))
    assert sleep.accuracy(np.array([[30, 0], [0, 0]])) == 1.0


@pytest.mark.parametrize(
    ("fine", "coarse", "expected"),
    [
        ("stages5", "stages4", [0, 1, 1, 2, 3]),
        ("stages5", "stages3", [0, 1, 1, 1, 2]),
        ("stages5", "stages2", [0, 1, 1, 1, 1]),
        ("stages4", "stages3", [0, 1, 1, 2]),
        ("stages4", "stages2", [0, 1, 1, 1]),
        ("stages3", "stages2", [0, 1, 1]),
    ],
)
def test_stages_merge_into_coarser_schemes(fine: str, coarse: str, expected: list[int]) -> None:
    places = sleep.coarser(STAGE_SETS[fine], STAGE_SETS[coarse])
    assert places.tolist() == expected
    stages = np.array([-1, *range(len(expected)), -1])
    assert sleep.merge(stages, places).tolist() == [-1, *expected, -1]


def test_stages_cannot_be_split() -> None:
    with pytest.raises(ValueError, match="merged, not split"):
        sleep.coarser(STAGE_SETS["stages4"], STAGE_SETS["stages5"])


def test_a_scored_epoch_needs_an_output_in_the_scheme() -> None:
    truth, output, subjects = example()
    output[truth == sleep.UNSCORED] = sleep.UNSCORED
    sleep.confusions(truth, output, subjects, 5)
    row = np.flatnonzero(truth != sleep.UNSCORED)[0]
    output[row] = sleep.UNSCORED
    with pytest.raises(ValueError, match="in the output of scored epochs, found -1"):
        sleep.confusions(truth, output, subjects, 5)
    with pytest.raises(ValueError, match="in the truth"):
        sleep.confusions(truth, np.maximum(output, 0), subjects, 4)


def test_pooled_intervals_from_matrices_equal_those_from_epochs() -> None:
    truth, output, subjects = example()
    scored = truth != sleep.UNSCORED
    truth, output, subjects = truth[scored], output[scored], subjects[scored]
    draws = draw_subjects(subjects, 0, "test", draws=50)
    _, counts = sleep.confusions(truth, output, subjects, 5)
    slow = of_rows(lambda rows: float(cohen_kappa_score(truth[rows], output[rows])))
    (expected,) = figures(slow, draws)
    (found,) = sampled(sleep.pooled(sleep.kappa, counts), draws, per_subject=True).figures()
    assert (found.value, found.low, found.high) == pytest.approx(
        (expected.value, expected.low, expected.high)
    )
    assert found.subjects == 4
