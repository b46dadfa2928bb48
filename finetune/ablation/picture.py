"""What each pair reached, by what its training cost, beside the references."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure as Drawing
from matplotlib.ticker import LogLocator, NullFormatter

from ...evaluation.report.pictures.drawing import COLOURS, SOFT, blank, drawn
from ...evaluation.report.section import Picture
from .found import Found, Reached

MARKS = "osD^vPX*"


def cost_and_figure(
    figure: str, task: str, found: Sequence[Found], references: Mapping[str, Reached]
) -> Picture:
    """Colours are objectives, marks backbones, dashed lines references."""
    told = "; ".join(
        f"{one.name} {one.best(task)[1].figure} for {short(one.took[0].flops / 1e12)} TFLOP"
        for one in found
    )
    lines = "; ".join(f"{name} {of.figure}" for name, of in references.items())
    return Picture(
        _draw(figure, task, found, references),
        f"{figure} on test, by the head that is best on validation, against the FLOPs of training, on a logarithmic "
        f"axis, with 95 % intervals over subjects. {told}. Dashed lines: {lines}.",
    )


def short(number: float) -> str:
    """Three digits that count, or all of a large number's."""
    return f"{number:,.0f}" if number >= 100 else f"{number:.3g}"


@drawn
def _draw(
    figure: str, task: str, found: Sequence[Found], references: Mapping[str, Reached]
) -> Drawing:
    drawing = blank(5.0)
    axis = drawing.subplots()
    objectives = sorted({one.objective for one in found})
    backbones = sorted({one.backbone for one in found})
    for one in found:
        value, cost = one.best(task)[1].figure, one.took[0].flops / 1e12
        colour = COLOURS[objectives.index(one.objective) % len(COLOURS)]
        mark = MARKS[backbones.index(one.backbone) % len(MARKS)]
        axis.plot([cost, cost], [value.low, value.high], color=colour, lw=1.2, alpha=0.5)
        axis.plot([cost], [value.value], mark, color=colour, ms=7)
    for name, of in references.items():
        level = of.figure.value
        axis.axhline(level, color=SOFT, lw=0.8, ls="--")
        axis.text(
            1.0, level, f" {name}", transform=axis.get_yaxis_transform(), va="center", fontsize=7
        )
    axis.set_xscale("log")
    axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axis.xaxis.set_minor_formatter(NullFormatter())
    axis.margins(x=0.1)
    axis.grid(True)
    axis.set_axisbelow(True)
    axis.set_xlabel("TFLOP of training")
    axis.set_ylabel(figure)
    keys = [
        axis.plot([], [], "o", color=COLOURS[i % len(COLOURS)], label=name)[0]
        for i, name in enumerate(objectives)
    ]
    keys += [
        axis.plot([], [], MARKS[i % len(MARKS)], color=SOFT, label=name)[0]
        for i, name in enumerate(backbones)
    ]
    drawing.legend(handles=keys, loc="outside upper left", ncols=6)
    return drawing
