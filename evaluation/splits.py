"""Whose windows a task learns from, chooses on and is judged on."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import polars as pl
import yaml

from ..shards.index import SPLITS
from ..shards.reader import WindowReader, open_folder, split_rows
from .tasks import Task, load_task


def task_reader(
    task: Task,
    shards: Sequence[str],
    split: str,
    *,
    round: int = 0,
    only: pl.Expr | None = None,
    seed: int = 0,
) -> WindowReader:
    """The windows of one split of a task.

    `round` counts the rounds of a cross-validation. `only` narrows the rows of the index further, by
    whole recordings: to fewer subjects, or to recordings with a label. `seed` orders training.

    Raises `ValueError` for shards of another data set, a split that is none of train, validation and
    test, a round that there is not, shards without the task's folds; and what `WindowReader` raises.
    """
    if split not in SPLITS:
        raise ValueError(f"expected a split of {', '.join(SPLITS)}, found {split!r}")
    if not 0 <= round < max(1, task.cross_validation):
        raise ValueError(
            f"expected a round from 0 to {max(1, task.cross_validation) - 1}, found {round}"
        )
    config = task.data(shards)
    # Without annotations, which are most of an index.
    folders = [
        open_folder(where, replace(config, anchor=None, before_s=0.0)) for where in config.shards
    ]
    for folder in folders:
        if (found := folder.manifest["dataset"]) not in task.datasets:
            raise ValueError(
                f"{folder.name} holds {found}, but the task {task.title!r} is meant for "
                f"{', '.join(task.datasets)}: give it other shards, or make a task with these `datasets`"
            )
    lead = next(iter(config.channels))
    everything = pl.concat(
        split_rows(folder, "any", lead, pl.lit(True)).select("subject", "fold")
        for folder in folders
    )
    rows = _rows(task, split, round, everything)
    if task.exclude_subjects:
        rows &= ~pl.col("subject").is_in(list(task.exclude_subjects))
    if only is not None:
        rows &= only
    return WindowReader(config, split, seed=seed, rows=rows)


def round_subjects(task: Task, shards: Sequence[str], round: int = 0) -> dict[str, list[str]]:
    """Split → whose windows it holds, by name. Raises what `task_reader` raises."""
    return {
        split: task_reader(task, shards, split, round=round)
        .index["subject"]
        .unique()
        .sort()
        .to_list()
        for split in SPLITS
    }


def print_subjects(task: str, *, shards: list[Path], round: int = 0) -> None:
    """Print whom a task tests on and chooses on, as the lines of a config that pretrains without them.

    Put the lines below `data:` of the pretraining config; the shards it trains on must name people alike.

    Args:
        task: a shipped task, such as ptbxl_superdiagnostic, or one's own YAML file.
        shards: shard folders of the task's data set.
        round: which round of the task's cross-validation, counted from 0.
    """
    wanted = load_task(task)
    subjects = round_subjects(wanted, [str(folder) for folder in shards], round)
    counts = ", ".join(f"{split} {len(names)}" for split, names in subjects.items())
    of = f", round {round} of {wanted.cross_validation}" if wanted.cross_validation else ""
    print(f"# {wanted.title}{of}; subjects: {counts}")
    left_out = sorted({*subjects["validation"], *subjects["test"]})
    print(yaml.safe_dump({"exclude_subjects": left_out}, allow_unicode=True), end="")


def _rows(task: Task, split: str, round: int, everything: pl.DataFrame) -> pl.Expr:
    """The rows of a split, but for exclusions."""
    if task.cross_validation:
        left = set(everything["subject"]) - set(task.exclude_subjects)
        groups = deal(sorted(left), task.cross_validation)
        tested, chosen = round, (round + 1) % task.cross_validation
        if split == "train":
            rest = set(range(task.cross_validation)) - {tested, chosen}
            return pl.col("subject").is_in([s for group in sorted(rest) for s in groups[group]])
        return pl.col("subject").is_in(groups[tested if split == "test" else chosen])
    if task.folds is not None:
        wanted = list(getattr(task.folds, split))
        there = everything["fold"].drop_nulls().unique().sort().to_list()
        if not set(wanted) & set(there):
            raise ValueError(
                f"split {split!r} is folds {wanted}, but the shards hold folds {there or 'of no kind'}: "
                "set `folds` to some of these, or to null for the shards' own splits"
            )
        return pl.col("fold").is_in(wanted)
    return pl.col("split") == split


def deal(subjects: Sequence[str], groups: int) -> list[list[str]]:
    """Subjects in so many groups, whose sizes differ by one at most, in an order that a hash decides.

    Raises `ValueError` for fewer subjects than groups.
    """
    if len(subjects) < groups:
        raise ValueError(
            f"{len(subjects)} subjects cannot be dealt into {groups} groups: lower cross_validation, or "
            "build shards of more people"
        )
    order = sorted(
        subjects, key=lambda s: hashlib.sha256(f"cross-validation {s}".encode()).digest()
    )
    return [order[group::groups] for group in range(groups)]
