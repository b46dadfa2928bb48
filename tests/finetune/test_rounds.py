"""Whom a supervised run learns from, chooses on and is judged on; and what cannot be learned together."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from biofm.evaluation.label_subsets import labelled_subjects
from biofm.evaluation.tasks import load_task
from biofm.finetune.configuration import FinetuneConfig
from biofm.finetune.rounds import check_validation, rounds_together

SPLITS = ("train", "validation", "test")


def beats(material: Path, **changes: object) -> FinetuneConfig:
    config = FinetuneConfig((str(material / "mitdb"),), (str(material / "beats.yaml"),), "resnet18")
    return replace(config, **changes)  # type: ignore[arg-type]


def ecgs(material: Path, **changes: object) -> FinetuneConfig:
    shards = (str(material / "ptbxl"),)
    config = FinetuneConfig(shards, ("ptbxl_superdiagnostic",), "resnet18")
    return replace(config, **changes)  # type: ignore[arg-type]


def test_rounds_of_a_cross_validation_test_on_different_subjects(material: Path) -> None:
    task = load_task(material / "beats.yaml")
    tested = []
    for number in range(3):
        (one,) = rounds_together(beats(material, round=number), [task])
        of = {split: set(one.truth[split].subjects) for split in SPLITS}
        assert not of["train"] & (of["validation"] | of["test"])
        assert not of["validation"] & of["test"]
        assert set(one.readers["train"].index["subject"]) == of["train"]
        tested.append(of["test"])
    assert len(set.union(*tested)) == sum(len(some) for some in tested)
    with pytest.raises(ValueError, match="expected a round from 0 to 2, found 3"):
        rounds_together(beats(material, round=3), [task])


def test_fewer_labels_narrow_training_alone_by_whole_subjects(material: Path) -> None:
    tasks = [load_task("ptbxl_superdiagnostic"), load_task("ptbxl_rhythm")]
    whole = rounds_together(ecgs(material), tasks)
    everybody = {s for one in whole for s in one.truth["train"].subjects}
    known: set[str] = set()
    for share in (0.1, 0.25, 1.0):
        rounds = rounds_together(ecgs(material, labelled=share, subset_seed=3), tasks)
        now = {s for one in rounds for s in one.truth["train"].subjects}
        assert known <= now <= everybody
        assert len(now) == int(np.ceil(share * len(everybody)))
        for split in ("validation", "test"):
            for one, full in zip(rounds, whole, strict=True):
                assert np.array_equal(one.truth[split].values, full.truth[split].values)
        known = now
    other = rounds_together(ecgs(material, labelled=0.25, subset_seed=4), tasks)
    quarter = rounds_together(ecgs(material, labelled=0.25, subset_seed=3), tasks)
    assert {*other[0].truth["train"].subjects} != {*quarter[0].truth["train"].subjects}


@given(st.sets(st.text("abc", min_size=1), min_size=1), st.floats(0.01, 1), st.floats(0.01, 1))
def test_smaller_shares_are_parts_of_larger_ones(names: set[str], one: float, two: float) -> None:
    low, high = sorted((one, two))
    subjects = [np.array(sorted(names)), np.array(sorted(names))[:1]]
    few, many = (labelled_subjects(subjects, share, 0) for share in (low, high))
    assert 1 <= len(few) <= len(many) <= len(names)
    assert many[: len(few)] == few
    assert set(labelled_subjects(subjects, 1.0, 0)) == names


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"window_s": 5.0}, "read different windows"),
        ({"exclude_subjects": ("ptbxl-1",)}, "differ in exclude_subjects"),
        ({"cross_validation": 3}, "differ in cross_validation"),
    ],
)
def test_tasks_of_other_windows_are_learned_in_runs_of_their_own(
    material: Path, change: dict[str, object], message: str
) -> None:
    task = load_task("ptbxl_superdiagnostic")
    other = replace(load_task("ptbxl_rhythm"), **change)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=f"{message}.*runs of their own"):
        rounds_together(ecgs(material), [task, other])


def test_a_validation_that_cannot_tell_models_apart_is_refused(material: Path) -> None:
    task = replace(load_task(material / "beats.yaml"), classes=("N",))
    with pytest.raises(ValueError, match="validation has one value alone of N"):
        check_validation([task], rounds_together(beats(material), [task]))
    task = load_task("ptbxl_superdiagnostic")
    rounds = rounds_together(ecgs(material), [task])
    check_validation([task], rounds)
    rounds[0].truth["validation"].values[:] = True
    with pytest.raises(ValueError, match="validation has one value alone of CD, HYP"):
        check_validation([task], rounds)
