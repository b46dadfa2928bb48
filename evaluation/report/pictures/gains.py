"""What each person gains by a method over what they would use otherwise: a panel a method, a line a person."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing

from ..plain import printable
from ..section import Picture
from .drawing import COLOURS, SOFT, WIDTH, blank, drawn

_MOST_NAMED = 40
"""With more people, lines are too close for names, and marks are drawn as pixels: a shape each is a large file."""
_LONGEST_NAME = 22


@dataclass(frozen=True)
class Gain:
    """One person's gain with its interval (None where there is none); `adopted` as against the fallback kept."""

    name: str
    value: float
    low: float | None
    high: float | None
    adopted: bool

    @property
    def harmed(self) -> bool:
        """Whether what was adopted does worse."""
        return self.adopted and self.value < 0


def gains(panels: Mapping[str, Sequence[Gain]], unit: str) -> Picture:
    """Each panel sorted, the largest gain on top; `unit` says what a gain is counted in."""
    ordered = {
        method: sorted(each, key=lambda gain: (-gain.value, gain.name))
        for method, each in panels.items()
    }
    told = "; ".join(
        f"{method}: {sum(g.adopted for g in each)} of {len(each)} adopted, {sum(g.harmed for g in each)} harmed, "
        f"from {_signed(each[-1].value)} to {_signed(each[0].value)}"
        for method, each in ordered.items()
    )
    return Picture(
        _draw(ordered, unit),
        f"Gain of each client on test ({unit}), of what it uses over its fallback, with 95 % intervals over pieces "
        "of time within the client. Filled: adopted. Filled square: adopted and harmed. Open: kept the fallback, and "
        f"gains exactly 0. {told}.",
    )


def _signed(value: float) -> str:
    return f"{value:+.3f}".replace("-", "−")


@drawn
def _draw(panels: Mapping[str, Sequence[Gain]], unit: str) -> Drawing:
    most = max(len(each) for each in panels.values())
    named = most <= _MOST_NAMED
    across = min(len(panels), 2 if named else 3)
    down = -(-len(panels) // across)
    tall = 0.17 * most + 0.55 if named else 2.4
    figure = blank(tall * down + 0.35, WIDTH if across > 1 else 0.62 * WIDTH)
    figure.set_dpi(150)  # of the marks, where they are pixels
    axes = figure.subplots(down, across, squeeze=False, sharex=True).ravel().tolist()
    for axis, (method, each) in zip(axes, panels.items(), strict=False):
        _panel(axis, each, most, named=named)
        axis.set_title(method)
        # Those above an empty place have no axis below them.
        axis.tick_params(axis="x", labelbottom=True)
    for spare in axes[len(panels) :]:
        spare.set_visible(False)
    figure.supxlabel(f"gain over the fallback ({unit})", fontsize=9)
    return figure


def _panel(axis: Axes, each: Sequence[Gain], most: int, *, named: bool) -> None:
    axis.axvline(0, color=SOFT, lw=0.8, ls="--")
    states = (
        ([g.adopted and not g.harmed for g in each], COLOURS[2], "o", COLOURS[2]),
        ([g.harmed for g in each], COLOURS[1], "s", COLOURS[1]),
        ([not g.adopted for g in each], SOFT, "o", "none"),
    )
    value_P = np.array([gain.value for gain in each])
    size = 4.5 if named else 2.5
    for which, colour, mark, face in states:
        rows = np.flatnonzero(which).tolist()
        # One line with breaks: a shape for each person would be a large file.
        ends = np.array([(each[r].low, each[r].high, np.nan) for r in rows], dtype=np.float64)
        axis.plot(
            ends.ravel(), np.repeat(rows, 3), color=colour, lw=1.6 if named else 0.6, alpha=0.6
        )
        axis.plot(
            value_P[rows],
            rows,
            mark,
            ms=size,
            mec=colour,
            mfc=face,
            mew=1.0,
            ls="none",
            rasterized=not named,
        )
    axis.set_ylim(most - 0.4, -0.6)
    axis.margins(x=0.06)
    axis.grid(axis="x")
    axis.set_axisbelow(True)
    axis.tick_params(axis="y", length=0)
    axis.spines["left"].set_visible(False)
    if named:
        axis.set_yticks(range(len(each)), [_short(gain.name) for gain in each], fontsize=8)
    else:
        axis.set_yticks([])


def _short(name: str) -> str:
    """A long name without its middle."""
    name = printable(name)
    half = (_LONGEST_NAME - 1) // 2
    return name if len(name) <= _LONGEST_NAME else f"{name[:half]}…{name[-half:]}"
