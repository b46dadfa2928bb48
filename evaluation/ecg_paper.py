"""ECG as on paper: 25 mm for a second, 10 mm for a millivolt, boxes of 1 and 5 mm.

Shape suffixes: C channels, T time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from ..signals import LEADS_12
from .arrays import Floats

MM_PER_S, MM_PER_MV = 25.0, 10.0
ROW_S = 10.0
"""Seconds in a line of the sheet."""
PAPER, THIN, THICK, TRACE, MARK = "#fffaf8", "#f6d9d6", "#e9aaa5", "#26221f", "#3b7dd8"
_COLUMNS = (("I", "II", "III"), ("aVR", "aVL", "aVF"), ("V1", "V2", "V3"), ("V4", "V5", "V6"))
_MOST_ROWS = 6


@dataclass(frozen=True)
class Strip:
    """`length_s` of a lead from `start_s` on, drawn in a row, `at_s` from its left."""

    lead: str
    row: int
    at_s: float
    start_s: float
    length_s: float


def paper(axis: Axes, end_s: float) -> None:
    """The time lines of ECG paper: 0.2 s, and 1 s stronger."""
    axis.set_xlim(0, end_s)
    axis.set_xticks(np.arange(0, end_s + 0.01, 1.0))
    axis.set_xticks(np.arange(0, end_s + 0.01, 0.2), minor=True)
    axis.grid(which="minor", color="#f4cccc", lw=0.4)
    axis.grid(which="major", color="#e6a5a5", lw=0.6)
    axis.set_axisbelow(True)
    axis.tick_params(labelsize=7)


def strips(leads: Sequence[str], length_s: float) -> list[Strip]:
    """Where each lead goes.

    Twelve leads of 10 s or more: four columns of three leads for 2.5 s each, as printed everywhere, and
    lead II for 10 s below. One lead: lines of 10 s. Otherwise a line for each lead, its first 10 s.
    Six lines at most.
    """
    if set(LEADS_12) <= set(leads) and length_s >= ROW_S - 0.05:
        quarter = ROW_S / len(_COLUMNS)
        printed = [
            Strip(lead, row, quarter * column, quarter * column, quarter)
            for column, of_column in enumerate(_COLUMNS)
            for row, lead in enumerate(of_column)
        ]
        return [*printed, Strip("II", 3, 0.0, 0.0, ROW_S)]
    if len(leads) == 1:
        starts = np.arange(0, length_s - 0.05, ROW_S)[:_MOST_ROWS]
        return [
            Strip(leads[0], row, 0.0, float(start), min(ROW_S, length_s - float(start)))
            for row, start in enumerate(starts)
        ]
    shown = leads[:_MOST_ROWS]
    return [Strip(lead, row, 0.0, 0.0, min(ROW_S, length_s)) for row, lead in enumerate(shown)]


@dataclass(frozen=True)
class Sheet:
    """A window laid out: strips with their samples in mV, and the zero line of each row.

    `bottom` and `top` in mV and `width_s` are the edges of the paper.
    """

    strips: list[Strip]
    traces: list[Floats]
    level_R: list[float]
    bottom: float
    top: float
    width_s: float
    rate_hz: float

    @property
    def size_mm(self) -> tuple[float, float]:
        """Width and height."""
        return self.width_s * MM_PER_S, (self.top - self.bottom) * MM_PER_MV


def lay_out(x_mv_CT: Floats, leads: Sequence[str], rate_hz: float) -> Sheet:
    """The sheet of a window in mV; NaN is missing."""
    placed = strips(leads, x_mv_CT.shape[1] / rate_hz)
    traces = [_cut(x_mv_CT[leads.index(strip.lead)], strip, rate_hz) for strip in placed]
    level_R = _levels(placed, traces)
    pairs = list(zip(placed, traces, strict=True))
    above = max(1.2, *(_height(trace) for strip, trace in pairs if strip.row == 0), 0.0) + 0.3
    below = max(0.7, *(_depth(t) for strip, t in pairs if strip.row == len(level_R) - 1), 0.0) + 0.3
    end_s = max(strip.at_s + strip.length_s for strip in placed)
    return Sheet(
        strips=placed,
        traces=traces,
        level_R=level_R,
        bottom=float(0.5 * np.floor((level_R[-1] - below) / 0.5)),
        top=float(0.5 * np.ceil(above / 0.5)),
        width_s=float(0.2 * np.ceil(end_s / 0.2 - 1e-6)),
        rate_hz=rate_hz,
    )


def draw_sheet(axis: Axes, sheet: Sheet, mark_s: tuple[float, float] | None = None) -> None:
    """Draw it to scale: both directions keep their ratio. `mark_s` is a time to be shaded."""
    _grid(axis, sheet.width_s, sheet.bottom, sheet.top)
    for strip, trace in zip(sheet.strips, sheet.traces, strict=True):
        level = sheet.level_R[strip.row]
        if mark_s is not None:
            _mark(axis, strip, mark_s, level)
        time_s = strip.at_s + np.arange(len(trace)) / sheet.rate_hz
        axis.plot(time_s, level + trace, color=TRACE, lw=0.8, solid_joinstyle="round")
        # Above what the lead does below its own name.
        begin = trace[: max(1, round(0.5 * sheet.rate_hz))]
        name_at = level + min(1.4, max(0.5, _height(begin) + 0.2))
        axis.text(strip.at_s + 0.06, name_at, strip.lead, color=TRACE, fontsize=8, weight="bold")
        if strip.at_s > 0:
            axis.plot([strip.at_s] * 2, [level - 0.4, level + 0.4], color=TRACE, lw=0.6)


def _cut(x_T: Floats, strip: Strip, rate_hz: float) -> Floats:
    first = round(strip.start_s * rate_hz)
    return x_T[first : first + round(strip.length_s * rate_hz)]


def _height(trace: Floats) -> float:
    return float(np.nanmax(trace, initial=0.0))


def _depth(trace: Floats) -> float:
    return -float(np.nanmin(trace, initial=0.0))


def _levels(placed: Sequence[Strip], traces: Sequence[Floats]) -> list[float]:
    """The zero line of each row: far enough apart that no trace meets the next row's, up to 5 mV."""
    rows = max(strip.row for strip in placed) + 1
    height, depth = np.zeros(rows), np.zeros(rows)
    for strip, trace in zip(placed, traces, strict=True):
        height[strip.row] = max(height[strip.row], _height(trace))
        depth[strip.row] = max(depth[strip.row], _depth(trace))
    level = [0.0]
    for row in range(1, rows):
        apart = np.clip(0.5 * np.ceil((depth[row - 1] + height[row] + 0.3) / 0.5), 2.0, 5.0)
        level.append(level[-1] - float(apart))
    return level


def _grid(axis: Axes, width_s: float, bottom: float, top: float) -> None:
    """Boxes of 1 mm and of 5 mm, each kind as one line: hundreds of lines apart would be large files."""
    axis.set_facecolor(PAPER)
    for step_mm, colour, width in ((1, THIN, 0.35), (5, THICK, 0.55)):
        x = np.arange(0, width_s + 1e-6, step_mm / MM_PER_S)
        y = np.arange(bottom, top + 1e-6, step_mm / MM_PER_MV)
        for lines, x_first, x_last, y_first, y_last in (
            (len(x), x, x, bottom, top),
            (len(y), 0.0, width_s, y, y),
        ):
            ends = np.full((2, lines, 3), np.nan)
            ends[0, :, 0], ends[0, :, 1] = x_first, x_last
            ends[1, :, 0], ends[1, :, 1] = y_first, y_last
            axis.plot(ends[0].ravel(), ends[1].ravel(), color=colour, lw=width, zorder=0.5)
    axis.set(xlim=(0, width_s), ylim=(bottom, top), aspect=MM_PER_MV / MM_PER_S)
    axis.set_xticks([])
    axis.set_yticks([])
    axis.spines[:].set_visible(True)
    axis.spines[:].set_color(THICK)


def _mark(axis: Axes, strip: Strip, mark_s: tuple[float, float], level: float) -> None:
    """Shade what of the marked time lies in a strip; a moment is a thin band."""
    moved = strip.at_s - strip.start_s
    middle, half = sum(mark_s) / 2, max(mark_s[1] - mark_s[0], 0.04) / 2
    first = max(middle - half, strip.start_s) + moved
    last = min(middle + half, strip.start_s + strip.length_s) + moved
    if last > first:
        axis.add_patch(
            Rectangle((first, level - 1), last - first, 2.2, color=MARK, alpha=0.18, lw=0)
        )
