"""One figure by sex, age band, device or site, each group with its counts and interval.

A group with too few subjects is named and not shown: its interval would be as wide as the scale, and its
figure would be read all the same. Of several classes only those enter that enough of the group have and
lack; so that groups can be compared, the figure of everybody on the same classes stands beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import polars as pl
from numpy.typing import NDArray

from .arrays import Bools, Subjects
from .draws import draw_subjects
from .figure import Figure
from .judging import Measure

LEAST_SUBJECTS = 10
UNKNOWN = "unknown"

AGE_BANDS = ((18, "under 18"), (40, "18–39"), (60, "40–59"), (80, "60–79"), (np.inf, "80 and over"))
"""Upper bound in years, not included, and name. Ages that a source hides (300 in PTB-XL) are the last."""


@dataclass(frozen=True)
class Built:
    """The measure of a group's rows, and what must occur in each of its draws [N, C].

    `classes` are those that enter it, where not all do; `everybody` is its value on all rows, on the same
    classes.
    """

    measure: Measure
    must_occur: Bools | None
    classes: tuple[str, ...] | None
    everybody: float


Build = Callable[[NDArray[np.intp]], Built | str]
"""Rows of a group [N] → its measure, or why there is none."""


@dataclass(frozen=True)
class Group:
    """The figure of one group of subjects beside that of `everybody`, or why there is none (`reason`)."""

    column: str
    value: str
    subjects: int
    records: int
    figure: Figure | None
    everybody: float | None = None
    classes: tuple[str, ...] | None = None
    reason: str = ""


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

    `least` subjects must be in a group. Records without a value are the group "unknown". Raises
    `ValueError` for a column that is not there.
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
            members = len(np.unique(subjects_N[rows]))
            group = Group(column, value, members, len(rows), None)
            if members < least:
                group = replace(group, reason=f"below the least of {least}")
            else:
                key = f"{name}/{column}/{value}"
                group = _with_figure(group, build(rows), subjects_N[rows], seed, key, draws)
            groups.append(group)
    return groups


def _with_figure(
    group: Group, built: Built | str, subjects_N: Subjects, seed: int, name: str, draws: int
) -> Group:
    if isinstance(built, str):
        return replace(group, reason=built)
    try:
        drawn = draw_subjects(subjects_N, seed, name, draws=draws, must_occur_NC=built.must_occur)
        (figure,) = built.measure.sampled(drawn).figures()
    except ValueError as error:
        return replace(group, reason=f"not defined there: {error}")
    return replace(group, figure=figure, everybody=built.everybody, classes=built.classes)


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
