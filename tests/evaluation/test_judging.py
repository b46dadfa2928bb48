"""A task's figures: each equals the plain metric on the rows as they are, and follows its weights."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray
from sklearn.metrics import (
    average_precision_score,
    cohen_kappa_score,
    f1_score,
    mean_absolute_error,
    recall_score,
    roc_auc_score,
)

from biofm.datasets.snomed import SCORED_2021
from biofm.evaluation.arrays import Floats
from biofm.evaluation.judging import averaged, by_class, draws_for, judged, overall, refused
from biofm.evaluation.multilabel import best_thresholds, f2_g2
from biofm.evaluation.rounds import Truth
from biofm.evaluation.scores import Scores
from biofm.evaluation.tasks import Task

N = 300


def task(kind: str, metrics: tuple[str, ...], **other: Any) -> Task:
    values: dict[str, Any] = {"title": "t", "datasets": ("ptbxl",), "label_set": "x", "kind": kind}
    loss = {"multilabel": "bce", "multiclass": "cross_entropy", "regression": "mae"}[kind]
    return Task(**values | {"metrics": metrics, "loss": loss} | other)


def truth_of(values: NDArray[Any], classes: int, rounds: int = 1) -> Truth:
    return Truth(
        values=values,
        classes=tuple("abcdefghijklmnopqrstuvwxyz"[:classes]),
        subjects=np.array([f"s{i // 3:03d}" for i in range(N)]),
        records=np.array([f"r{i}" for i in range(N)]),
        facts=pl.DataFrame({"onset_s": np.arange(N) * 1.0}),
        round=np.arange(N) * rounds // N,
    )


def multilabel(noise: float = 1.0) -> tuple[Truth, Truth, Scores]:
    rng = np.random.default_rng(1)
    values = [rng.random((N, 3)) < [0.5, 0.3, 0.15] for _ in range(2)]
    test, validation = (truth_of(of, 3) for of in values)
    scores = [of + noise * rng.normal(size=(N, 3)) for of in values]
    return test, validation, Scores(scores[0], scores[1], 0.0)


def values_of(what: Task, test: Truth, validation: Truth, scores: Scores,
              columns: NDArray[np.intp]) -> dict[str, float]:  # fmt: skip
    draws = draws_for(what, test, columns)
    measures = overall(what, judged(what, test, validation, scores), columns)
    figures = {name: of.sampled(draws).figures()[0] for name, of in measures.items()}
    assert all(figure.low <= figure.value <= figure.high for figure in figures.values())
    assert all((f.subjects, f.records) == (100, N) for f in figures.values())
    return {name: figure.value for name, figure in figures.items()}


def test_multilabel_figures_are_scikit_learns() -> None:
    test, validation, scores = multilabel()
    what = task("multilabel", ("f1", "auroc", "average_precision"), threshold="max_f1")
    columns = np.array([0, 2])
    found = values_of(what, test, validation, scores, columns)
    called = scores.test >= best_thresholds(validation.values, scores.validation)
    truth, said = test.values[:, columns], scores.test[:, columns]
    assert list(found) == ["macro f1", "macro auroc", "macro average_precision"]
    assert found == pytest.approx(
        {
            "macro f1": f1_score(truth, called[:, columns], average="macro"),
            "macro auroc": roc_auc_score(truth, said),
            "macro average_precision": average_precision_score(truth, said),
        }
    )
    each = by_class(what, judged(what, test, validation, scores), columns)
    assert list(each) == ["auroc", "average_precision", "f1", "sensitivity", "specificity"]
    for name, side in (("sensitivity", 1), ("specificity", 0)):
        values = each[name].statistic(np.ones((1, N)))[0]
        for value, k in zip(values, columns, strict=True):
            assert value == pytest.approx(
                recall_score(test.values[:, k], called[:, k], pos_label=side)
            )


def test_labels_that_do_not_count_still_weigh_in_f2_and_g2() -> None:
    test, validation, scores = multilabel()
    what = task("multilabel", ("f2_g2",), threshold="max_g2")
    found = values_of(what, test, validation, scores, np.array([0, 1]))
    called = scores.test >= best_thresholds(validation.values, scores.validation, "max_g2")
    f, g = f2_g2(test.values, called)
    assert found == pytest.approx({"macro F2": f[:2].mean(), "macro G2": g[:2].mean()})
    alone, _ = f2_g2(test.values[:, :2], called[:, :2])
    assert found["macro F2"] != pytest.approx(alone.mean())


def test_thresholds_come_from_validation_alone_and_from_ones_own_round() -> None:
    test, validation, scores = multilabel()
    what = task("multilabel", ("f1",), threshold="max_f1")
    noise = np.random.default_rng(0).normal(size=(N, 3))
    mixed = Scores(scores.test, noise, 0.0)
    every = np.arange(3)
    one, other = (values_of(what, test, validation, s, every)["macro f1"] for s in (scores, mixed))
    assert other < one
    # The second round's validation scores are of another scale, and so are its test scores.
    half = np.arange(N) * 2 // N == 1
    shifted = Scores(scores.test + 50 * half[:, None], scores.validation + 50 * half[:, None], 0.0)
    two = [truth_of(of.values, 3, rounds=2) for of in (test, validation)]
    by_round = judged(what, two[0], two[1], shifted).called
    assert by_round is not None
    for number in (False, True):
        rows = half == number
        thresholds = best_thresholds(validation.values[rows], scores.validation[rows])
        np.testing.assert_array_equal(by_round[rows], scores.test[rows] >= thresholds)


def multiclass() -> tuple[Truth, Scores]:
    rng = np.random.default_rng(2)
    values = rng.choice(4, N, p=[0.4, 0.3, 0.28, 0.02])
    scores = rng.dirichlet(np.ones(4), N) + 0.8 * np.eye(4)[values]
    return truth_of(values, 4), Scores(scores, scores, 0.0)


def test_exclusive_classes_are_scikit_learns_and_all_are_judged() -> None:
    test, scores = multiclass()
    metrics = ("kappa", "accuracy", "macro_f1", "auroc", "average_precision", "f1_by_stage")
    what, columns = task("multiclass", metrics), np.array([0, 1, 2])
    found = values_of(what, test, test, scores, columns)
    called, there = scores.test.argmax(axis=1), np.eye(4)[test.values]
    assert (called == 3).any()
    assert found == pytest.approx(
        {
            "kappa": cohen_kappa_score(test.values, called),
            "accuracy": np.mean(test.values == called),
            "macro_f1": f1_score(test.values, called, labels=[0, 1, 2], average="macro"),
            "macro auroc": roc_auc_score(there[:, :3], scores.test[:, :3]),
            "macro average_precision": average_precision_score(there[:, :3], scores.test[:, :3]),
        }
    )
    each = by_class(what, judged(what, test, test, scores), columns)
    ones = np.ones((1, 100))
    assert each["f1"].statistic(ones)[0] == pytest.approx(
        f1_score(test.values, called, labels=[0, 1, 2], average=None)
    )
    for k in range(3):
        found_k = (each[n].statistic(ones)[0, k] for n in ("sensitivity", "specificity"))
        expected = (
            recall_score(test.values == k, called == k, pos_label=side) for side in (True, False)
        )
        assert tuple(found_k) == pytest.approx(tuple(expected))


def test_without_a_class_that_counts_there_is_still_kappa() -> None:
    test, scores = multiclass()
    what = task("multiclass", ("macro_f1", "kappa", "auroc"))
    none: NDArray[np.intp] = np.empty(0, dtype=np.intp)
    assert list(values_of(what, test, test, scores, none)) == ["kappa"]
    told = refused(what, test.classes, none)
    assert list(told) == ["macro_f1", "auroc"]
    assert "no class has 10 subjects with and without it" in told["auroc"]


def quantities() -> tuple[Truth, Floats]:
    rng = np.random.default_rng(3)
    values = rng.normal(120, 15, (N, 2))
    output = values + rng.normal(3, 5, (N, 2)) + np.repeat(rng.normal(size=(100, 2)), 3, axis=0)
    values[::5, 1] = np.nan
    values[:9, 0] = np.nan  # three people without the first
    return truth_of(values, 2), output


def test_every_quantity_has_its_figures_and_missing_numbers_count_nothing() -> None:
    test, output = quantities()
    what = task("regression", ("mae", "mean_error", "bland_altman"))
    found = values_of(what, test, test, Scores(output, output, 0.0), np.arange(2))
    error = output - test.values
    of_people = np.nanmean(np.abs(error[9:, 0]).reshape(-1, 3), axis=1)
    stated = np.isfinite(error[:, 1])
    assert found == pytest.approx(
        {
            "mae a": np.nanmean(np.abs(error[:, 0])),
            "mae by subject a": of_people.mean(),
            "mae b": mean_absolute_error(test.values[stated, 1], output[stated, 1]),
            "mae by subject b": np.nanmean(np.nanmean(np.abs(error[:, 1]).reshape(-1, 3), axis=1)),
            "mean_error a": np.nanmean(error[:, 0]),
            "mean_error b": np.nanmean(error[:, 1]),
        }
    )


def test_the_better_of_two_models_is_told_with_seeds_averaged() -> None:
    what, every = task("multilabel", ("auroc",)), np.arange(3)
    test, validation, good = multilabel(0.5)
    bad = multilabel(2.0)[2]
    measures = [overall(what, judged(what, test, validation, s), every) for s in (good, bad)]
    draws = draws_for(what, test, every)
    sharp = measures[0]["macro auroc"].sampled(draws)
    dull = averaged([of["macro auroc"] for of in measures]).sampled(draws)
    difference = (sharp - dull).figures()[0]
    expected = roc_auc_score(test.values, good.test) - roc_auc_score(test.values, bad.test)
    assert difference.value == pytest.approx(expected / 2)
    assert difference.excludes(0)


def test_the_challenges_score_is_of_all_classes_or_refused(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    names = tuple(SCORED_2021)
    values = rng.random((N, len(names))) < 0.15
    test = replace(truth_of(values, len(names)), classes=names)
    scores = Scores(values + rng.normal(size=values.shape), values.astype(float), 0.0)
    table = tmp_path / "weights.csv"
    codes = ["|".join(of) for of in SCORED_2021.values()]
    weights = np.eye(len(names)) * 0.5 + 0.5
    lines = [",".join(["", *codes])]
    lines += [",".join([c, *map(str, row)]) for c, row in zip(codes, weights, strict=True)]
    table.write_text("\n".join(lines))
    given: dict[str, Any] = {"label_set": "scored_2021", "threshold": "max_f1"}
    what = task("multilabel", ("challenge_score", "f1"), challenge_weights=str(table), **given)
    assert refused(what, names, np.arange(4)) == {}
    found = values_of(what, test, test, scores, np.arange(4))
    # Worked out apart: half the credit for any answer, all of it for the right one.
    called, sinus = scores.test >= 1.0, np.zeros_like(values)
    sinus[:, names.index("NSR")] = True

    def earned(output: NDArray[np.bool_]) -> float:
        each = []
        for labels, answers in zip(values, output, strict=True):
            credit = 0.5 * labels.sum() * answers.sum() + 0.5 * (labels & answers).sum()
            each.append(credit / max((labels | answers).sum(), 1))
        return float(sum(each))

    expected = (earned(called) - earned(sinus)) / (earned(values) - earned(sinus))
    assert found["challenge_score"] == pytest.approx(expected)
    # Without the table that one figure is missing, and is said to be.
    bare = task("multilabel", ("challenge_score", "f1"), **given)
    assert (
        "physionetchallenges/evaluation-2021"
        in refused(bare, names, np.arange(4))["challenge_score"]
    )
    assert list(values_of(bare, test, test, scores, np.arange(4))) == ["macro f1"]
    other = task("multilabel", ("challenge_score",), threshold="max_f1")
    assert (
        "label sets scored_2020, scored_2021"
        in refused(other, names, np.arange(4))["challenge_score"]
    )


def test_scores_of_other_rows_are_refused() -> None:
    test, validation, scores = multilabel()
    short = Scores(scores.test[1:], scores.validation, 0.0)
    with pytest.raises(ValueError, match=r"test scores of shape \[300 rows, 3 classes\], found"):
        judged(task("multilabel", ("auroc",)), test, validation, short)
