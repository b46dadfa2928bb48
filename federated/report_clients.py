"""What a federation's report says of single clients: their figures by every strategy, and a look at one of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl

from ..evaluation.arrays import Floats
from ..evaluation.report.pictures.agreement import bland_altman_plot
from ..evaluation.report.pictures.confusion import confusion_matrix
from ..evaluation.report.pictures.hypnograms import hypnogram
from ..evaluation.report.section import Picture, Section, Table
from ..evaluation.report.words import UNITS, name_of, with_unit
from ..evaluation.rounds import Truth
from ..evaluation.scores import Scores
from .adoption import goodness_N, pieces
from .outcome import CLASS_FIGURES, Model, Outcome, Told, figures_of
from .report_about import span
from .report_strategies import NAMES

MOST_CLIENTS = 24
"""So many clients get a section."""
_WIDTH = 1.96
"""95 % of normal errors lie within this many standard deviations."""
_FEWEST_PIECES = 3
"""Limits of agreement need so many."""
_MODELS: tuple[Model, ...] = ("common", "own", "used")


def client_sections(found: Outcome) -> list[Section]:
    """Of everybody, or of those with the largest and the smallest gains."""
    chosen, why = shown_clients(found)
    return [
        _section(found, subject, why if place == 0 else "") for place, subject in enumerate(chosen)
    ]


def shown_clients(found: Outcome) -> tuple[list[str], str]:
    """(who gets a section, in order; the rule that chose them).

    By the mean gain over strategies; where nobody can gain anything, by the first figure of the model for all.
    """
    gained = not found.clients["test gain"].is_null().all()
    first = found.figure_names[0]
    by = "test gain" if gained else f"common {first}"
    sign = -1.0 if not gained and found.task.kind == "regression" else 1.0
    order = (
        found.clients.group_by("subject")
        .agg(value=pl.col(by).mean() * sign)
        .sort(["value", "subject"], descending=[True, False], nulls_last=True)
    )
    subjects = order["subject"].to_list()
    what = "gain on test, the mean over strategies" if gained else f"{name_of(first)} on test"
    if len(subjects) <= MOST_CLIENTS:
        return subjects, f"Clients follow in the order of their {what}."
    half = MOST_CLIENTS // 2
    return (
        [*subjects[:half], *subjects[-half:]],
        f"{MOST_CLIENTS} of {len(subjects)} clients have a section: the {half} best and the {half} worst by {what}. "
        "All are in clients.csv.",
    )


def truth_of_client(told: Told, classes: tuple[str, ...]) -> Truth:
    """A client's test windows as pictures take them."""
    kept = told.kept
    values = kept.truth["test"]
    return Truth(
        values=values,
        classes=classes,
        subjects=np.full(len(values), kept.subject),
        records=kept.records["test"],
        facts=pl.DataFrame({"onset_s": kept.onset_s["test"]}),
        round=np.zeros(len(values), np.intp),
    )


def best_on_validation(found: Outcome, subject: str) -> str:
    """The strategy whose used model is best on the client's validation windows; the first where there are none."""
    of = {name: told for (who, name), told in found.told.items() if who == subject}

    def reached(told: Told) -> float:
        used, truth = told.said("used"), told.kept.truth["validation"]
        if used is None or not len(truth):
            return 0.0
        return float(goodness_N(truth, used["validation"], truth).mean())

    return max(of, key=lambda name: reached(of[name]))


def _section(found: Outcome, subject: str, why: str) -> Section:
    of = {name: told for (who, name), told in found.told.items() if who == subject}
    best = best_on_validation(found, subject)
    told = of[best]
    seen = "†" if subject in found.seen else ""
    row = found.clients.filter(
        (pl.col("subject") == subject) & (pl.col("strategy") == best)
    ).to_dicts()[0]
    lacking = any(
        one.cohort.clients[subject].lacking for one in found.federations if subject in one.judged
    )
    unseen = found.config.division.kind == "unseen"
    learned = "took no part" if unseen else f"learned from {row['learned']} windows"
    text = f"Encoder {row['encoder']}{seen}; {learned}, judged on {row['tested']}." + (
        " Has no sensor for the missing modalities." if lacking else ""
    )
    regression = found.task.kind == "regression"
    tables = _quantities(found, of) if regression else [_classes(found, of)]
    which = "first strategy" if unseen else "strategy that is best on the client's validation"
    pictures = _agreement(found, told) if regression else _stages(found, told, best)
    shown = [
        replace(
            picture,
            caption=f"{picture.caption} By {best}, the {which}: its model in use ({used_is(told)}).",
        )
        for picture in pictures
    ]
    few = regression and len(pictures) < len(found.classes)
    without = f"No Bland–Altman picture of what is in fewer than {_FEWEST_PIECES} pieces of {span(found.piece_s)}."
    paragraphs = [text, *([why] if why else []), *([without] if few else [])]
    return Section(f"Client {subject}{seen}", paragraphs, tables, shown)


def used_is(told: Told) -> str:
    """Which model a client uses of a strategy."""
    if told.kept.strategy == "base":
        return NAMES["base"]
    if told.verdict is None:
        return NAMES["common"]
    if told.verdict.adopted or told.verdict.fallback is None:
        return NAMES["own"]
    return NAMES[told.verdict.fallback]


def _classes(found: Outcome, of: dict[str, Told]) -> Table:
    rows = []
    for name, told in of.items():
        cells = []
        for model in _MODELS:
            said = told.said(model)
            if said is None or (name == "base" and model == "own"):
                cells.append("–")
                continue
            each = figures_of(told.kept.truth["test"], said["test"], found.classes)
            cells.append(" / ".join(_decimals(each[figure], 2) for figure in CLASS_FIGURES))
        rows.append([name, *cells, used_is(told), _gain(told)])
    head = [
        "accuracy / macro F1 / kappa",
        *(NAMES[model] for model in _MODELS),
        "in use is",
        "gain",
    ]
    return Table(head, rows, _NOTE)


def _quantities(found: Outcome, of: dict[str, Told]) -> list[Table]:
    tables = []
    for k, quantity in enumerate(found.classes):
        rows = []
        for name, told in of.items():
            cells = []
            for model in _MODELS:
                said = told.said(model)
                alone = said is None or (name == "base" and model == "own")
                cells.append("–" if alone or said is None else _errors(told, said["test"][:, k], k))
            rows.append([name, *cells, used_is(told), _gain(told)])
        head = [with_unit(quantity), *(NAMES[model] for model in _MODELS), "in use is", "gain"]
        tables.append(Table(head, rows))
    note = f"MAE; bias (limits of agreement: bias ± 1.96 SD of this client's errors). {_NOTE}"
    tables[-1] = replace(tables[-1], note=note)
    return tables


_NOTE = (
    "On test. Base is the client's own small model of the raw signal. Gain: of what is in use over the fallback, in "
    "the unit named above; a dash where there is no fallback."
)


def _errors(told: Told, said_N: Floats, column: int) -> str:
    """MAE, bias and limits of agreement of one client, whose windows all count as one sample."""
    truth_N = np.asarray(told.kept.truth["test"], np.float64)[:, column]
    error_N = (said_N - truth_N)[np.isfinite(truth_N)]
    if not len(error_N):
        return "–"
    bias, half = error_N.mean(), _WIDTH * error_N.std(ddof=1) if len(error_N) > 1 else np.nan
    limits = f" ({bias - half:.2f} to {bias + half:.2f})" if np.isfinite(half) else ""
    return f"{np.abs(error_N).mean():.2f}; {bias:+.2f}{limits}"


def _stages(found: Outcome, told: Told, strategy: str) -> list[Picture]:
    truth = truth_of_client(told, found.classes)
    scores = _scores(told)
    pictures = [confusion_matrix(truth, scores)]
    if found.task.head == "sequence":
        pictures.append(hypnogram(truth, scores, told.kept.subject, strategy))
    return pictures


def _agreement(found: Outcome, told: Told) -> list[Picture]:
    """Of each quantity with enough pieces of time in which it is stated."""
    kept = told.kept
    piece_N = pieces(kept.records["test"], kept.onset_s["test"], found.piece_s)
    truth = replace(truth_of_client(told, found.classes), subjects=piece_N)
    pictures = []
    for k, quantity in enumerate(found.classes):
        stated = np.isfinite(np.asarray(truth.values, np.float64)[:, k])
        if len(np.unique(piece_N[stated])) < _FEWEST_PIECES:
            continue
        unit = UNITS.get(quantity.lower(), "")
        picture = bland_altman_plot(truth, _scores(told), k, unit, "piece")
        pictures.append(picture)
    return pictures


def _scores(told: Told) -> Scores:
    used = told.said("used")
    assert used is not None, "whatever is told has a model in use"
    return Scores(used["test"], used["validation"], float("nan"))


def _gain(told: Told) -> str:
    if told.verdict is None or told.verdict.fallback is None:
        return "–"
    harmed = ", harmed" if told.verdict.harmed else ""
    return f"{told.verdict.test_gain:+.3f}{harmed}"


def _decimals(value: float, places: int) -> str:
    return f"{value:.{places}f}" if np.isfinite(value) else "–"
