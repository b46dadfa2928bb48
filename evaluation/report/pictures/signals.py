"""The signals of one window: ECG on paper, everything else over time, and below them what was said.

Shape suffixes: C channels, T time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing

from ....signals.vocabulary import UNITS
from ....signals.windows import Batch
from ...arrays import Floats
from ...ecg_paper import MARK, MM_PER_MV, MM_PER_S, draw_sheet, lay_out
from .drawing import COLOURS, LINE, SOFT, WIDTH, blank, drawn

_PLAIN_IN = 1.5


@dataclass(frozen=True)
class Answer:
    """A class, whether it is true, and its probability according to the model."""

    name: str
    true: bool
    said: float


@dataclass(frozen=True)
class Stream:
    """One stream of a window [C, T] in physical units, NaN where missing."""

    modality: str
    channels: tuple[str, ...]
    rate_hz: float
    x_CT: Floats


def streams_of(batch: Batch) -> list[Stream]:
    """The streams of a batch's first row."""
    found = []
    for windows in batch.streams.values():
        x_BCT, missing_BCT = windows.physical()
        x_CT = np.where(missing_BCT[0].numpy(), np.nan, x_BCT[0].numpy()).astype(np.float64)
        found.append(Stream(windows.modality, windows.channels, windows.rate_hz, x_CT))
    return found


def told_streams(streams: Sequence[Stream]) -> str:
    """`10 s of ecg (I, II) at 100 Hz, drawn at 25 mm/s and 10 mm/mV`."""
    parts = []
    for one in streams:
        seconds = one.x_CT.shape[1] / one.rate_hz
        text = (
            f"{seconds:g} s of {one.modality} ({', '.join(one.channels)}) at {one.rate_hz:.3g} Hz"
        )
        if one.modality == "ecg":
            text += f" on paper of {MM_PER_S:g} mm/s and {MM_PER_MV:g} mm/mV"
        parts.append(text)
    return " and ".join(parts)


@drawn
def draw_window(
    title: str,
    streams: Sequence[Stream],
    answers: Sequence[Answer],
    mark_s: tuple[float, float] | None,
) -> Drawing:
    """Sheets first, then the other streams, then bars of the answers; `mark_s` is shaded."""
    sheets = [lay_out(s.x_CT, s.channels, s.rate_hz) for s in streams if s.modality == "ecg"]
    others = [s for s in streams if s.modality != "ecg"]
    per_mm = min([2 / 25.4, *((WIDTH - 0.2) / sheet.size_mm[0] for sheet in sheets)])
    heights = [sheet.size_mm[1] * per_mm for sheet in sheets] + [_PLAIN_IN] * len(others)
    if answers:
        heights.append(0.2 * len(answers) + 0.2)
    width = WIDTH if others else max(5.0, *(sheet.size_mm[0] * per_mm + 0.2 for sheet in sheets))
    figure = blank(sum(heights) + 0.4 + 0.16 * title.count("\n") + (0.4 if others else 0), width)
    lines = len(heights)
    axes = figure.subplots(lines, 1, squeeze=False, gridspec_kw={"height_ratios": heights})[:, 0]
    for axis, sheet in zip(axes, sheets, strict=False):
        draw_sheet(axis, sheet, mark_s)
    for axis, stream in zip(axes[len(sheets) :], others, strict=False):
        _plain(axis, stream, mark_s)
    if others:
        axes[len(sheets) + len(others) - 1].set_xlabel("seconds from the window's begin")
    if answers:
        _bars(axes[-1], answers)
    axes[0].set_title(title)
    return figure


def _plain(axis: Axes, stream: Stream, mark_s: tuple[float, float] | None) -> None:
    """A line for each channel; where nothing is drawn, nothing was recorded."""
    time_s = np.arange(stream.x_CT.shape[1]) / stream.rate_hz
    for number, (name, x_T) in enumerate(zip(stream.channels, stream.x_CT, strict=True)):
        # Rates below 1 Hz are few points: dots show them where neighbours are missing.
        style = "o-" if stream.rate_hz < 0.5 else "-"
        colour = COLOURS[number % len(COLOURS)]
        axis.plot(time_s, x_T, style, ms=2.5, color=colour, lw=1.0, label=name)
    if mark_s is not None:
        axis.axvspan(
            mark_s[0], max(mark_s[1], mark_s[0] + time_s[-1] / 500), color=MARK, alpha=0.16, lw=0
        )
    axis.set_ylabel(f"{stream.modality} ({UNITS[stream.modality]})")
    axis.set_xlim(0, stream.x_CT.shape[1] / stream.rate_hz)
    axis.grid(True)
    axis.set_axisbelow(True)
    if len(stream.channels) > 1:
        axis.legend(loc="center left", bbox_to_anchor=(1, 0.5), fontsize=8)


def _bars(axis: Axes, answers: Sequence[Answer]) -> None:
    """Probabilities from 0 to 1; what is true is coloured, and said in words too."""
    for place, answer in enumerate(answers):
        colour = COLOURS[2] if answer.true else SOFT
        axis.barh(place, 1.0, 0.62, color=LINE, alpha=0.5, lw=0)
        axis.barh(place, answer.said, 0.62, color=colour, lw=0)
        text = f"{answer.said:.2f}{'  true' if answer.true else ''}"
        weight = "bold" if answer.true else "normal"
        axis.text(1.02, place, text, va="center", fontweight=weight)
    axis.set_yticks(range(len(answers)), [answer.name for answer in answers])
    axis.set_ylim(len(answers) - 0.4, -0.6)
    axis.set_xlim(0, 1.25)
    axis.set_xticks([])
    axis.tick_params(length=0)
    axis.spines[:].set_visible(False)
