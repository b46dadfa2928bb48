"""One figure by sex, age band, device or site, each group with its counts and interval.

A group with too few subjects, or too few of something its figure needs, is named and not shown: its
interval would be as wide as the scale, and its figure would be read all the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from .arrays import Bools, Subjects
from .draws import draw_subjects
from .figure import Figure
from .intervals import Statistic, figures

LEAST_SUBJECTS = 10
UNKNOWN = "unknown"

AGE_BANDS = ((18, "under 18"), (40, "18–39"), (60, "40–59"), (80, "60–79"), (np.inf, "80 and over"))
"""Upper bound in years, not included, and name. Ages that a source hides (300 in PTB-XL) are the last."""

Build = Callable[[NDArray[np.intp]], tuple[Statistic, Bools | None]]
"""Rows of a group [N] → (the statistic of these rows, with weights [D, N] and one value a draw; what
must occur in each draw [N, C], such as `both_sides` of the counted classes, or None)."""


@dataclass(frozen=True)
class Group:
    """The figure of one group of subjects, or why there is none (`reason`)."""

    column: str
    value: str
    subjects: int
    records: int
    figure: Figure | None
    reason: str = ""

    def __str__(self) -> str:
        shown = str(self.figure) if self.figure else f"not shown: {self.reason}"
        counts = f"{self.subjects} subjects, {self.records} records"
        return f"{self.column} {self.value}: {shown}; {counts}"


def by_group(
    build: Build,
    subjects_N: Subjects,
    facts: pl.DataFrame,
    columns: Sequence[str],
    *,
    seed: int,
    name: str,
    draws: int = 2000,
    least: int = LEAST_SUBJECTS,
) -> list[Group]:
    """The figure in each group of each column of `facts` (one row a record), groups by name.

    `least` subjects must be in a group, and in each set that must occur in it. Records without a value
    are the group "unknown". Raises `ValueError` for a column that is not there.
    """
    if facts.height != len(subjects_N):
        raise ValueError(f"expected {len(subjects_N)} rows of facts, found {facts.height}")
    missing = [column for column in columns if column not in facts.columns]
    if missing:
        raise ValueError(f"no column {missing} among {facts.columns}")
    groups = []
    for column in columns:
        values_N = facts[column].cast(pl.String).fill_null(UNKNOWN).to_numpy()
        for value in sorted(set(values_N)):
            rows = np.flatnonzero(values_N == value)
            figure, reason = _figure(
                build, rows, subjects_N, seed, f"{name}/{column}/{value}", draws, least
            )
            members = len(np.unique(subjects_N[rows]))
            groups.append(Group(column, value, members, len(rows), figure, reason))
    return groups


def _figure(
    build: Build,
    rows: NDArray[np.intp],
    subjects_N: Subjects,
    seed: int,
    name: str,
    draws: int,
    least: int,
) -> tuple[Figure | None, str]:
    subjects = subjects_N[rows]
    members = len(np.unique(subjects))
    if members < least:
        return None, f"fewer than {least} subjects"
    statistic, must_occur = build(rows)
    if must_occur is not None:
        few = [len(np.unique(subjects[column])) for column in must_occur.T]
        if min(few) < least:
            return None, (
                f"{sum(n < least for n in few)} of {len(few)} sets that the figure needs are in fewer "
                f"than {least} subjects"
            )
    drawn = draw_subjects(subjects, seed, name, draws=draws, must_occur_NC=must_occur)
    (figure,) = figures(statistic, drawn)
    return figure, ""


def age_bands(age: pl.Series) -> pl.Series:
    """The name of each age's band, null where it is unknown."""
    names = [_band(years) for years in age.to_list()]
    return pl.Series("age", names, dtype=pl.String)


def _band(years: float | None) -> str | None:
    if years is None or np.isnan(years):
        return None
    if years < 0:
        raise ValueError(f"expected an age in years, found {years}")
    return next((band for bound, band in AGE_BANDS if years < bound), AGE_BANDS[-1][1])
