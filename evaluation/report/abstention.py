"""Abstention: conformal sets of the main row, whether they hold what they promise, and how often they decide.

Shape suffixes: N test rows, K classes that count.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..arrays import Bools
from ..conformal import aps_sets, label_sets, lac_sets
from ..figure import Figure
from ..intervals import share_of
from ..judging import Measure, averaged, by_round
from ..scores import Scores
from .case import Case, Part, cell, plain
from .section import Section, Table
from .trust import NO_PROBABILITIES, are_probabilities
from .words import BRACKETS

ALPHA = 0.1


def abstention(case: Case) -> Part | None:
    """Coverage and size of conformal sets; None for numbers to estimate."""
    if case.task.kind == "regression":
        return None
    seeds = case.rows[case.main]
    if not all(are_probabilities(case, one) for one in seeds):
        text = NO_PROBABILITIES.format(row=case.main)
        return Part("conformal", Section("Abstention", [text]), {"left_out": text})
    of_seed = _labels if case.task.kind == "multilabel" else _exclusive
    each = [of_seed(case, one) for one in seeds]
    found = {
        line: {name: _figure(case, [of[line][name] for of in each]) for name in each[0][line]}
        for line in each[0]
    }
    section = _section(case, found)
    return Part("conformal", section, {"alpha": ALPHA, "sets": plain(found)})


def _figure(case: Case, seeds: list[Measure]) -> Figure | None:
    """None where it is not defined, such as how often single answers are right where there are none."""
    try:
        return averaged(seeds).sampled(case.draws).figures()[0]
    except ValueError:
        return None


def _labels(case: Case, scores: Scores) -> dict[str, dict[str, Measure]]:
    """Each label that counts, and their mean."""
    columns, subjects = case.columns, case.test.subjects
    sets_NK2 = np.empty((len(case.test), len(columns), 2), dtype=bool)
    for rows, chosen in by_round(case.test, case.validation):
        sets_NK2[rows] = label_sets(
            case.validation.values[np.ix_(chosen, columns)],
            scores.validation[np.ix_(chosen, columns)],
            scores.test[np.ix_(rows, columns)],
            ALPHA,
        )
    everyone = np.ones(len(case.test))
    found = {}
    for j, k in enumerate(columns):
        there_N, absent_N, present_N = case.test.values[:, k], *sets_NK2[:, j].T
        parts = {
            "covered_present": (there_N & present_N, there_N),
            "covered_absent": (~there_N & absent_N, ~there_N),
            "one_answer": (absent_N ^ present_N, everyone),
            "undecided": (absent_N & present_N, everyone),
            "neither": (~absent_N & ~present_N, everyone),
        }
        found[case.test.classes[k]] = {
            name: Measure(share_of(*part, subjects), True) for name, part in parts.items()
        }
    mean = {
        name: averaged([of[name] for of in found.values()]) for name in next(iter(found.values()))
    }
    return {"mean of the classes": mean, **found}


def _exclusive(case: Case, scores: Scores) -> dict[str, dict[str, Measure]]:
    """Both kinds of sets over exclusive classes."""
    methods = {"LAC": np.empty(scores.test.shape, bool), "APS": np.empty(scores.test.shape, bool)}
    for number, (rows, chosen) in enumerate(by_round(case.test, case.validation)):
        given = (case.validation.values[chosen], scores.validation[chosen], scores.test[rows])
        methods["LAC"][rows] = lac_sets(*given, ALPHA)
        methods["APS"][rows] = aps_sets(*given, ALPHA, seed=number, name=case.task.title)
    return {name: _quality(case, sets) for name, sets in methods.items()}


def _quality(case: Case, sets_NK: Bools) -> dict[str, Measure]:
    truth, everyone = case.test.values, np.ones(len(case.test))
    covered_N, size_N = sets_NK[np.arange(len(truth)), truth], sets_NK.sum(axis=1)
    single_N = size_N == 1
    parts: Mapping[str, tuple[Any, Any]] = {
        "coverage": (covered_N, everyone),
        "size": (size_N, everyone),
        "one_answer": (single_N, everyone),
        "right_of_one_answer": (covered_N & single_N, single_N),
        "empty": (size_N == 0, everyone),
    }
    return {
        name: Measure(share_of(*part, case.test.subjects), True) for name, part in parts.items()
    }


HEADS = {
    "covered_present": "present: held",
    "covered_absent": "absent: held",
    "one_answer": "one answer",
    "undecided": "undecided",
    "neither": "neither",
    "coverage": "truth held",
    "size": "classes in a set",
    "right_of_one_answer": "right of those with one answer",
    "empty": "empty",
}


def _section(case: Case, found: dict[str, dict[str, Figure | None]]) -> Section:
    labels = case.task.kind == "multilabel"
    paragraphs = [
        f"Instead of one answer, a set that is to hold the truth in {100 * (1 - ALPHA):.0f} % of all cases: "
        "how far it must reach is measured on validation. A set of several answers is an abstention: this "
        f"one is for a person to decide. Of {case.shown}.",
        (
            "Of each label a set says “present”, “absent” or both (undecided), and the promise is made for "
            "those with the label and for those without it apart. A label with 8 or fewer validation records "
            "on a side is never excluded there."
            if labels
            else "LAC makes the smallest sets on average; APS makes larger ones where a case is hard."
        ),
        "The promise holds for records that could be exchanged with those of validation. Other hospitals "
        "and devices break it, and so do many windows of few people: read what was held on test.",
    ]
    head = ["class" if labels else "sets", *(HEADS[name] for name in next(iter(found.values())))]
    rows = [[line, *(cell(one, 2) for one in of.values())] for line, of in found.items()]
    return Section("Abstention", paragraphs, [Table(head, rows, BRACKETS)])
