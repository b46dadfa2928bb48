"""What each class was taken for."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure as Drawing
from numpy.typing import NDArray

from ...arrays import Floats, ratio
from ...rounds import Truth
from ...scores import Scores
from ...sleep import confusions
from ..section import Picture
from .drawing import COLOURS, INK, blank, drawn, percent

_LIGHT = "#ffffff"
_MOST_NAMED = 8
"""With more classes, cells are too narrow for counts: they are in the table beside the picture."""


def confusion_matrix(test: Truth, scores: Scores) -> Picture:
    """Of exclusive classes: rows are true, columns called, shares of each row, with counts."""
    called_N = scores.test.argmax(axis=1)
    _, counts_SKK = confusions(test.values, called_N, test.subjects, len(test.classes))
    counts_KK = counts_SKK.sum(axis=0)
    total_K1 = counts_KK.sum(axis=1, keepdims=True)
    share_KK = ratio(
        counts_KK.astype(float), np.broadcast_to(total_K1, counts_KK.shape).astype(float)
    )
    told = "; ".join(
        f"of {counts_KK[k].sum()} {name} "
        + ", ".join(
            f"{counts_KK[k, other]} called {test.classes[other]}"
            for other in np.argsort(-counts_KK[k], kind="stable")[:3]
            if counts_KK[k, other]
        )
        for k, name in enumerate(test.classes)
        if counts_KK[k].any()
    )
    right = np.trace(counts_KK)
    return Picture(
        _draw(test.classes, counts_KK, share_KK),
        f"Confusion matrix on test: {right} of {len(test)} cases right ({percent(right / len(test))}). Rows are "
        f"the truth and add up to 100 %. The three most frequent answers of each row: {told}.",
    )


@drawn
def _draw(classes: Sequence[str], counts_KK: NDArray[np.int64], share_KK: Floats) -> Drawing:
    number = len(classes)
    cell = 0.78 if number <= _MOST_NAMED else 0.5
    figure = blank(cell * number + 1.1, max(cell * number + 2.0, 3.4))
    axis = figure.subplots()
    # The ground shows through, so that the shades follow dark mode.
    axis.pcolormesh(_rgba(np.nan_to_num(share_KK)), lw=0)
    for row in range(number):
        for column in range(number):
            count, share = counts_KK[row, column], share_KK[row, column]
            if not np.isfinite(share):
                continue
            text = f"{100 * share:.0f} %"
            if number <= _MOST_NAMED:
                text += f"\n{count}"
            colour = _LIGHT if share > 0.55 else INK
            axis.text(column + 0.5, row + 0.5, text, ha="center", va="center", color=colour)
    places = np.arange(number) + 0.5
    axis.set_xticks(places, classes, rotation=0 if number <= _MOST_NAMED else 45)
    axis.set_yticks(places, [f"{c} ({n})" for c, n in zip(classes, counts_KK.sum(1), strict=True)])
    axis.invert_yaxis()
    axis.set(aspect="equal", xlabel="called", ylabel="truth (cases)")
    axis.tick_params(length=0)
    axis.spines[:].set_visible(False)
    return figure


def _rgba(share_KK: Floats) -> Floats:
    """One colour, the more opaque the larger the share."""
    red, green, blue = (int(COLOURS[0][i : i + 2], 16) / 255 for i in (1, 3, 5))
    flat = np.ones_like(share_KK)
    return np.stack([flat * red, flat * green, flat * blue, 0.06 + 0.94 * share_KK], axis=-1)
