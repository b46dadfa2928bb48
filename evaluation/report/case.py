"""What the numbers of a report are of, and the form in which each of its parts hands them over."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, is_dataclass
from functools import cached_property
from typing import Any

import numpy as np

from ..comparison import counted_columns
from ..draws import Draws
from ..figure import Figure
from ..judging import Columns, Judged, Measure, averaged, draws_for, judged
from ..rounds import Truth
from ..scores import Scores
from ..tasks import Task
from .section import Section


@dataclass(frozen=True)
class Case:
    """A task, what is true, what the models said (row name → its seeds), and the row shown in detail.

    Raises `ValueError` where `main` is no row.
    """

    task: Task
    test: Truth
    validation: Truth
    train: Truth
    rows: Mapping[str, Sequence[Scores]]
    main: str

    def __post_init__(self) -> None:
        if self.main not in self.rows:
            raise ValueError(
                f"expected the row to be shown in detail among {', '.join(self.rows)}, found {self.main!r}"
            )

    @cached_property
    def columns(self) -> Columns:
        """Places of the classes that enter macro figures."""
        return counted_columns(self.task, self.train, self.test)[0]

    @cached_property
    def told(self) -> str:
        """Which classes those are, and why others are not."""
        return counted_columns(self.task, self.train, self.test)[1]

    @cached_property
    def draws(self) -> Draws:
        """The draws of test subjects in which all figures of this report are computed."""
        return draws_for(self.task, self.test, self.columns)

    @cached_property
    def seeds(self) -> list[Judged]:
        """Each seed of the main row, beside the truth."""
        return [judged(self.task, self.test, self.validation, one) for one in self.rows[self.main]]

    def averaged(self, of_seed: Callable[[Judged], dict[str, Measure]]) -> dict[str, Measure]:
        """Measures of the main row, the mean over its seeds."""
        each = [of_seed(seed) for seed in self.seeds]
        return {name: averaged([of[name] for of in each]) for name in each[0]}

    @property
    def shown(self) -> str:
        """Whose figures those of `averaged` are."""
        seeds = len(self.seeds)
        return f"“{self.main}”" + (f", the mean over its {seeds} seeds" if seeds > 1 else "")

    @property
    def shown_first(self) -> str:
        """Whose figures those of `seeds[0]` are."""
        seeds = len(self.seeds)
        return f"“{self.main}”" + (f", the first of its {seeds} seeds" if seeds > 1 else "")


@dataclass(frozen=True)
class Part:
    """One part of what was found: for readers, and as plain values in full precision."""

    name: str
    section: Section
    plain: dict[str, Any]


def plain(value: Any) -> Any:
    """Values as JSON knows them: figures and other dataclasses as mappings, what is not finite as null."""
    if is_dataclass(value) and not isinstance(value, type):
        return plain(asdict(value))
    if isinstance(value, Mapping):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [plain(one) for one in value]
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def cell(figure: Figure | None, digits: int = 3) -> str:
    """A figure with its interval as a table has it; a dash where there is none."""
    return "–" if figure is None else figure.text(digits)
