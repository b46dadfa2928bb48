"""What a task is judged on: the readers and truths of its rounds, and all rounds' truth as one table.

Without cross-validation there is one round. Where a label is of a whole recording, its windows are judged
together: a recording's score is the mean of theirs, and it counts once.

Shape suffixes: N what is judged (recordings, or windows at annotations), W windows, K classes or quantities.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ..shards.index import SPLITS
from ..shards.reader import WindowReader
from .arrays import Subjects
from .splits import task_reader
from .targets import Targets, targets
from .tasks import Task


@dataclass(frozen=True)
class Round:
    """Readers and truths of one round, by split."""

    readers: dict[str, WindowReader]
    truth: dict[str, Targets]
    whole: bool

    def of(self, split: str, values_W: NDArray[Any]) -> NDArray[Any]:
        """Values of a split's windows [W, …] as what is judged [N, …]: recordings, or the windows."""
        if not self.whole:
            return values_W
        first, number = self._recordings(split)
        if (
            values_W.dtype.kind != "f"
        ):  # a label or an id is the same for all windows of a recording
            return values_W[first]
        total = np.zeros((len(first), *values_W.shape[1:]))
        np.add.at(total, number, values_W)
        return total / np.bincount(number).reshape(-1, *[1] * (values_W.ndim - 1))

    def places(self, split: str) -> NDArray[np.intp]:
        """The first window of each thing that is judged, as places in `truth[split]` [N]."""
        return self._recordings(split)[0] if self.whole else np.arange(len(self.truth[split]))

    def _recordings(self, split: str) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        _, first, number = np.unique(
            self.truth[split].records, return_index=True, return_inverse=True
        )
        return first, number


@dataclass(frozen=True)
class Truth:
    """What is true of a split, the rounds after one another: one row for each thing that is judged.

    `values` are bool [N, K] (multilabel), int64 [N] (multiclass) or float64 [N, K] (regression; NaN is
    not stated). `facts` has dataset, age, sex, device, site and onset_s; `round` says which round a row is of.
    """

    values: NDArray[Any]
    classes: tuple[str, ...]
    subjects: Subjects
    records: NDArray[np.str_]
    facts: pl.DataFrame
    round: NDArray[np.intp]

    def __len__(self) -> int:
        return len(self.values)


def rounds_of(task: Task, shards: Sequence[str]) -> list[Round]:
    """The rounds of a task in these shard folders. Raises what `task_reader` and `targets` raise."""
    return [
        round_of(task, {split: task_reader(task, shards, split, round=number) for split in SPLITS})
        for number in range(max(1, task.cross_validation))
    ]


def round_of(task: Task, readers: dict[str, WindowReader]) -> Round:
    """A task on readers that `task_reader` made, for it or for a task of the same windows."""
    truth = {split: targets(task, reader) for split, reader in readers.items()}
    return Round(readers, truth, whole=task.anchor is None)


def truth_of(rounds: Sequence[Round], split: str) -> Truth:
    """The truth of all rounds of a split."""
    places = [one.places(split) for one in rounds]
    each = [one.truth[split] for one in rounds]

    def joined(name: str) -> NDArray[Any]:
        return np.concatenate([getattr(t, name)[p] for t, p in zip(each, places, strict=True)])

    return Truth(
        values=joined("values"),
        classes=each[0].classes,
        subjects=joined("subjects"),
        records=joined("records"),
        facts=pl.concat([t.facts[p] for t, p in zip(each, places, strict=True)]),
        round=np.repeat(np.arange(len(rounds)), [len(p) for p in places]),
    )


def notices(rounds: Sequence[Round]) -> list[str]:
    """What the shards have to say to whoever reads a figure, such as that they are synthetic."""
    said = [n for one in rounds for m in one.readers["test"].manifests for n in m["notices"]]
    return list(dict.fromkeys(said))
