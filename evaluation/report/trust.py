"""Calibration: are the main row's probabilities what they say, as given and after scaling on validation.

Shape suffixes: N test rows, K classes that count.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import logit

from ..arrays import Floats
from ..calibration import brier, brier_exclusive, ece, top_label
from ..figure import Figure
from ..intervals import share_of
from ..judging import Measure, averaged, by_round
from ..scaling import Platt, Temperature, fit_platt, fit_temperature
from ..scores import Scores
from .case import Case, Part, cell, plain
from .results import signed
from .section import Section, Table
from .words import BRACKETS, STRETCHED

# Probabilities nearer to 0 or 1 are rounding: as logits they would outweigh all others.
_NEAREST = 1e-7
# Rows of float32 softmax sum to 1 to about this.
_ROUNDING = 1e-3

NO_PROBABILITIES = (
    "The scores of “{row}” only rank (a ridge head gives numbers below 0 and above 1): they are no "
    "probabilities, so this part is left out."
)
Fit = Callable[[NDArray[Any], Floats], Temperature | Platt]
SCALINGS: dict[str, Fit] = {"after temperature": fit_temperature, "after Platt": fit_platt}


def calibration(case: Case) -> Part | None:
    """Calibration error and Brier score before and after scaling; None for numbers to estimate."""
    if case.task.kind == "regression":
        return None
    seeds = case.rows[case.main]
    if not all(are_probabilities(case, one) for one in seeds):
        text = NO_PROBABILITIES.format(row=case.main)
        return Part("calibration", Section("Calibration", [text]), {"left_out": text})
    measures = {"as given": [_measures(case, _of_test(case, one)) for one in seeds]}
    for name, fit in SCALINGS.items():
        measures[name] = [_measures(case, scaled(case, one, fit)[0]) for one in seeds]
    sampled = {
        name: {key: averaged([of[key] for of in each]).sampled(case.draws) for key in each[0]}
        for name, each in measures.items()
    }
    found = {name: {key: of[key].figures()[0] for key in of} for name, of in sampled.items()}
    gained = {
        name: (of["brier"] - sampled["as given"]["brier"]).figures()[0]
        for name, of in sampled.items()
        if name != "as given"
    }
    temperature = float(np.mean([scaled(case, one, fit_temperature)[1] for one in seeds]))
    return Part(
        "calibration",
        _section(case, found, gained, temperature),
        {"temperature": temperature, **plain(found), "brier_change": plain(gained)},
    )


def are_probabilities(case: Case, scores: Scores) -> bool:
    """Whether scores are from 0 to 1, and of exclusive classes sum to 1."""
    both = np.concatenate([scores.test, scores.validation])
    sums = case.task.kind != "multiclass" or np.allclose(both.sum(axis=1), 1, atol=_ROUNDING)
    return bool(both.min() >= 0 and both.max() <= 1 and sums)


def scaled(case: Case, scores: Scores, fit: Fit) -> tuple[Floats, float]:
    """(test probabilities [N, K] after a scaling fitted on validation; mean temperature, or NaN).

    Fitted round by round: one round's validation subjects are another's test subjects.
    """
    test, validation = _of_test(case, scores), _of_validation(case, scores)
    truth = case.validation.values
    if case.task.kind == "multilabel":
        truth = truth[:, case.columns]
    found, temperatures = np.empty_like(test), []
    for rows, chosen in by_round(case.test, case.validation):
        scaling = fit(truth[chosen], _logits(case, validation[chosen]))
        found[rows] = scaling.probabilities(_logits(case, test[rows]))
        temperatures.append(scaling.value if isinstance(scaling, Temperature) else np.nan)
    return found, float(np.mean(temperatures))


def _of_test(case: Case, scores: Scores) -> Floats:
    return scores.test[:, case.columns] if case.task.kind == "multilabel" else scores.test


def _of_validation(case: Case, scores: Scores) -> Floats:
    return (
        scores.validation[:, case.columns] if case.task.kind == "multilabel" else scores.validation
    )


def _logits(case: Case, probability_NK: Floats) -> Floats:
    if case.task.kind == "multilabel":
        return np.asarray(logit(np.clip(probability_NK, _NEAREST, 1 - _NEAREST)))
    # Softmax of these is the probabilities themselves.
    return np.log(np.maximum(probability_NK, _NEAREST))


def _measures(case: Case, probability_NK: Floats) -> dict[str, Measure]:
    """Calibration error and Brier score: means over classes, or of exclusive classes of the likeliest."""
    subjects, truth = case.test.subjects, case.test.values
    everyone = np.ones(len(truth))
    if case.task.kind == "multiclass":
        # Scaled or rounded rows may sum to a hair above 1.
        probability_NK = np.clip(probability_NK, 0.0, 1.0)
        wrong = brier_exclusive(truth, probability_NK)
        return {
            "ece": Measure(ece(*top_label(truth, probability_NK), subjects), True),
            "brier": Measure(share_of(wrong, everyone, subjects), True),
        }
    of_class = [(truth[:, k], probability_NK[:, j]) for j, k in enumerate(case.columns)]
    squares = np.mean([brier(*pair) for pair in of_class], axis=0)
    errors = [Measure(ece(*pair, subjects), True) for pair in of_class]
    return {
        "ece": averaged(errors),
        "brier": Measure(share_of(squares, everyone, subjects), True),
    }


def _section(
    case: Case,
    found: dict[str, dict[str, Figure]],
    gained: dict[str, Figure],
    temperature: float,
) -> Section:
    exclusive = case.task.kind == "multiclass"
    paragraphs = [
        f"Whether a probability of 0.8 is right in 8 of 10 cases. Of {case.shown}; scalings are fitted on "
        f"validation alone. The temperature is {temperature:.2f} (above 1 the model was too sure as given, below "
        "1 not sure enough); it changes no ranking."
    ]
    rows = [
        [
            name if name == "as given" else f"{name} scaling",
            cell(of["ece"]),
            cell(of["brier"]),
            signed(gained[name], 4) if name in gained else "",
        ]
        for name, of in found.items()
    ]
    what = (
        "ECE: the gap between the likeliest class's probability and how often it is right, over 15 bins. "
        "Brier score: squared error of all classes' probabilities, 0 to 2."
        if exclusive
        else "ECE: the gap between probability and frequency over 15 bins; Brier score: squared error of the "
        "probability, 0 to 1; both are means over the classes counted."
    )
    note = (
        f"{what} Lower is better. An ideal model's ECE is above 0 with so few records, and a bootstrap adds "
        f"to it; the Brier score has no such bias. {BRACKETS}"
    )
    if any(figure.stretched for of in found.values() for figure in of.values()):
        note += f" {STRETCHED}"
    head = ["probabilities", "ECE", "Brier score", "change of the Brier score"]
    return Section("Calibration", paragraphs, [Table(head, rows, note)])
