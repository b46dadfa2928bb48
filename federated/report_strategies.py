"""What a federation's report says of each strategy over all clients."""

from __future__ import annotations

from dataclasses import replace

import polars as pl

from ..evaluation.figure import Figure
from ..evaluation.report.case import cell
from ..evaluation.report.pictures.drawing import percent
from ..evaluation.report.pictures.gains import Gain, gains
from ..evaluation.report.pictures.rounds import loss_by_round
from ..evaluation.report.results import signed
from ..evaluation.report.section import Section, Table
from ..evaluation.report.words import name_of, quantity_of, with_unit
from .outcome import DIFFERENCES, Model, Outcome
from .report_about import marked_names, span
from .strategies import STRATEGIES

NAMES: dict[Model, str] = {
    "base": "Base",
    "common": "model for all",
    "own": "personalised",
    "used": "used",
}
_SHOWN = {model: NAMES[model] for model in NAMES if model != "base"}
_MEANING = {
    "multiclass": "Accuracy: the share of windows whose class is right. Macro F1: the mean over the classes that a "
    "client has or is said to have. Kappa (Cohen's): agreement beyond chance (0 is chance, 1 perfect); there is none "
    "where a client has one class throughout and is said to have it.",
    "regression": "MAE: mean absolute error.",
}
OVER_CLIENTS = (
    "In brackets: 95 % intervals by bootstrap over clients, each of whom counts the same."
)


def strategies_section(found: Outcome) -> Section:
    """A table for each figure: the model for all, the personalised, the used; and what is gained over Base."""
    tables = []
    for name in found.figure_names:
        called, places = heading(found, name), digits(found)
        rows = [
            [s.strategy, *(cell(s.figures[f"{model} {name}"], places) for model in _SHOWN)]
            for s in found.summary
        ]
        tables.append(Table([called, *_SHOWN.values()], rows))
        ahead = [
            [s.strategy, *(_ahead(s.figures[f"{a} - {b} {name}"], places) for a, b in DIFFERENCES)]
            for s in found.summary
            if s.strategy != "base"
        ]
        between = [f"{NAMES[a]} − {NAMES[b]}" for a, b in DIFFERENCES]
        if ahead and found.config.division.kind != "unseen":
            tables.append(Table([called, *between], ahead))
    better = "below 0 is better" if found.task.kind == "regression" else "above 0 is better"
    note = (
        f"Means over clients of each one's own figure on its test windows. {OVER_CLIENTS} Differences are taken "
        f"client by client; {better}. Used: what the rule of no harm chose. {_MEANING[found.task.kind]}"
    )
    tables[-1] = replace(tables[-1], note=note)
    return Section("Strategies", _absences(found), tables)


def rule_section(found: Outcome) -> Section:
    """What the rule of no harm did, and what each client gained by it."""
    ruled = [summary for summary in found.summary if summary.adopted is not None]
    if not ruled:
        return Section("The rule of no harm", ["There was nothing to choose between."])
    rows, listed = [], []
    for summary in ruled:
        of = found.clients.filter(
            (pl.col("strategy") == summary.strategy) & pl.col("adopted").is_not_null()
        )
        kept = of.filter(~pl.col("adopted"))["fallback"].to_list()
        share = summary.harmed_share or 0.0
        gain = summary.figures["gain"]
        rows.append(
            [
                summary.strategy,
                f"{summary.adopted} of {len(of)}",
                str(kept.count("common")),
                str(kept.count("base")),
                f"{summary.harmed} ({100 * share:.0f} %)",
                "–" if gain is None else signed(gain),
            ]
        )
        listed.append(
            [
                summary.strategy,
                *(
                    marked_names(of.filter(pl.col(which))["subject"].to_list(), found.seen)
                    for which in ("adopted", "harmed")
                ),
            ]
        )
    text = (
        "Fixed beforehand: a client takes its personalised model only where a one-sided t-test says with "
        f"{percent(found.config.personal.confidence)} confidence that it does better on the client's own validation "
        "windows than its fallback. The fallback is the model for all or its Base, whichever is better there. Harmed "
        "is a client whose adopted model does worse on test than the fallback would have. The same windows chose how "
        "far the personalised model went, so the test is milder than it sounds: what counts is who was harmed."
    )
    error = (
        f"The test and the intervals within a client count pieces of {span(found.piece_s)}: windows that follow "
        "one another are alike."
    )
    note = f"Gain: of what is used over the fallback, on test. {OVER_CLIENTS}"
    head = ["strategy", "adopted", "kept the model for all", "kept Base", "harmed"]
    tables = [
        Table(
            [*head, f"mean gain ({unit(found)})"],
            rows,
            note,
        ),
        Table(["strategy", "who adopted", "who was harmed"], listed),
    ]
    panels = {str(summary.strategy): _gains(found, summary.strategy) for summary in ruled}
    return Section("The rule of no harm", [text, error], tables, [gains(panels, unit(found))])


def cost_section(found: Outcome) -> Section:
    """Rounds, bytes, ε, and the training loss by round."""
    rows = [
        [
            summary.strategy,
            STRATEGIES[summary.strategy].about,
            str(summary.rounds),
            f"{summary.answered} of {summary.asked}" if summary.asked else "–",
            _number(summary.down_kb, "{:.1f}"),
            _number(summary.up_kb, "{:.1f}"),
            _number(summary.epsilon, "{:.2f}"),
        ]
        for summary in found.summary
    ]
    head = ["strategy", "what it is", "rounds", "answers", "kB down", "kB up", "ε"]
    note = (
        "kB: of parameters, a client and a round, without what the transport adds (1 kB is 1,000 bytes). Answers: of "
        "all encoders' runs together. ε: of one run, the largest of the encoders' runs; a dash where nothing is "
        "protected."
    )
    losses = {str(s.strategy): s.loss for s in found.summary if len(s.loss) > 1}
    several = " The mean over the encoders' runs." if len(found.federations) > 1 else ""
    about = (
        f"The mean over clients, weighted by their windows, of their loss in the round.{several}"
    )
    pictures = [loss_by_round(losses, about)] if losses else []
    return Section("Rounds and bytes", [], [Table(head, rows, note)], pictures)


def heading(found: Outcome, name: str) -> str:
    """What a figure is called, with the quantity and its unit."""
    if found.task.kind == "regression":
        return f"MAE {with_unit(quantity_of(name))}"
    return name_of(name)


def unit(found: Outcome) -> str:
    """What a gain is counted in."""
    if found.task.kind == "regression":
        return "fall of the mean absolute error, in SD of the quantity"
    return "share of windows right"


def digits(found: Outcome) -> int:
    """Decimals of a figure."""
    return 2 if found.task.kind == "regression" else 3


def _ahead(difference: Figure | None, places: int) -> str:
    return "–" if difference is None else signed(difference, places)


def _absences(found: Outcome) -> list[str]:
    """Who is missing from a strategy's means, and why, where that was said."""
    said = []
    for summary in found.summary:
        if summary.absent:
            why = f" ({'; '.join(dict.fromkeys(summary.refused))})" if summary.refused else ""
            said.append(
                f"{summary.strategy}: without {marked_names(summary.absent, found.seen)}, who did not finish{why}."
            )
    return said


def _gains(found: Outcome, strategy: str) -> list[Gain]:
    rows = found.clients.filter(
        (pl.col("strategy") == strategy) & pl.col("test gain").is_not_null()
    )
    return [
        Gain(
            f"{row['subject']}†" if row["seen"] else row["subject"],
            row["test gain"],
            row["test gain low"],
            row["test gain high"],
            row["adopted"],
        )
        for row in rows.to_dicts()
    ]


def _number(value: float | None, form: str) -> str:
    return "–" if value is None else form.format(value)
