"""The style of every picture in a report, and how a figure becomes SVG text.

- Text stays text (small, selectable, read by screen readers), in the font of whatever shows it.
- The same numbers give the same bytes: ids are hashed with a fixed salt, and no date is written.
- `INK`, `SOFT` and `LINE` are exact colours that the page turns into its own, so that a picture follows
  dark mode; the other colours are legible on light and on dark ground.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any, ParamSpec

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

INK, SOFT, LINE = "#1f2a37", "#6b7785", "#d5dbe2"
COLOURS = ("#3b7dd8", "#dd7f2a", "#2a9d76", "#b65fa0", "#8b8f4a", "#7a6fd0")
WIDTH = 8.6
"""Inches: what fills the page. Fonts of 9 points are then about as large as the text around them."""
MOST_PANELS = 12

P = ParamSpec("P")

# Any: newer versions of matplotlib name every key in its type, older ones take a plain dict.
_STYLE: dict[Any, Any] = {
    "axes.edgecolor": SOFT,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.8,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlecolor": INK,
    "axes.titlelocation": "left",
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.unicode_minus": True,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
    "font.sans-serif": ["DejaVu Sans", "Verdana", "Arial"],
    "font.size": 9,
    "grid.color": LINE,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "biofm",
    "text.color": INK,
    # A name with a dollar sign is a name, not mathematics.
    "text.parse_math": False,
    "xtick.color": SOFT,
    "xtick.labelcolor": INK,
    "ytick.color": SOFT,
    "ytick.labelcolor": INK,
}


def drawn(make: Callable[P, Figure]) -> Callable[P, str]:
    """A function that makes a figure → one that gives its SVG, drawn in the style of reports."""

    @wraps(make)
    def draw(*words: P.args, **named: P.kwargs) -> str:
        with rc_context(_STYLE):
            return svg_of(make(*words, **named))

    return draw


def svg_of(figure: Figure) -> str:
    """A figure as SVG text; coordinates to a hundredth of a point."""
    # Once for the labels, whose size the layout then knows.
    figure.draw_without_rendering()
    file = io.StringIO()
    figure.savefig(
        file, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None}
    )
    return re.sub(
        r'\bd="[^"]*"',
        lambda path: re.sub(r"\d+\.\d{3,}", lambda n: f"{float(n[0]):.2f}", path[0]),
        file.getvalue(),
    )


def blank(height: float, width: float = WIDTH) -> Figure:
    """An empty figure of so many inches, which makes room for its labels by itself."""
    return Figure(figsize=(width, height), layout="constrained")


def panels(count: int) -> tuple[Figure, list[Axes]]:
    """Three or four equal panels side by side, in as many lines as they need."""
    across = 3 if count in (5, 6, 9) else min(count, 4)
    down = -(-count // across)
    panel = min(2.6, WIDTH / across)
    figure = blank((panel + 0.35) * down + 0.6, max(panel * across, 4.3))
    axes = figure.subplots(down, across, squeeze=False).ravel().tolist()
    for spare in axes[count:]:
        spare.set_visible(False)
    return figure, axes[:count]


def unit_square(axis: Axes) -> None:
    """Both directions from 0 to 1, equally long."""
    axis.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
    axis.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
    axis.set_yticks([0, 0.5, 1], ["0", "0.5", "1"])
    axis.grid(True)
    axis.set_axisbelow(True)


def named_above(figure: Figure, names: Sequence[str]) -> None:
    """A legend above the panels: the names in the order of `COLOURS`."""
    if len(names) > 1:
        lines = [Line2D([], [], color=COLOURS[i % len(COLOURS)], lw=2) for i in range(len(names))]
        # A letter of 9 points is about 0.078 inches wide, the line and the gaps about half an inch.
        widest = 0.078 * max(len(name) for name in names) + 0.55
        across = max(1, min(len(names), int(figure.get_figwidth() / widest)))
        figure.legend(lines, names, loc="outside upper left", ncols=across)


def shown_columns(columns: Sequence[int], positives: Sequence[int]) -> tuple[list[int], str]:
    """(the columns that get a panel, in their order; what is said of the others).

    Where there are too many, those with the most positives.
    """
    if len(columns) <= MOST_PANELS:
        return list(columns), ""
    most = np.argsort(-np.asarray(positives), kind="stable")[:MOST_PANELS]
    shown = [columns[i] for i in sorted(most.tolist())]
    hidden = len(columns) - MOST_PANELS
    return shown, f" The {MOST_PANELS} classes with the most cases are shown, {hidden} are not."


def numbers_above(axis: Axes, title: str, values: Sequence[float]) -> None:
    """The title, and under it a number for each line in its colour: inside they would hide curves."""
    axis.set_title(title, pad=17)
    for number, value in enumerate(reversed(values)):
        axis.annotate(
            f"{value:.3f}",
            (1, 1),
            xycoords="axes fraction",
            xytext=(-30 * number, 4),
            textcoords="offset points",
            ha="right",
            color=COLOURS[(len(values) - 1 - number) % len(COLOURS)],
            fontsize=8.5,
            fontweight="bold",
        )


def in_order(names: Sequence[str]) -> str:
    """What stands before several numbers in a caption."""
    return f" (in the order {' / '.join(names)})" if len(names) > 1 else ""


def percent(share: float) -> str:
    """`95 %`."""
    return f"{100 * share:.3g} %"
