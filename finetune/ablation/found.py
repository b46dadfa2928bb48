"""What an ablation found: the first figure of each row on each task, and paired differences, with intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ...evaluation.comparison import counted_columns
from ...evaluation.figure import Figure
from ...evaluation.intervals import Sampled
from ...evaluation.judging import averaged, draws_for, judged, overall
from ...evaluation.rounds import Truth, truth_of
from ...evaluation.scores import Scores
from ..rows import Judged
from .judging import Rows
from .training import Trained

HEADS = ("linear", "attention")
KERNELS = "random kernels, ridge"


@dataclass(frozen=True)
class Reached:
    """A row on a task: the mean over its seeds. `validation` is what its choices were made by."""

    seeds: int
    validation: float
    sampled: Sampled

    @property
    def figure(self) -> Figure:
        """On test."""
        return self.sampled.figures()[0]

    def less(self, other: Reached) -> Figure:
        """By how much it is above the other, in the same draws of the same subjects."""
        return (self.sampled - other.sampled).figures()[0]


@dataclass(frozen=True)
class Bench:
    """A task as it is judged: its truth, which classes count (`told`), and the name of the figure."""

    judged: Judged
    figure: str
    told: str
    test: Truth
    validation: Truth

    @classmethod
    def of(cls, one: Judged) -> Bench:
        """By the task's own windows."""
        train, validation, test = (truth_of(one.rounds, s) for s in ("train", "validation", "test"))
        columns, told = counted_columns(one.task, train, test)
        blind = Scores(np.zeros(test.values.shape), np.zeros(validation.values.shape), 0.0)
        figure = next(iter(overall(one.task, judged(one.task, test, validation, blind), columns)))
        return cls(one, figure, told, test, validation)

    def reached(self, seeds: Sequence[Scores], of: Judged) -> Reached:
        """What a row reached; `of` is the task in the windows it was judged in. Raises `ValueError` for others."""
        task, test = self.judged.task, self.test
        for split, truth in (("test", test), ("validation", self.validation)):
            if not np.array_equal(truth_of(of.rounds, split).records, truth.records):
                raise ValueError(
                    f"{task.title!r}: in windows of {of.task.window_s:g} s {split} has other recordings than in "
                    f"windows of {task.window_s:g} s, so that no difference would be paired"
                )
        train = truth_of(self.judged.rounds, "train")
        columns, _ = counted_columns(task, train, test)
        measures = [
            overall(task, judged(task, test, self.validation, s), columns)[self.figure]
            for s in seeds
        ]
        sampled = averaged(measures).sampled(draws_for(task, test, columns))
        return Reached(len(seeds), float(np.mean([s.chosen for s in seeds])), sampled)


@dataclass(frozen=True)
class Found:
    """A pair: what its training took (each run), and task → head → (trained, untrained)."""

    objective: str
    backbone: str
    took: Sequence[Trained]
    encoder_parameters: int
    clean: bool
    heads: Mapping[str, Mapping[str, tuple[Reached, Reached]]]

    @property
    def name(self) -> str:
        """What it is called, with its mark where it may have seen whom it is judged on."""
        return f"{self.objective}, {self.backbone}" + ("" if self.clean else " †")

    def best(self, task: str) -> tuple[str, Reached]:
        """The head that is best on validation, and what it reached."""
        of = self.heads[task]
        head = max(of, key=lambda name: of[name][0].validation)
        return head, of[head][0]


def heads_of(
    benches: Mapping[str, Bench], own: Sequence[Judged], trained: Rows, untrained: Rows
) -> dict[str, dict[str, tuple[Reached, Reached]]]:
    """Task → head → (trained, untrained); `own` are the tasks in the encoder's windows."""
    windows = {one.name: one for one in own}

    def one(task: str, rows: Rows, row: str) -> Reached:
        return benches[task].reached(rows[task][row], windows[task])

    return {
        task: {
            head: (
                one(task, trained, f"pretrained, {head}"),
                one(task, untrained, f"untrained, {head}"),
            )
            for head in HEADS
        }
        for task in benches
    }


def references_of(benches: Mapping[str, Bench], rows: Rows) -> dict[str, dict[str, Reached]]:
    """Task → row → what it reached."""
    return {
        task: {row: bench.reached(seeds, bench.judged) for row, seeds in rows[task].items()}
        for task, bench in benches.items()
    }


def best_supervised(references: Mapping[str, Reached]) -> str | None:
    """The supervised row that is best on validation; None where there is none."""
    names = [name for name in references if name != KERNELS]
    return max(names, key=lambda name: references[name].validation) if names else None
