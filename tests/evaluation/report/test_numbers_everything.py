"""Every metric that a task can name stands in the report's numbers, for readers and as plain values."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray

from biofm.datasets.sleep_stages import STAGE_SETS
from biofm.datasets.snomed import SCORED_2021
from biofm.evaluation.report.markdown import markdown
from biofm.evaluation.report.numbers import Found, find, found_json, numbers
from biofm.evaluation.rounds import Truth
from biofm.evaluation.scores import Scores
from biofm.evaluation.tasks import METRICS, Task, load_task

PEOPLE, EACH = 36, 12
N = PEOPLE * EACH

CLASSES: dict[str, tuple[str, ...]] = {
    "ptbxl_superdiagnostic": ("NORM", "MI", "STTC", "CD", "HYP"),
    "cpsc2018": tuple("abcdefghi"),
    "challenge_2021": tuple(SCORED_2021)[:5],
    "chapman_groups": ("AFIB", "GSVT", "SB", "SR"),
    "mitdb_aami": tuple("NSVFQ"),
    **{f"sleep_mesa_{k}": tuple(STAGE_SETS[f"stages{k}"]) for k in (2, 5)},
    "continuous_pressure": ("sbp", "dbp"),
    "hr_wesad": ("hr",),
}
WHERE = {
    "f2_g2": ("macro F2", "macro G2"),
    "f1_by_stage": ("f1",),
    "bland_altman": ("agreement",),
    "night_errors": ("nights",),
}
"""Metric → keys of the plain values that hold it, where they are not its own name."""


def made(
    task: Task, classes: Sequence[str], seed: int = 0
) -> tuple[Truth, dict[str, list[Scores]]]:
    """A truth that the first of two models tells well; all of it is made up."""
    rng, k = np.random.default_rng(seed), len(classes)
    values: NDArray[Any]
    if task.kind == "multilabel":
        values = rng.random((N, k)) < np.linspace(0.5, 0.2, k)
        said = [1 / (1 + np.exp(-(g * values - 1 + rng.normal(size=(N, k))))) for g in (2, 2, 0)]
    elif task.kind == "multiclass":
        values = rng.integers(0, k, N)
        said = [
            (1 - g) * rng.dirichlet(np.ones(k), N) + g * np.eye(k)[values] for g in (0.4, 0.4, 0)
        ]
    else:
        values = rng.normal(100, 15, (N, k))
        said = [values + 3 + rng.normal(0, s, (N, k)) for s in (5, 5, 30)]
    number = np.repeat(np.arange(PEOPLE), EACH)
    facts = {
        "dataset": ["x"] * N,
        "age": number * 2.0,
        "sex": np.where(number % 2, "male", "female"),
        "onset_s": np.tile(np.arange(EACH) * 30.0, PEOPLE),
    }
    people = np.array([f"p{i:02d}" for i in number])
    truth = Truth(values, tuple(classes), people, people, pl.DataFrame(facts), np.zeros(N, int))
    scores = [Scores(of, of, 0.5) for of in said]
    return truth, {"guess": scores[2:], "model": scores[:2]}


def found_of(name: str) -> Found:
    task, classes = load_task(name), CLASSES[name]
    test, rows = made(task, classes)
    validation, train = (replace(test, subjects=np.char.add(test.subjects, s)) for s in "vt")
    return find(task, test, validation, train, rows, "model")


def keys(value: Any) -> set[str]:
    """Every key of nested mappings, whose value is not nothing."""
    if isinstance(value, list):
        return set().union(*map(keys, value))
    if not isinstance(value, dict):
        return set()
    own = {key for key, of in value.items() if of is not None}
    return own.union(*map(keys, value.values()))


@pytest.mark.parametrize("name", sorted(CLASSES))
def test_all_that_a_task_names_is_there(name: str) -> None:
    found = found_of(name)
    sections = numbers(found)
    text = markdown(found.case.task.title, sections)  # every row as long as its head
    said = json.loads(json.dumps(found_json(found), allow_nan=False))
    there = {key.removeprefix("macro ").split(" ")[0] for key in keys(said)} | keys(said)
    for metric in found.case.task.metrics:
        assert set(WHERE.get(metric, (metric,))) <= there, metric
    if name == "challenge_2021":
        assert "Not given: Challenge score." in text
        assert "weights.csv" in said["refused"]["challenge_score"]
    else:
        assert said["refused"] == {}
    # The row that is shown in detail comes first, and the others are compared with it.
    assert [row["name"] for row in said["rows"]] == ["model", "guess"]
    assert list(said["differences"]) == ["guess"]
    titles = [section.title for section in sections]
    assert titles[0] == "Results"
    assert ("Calibration" in titles) == (found.case.task.kind != "regression")
    assert "nan" not in text


def test_these_tasks_name_every_metric() -> None:
    named = {kind: set[str]() for kind in METRICS}
    for name in CLASSES:
        named[load_task(name).kind] |= set(load_task(name).metrics)
    missing = {kind: set(METRICS[kind]) - named[kind] for kind in METRICS}
    # Average precision of exclusive classes is in no shipped task (test_judging has it).
    assert missing == {
        "multilabel": set(),
        "multiclass": {"average_precision"},
        "regression": set(),
    }


def test_numbers_are_those_of_full_precision() -> None:
    found = found_of("hr_wesad")
    said = found_json(found)
    figure = found.comparison.rows[0].figures["mae hr"]
    assert said["rows"][0]["figures"]["mae hr"]["value"] == figure.value
    error = found.case.rows["model"][0].test - found.case.test.values
    assert said["agreement"]["hr"]["bias"]["value"] == pytest.approx(error.mean())
    each = said["by_subject"]["subjects"]["p00"]["MAE hr (beats/min)"]
    other = found.case.rows["model"][1].test - found.case.test.values
    assert each == pytest.approx((np.abs(error[:EACH]) + np.abs(other[:EACH])).mean() / 2)


def test_who_was_tested_is_told_and_so_is_an_overlap() -> None:
    task, classes = load_task("ptbxl_superdiagnostic"), CLASSES["ptbxl_superdiagnostic"]
    test, rows = made(task, classes)
    apart = replace(test, subjects=np.char.add(test.subjects, "v"))
    for train, told in (
        (apart, "No tested subject is among the others."),
        (test, "36 of the tested subjects are in the others as well: the figures flatter"),
    ):
        paragraphs = numbers(find(task, test, apart, train, rows, "model"))[0].paragraphs
        assert f"Tested on {N} recordings of 36 subjects" in paragraphs[0]
        assert told in paragraphs[0]


def test_a_row_that_is_not_there_cannot_be_shown() -> None:
    task, classes = load_task("hr_wesad"), CLASSES["hr_wesad"]
    test, rows = made(task, classes)
    with pytest.raises(ValueError, match="among guess, model, found 'mode'"):
        find(task, test, test, test, rows, "mode")
