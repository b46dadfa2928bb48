"""The main row subject by subject: what a person can expect, and how much people differ."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from .. import regression, sleep
from ..arrays import Floats
from ..figure import Figure
from ..intervals import mean_of
from ..judging import STAGED, Judged, Measure
from .case import Case, Part, cell, plain
from .section import Section, Table
from .words import BRACKETS, NAMES, with_unit

LISTED = 40
"""So many subjects are listed one by one; of more only their spread is told."""

STAGED_BY_SUBJECT = {**STAGED, "macro_f1": sleep.macro_f1}


def by_subject(case: Case) -> Part | None:
    """Metrics of each subject alone, of windows; None for tasks of whole recordings or several labels."""
    if case.task.kind == "multilabel" or case.task.anchor is None:
        return None
    ids, counts = np.unique(case.test.subjects, return_counts=True)
    each = [_of_seed(case, seed, ids) for seed in case.seeds]
    values = {name: np.mean([of[name] for of in each], axis=0) for name in each[0]}
    if not values:
        return None
    digits = 2 if case.task.kind == "regression" else 3
    figures = {name: _mean(case, of) for name, of in values.items()}
    spread = Table(
        ["", "mean over subjects", "SD over subjects", "lowest", "highest", "subjects"],
        [[name, cell(figures[name], digits), *_spread(of, digits)] for name, of in values.items()],
        note=f"{BRACKETS} Every subject counts the same, however long the recording. {_said(values)}",
    )
    paragraphs = [f"What the figures are for one person. Of {case.shown}."]
    undefined = [name for name, of in values.items() if not np.isfinite(of).all()]
    if undefined:
        paragraphs.append(
            f"{', '.join(undefined)}: left out for subjects for whom it is not defined, such as those with "
            "one class throughout."
        )
    tables = [spread]
    if len(ids) <= LISTED:
        rows = [
            [str(subject), str(counts[s]), *(_number(of[s], digits) for of in values.values())]
            for s, subject in enumerate(ids)
        ]
        tables.append(Table(["subject", "windows", *values], rows))
    told = {
        str(subject): {"windows": counts[s], **{name: of[s] for name, of in values.items()}}
        for s, subject in enumerate(ids)
    }
    return Part(
        "by_subject",
        Section("By subject", paragraphs, tables),
        {"mean": plain(figures), "subjects": plain(told)},
    )


def _of_seed(case: Case, seed: Judged, ids: np.ndarray[Any, Any]) -> dict[str, Floats]:
    """Name → values of the subjects [S], NaN where it is not defined."""
    if case.task.kind == "multiclass":
        called = seed.scores.argmax(axis=1)
        _, counts = sleep.confusions(seed.truth, called, seed.subjects, seed.scores.shape[1])
        wanted = [name for name in case.task.metrics if name in STAGED_BY_SUBJECT]
        return {NAMES[name]: STAGED_BY_SUBJECT[name](counts) for name in wanted}
    found = {}
    for k, quantity in enumerate(seed.classes):
        stated = np.isfinite(seed.truth[:, k])
        of = regression.sums(seed.truth[stated, k], seed.scores[stated, k], seed.subjects[stated])
        for name in case.task.metrics:
            if name in regression.METRICS:
                values = np.full(len(ids), np.nan)
                values[np.searchsorted(ids, of.ids)] = regression.by_subject(
                    regression.METRICS[name], of
                )
                unit = quantity if name == "correlation" else with_unit(quantity)
                found[f"{NAMES[name]} {unit}"] = values
    return found


def _mean(case: Case, values_S: Floats) -> Figure | None:
    """The mean over the subjects who have a value; None where too few do."""
    there = np.isfinite(values_S)
    if not there.any():
        return None
    mean = mean_of(values_S[there])
    try:
        return Measure(lambda w: mean(w[:, there]), True).sampled(case.draws).figures()[0]
    except ValueError:
        return None


def _spread(values_S: Floats, digits: int) -> list[str]:
    there = values_S[np.isfinite(values_S)]
    if not len(there):
        return ["–", "–", "–", "0"]
    sd = float(there.std(ddof=1)) if len(there) > 1 else np.nan
    return [*(_number(v, digits) for v in (sd, there.min(), there.max())), str(len(there))]


def _number(value: float, digits: int) -> str:
    return f"{value:.{digits}f}" if np.isfinite(value) else "–"


def _said(values: Mapping[str, Floats]) -> str:
    if any(name.startswith(NAMES["mae"]) for name in values):
        return "The mean of the subjects' MAE is what studies of heart rate publish."
    return ""
