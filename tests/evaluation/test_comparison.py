"""Comparing models: pairs, seeds, which classes count, and figures that are refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from biofm.evaluation.comparison import compare, counted_columns
from biofm.evaluation.rounds import Truth
from biofm.evaluation.scores import Scores
from biofm.evaluation.tasks import Task

N = 240


def task(kind: str, metrics: tuple[str, ...], **other: Any) -> Task:
    values: dict[str, Any] = {"title": "t", "datasets": ("ptbxl",), "label_set": "x", "kind": kind}
    loss = {"multilabel": "bce", "multiclass": "cross_entropy", "regression": "mae"}[kind]
    return Task(**values | {"metrics": metrics, "loss": loss} | other)


def truth_of(values: NDArray[Any], classes: int) -> Truth:
    return Truth(
        values=values,
        classes=tuple("abcd"[:classes]),
        subjects=np.array([f"s{i // 2:03d}" for i in range(N)]),
        records=np.array([f"r{i}" for i in range(N)]),
        facts=pl.DataFrame({"onset_s": np.arange(N) * 1.0}),
        round=np.zeros(N, dtype=np.intp),
    )


def labelled(noise: float, seed: int = 0) -> tuple[Truth, Scores]:
    rng = np.random.default_rng(1)
    values = rng.random((N, 3)) < [0.5, 0.3, 0.02]
    scores = values + noise * np.random.default_rng(seed).normal(size=values.shape)
    return truth_of(values, 3), Scores(scores, scores, 1 - noise)


def test_rows_are_means_over_seeds_and_differences_are_paired() -> None:
    test, one = labelled(0.6, 1)
    _, two = labelled(0.6, 2)
    _, worse = labelled(1.5, 3)
    what = task("multilabel", ("auroc",))
    columns, told = counted_columns(what, test, test)
    assert columns.tolist() == [0, 1]
    assert told.startswith("2 classes counted: a, b; 1 dropped")
    found = compare(what, test, test, {"ours": [one, two], "other": [worse]}, columns)
    ours, other = (row.figures["macro auroc"] for row in found.rows)
    each = [roc_auc_score(test.values[:, :2], s.test[:, :2]) for s in (one, two, worse)]
    assert ours.value == pytest.approx(np.mean(each[:2]))
    assert other.value == pytest.approx(each[2])
    assert [(row.name, row.seeds) for row in found.rows] == [("ours", 2), ("other", 1)]
    assert [row.validation for row in found.rows] == pytest.approx([0.4, -0.5])
    ahead = found.differences["other"]["macro auroc"]
    assert ahead.value == pytest.approx(ours.value - other.value)
    assert ahead.high - ahead.low < (ours.high - ours.low) + (other.high - other.low)
    assert found.refused == {}


def test_of_exclusive_classes_rare_ones_are_told_and_do_not_count() -> None:
    values = np.arange(N) % 3
    values[:6] = 3  # three people
    test = truth_of(values, 4)
    what = task("multiclass", ("macro_f1", "kappa"))
    columns, told = counted_columns(what, test, test)
    assert columns.tolist() == [0, 1, 2]
    assert "1 dropped, with too few subjects with or without: d (3 in train, 3 in test)" in told
    right = Scores(np.eye(4)[values], np.eye(4)[values], 1.0)
    figures = compare(what, test, test, {"right": [right]}, columns).rows[0].figures
    assert {name: figure.value for name, figure in figures.items()} == {"macro_f1": 1, "kappa": 1}


def test_a_figure_that_is_undefined_for_a_row_is_refused_and_the_others_come() -> None:
    values = np.random.default_rng(0).normal(60, 5, (N, 1))
    test = truth_of(values, 1)
    what = task("regression", ("mae", "correlation"))
    columns, told = counted_columns(what, test, test)
    assert told == "1 quantity: a"
    good, constant = (Scores(of, of, 0.0) for of in (values + 1.0, np.full((N, 1), 60.0)))
    found = compare(what, test, test, {"good": [good], "constant": [constant]}, columns)
    assert list(found.rows[0].figures) == ["mae a", "mae by subject a"]
    assert "not defined in 2000 of 2000 draws" in found.refused["correlation a"]
    alone = replace(what, metrics=("correlation",))
    with pytest.raises(ValueError, match="no figure is left to compare by"):
        compare(alone, test, test, {"constant": [constant]}, columns)


def test_no_class_is_left() -> None:
    test, _ = labelled(1.0)
    with pytest.raises(ValueError, match="no class is left to judge by"):
        counted_columns(task("multilabel", ("auroc",), least_subjects=200), test, test)


@pytest.mark.parametrize("split", ["train", "test"])
def test_a_quantity_that_nobody_states_is_named(split: str) -> None:
    values = np.random.default_rng(0).normal(size=(N, 2))
    lacking = values.copy()
    lacking[:, 1] = np.nan
    both = {"train": truth_of(values, 2), "test": truth_of(values, 2)}
    both[split] = truth_of(lacking, 2)
    with pytest.raises(ValueError, match=f"nobody in {split} states b: leave it out"):
        counted_columns(task("regression", ("mae",)), both["train"], both["test"])
