"""Nights: what the main row's hypnograms come to in minutes, beside the scorer's."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..agreement import Agreement, bland_altman
from ..arrays import Floats, Ints
from ..nights import EPOCH_S, Night, night
from ..rounds import Truth
from ..sleep import UNSCORED
from .case import Case, Part, plain
from .section import Section, Table

WAKE = "W"
NAMES = {
    "total_sleep_min": ("total sleep time, min", 1.0),
    "efficiency": ("sleep efficiency, %", 100.0),
    "onset_latency_min": ("sleep onset latency, min", 1.0),
    "wake_after_onset_min": ("wake after sleep onset, min", 1.0),
}
"""Parameter → what it is called, and how many of what is shown make one."""


def nights(case: Case) -> Part | None:
    """Errors of each parameter over the nights; None where the task does not name `night_errors`.

    Raises `ValueError` where no class is wake, or two epochs stand at one place of a night.
    """
    if "night_errors" not in case.task.metrics:
        return None
    if WAKE not in case.test.classes:
        raise ValueError(
            f"night_errors: expected a class {WAKE!r} (wake) among {', '.join(case.test.classes)}"
        )
    called = case.seeds[0].scores.argmax(axis=1)
    subjects, truths, outputs = of_nights(case.test, called)
    rows, found = [], {}
    for i, field in enumerate(fields(Night)):
        name, scale = NAMES[field.name]
        truth, output = truths[:, i] * scale, outputs[:, i] * scale
        both = np.isfinite(truth) & np.isfinite(output)
        if len(np.unique(subjects[both])) < 3:
            rows.append([name, str(both.sum()), *["–"] * 5])
            continue
        agreed = bland_altman(truth[both], output[both], subjects[both])
        mae = float(np.abs(output - truth)[both].mean())
        rows.append([name, str(both.sum()), *_cells(truth[both], mae, agreed)])
        found[field.name] = {"nights": int(both.sum()), "mae": mae, **plain(agreed)}
    without = int((~np.isfinite(outputs[:, 2])).sum())
    paragraphs = [
        f"Sleep parameters of each of {len(truths)} nights from the classes of {case.shown_first}, less "
        "those from the scorer's. Lights out and lights on are rarely recorded, so the first and the last "
        "scored epoch stand for them."
    ]
    if without:
        paragraphs.append(
            f"In {without} nights the model finds no sleep at all: they have no onset, and are left out of "
            "the last two lines."
        )
    table = Table(
        ["", "nights", "scorer, mean ± SD", "MAE", "bias", "lower limit", "upper limit"],
        rows,
        note="Bias: model less scorer. Limits of agreement (Bland–Altman): 95 % of nights are to lie between "
        "them. In brackets: 95 % intervals, nights of one subject taken together.",
    )
    return Part("nights", Section("Nights", paragraphs, [table]), found)


def of_nights(test: Truth, called_N: Ints) -> tuple[NDArray[Any], Floats, Floats]:
    """(subject of each night, its parameters by the truth [nights, 4], and by the classes called).

    Epochs are put where their onset is, and what lies between them is unscored.
    """
    wake = test.classes.index(WAKE)
    onset_N = test.facts["onset_s"].to_numpy()
    subjects: list[str] = []
    truths: list[list[float]] = []
    outputs: list[list[float]] = []
    for record in np.unique(test.records):
        rows = np.flatnonzero(test.records == record)
        rows = rows[np.argsort(onset_N[rows], kind="stable")]
        place = np.round((onset_N[rows] - onset_N[rows[0]]) / EPOCH_S).astype(np.intp)
        if len(np.unique(place)) < len(place):
            raise ValueError(
                f"{record}: two epochs within {EPOCH_S:g} s of each other, so their order is not known: "
                "look at its annotations with `biofm shards inspect`"
            )
        grid = np.full((2, place[-1] + 1), UNSCORED, dtype=np.intp)
        grid[0, place], grid[1, place] = test.values[rows], called_N[rows]
        subjects.append(test.subjects[rows[0]])
        for parameters, stages in zip((truths, outputs), grid, strict=True):
            of = night(stages, wake)
            parameters.append([getattr(of, field.name) for field in fields(Night)])
    return np.array(subjects), np.array(truths), np.array(outputs)


def _cells(truth: Floats, mae: float, agreed: Agreement) -> list[str]:
    limits = (agreed.bias, agreed.lower, agreed.upper)
    return [
        f"{truth.mean():.1f} ± {truth.std(ddof=1):.1f}",
        f"{mae:.1f}",
        *(figure.text(1) for figure in limits),
    ]
