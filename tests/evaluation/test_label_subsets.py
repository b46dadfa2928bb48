"""Shares of the labels: nested, by subject, the same for all; what is kept of windows serves every share."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import polars as pl
import pytest

from biofm.datasets.simulate import simulate
from biofm.evaluation.label_subsets import (
    labelled,
    labelled_subjects,
    narrowed,
)
from biofm.evaluation.probes import Part, fit_probe
from biofm.evaluation.rounds import Round, round_of, rounds_of
from biofm.evaluation.splits import task_reader
from biofm.evaluation.tasks import Task, load_task
from biofm.shards.build import build
from biofm.shards.configuration import shipped

EVERYBODY = np.array([f"s{n}" for n in range(250)])


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> str:
    root = tmp_path_factory.mktemp("ptbxl")
    tree = simulate("ptbxl", root / "twin", records=80, seed=3, progress=False)
    build("ptbxl", [tree], root / "shards", shipped("ptbxl"), workers=1, progress=False)
    return str(root / "shards")


@pytest.fixture(scope="module")
def task() -> Task:
    return load_task("ptbxl_superdiagnostic")


@pytest.fixture(scope="module")
def rounds(task: Task, shards: str) -> list[Round]:
    return rounds_of(task, [shards])


@pytest.mark.parametrize("seed", [0, 1])
def test_shares_are_nested_and_as_large_as_they_say(seed: int) -> None:
    found = [labelled_subjects([EVERYBODY], share, seed) for share in (0.01, 0.05, 0.1, 0.25, 1.0)]
    assert [len(of) for of in found] == [3, 13, 25, 63, 250]
    for smaller, larger in pairwise(found):
        assert larger[: len(smaller)] == smaller
    assert sorted(found[-1]) == sorted(EVERYBODY)


def test_the_order_is_that_of_seed_and_subject_alone() -> None:
    order = labelled_subjects([EVERYBODY], 1.0, 0)
    assert order[:4] == ["s216", "s115", "s5", "s156"]  # on every machine
    assert order != labelled_subjects([EVERYBODY], 1.0, 1)
    shuffled = np.random.default_rng(0).permutation(np.repeat(EVERYBODY, 3))
    assert labelled_subjects([shuffled[:400], shuffled[400:]], 1.0, 0) == order
    half = set(EVERYBODY[::2])
    assert labelled_subjects([EVERYBODY[::2]], 1.0, 0) == [s for s in order if s in half]
    for share in (0.0, 1.1):
        with pytest.raises(ValueError, match=r"a share of the subjects in \(0, 1\]"):
            labelled_subjects([EVERYBODY], share, 0)


def test_readers_of_a_share_have_the_windows_of_a_narrowed_round(
    rounds: list[Round], task: Task, shards: str
) -> None:
    (whole,) = rounds
    (fewer,) = narrowed(rounds, 0.25, seed=0)
    only = labelled([whole.truth["train"].subjects], 0.25, 0)
    train = task_reader(task, [shards], "train", only=only)
    read = round_of(task, {**whole.readers, "train": train})
    ours, theirs = fewer.truth["train"], read.truth["train"]
    np.testing.assert_array_equal(ours.records, theirs.records)
    np.testing.assert_array_equal(ours.values, theirs.values)
    assert ours.facts.equals(theirs.facts)
    subjects = np.unique(whole.truth["train"].subjects)
    assert len(np.unique(ours.subjects)) == -(-len(subjects) // 4)
    assert ours.left_out + len(ours) == whole.readers["train"].windows
    # Of the same reader, and what is true of its windows is still true.
    assert fewer.readers is whole.readers
    np.testing.assert_array_equal(whole.readers["train"].rows_in_order()[ours.windows], ours.rows)
    for split in ("validation", "test"):
        assert fewer.truth[split] is whole.truth[split]


def test_batches_find_the_truth_of_a_share_and_none_beyond_it(rounds: list[Round]) -> None:
    whole, fewer = rounds[0].truth["train"], narrowed(rounds, 0.25, seed=0)[0].truth["train"]
    found = 0
    for batch in rounds[0].readers["train"].evaluation_batches(micro_batch=16, rank=0, ranks=1):
        before, after = whole.places(batch), fewer.places(batch)
        assert (after[before < 0] == -1).all()
        kept = after >= 0
        found += int(kept.sum())
        np.testing.assert_array_equal(whole.values[before[kept]], fewer.values[after[kept]])
        np.testing.assert_array_equal(whole.records[before[kept]], fewer.records[after[kept]])
    assert found == len(fewer)


def test_a_share_that_lost_classes_is_learned_from_all_the_same(rounds: list[Round]) -> None:
    (one,) = narrowed(rounds, 0.01, seed=0)
    train, validation = one.truth["train"], one.truth["validation"]
    assert len(np.unique(train.subjects)) == 1
    rng = np.random.default_rng(0)
    parts = [Part(rng.normal(size=(len(t), 3)), t.values) for t in (train, validation)]
    probe = fit_probe("multilabel", 5, "logistic", *parts)
    absent = ~train.values.any(axis=0)
    assert absent.sum() >= 2
    assert (probe.predict(parts[1].features)[:, absent] == 0).all()


def test_an_expression_chooses_by_subject() -> None:
    index = pl.DataFrame({"subject": EVERYBODY, "row": range(250)})
    chosen = index.filter(labelled([EVERYBODY], 0.05, 0))
    assert sorted(chosen["subject"]) == sorted(labelled_subjects([EVERYBODY], 0.05, 0))
