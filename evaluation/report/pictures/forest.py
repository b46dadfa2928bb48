"""One figure of all rows with its intervals, and how far the first row is ahead of the others."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing

from ...comparison import Comparison
from ...figure import Figure
from ..section import Picture
from ..words import name_of
from .drawing import COLOURS, SOFT, WIDTH, blank, drawn, percent


def forest(found: Comparison, name: str | None = None) -> Picture:
    """The figure of this name (the first one, by which choices are made, if none is given)."""
    chosen = name or next(iter(found.rows[0].figures))
    values = [row.figures[chosen] for row in found.rows]
    ahead = [found.differences[row.name][chosen] for row in found.rows[1:]]
    first, one = found.rows[0].name, values[0]
    told = "; ".join(f"{row.name} {row.figures[chosen]}{_seeds(row.seeds)}" for row in found.rows)
    caption = f"{name_of(chosen)} on test with {percent(one.level)} intervals from {one.subjects} subjects: {told}."
    if ahead:
        gaps = "; ".join(
            f"{row.name} {signed(gap)}" for row, gap in zip(found.rows[1:], ahead, strict=True)
        )
        caption += (
            f" How far {first} is above each other row, on the same subjects in the same draws: {gaps}. "
            "An interval that leaves out 0 is drawn filled."
        )
    labels = [textwrap.fill(f"{row.name}{_seeds(row.seeds)}", 26) for row in found.rows]
    return Picture(_draw(name_of(chosen), first, labels, values, ahead), caption)


def signed(difference: Figure) -> str:
    """A difference with its interval: `+0.035 (+0.021 to +0.052)`."""
    d = difference
    return f"{d.value:+.3f} ({d.low:+.3f} to {d.high:+.3f})".replace("-", "−")


@drawn
def _draw(
    name: str, first: str, labels: Sequence[str], values: Sequence[Figure], ahead: Sequence[Figure]
) -> Drawing:
    lines = sum(label.count("\n") + 1 for label in labels)
    figure = blank(0.8 + 0.2 * len(labels) + 0.15 * lines, WIDTH if ahead else 0.7 * WIDTH)
    axes = figure.subplots(1, 2 if ahead else 1, squeeze=False)[0]
    places = list(range(len(labels)))
    colours = [COLOURS[i % len(COLOURS)] for i in places]
    _intervals(axes[0], places, values, colours, [str(value) for value in values])
    axes[0].set_yticks(places, labels)
    axes[0].set_title(name)
    if ahead:
        axis = axes[1]
        axis.axvline(0, color=SOFT, lw=0.8, ls="--")
        _intervals(axis, places[1:], ahead, colours[1:], [signed(gap) for gap in ahead])
        axis.set_yticks([])
        axis.set_title(textwrap.fill(f"{first} − other row", 34))
    return figure


def _intervals(
    axis: Axes,
    places: Sequence[int],
    values: Sequence[Figure],
    colours: Sequence[str],
    texts: Sequence[str],
) -> None:
    """Points with bars, the first one on top, their numbers at the right."""
    for at, value, colour in zip(places, values, colours, strict=True):
        axis.plot([value.low, value.high], [at, at], color=colour, lw=2, solid_capstyle="butt")
        face = colour if value.excludes(0) else "none"
        axis.plot([value.value], [at], "o", ms=6, mec=colour, mfc=face, mew=1.5)
    last = max(places) + 0.6
    axis.set_ylim(last, -0.6)
    axis.margins(x=0.12)
    axis.grid(axis="x")
    axis.set_axisbelow(True)
    axis.tick_params(axis="y", length=0)
    axis.spines["left"].set_visible(False)
    right = axis.secondary_yaxis("right")
    right.set_yticks(list(places), list(texts))
    right.tick_params(length=0)
    right.spines["right"].set_visible(False)


def _seeds(seeds: int) -> str:
    return f" (mean of {seeds} seeds)" if seeds > 1 else ""
