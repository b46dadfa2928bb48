"""Examples are picked by the rule, and show the very window and answer they name."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from unittest import mock

import numpy as np
import pytest
import torch

from biofm.datasets.simulate import simulate
from biofm.evaluation.comparison import Comparison, Row
from biofm.evaluation.figure import Figure
from biofm.evaluation.report.gallery import gallery
from biofm.evaluation.report.page import page
from biofm.evaluation.report.pictures.choice import choose
from biofm.evaluation.report.pictures.examples import examples, window_of
from biofm.evaluation.rounds import Round, Truth, rounds_of, truth_of
from biofm.evaluation.scores import Scores
from biofm.evaluation.tasks import Task, load_task
from biofm.shards import writing
from biofm.shards.build import build
from biofm.shards.configuration import Fractions, shipped

Judged = tuple[Task, list[Round], Truth]
OF = {
    "ptbxl": ("ptbxl_superdiagnostic", 48),
    "mitdb": ("mitdb_aami", 4),
    "ppg_dalia": ("hr_ppg_dalia", 3),
}


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Judged]:
    """A source's twin in three rounds, so that every subject is tested on."""
    made: dict[str, Judged] = {}

    def make(name: str) -> Judged:
        if name not in made:
            root = tmp_path_factory.mktemp(name)
            task, records = OF[name]
            tree = simulate(name, root / "twin", records=records, seed=5, progress=False)
            config = shipped(name)
            rest = dict.fromkeys(("resp", "spo2", "eeg", "eog", "emg", "eda", "temp", "bp"))
            config = replace(
                config,
                fractions=Fractions(1.0, 0.0, 0.0),
                unknown_subjects="may_leak",
                folds=replace(config.folds, train=tuple(range(1, 11)), validation=(), test=()),
                preprocessing=replace(config.preprocessing, **rest),
            )
            # Whether signals are plausible is no matter here, and costs more than the rest.
            with mock.patch.object(writing, "PER_SHARD", 0):
                build(name, [tree], root / "shards", config, workers=1, progress=False)
            wanted = replace(
                load_task(task),
                cross_validation=3,
                folds=None,
                exclude_subjects=(),
                least_subjects=1,
            )
            if name == "mitdb":  # the twin has no V1
                wanted = replace(wanted, channels={"ecg": ("II",)})
            rounds = rounds_of(wanted, [str(root / "shards")])
            made[name] = wanted, rounds, truth_of(rounds, "test")
        return made[name]

    return make


def said(task: Task, test: Truth, noise: float = 0.3) -> Scores:
    """Scores near the truth."""
    rng = np.random.default_rng(0)
    if task.kind == "regression":
        near = test.values + rng.normal(0, 10 * noise, test.values.shape)
        return Scores(np.nan_to_num(near), near[:0], 0.0)
    truth = test.values if task.kind == "multilabel" else np.eye(len(test.classes))[test.values]
    raw = np.clip(truth * 0.6 + rng.random(truth.shape) * noise + 0.01, 0, 1)
    if task.kind == "multiclass":
        raw /= raw.sum(axis=1, keepdims=True)
    return Scores(raw, raw[:0], 0.0)


@pytest.mark.parametrize("name", ["ptbxl", "mitdb"])
def test_the_window_shown_is_the_one_that_was_judged(
    name: str, judged: Callable[[str], Judged]
) -> None:
    _, rounds, test = judged(name)
    first = np.flatnonzero(np.diff(test.round, prepend=-1))
    for number, one in enumerate(rounds):
        reader = one.readers["test"]
        batches = reader.evaluation_batches(micro_batch=64, rank=0, ranks=1)
        every = torch.cat([next(iter(batch.streams.values())).samples for batch in batches])
        windows = one.truth["test"].windows[one.places("test")]
        for place in (0, len(windows) // 2, len(windows) - 1):
            row = int(first[number]) + place
            batch, of = window_of(rounds, test, row)
            (stream,) = batch.streams.values()
            assert of is one
            torch.testing.assert_close(stream.samples[0], every[windows[place]])
            record = reader.index.row(int(batch.rows[0]), named=True)
            assert f"{record['dataset']}/{record['record']}" == test.records[row]


def test_of_several_labels_hits_misses_and_false_alarms(judged: Callable[[str], Judged]) -> None:
    task, _, test = judged("ptbxl")
    scores = said(task, test, noise=0.9)
    columns = np.array([0, 2, 3])
    found = choose(task, test, scores, columns)
    hits, misses, alarms = (
        [e for e in found if e.why.startswith(f"Surest {kind}: ")]
        for kind in ("hit", "miss", "false alarm")
    )
    assert [len(hits), len(misses), len(alarms)] == [2, 2, 2]
    true = test.values[:, columns]
    part = scores.test[:, columns]
    best = np.unravel_index(np.where(true, part, -1).argmax(), part.shape)
    worst = np.unravel_index(np.where(true, part, 2).argmin(), part.shape)
    wrong = np.unravel_index(np.where(true, -1, part).argmax(), part.shape)
    for example, (row, k) in zip(
        (hits[0], misses[0], alarms[0]), (best, worst, wrong), strict=True
    ):
        assert example.row == row
        assert example.why.endswith(f": {test.classes[columns[k]]}")
    for pair in (hits, misses, alarms):
        assert pair[0].why != pair[1].why
        assert test.subjects[pair[0].row] != test.subjects[pair[1].row]


def test_of_exclusive_classes_the_surest_right_and_wrong(judged: Callable[[str], Judged]) -> None:
    task, _, test = judged("mitdb")
    scores = said(task, test, noise=0.9)
    found = choose(task, test, scores, np.arange(5))
    called = scores.test.argmax(axis=1)
    right, wrong = found[:2], found[2:]
    assert all(called[e.row] == test.values[e.row] for e in right)
    assert wrong and all(called[e.row] != test.values[e.row] for e in wrong)  # noqa: PT018 # one claim, not two
    sure = np.where(called == test.values, scores.test.max(axis=1), 0)
    assert found[0].row == sure.argmax()
    assert wrong[0].why == f"Surest mistake: called {test.classes[called[wrong[0].row]]}"


def test_of_quantities_the_closest_the_median_and_the_farthest(
    judged: Callable[[str], Judged],
) -> None:
    task, _, test = judged("ppg_dalia")
    scores = said(task, test)
    error = np.abs(scores.test - test.values)[:, 0]
    order = np.argsort(error, kind="stable")
    assert [e.row for e in choose(task, test, scores, np.array([0]))] == [
        order[0], order[(len(order) - 1) // 2], order[-1], order[-2],
    ]  # fmt: skip


@pytest.mark.parametrize("name", list(OF))
def test_captions_say_what_is_true_and_what_was_said(
    name: str, judged: Callable[[str], Judged]
) -> None:
    task, rounds, test = judged(name)
    scores = said(task, test)
    columns = np.arange(len(test.classes))
    for example, picture in zip(
        choose(task, test, scores, columns),
        examples(task, rounds, test, scores, columns),
        strict=True,
    ):
        told = picture.caption
        assert told.startswith(f"{example.why}. Recording {test.records[example.row]}, ")
        truth, of_model = test.values[example.row], scores.test[example.row]
        if task.kind == "regression":
            assert f"hr true {truth[0]:.1f}, estimated {of_model[0]:.1f}" in told
            continue
        true = [int(truth)] if task.kind == "multiclass" else np.flatnonzero(truth).tolist()
        assert f"true: {', '.join(test.classes[k] for k in true)}; probability: " in told
        each = dict(re.findall(r"(\w+) (\d\.\d\d)", told.partition("probability: ")[2]))
        assert list(each.values()) == sorted(each.values(), reverse=True)
        assert each == {c: f"{p:.2f}" for c, p in zip(test.classes, of_model, strict=True)}
    shaded = "The time that the label is of is shaded." in told
    assert shaded == (name == "mitdb")  # of the others the label is of the whole window


def test_scores_that_only_rank_are_not_called_probabilities(
    judged: Callable[[str], Judged],
) -> None:
    task, rounds, test = judged("ptbxl")
    ranked = said(task, test)
    ranked = replace(ranked, test=2 * ranked.test - 0.5)
    for picture in examples(task, rounds, test, ranked, np.arange(5)):
        assert "probability" not in picture.caption
        assert "; score: " in picture.caption


@pytest.mark.parametrize("name", list(OF))
def test_a_gallery_of_every_kind_of_task_makes_a_page(
    name: str, judged: Callable[[str], Judged]
) -> None:
    task, rounds, test = judged(name)
    columns = np.arange(len(test.classes))
    rows = {row: [said(task, test, noise)] for row, noise in (("ours <b>", 0.5), ("other", 0.9))}
    figure = {task.metrics[0]: Figure(0.8, 0.7, 0.9)}
    lines = [Row(row, 1, 0.8, figure) for row in rows]
    found = Comparison(lines, {"other": {task.metrics[0]: Figure(0.1, -0.1, 0.2)}})
    sections = gallery(task, rounds, test, rows, columns, found)
    titles = [section.title for section in sections]
    expected = {
        "ptbxl": ["Curves of each class"],
        "mitdb": ["Curves of each class", "What was taken for what"],
        "ppg_dalia": ["Agreement with the truth"],
    }[name]
    assert titles == ["Figures with their intervals", *expected, "Examples of hits and mistakes"]
    assert all(section.pictures for section in sections)
    assert len(page("T", sections)) < 3e6


def test_where_no_class_counts_there_are_no_curves(judged: Callable[[str], Judged]) -> None:
    task, rounds, test = judged("mitdb")
    found = Comparison([Row("ours", 1, 0.8, {"kappa": Figure(0.8, 0.7, 0.9)})], {})
    rows = {"ours": [said(task, test)]}
    sections = gallery(task, rounds, test, rows, np.empty(0, np.intp), found)
    assert [section.title for section in sections] == [
        "Figures with their intervals",
        "What was taken for what",
        "Examples of hits and mistakes",
    ]
    assert all(section.pictures for section in sections)
