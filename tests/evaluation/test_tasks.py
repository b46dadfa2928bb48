"""Tasks: every shipped one is whole and has the classes it says; a wrong one stops with what is wrong."""

from __future__ import annotations

import importlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from biofm.datasets.registry import source
from biofm.datasets.simulate import simulate
from biofm.evaluation.tasks import METRICS, load_task, task_names
from biofm.shards.configuration import Folds

CLASSES = {
    "ptbxl_all": 71,
    "ptbxl_diagnostic": 44,
    "ptbxl_subdiagnostic": 23,
    "ptbxl_superdiagnostic": 5,
    "ptbxl_form": 19,
    "ptbxl_rhythm": 12,
    "cpsc2018": 9,
    "challenge_2021": 26,
    "chapman_groups": 4,
    "chapman_rhythms": 11,
    "mitdb_aami": 5,
    "mitdb_aami_published": 5,
    **{
        f"sleep_{what}_{k}": k
        for what in ("mesa", "watch_hr", "watch_hr_counts", "watch_hr_smoothed_counts")
        for k in (5, 4, 3, 2)
    },
    "hr_ppg_dalia": 1,
    "hr_wesad": 1,
    "hemodynamics_pressure": 2,
    "hemodynamics_all": 10,
    "continuous_pressure": 2,
}
"""Task → how many classes or quantities it has."""

RIGHT: dict[str, Any] = {
    "title": "mine",
    "datasets": ["ptbxl"],
    "label_set": "all",
    "kind": "multilabel",
    "loss": "bce",
    "metrics": ["auroc", "f1"],
    "threshold": "max_f1",
}


@pytest.fixture(scope="module")
def label_sets(
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, dict[str, dict[str, list[str]]]]:
    """Source → its label sets, of a twin where they depend on files."""
    found = {}
    for name in {name for task in task_names() for name in load_task(task).datasets}:
        roots = []
        if name in ("ptbxl", "challenge", "chapman", "hemodynamics"):
            folder = tmp_path_factory.mktemp(name) / "twin"
            roots = [simulate(name, folder, records=2, progress=False)]
        found[name] = source(name).label_sets(roots)
    return found


def test_every_task_ships() -> None:
    assert set(task_names()) == set(CLASSES)
    titles = [load_task(name).title for name in task_names()]
    assert len(set(titles)) == len(titles)


@pytest.mark.parametrize("name", sorted(CLASSES))
def test_a_shipped_task_has_its_classes_in_its_sources(
    name: str, label_sets: dict[str, dict[str, dict[str, list[str]]]]
) -> None:
    task = load_task(name)
    for dataset in task.datasets:
        there = label_sets[dataset][task.label_set]
        chosen = task.classes or tuple(there)
        assert set(chosen) <= set(there)
        assert len(chosen) == CLASSES[name]
        if task.anchor is not None:
            codes = {code.partition(":")[0] for k in chosen for code in there[k]}
            assert task.anchor in codes
    assert task.least_subjects == 10


def test_every_metric_is_a_function_of_its_module() -> None:
    for offered in METRICS.values():
        for metric, module in offered.items():
            assert callable(getattr(importlib.import_module(f"biofm.evaluation.{module}"), metric))


def test_the_shared_person_is_left_out_of_one_of_the_two() -> None:
    without, published = load_task("mitdb_aami"), load_task("mitdb_aami_published")
    assert without.exclude_subjects == ("mitdb-201",)
    assert replace(without, title=published.title, exclude_subjects=()) == published


def test_ones_own_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    folds = {"train": [1, 2], "validation": [3], "test": [4, 5]}
    own = RIGHT | {"folds": folds, "channels": {"ecg": ["II"]}, "classes": ["NORM"]}
    path.write_text(yaml.safe_dump(own))
    task = load_task(path)
    assert task.folds == Folds((1, 2), (3,), (4, 5))
    assert (task.channels, task.classes) == ({"ecg": ("II",)}, ("NORM",))
    assert task.data(("a", "b")).shards == ("a", "b")
    assert load_task(str(path)) == task


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"windows_s": 3}, r"windows_s.*did you mean window_s"),
        ({"label_set": None}, "label_set"),
        ({"kind": "multi"}, "kind"),
        ({"loss": "mae"}, "expected bce for multilabel, found mae"),
        ({"datasets": ["ptb"]}, "unknown 'ptb'; known: .*ptbxl"),
        ({"datasets": []}, "at least one source"),
        ({"metrics": ["auroc", "kappa"]}, "expected some of auroc, .*for multilabel.*found kappa"),
        ({"metrics": []}, "found none"),
        ({"metrics": ["f1", "f1"]}, "each once"),
        ({"threshold": None}, "a rule for f1, found None"),
        ({"metrics": ["auroc"]}, "expected null, found max_f1"),
        ({"threshold": "max_f3"}, "threshold"),
        ({"anchor": "stage"}, "kind must be multiclass or regression"),
        ({"channels": {"ecg": ["IV"]}}, "unknown channel 'IV'"),
        ({"window_s": 0}, "window_s"),
        ({"before_s": 3}, "before_s counts from an annotation"),
        ({"cross_validation": 2}, "at least 3 groups"),
        ({"cross_validation": 4, "folds": {"train": [1]}}, "no folds beside"),
        ({"classes": []}, "classes: name at least one"),
        ({"classes": ["MI", "MI"]}, "each once"),
        ({"challenge_weights": "weights.csv"}, "null without challenge_score among the metrics"),
        ({"least_subjects": 0}, "least_subjects must be 1"),
        ({"folds": {"train": [1], "test": [1]}}, "more than once"),
    ],
)
def test_a_wrong_file_is_told_with_its_name(
    wrong: dict[str, Any], told: str, tmp_path: Path
) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(RIGHT))
    load_task(path)
    path.write_text(yaml.safe_dump(RIGHT | wrong))
    with pytest.raises(ValueError, match=rf"mine\.yaml.*{told}"):
        load_task(path)


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(
        FileNotFoundError, match=r"did you mean ptbxl_all\?.*cpsc2018.*sleep_mesa_5"
    ):
        load_task("ptbxl_al")
    assert load_task("tasks/ptbxl_all") == load_task("ptbxl_all.yaml") == load_task("ptbxl_all")
