"""Are probabilities what they say: frequency against probability, a panel for each class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure as Drawing
from numpy.typing import NDArray

from ...arrays import Floats
from ...calibration import BINS, Reliability, reliability, top_label
from ...rounds import Truth
from ..section import Picture
from .curves import truth_by_class
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
    title: str
    curves: list[Reliability]


def reliability_curves(
    test: Truth, probabilities: Mapping[str, Floats], columns: NDArray[np.intp]
) -> Picture:
    """One line for each of the named probabilities [N, K], such as before and after scaling.

    Of exclusive classes the first panel is the likeliest class, whichever it is. Raises `ValueError`
    outside 0 to 1: scores that only rank have no such curve.
    """
    truth_NK = truth_by_class(test)
    positives = [int(truth_NK[:, k].sum()) for k in columns]
    shown, hidden = shown_columns(columns.tolist(), positives)
    found = [
        _Panel(
            f"{test.classes[k]}: {truth_NK[:, k].sum()} of {len(test)}",
            [reliability(truth_NK[:, k], said_NK[:, k]) for said_NK in probabilities.values()],
        )
        for k in shown
    ]
    if test.values.dtype != np.bool_:
        likeliest = [top_label(test.values, said_NK) for said_NK in probabilities.values()]
        found = [_Panel("the likeliest class", [reliability(*one) for one in likeliest]), *found]
    each = "; ".join(
        f"{panel.title.partition(':')[0]} {' / '.join(f'{c.ece:.3f}' for c in panel.curves)}"
        for panel in found
    )
    return Picture(
        _draw(found, list(probabilities)),
        f"Reliability on test, {len(test)} cases in {BINS} equally wide bins: how often the class was there "
        f"against its mean probability; ideal is the dashed line, and larger dots stand for more cases. "
        f"Expected calibration error{in_order(list(probabilities))}: {each}.{hidden}",
    )


@drawn
def _draw(shown: Sequence[_Panel], names: Sequence[str]) -> Drawing:
    figure, axes = panels(len(shown))
    for axis, panel in zip(axes, shown, strict=True):
        unit_square(axis)
        axis.plot([0, 1], [0, 1], color=SOFT, lw=0.8, ls="--")
        for number, curve in enumerate(panel.curves):
            colour = COLOURS[number % len(COLOURS)]
            axis.plot(curve.probability, curve.frequency, color=colour, lw=1.0, alpha=0.6)
            area = 8 + 160 * curve.count / curve.count.sum()
            axis.scatter(curve.probability, curve.frequency, area, color=colour, alpha=0.75, lw=0)
        numbers_above(axis, panel.title, [curve.ece for curve in panel.curves])
    figure.supxlabel("mean probability in the bin", fontsize=9)
    figure.supylabel("frequency on test", fontsize=9)
    named_above(figure, names)
    return figure
