"""How a figure grows with the share of subjects whose labels may be used."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure as Drawing

from ...figure import Figure
from ..section import Picture
from .drawing import COLOURS, blank, drawn, named_above, percent

Points = Sequence[tuple[float, int, Figure]]
"""(share of the labelled subjects from 0 to 1, how many those are, the figure on test)."""


def label_efficiency(rows: Mapping[str, Points], name: str) -> Picture:
    """One line a row with its interval as a band; `name` is what the figures are of."""
    told = "; ".join(
        f"{row}: "
        + ", ".join(
            f"{value} at {percent(share)} ({subjects} subjects)"
            for share, subjects, value in sorted_points(points)
        )
        for row, points in rows.items()
    )
    level = next(iter(rows.values()))[0][2].level
    return Picture(
        _draw(rows, name),
        f"{name} on test by the share of training subjects whose labels were used, on a logarithmic "
        f"axis, with {percent(level)} intervals as bands. {told}.",
    )


def sorted_points(points: Points) -> list[tuple[float, int, Figure]]:
    """By share, lowest first."""
    return sorted(points, key=lambda point: point[0])


@drawn
def _draw(rows: Mapping[str, Points], name: str) -> Drawing:
    figure = blank(4.0, 6.6)
    axis = figure.subplots()
    people: dict[float, int] = {}
    for number, points in enumerate(rows.values()):
        colour, ordered = COLOURS[number % len(COLOURS)], sorted_points(points)
        x = [share for share, _, _ in ordered]
        values = [value for _, _, value in ordered]
        people |= {share: subjects for share, subjects, _ in ordered if share not in people}
        low, high = [v.low for v in values], [v.high for v in values]
        axis.fill_between(x, low, high, color=colour, alpha=0.14, lw=0)
        axis.plot(x, [v.value for v in values], "o-", color=colour, ms=4.5, lw=1.8)
    axis.set_xscale("log")
    ticks = sorted(people)
    axis.set_xticks(ticks, [f"{percent(t)}\n{people[t]}" for t in ticks])
    axis.set_xticks([], minor=True)
    axis.margins(x=0.06)
    axis.grid(True)
    axis.set_axisbelow(True)
    axis.set_xlabel("share and number of training subjects with labels")
    axis.set_ylabel(name)
    named_above(figure, list(rows))
    return figure
