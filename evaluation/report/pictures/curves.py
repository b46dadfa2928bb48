"""ROC and precision–recall curves, a panel for each class: of exclusive classes, each against the rest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing
from numpy.typing import NDArray
from sklearn.metrics import precision_recall_curve, roc_curve

from ...arrays import Bools, Floats
from ...ranking import auroc, average_precision
from ...rounds import Truth
from ...scores import Scores
from ..section import Picture
from .drawing import (
    COLOURS,
    SOFT,
    drawn,
    in_order,
    named_above,
    numbers_above,
    panels,
    shown_columns,
    unit_square,
)


@dataclass(frozen=True)
class _Panel:
    """A class: its truth [N], and of each row the scores of its seeds [N] and the area on average."""

    title: str
    truth_N: Bools
    scores: list[list[Floats]]
    areas: list[float]


def roc_curves(
    test: Truth, rows: Mapping[str, Sequence[Scores]], columns: NDArray[np.intp]
) -> Picture:
    """False positive rate against sensitivity; every seed is a line."""
    shown, hidden = _panels(test, rows, columns, "auroc")
    return Picture(
        _roc(shown, list(rows)),
        f"ROC curves on test, {len(test)} cases. The number is the area under the curve, 0.5 at chance "
        f"(dashed). {_told(shown, list(rows))}{_seeds(rows)}{hidden}",
    )


def precision_recall_curves(
    test: Truth, rows: Mapping[str, Sequence[Scores]], columns: NDArray[np.intp]
) -> Picture:
    """Recall against precision; every seed is a line."""
    shown, hidden = _panels(test, rows, columns, "average_precision")
    return Picture(
        _precision_recall(shown, list(rows)),
        f"Precision–recall curves on test, {len(test)} cases. The number is the average precision, which "
        f"at chance is the share of cases that have the class (dashed). "
        f"{_told(shown, list(rows))}{_seeds(rows)}{hidden}",
    )


def truth_by_class(test: Truth) -> Bools:
    """[N, K]: of exclusive classes, each against the rest."""
    if test.values.dtype == np.bool_:
        return test.values
    return np.asarray(test.values[:, None] == np.arange(len(test.classes)))


def _panels(
    test: Truth, rows: Mapping[str, Sequence[Scores]], columns: NDArray[np.intp], area: str
) -> tuple[list[_Panel], str]:
    truth_NK = truth_by_class(test)
    both = [k for k in columns.tolist() if 0 < truth_NK[:, k].sum() < len(test)]
    shown, hidden = shown_columns(both, [int(truth_NK[:, k].sum()) for k in both])
    figure = auroc if area == "auroc" else average_precision
    found = [
        _Panel(
            f"{test.classes[k]}: {truth_NK[:, k].sum()} of {len(test)}",
            truth_NK[:, k],
            [[seed.test[:, k] for seed in seeds] for seeds in rows.values()],
            [
                float(np.mean([figure(truth_NK[:, [k]], seed.test[:, [k]])[0] for seed in seeds]))
                for seeds in rows.values()
            ],
        )
        for k in shown
    ]
    if absent := len(columns) - len(both):
        hidden += f" {absent} without cases on both sides have no curve."
    return found, hidden


def _told(shown: Sequence[_Panel], names: Sequence[str]) -> str:
    each = "; ".join(
        f"{panel.title.replace(': ', ' (')}) {' / '.join(f'{area:.3f}' for area in panel.areas)}"
        for panel in shown
    )
    return f"By class{in_order(names)}: {each}."


def _seeds(rows: Mapping[str, Sequence[Scores]]) -> str:
    several = any(len(seeds) > 1 for seeds in rows.values())
    return " Each seed has a line; the numbers are means over seeds." if several else ""


@drawn
def _roc(shown: Sequence[_Panel], names: Sequence[str]) -> Drawing:
    figure, axes = panels(len(shown))
    for axis, panel in zip(axes, shown, strict=True):
        axis.plot([0, 1], [0, 1], color=SOFT, lw=0.8, ls="--")
        for number, seeds in enumerate(panel.scores):
            for score_N in seeds:
                wrong, found, _ = roc_curve(panel.truth_N, score_N)
                _line(axis, wrong, found, number, len(seeds))
        unit_square(axis)
        numbers_above(axis, panel.title, panel.areas)
    figure.supxlabel("false positive rate (1 − specificity)", fontsize=9)
    figure.supylabel("sensitivity", fontsize=9)
    named_above(figure, names)
    return figure


@drawn
def _precision_recall(shown: Sequence[_Panel], names: Sequence[str]) -> Drawing:
    figure, axes = panels(len(shown))
    for axis, panel in zip(axes, shown, strict=True):
        share = panel.truth_N.mean()
        axis.plot([0, 1], [share, share], color=SOFT, lw=0.8, ls="--")
        for number, seeds in enumerate(panel.scores):
            for score_N in seeds:
                recall, precision = _recall_precision(panel.truth_N, score_N)
                _line(axis, recall, precision, number, len(seeds), steps=True)
        unit_square(axis)
        numbers_above(axis, panel.title, panel.areas)
    figure.supxlabel("recall (sensitivity)", fontsize=9)
    figure.supylabel("precision (positive predictive value)", fontsize=9)
    named_above(figure, names)
    return figure


def _recall_precision(truth_N: Bools, score_N: Floats) -> tuple[Floats, Floats]:
    """Corners from recall 1 down to 0: each precision holds from its recall down to the next one."""
    precision, recall, _ = precision_recall_curve(truth_N, score_N, drop_intermediate=True)
    # Thresholds at which nothing true is found yet have no share in the area.
    precision, recall = precision[recall > 0], recall[recall > 0]
    return np.append(recall, 0.0), np.append(precision, precision[-1])


def _line(
    axis: Axes, x: Floats, y: Floats, number: int, seeds: int, *, steps: bool = False
) -> None:
    axis.plot(
        x,
        y,
        color=COLOURS[number % len(COLOURS)],
        lw=1.5 if seeds == 1 else 1.0,
        alpha=1.0 if seeds == 1 else 0.55,
        drawstyle="steps-post" if steps else "default",
    )
