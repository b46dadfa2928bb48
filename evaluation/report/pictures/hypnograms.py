"""Nights as hypnograms, the truth above what the model said: the best, the median and the worst subject, or one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing
from numpy.typing import NDArray

from ...arrays import Floats, Ints
from ...rounds import Truth
from ...scores import Scores
from ...sleep import confusions, kappa
from ..section import Picture
from .drawing import COLOURS, INK, blank, drawn, percent

FROM_THE_TOP = ("W", "R", "NREM", "sleep", "light", "N1", "N2", "deep", "N3")
"""How hypnograms are drawn: awake at the top, the deepest sleep at the bottom."""


@dataclass(frozen=True)
class _Night:
    """Epochs of one recording in time: onsets in hours from the first one, true and called stages."""

    title: str
    hours_N: Floats
    truth_N: Ints
    called_N: Ints
    epoch_h: float


def hypnograms(test: Truth, scores: Scores) -> Picture:
    """Three subjects by kappa. Raises `ValueError` without onsets, or where nobody has a kappa."""
    if test.facts["onset_s"].null_count():
        raise ValueError("hypnograms need `onset_s`: the task's windows stand at no annotation")
    called_N = scores.test.argmax(axis=1)
    ids, counts_SKK = confusions(test.values, called_N, test.subjects, len(test.classes))
    kappa_S = kappa(counts_SKK)
    ranked = np.argsort(kappa_S, kind="stable")[: int(np.isfinite(kappa_S).sum())]
    if not len(ranked):
        raise ValueError("no subject has a kappa: each was in one stage throughout, and called so")
    # The lower one of two in the middle.
    places = {"Worst": ranked[0], "Median": ranked[(len(ranked) - 1) // 2], "Best": ranked[-1]}
    chosen = {"Best": places["Best"]}
    for name in ("Median", "Worst"):
        if places[name] not in chosen.values():
            chosen[name] = places[name]
    nights = [
        _night(f"{name}: {ids[at]}, kappa {kappa_S[at]:.2f}", test, called_N, ids[at])
        for name, at in chosen.items()
    ]
    told = "; ".join(f"{night.title}, {_alike(night)}" for night in nights)
    return Picture(
        _draw(test.classes, nights),
        f"Hypnograms of {len(nights)} of {len(ids)} test subjects, chosen by kappa; truth above, prediction "
        f"below, and marks under it where they differ. {told}. Median kappa over subjects "
        f"{np.nanmedian(kappa_S):.2f}.",
    )


def hypnogram(test: Truth, scores: Scores, subject: str, said_by: str) -> Picture:
    """One subject's longest recording; `said_by` is whose classes are drawn. Raises `ValueError` without onsets."""
    if not np.isfinite(test.facts["onset_s"].to_numpy().astype(np.float64)).all():
        raise ValueError("a hypnogram needs `onset_s`: the task's windows stand at no annotation")
    night = _night(str(subject), test, scores.test.argmax(axis=1), subject)
    return Picture(
        _draw(test.classes, [night]),
        f"Hypnogram of {night.title}; truth above, {said_by} below, and marks under it where they differ: "
        f"{_alike(night)}. Lines are broken where epochs are not judged.",
    )


def _alike(night: _Night) -> str:
    share = float(np.mean(night.truth_N == night.called_N))
    return f"{percent(share)} of {len(night.truth_N)} epochs alike"


def _night(title: str, test: Truth, called_N: Ints, subject: object) -> _Night:
    """The subject's longest recording."""
    of_subject = np.flatnonzero(test.subjects == subject)
    records, counts = np.unique(test.records[of_subject], return_counts=True)
    rows = of_subject[test.records[of_subject] == records[counts.argmax()]]
    onset_s = test.facts["onset_s"].to_numpy()
    rows = rows[np.argsort(onset_s[rows], kind="stable")]
    hours = (onset_s[rows] - onset_s[rows[0]]) / 3600
    steps = np.diff(hours)
    epoch_h = float(np.median(steps)) if len(steps) else 30 / 3600
    if len(records) > 1:
        title += f" (longest of {len(records)} recordings)"
    return _Night(title, hours, test.values[rows], called_N[rows], epoch_h)


@drawn
def _draw(classes: Sequence[str], nights: Sequence[_Night]) -> Drawing:
    order = [c for c in FROM_THE_TOP if c in classes] + [
        c for c in classes if c not in FROM_THE_TOP
    ]
    depth_K = np.array([order.index(name) for name in classes])
    figure = blank(2.5 * len(nights))
    frames = figure.subfigures(len(nights), 1, squeeze=False)[:, 0]
    longest = max(night.hours_N[-1] + night.epoch_h for night in nights)
    for frame, night in zip(frames, nights, strict=True):
        above, below = frame.subplots(2, 1, sharex=True)
        above.set_title(night.title)
        _steps(above, night, depth_K[night.truth_N], INK)
        _steps(below, night, depth_K[night.called_N], COLOURS[0])
        wrong = np.flatnonzero(night.truth_N != night.called_N)
        # One line with breaks: a shape for each epoch would be a large file.
        ends = np.full((len(wrong), 3), np.nan)
        ends[:, 0], ends[:, 1] = night.hours_N[wrong], night.hours_N[wrong] + night.epoch_h
        level = np.where(np.isnan(ends), np.nan, len(order) - 0.2)
        below.plot(ends.ravel(), level.ravel(), color=COLOURS[1], lw=5, solid_capstyle="butt")
        for axis, name in ((above, "truth"), (below, "prediction")):
            axis.set_yticks(range(len(order)), order)
            axis.set_ylim(len(order), -0.5)
            axis.set_ylabel(name)
            axis.grid(axis="x")
            axis.set_xlim(0, longest)
        above.tick_params(axis="x", length=0)
    below.set_xlabel("hours from the first scored epoch")
    return figure


def _steps(axis: Axes, night: _Night, depth_N: NDArray[np.intp], colour: str) -> None:
    """A line that holds each stage for its epoch, and is broken where epochs are missing."""
    # Two points where the stage changes are all that a step needs.
    gap = np.diff(night.hours_N) > 1.5 * night.epoch_h
    starts = np.concatenate([[0], np.flatnonzero(gap | (np.diff(depth_N) != 0)) + 1])
    x, y = [], []
    for first, after in zip(starts, [*starts[1:], len(depth_N)], strict=True):
        if first and gap[first - 1]:
            x.append(np.nan)
            y.append(np.nan)
        x += [night.hours_N[first], night.hours_N[after - 1] + night.epoch_h]
        y += [depth_N[first]] * 2
    axis.plot(x, y, color=colour, lw=1.1)
