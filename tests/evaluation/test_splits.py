"""Whose windows a task reads: folds, groups of subjects, exclusions, and the shards' own splits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
import yaml

from biofm.datasets.simulate import simulate
from biofm.evaluation.splits import deal, print_subjects, round_subjects, task_reader
from biofm.evaluation.tasks import Task, load_task
from biofm.shards.build import build
from biofm.shards.configuration import Folds, shipped
from biofm.shards.index import SPLITS, read_index
from biofm.shards.reader import DataConfig, WindowReader

TASK = load_task("ptbxl_superdiagnostic")


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("ptbxl")
    tree = simulate("ptbxl", root / "twin", records=60, seed=1, progress=False)
    config = replace(shipped("ptbxl"), records_per_shard=8)
    build("ptbxl", [tree], root / "shards", config, workers=1, progress=False)
    return root / "shards"


def subjects(task: Task, shards: Path, split: str, round: int = 0) -> set[str]:
    return set(task_reader(task, [str(shards)], split, round=round).index["subject"])


def of_folds(shards: Path, folds: Sequence[int]) -> list[str]:
    return read_index(shards).filter(pl.col("fold").is_in(folds))["key"].sort().to_list()


@pytest.mark.parametrize(
    ("folds", "expected"),
    [
        (None, [range(1, 9), [9], [10]]),
        (Folds(tuple(range(1, 8)), (8,), (9, 10)), [range(1, 8), [8], [9, 10]]),
    ],
)
def test_splits_are_the_shards_own_or_folds(
    folds: Folds | None, expected: list[Sequence[int]], shards: Path
) -> None:
    task = replace(TASK, folds=folds)
    for split, wanted in zip(SPLITS, expected, strict=True):
        reader = task_reader(task, [str(shards)], split)
        assert reader.index["key"].sort().to_list() == of_folds(shards, wanted)
        # All of them are read, also where a fold is spread over shards of other splits.
        batches = reader.evaluation_batches(micro_batch=16, rank=0, ranks=1)
        rows = [int(row) for batch in batches for row in batch.rows]
        assert rows == reader.rows_in_order().tolist()
        assert sorted(rows) == list(range(reader.index.height))


def test_in_a_cross_validation_everybody_is_tested_once_and_nobody_is_in_two_splits(
    shards: Path,
) -> None:
    task = replace(TASK, cross_validation=4)
    everybody = set(read_index(shards)["subject"])
    tested: list[str] = []
    for round in range(4):
        parts = [subjects(task, shards, split, round) for split in SPLITS]
        assert set.union(*parts) == everybody
        assert sum(map(len, parts)) == len(everybody)
        tested += parts[2]
        assert parts[1] == subjects(task, shards, "test", (round + 1) % 4)
    assert sorted(tested) == sorted(everybody)


def test_groups_are_even_and_do_not_depend_on_the_order() -> None:
    people = [f"p{i}" for i in range(15)]
    groups = deal(people, 4)
    assert sorted(map(len, groups)) == [3, 4, 4, 4]
    assert sorted(p for group in groups for p in group) == sorted(people)
    assert deal(people[::-1], 4) == groups
    assert [p for group in groups for p in group] != people
    with pytest.raises(ValueError, match="2 subjects cannot be dealt into 4 groups"):
        deal(people[:2], 4)


@pytest.mark.parametrize("cross_validation", [0, 3])
def test_excluded_subjects_are_nowhere(cross_validation: int, shards: Path) -> None:
    one, other = sorted(set(read_index(shards)["subject"]))[:2]
    task = replace(TASK, exclude_subjects=(one,), cross_validation=cross_validation)
    found = set().union(*(subjects(task, shards, split) for split in SPLITS))
    assert one not in found
    assert other in found


def test_the_subjects_of_a_round_can_be_left_out_of_pretraining(
    shards: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    task = replace(TASK, cross_validation=4)
    found = round_subjects(task, [str(shards)], 2)
    assert {split: set(names) for split, names in found.items()} == {
        split: subjects(task, shards, split, 2) for split in SPLITS
    }
    assert all(names == sorted(names) for names in found.values())
    print_subjects("ptbxl_superdiagnostic", shards=[shards])
    printed = yaml.safe_load(capsys.readouterr().out)
    fixed = round_subjects(TASK, [str(shards)])
    assert printed == {"exclude_subjects": sorted({*fixed["validation"], *fixed["test"]})}
    # What is printed for one round is a config that never reads them, in any split.
    data = DataConfig((str(shards),), exclude_subjects=(*found["validation"], *found["test"]))
    for split in SPLITS:
        left = set(WindowReader(data, split, seed=0).index["subject"])
        assert left
        assert left <= set(found["train"])


def test_fewer_recordings_can_be_asked_for(shards: Path) -> None:
    few = sorted(subjects(TASK, shards, "train"))[:3]
    only = pl.col("subject").is_in(few)
    assert set(task_reader(TASK, [str(shards)], "train", only=only).index["subject"]) == set(few)


def test_what_does_not_fit_is_refused(shards: Path) -> None:
    here = [str(shards)]
    with pytest.raises(
        ValueError, match="expected a split of train, validation, test, found 'dev'"
    ):
        task_reader(TASK, here, "dev")
    with pytest.raises(ValueError, match="a round from 0 to 3, found 4"):
        task_reader(replace(TASK, cross_validation=4), here, "test", round=4)
    with pytest.raises(ValueError, match=r"holds ptbxl, but the task .* is meant for cpsc2018"):
        task_reader(load_task("cpsc2018"), here, "train")
    with pytest.raises(ValueError, match=r"folds \[12\], but the shards hold folds \[1, 2,"):
        task_reader(replace(TASK, folds=Folds(test=(12,))), here, "test")
    with pytest.raises(FileNotFoundError, match="not a finished shard folder"):
        task_reader(TASK, [str(shards / "none")], "train")
