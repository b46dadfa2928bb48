"""Bland–Altman: how far estimates lie from the truth, over the range of both."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing

from ...agreement import Agreement, bland_altman
from ...arrays import Floats
from ...figure import Figure
from ...rounds import Truth
from ...scores import Scores
from ..section import Picture
from .drawing import COLOURS, SOFT, blank, drawn, percent

_MOST_VECTORS = 1500
"""More points are drawn as pixels: as vectors each would take about 60 bytes."""


def bland_altman_plot(
    test: Truth, scores: Scores, column: int, unit: str = "", alike: str = "subject"
) -> Picture:
    """One quantity. `alike` is what the ids in `test.subjects` are of, within which errors are alike.

    Raises `ValueError` below three of them.
    """
    stated = np.isfinite(test.values[:, column])
    truth_N, output_N = test.values[stated, column], scores.test[stated, column]
    found = bland_altman(truth_N, output_N, test.subjects[stated])
    name, of = test.classes[column], f" {unit}" if unit else ""
    outside = np.mean(
        (output_N - truth_N < found.lower.value) | (output_N - truth_N > found.upper.value)
    )
    return Picture(
        _draw(name, unit, truth_N, output_N, found),
        f"Bland–Altman plot of {name} on test: estimate − truth against the mean of both. Bias "
        f"{_text(found.bias)}{of}, 95 % limits of agreement {_text(found.lower)} and "
        f"{_text(found.upper)}{of}, with {percent(found.bias.level)} intervals (bands) that allow for several "
        f"records of a {alike}; {found.bias.subjects} {alike}s, {found.bias.records} records, of which "
        f"{percent(outside)} lie outside the limits.",
    )


@drawn
def _draw(name: str, unit: str, truth_N: Floats, output_N: Floats, found: Agreement) -> Drawing:
    figure = blank(4.0)
    axis = figure.subplots()
    mean_N, error_N = (truth_N + output_N) / 2, output_N - truth_N
    many = len(mean_N) > _MOST_VECTORS
    alpha = float(np.clip(15 / np.sqrt(len(mean_N)), 0.25, 0.6))
    axis.scatter(mean_N, error_N, 9, color=COLOURS[0], alpha=alpha, lw=0, rasterized=many)
    figure.set_dpi(150)  # of the points, where they are pixels
    _level(axis, found.bias, COLOURS[1], "-")
    for limit in (found.lower, found.upper):
        _level(axis, limit, COLOURS[2], "--")
    axis.axhline(0, color=SOFT, lw=0.7)
    axis.margins(x=0.03)
    levels = (found.lower, found.bias, found.upper)
    right = axis.secondary_yaxis("right")
    names = ("lower limit", "bias", "upper limit")
    right.set_yticks(
        [level.value for level in levels],
        [f"{called} {_text(level)}" for called, level in zip(names, levels, strict=True)],
    )
    right.tick_params(length=0)
    right.spines["right"].set_visible(False)
    of = f" ({unit})" if unit else ""
    axis.set(xlabel=f"mean of {name} estimated and true{of}", ylabel=f"estimate − truth{of}")
    return figure


def _text(level: Figure) -> str:
    return level.text(2).replace("-", "−")


def _level(axis: Axes, level: Figure, colour: str, style: str) -> None:
    axis.axhspan(level.low, level.high, color=colour, alpha=0.15, lw=0)
    axis.axhline(level.value, color=colour, lw=1.4, ls=style)
