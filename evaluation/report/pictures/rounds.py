"""Training loss round by round, a line for each method."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from matplotlib.figure import Figure as Drawing
from matplotlib.ticker import MaxNLocator

from ..section import Picture
from .drawing import COLOURS, blank, drawn

# Dashes beside one another, so that up to four lines that lie on one another are all seen.
_DASHES = {place: (4.0 * place, (4.0, 8.0)) for place in range(3)}
_STYLES: tuple[Any, ...] = ("-", _DASHES[0], _DASHES[2], "-", _DASHES[1], _DASHES[2])


def loss_by_round(losses: Mapping[str, Mapping[int, float]], about: str) -> Picture:
    """Method → round → loss; `about` says whose loss it is."""
    told = "; ".join(
        f"{method} from {loss[min(loss)]:.3f} to {loss[max(loss)]:.3f}"
        for method, loss in losses.items()
    )
    return Picture(_draw(losses), f"Training loss by round. {about} {told}.")


@drawn
def _draw(losses: Mapping[str, Mapping[int, float]]) -> Drawing:
    figure = blank(3.2)
    axis = figure.subplots()
    for number, (method, loss) in enumerate(losses.items()):
        style, colour = (of[number % len(of)] for of in (_STYLES, COLOURS))
        axis.plot(list(loss), list(loss.values()), ls=style, color=colour, lw=1.8, label=method)
    axis.set(xlabel="round", ylabel="mean training loss")
    axis.grid(True)
    axis.set_axisbelow(True)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    figure.legend(loc="outside upper left", ncols=min(len(losses), 6), handlelength=3)
    return figure
