"""A task's figures: each equals the plain metric on the windows as they are, and follows its weights."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, cohen_kappa_score, f1_score, roc_auc_score

from biofm.evaluation.intervals import figures, paired_differences
from biofm.evaluation.judging import Judged, averaged, draws_for, statistics
from biofm.evaluation.multilabel import best_thresholds
from biofm.evaluation.tasks import Task

RNG = np.random.default_rng(0)
N = 300
SUBJECTS = np.array([f"s{i // 3}" for i in range(N)])


def task(kind: str, metrics: tuple[str, ...], threshold: str | None = None) -> Task:
    values: dict[str, Any] = {"title": "t", "datasets": ("ptbxl",), "label_set": "x", "kind": kind}
    loss = {"multilabel": "bce", "multiclass": "cross_entropy", "regression": "mae"}[kind]
    return Task(**values, metrics=metrics, threshold=threshold, loss=loss)  # type: ignore[arg-type] # plain text for a Literal


def multilabel(noise: float = 1.0) -> tuple[np.ndarray[Any, Any], Judged]:
    rng = np.random.default_rng(1)
    truth = rng.random((N, 3)) < [0.5, 0.3, 0.15]
    before = rng.random((N, 3)) < [0.5, 0.3, 0.15]
    scores = [t + noise * rng.normal(size=(N, 3)) for t in (truth, before)]
    return truth, Judged(scores[0], before, scores[1])


def test_multilabel_figures_are_scikit_learns() -> None:
    truth, judged = multilabel()
    what = task("multilabel", ("auroc", "average_precision", "f1"), "max_f1")
    found = statistics(what, ("a", "b", "c"), truth, SUBJECTS, judged)
    draws = draws_for(what, truth, SUBJECTS)
    values = {name: figures(statistic, draws)[0].value for name, statistic in found.items()}
    called = judged.test >= best_thresholds(judged.validation_truth, judged.validation)
    assert values == pytest.approx(
        {
            "macro auroc": roc_auc_score(truth, judged.test),
            "macro average_precision": average_precision_score(truth, judged.test),
            "macro f1": f1_score(truth, called, average="macro"),
        }
    )


def test_thresholds_come_from_validation_alone() -> None:
    truth, judged = multilabel()
    what = task("multilabel", ("f1",), "max_f1")
    mixed = Judged(judged.test, judged.validation_truth, RNG.normal(size=(N, 3)))
    one, other = (
        statistics(what, ("a", "b", "c"), truth, SUBJECTS, j)["macro f1"](np.ones((1, N)))
        for j in (judged, mixed)
    )
    assert other < one


def test_exclusive_classes_are_judged_by_subject() -> None:
    truth = RNG.integers(0, 4, N)
    scores = np.eye(4)[truth] + RNG.normal(size=(N, 4)) * 0.6
    what = task("multiclass", ("kappa", "accuracy"))
    found = statistics(what, tuple("abcd"), truth, SUBJECTS, Judged(scores, truth, scores))
    draws = draws_for(what, truth, SUBJECTS)
    kappa, accuracy = (figures(found[name], draws)[0] for name in ("kappa", "accuracy"))
    assert kappa.value == pytest.approx(cohen_kappa_score(truth, scores.argmax(axis=1)))
    assert accuracy.value == pytest.approx((truth == scores.argmax(axis=1)).mean())
    assert kappa.subjects == len(set(SUBJECTS))


def test_every_quantity_has_its_figures_and_missing_numbers_count_nothing() -> None:
    truth = RNG.normal(120, 15, (N, 2))
    output = truth + RNG.normal(3, 5, (N, 2))
    truth[::5, 1] = np.nan
    what = task("regression", ("mae", "mean_error"))
    found = statistics(what, ("SBP", "DBP"), truth, SUBJECTS, Judged(output, truth, output))
    draws = draws_for(what, truth, SUBJECTS)
    values = {name: figures(statistic, draws)[0].value for name, statistic in found.items()}
    error = output - truth
    assert values["mae SBP"] == pytest.approx(np.abs(error[:, 0]).mean())
    assert values["mean_error DBP"] == pytest.approx(np.nanmean(error[:, 1]))


def test_the_better_of_two_models_is_told_with_seeds_averaged() -> None:
    what = task("multilabel", ("auroc",))
    truth, good = multilabel(0.5)
    _, bad = multilabel(2.0)
    names = ("a", "b", "c")
    sharp = averaged([statistics(what, names, truth, SUBJECTS, good)] * 2)["macro auroc"]
    dull = averaged([statistics(what, names, truth, SUBJECTS, j) for j in (bad, good)])
    draws = draws_for(what, truth, SUBJECTS)
    difference = paired_differences(sharp, dull["macro auroc"], draws)[0]
    assert difference.value > 0
    assert difference.excludes(0)
