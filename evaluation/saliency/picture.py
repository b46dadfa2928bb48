"""Importance over lead × time as shading behind a recording on ECG paper.

Shape suffixes: C channels, T time.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ..ecg_paper import TRACE, paper

SHADES = LinearSegmentedColormap.from_list(
    "importance", ["#fffaf8", "#b9d3f0", "#3b7dd8", "#173f7a"]
)
BOX_S, BOX_MV = 0.2, 0.5
"""A large box of the paper: 5 mm at 25 mm/s and 10 mm/mV."""
MOST_MV = 6.0


def draw_importance(
    x_mv_CT: NDArray[np.float32],
    importance_CT: NDArray[np.float32],
    leads: Sequence[str],
    rate_hz: float,
    *,
    title: str,
    note: str,
) -> Figure:
    """A window in mV (NaN is missing), each lead on its own, shaded by its importance.

    All leads share one scale in mV and one of importance, on which the largest in the window is 1. `title` says what
    was asked (the class and its probability), `note` how it was computed.
    """
    C, T = x_mv_CT.shape
    end_s, columns = T / rate_hz, 2 if C > 3 else 1
    rows = -(-C // columns)
    strongest = float(importance_CT.max(initial=0.0))
    shade_CT = importance_CT / strongest if strongest > 0 else importance_CT
    span_mv = _span(x_mv_CT)
    figure = Figure(figsize=(15 if columns == 2 else 11, 1.25 * rows + 1.3), layout="constrained")
    axes = figure.subplots(rows, columns, sharex=True, squeeze=False)
    for axis in axes.T.ravel()[C:]:
        axis.set_visible(False)
    for axis, name, x_mv, shade in zip(axes.T.ravel(), leads, x_mv_CT, shade_CT, strict=False):
        paper(axis, end_s)
        middle_mv = _middle(x_mv)
        low = BOX_MV * np.floor((middle_mv - span_mv / 2) / BOX_MV)
        high = low + BOX_MV * np.ceil(span_mv / BOX_MV + 1)
        axis.set_yticks(np.arange(low, high + 0.01, BOX_MV), minor=True)
        axis.set_yticks([0.0])
        axis.set_ylim(low, high)
        axis.imshow(
            shade[None],
            extent=(0, end_s, low, high),
            aspect="auto",
            cmap=SHADES,
            vmin=0,
            vmax=1,
            interpolation="nearest",
            alpha=0.75,
            zorder=0.1,
        )
        axis.plot(np.arange(T) / rate_hz, x_mv, color=TRACE, lw=0.8)
        axis.set_ylabel(name, rotation=0, ha="right", va="center", weight="bold")
    for axis in axes[-1]:
        axis.set_xlabel("time in s", fontsize=8)
    figure.suptitle(title, x=0.01, ha="left", fontsize=11, weight="bold")
    boxes = f"boxes of {BOX_S:g} s and {BOX_MV:g} mV; the line at each name is 0 mV"
    figure.supxlabel(f"{note}; {boxes}", x=0.01, ha="left", fontsize=8)
    bar = figure.colorbar(
        ScalarMappable(Normalize(0, 1), SHADES), ax=axes, fraction=0.02, pad=0.01, alpha=0.75
    )
    bar.set_label("importance (1: the largest in this window)", fontsize=8)
    bar.ax.tick_params(labelsize=7)
    return figure


def _span(x_mv_CT: NDArray[np.float32]) -> float:
    """The room in mV that every lead gets: what the widest needs, within reason."""
    known = [row[np.isfinite(row)] for row in x_mv_CT]
    widths = [
        float(np.percentile(row, 99.8) - np.percentile(row, 0.2)) for row in known if row.size
    ]
    return float(np.clip(1.15 * max(widths, default=0.0), 1.0, MOST_MV))


def _middle(x_mv: NDArray[np.float32]) -> float:
    known = x_mv[np.isfinite(x_mv)]
    return float(np.percentile(known, [0.2, 99.8]).mean()) if known.size else 0.0
