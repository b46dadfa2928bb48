"""A task's metrics as statistics of one model's test rows, so that each gets its interval over subjects.

- `by_class`: what there is of each class. A macro figure is the mean over the classes that count.
- `overall`: what is one number. Both follow the task's list of metrics.
- **Thresholds come from validation**, round by round: in a cross-validation one round's validation subjects
  are another's test subjects, and pooled they would tell a threshold the answers.
- **Of exclusive classes all are judged**, those that do not count only enter no macro figure.

Shape suffixes: N test rows, M validation rows, K classes or quantities, C classes that count, D draws,
S subjects.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..datasets.snomed import SCORED_2020, SCORED_2021
from . import multilabel, regression, sleep
from .arrays import Bools, Floats, Subjects
from .challenge import ChallengeWeights, challenge_score, read_weights
from .draws import Draws, both_sides, draw_subjects
from .intervals import Sampled, Statistic, mean_of, sampled
from .ranking import auroc, average_precision
from .rounds import Truth
from .scores import Scores
from .tasks import Task

Columns = NDArray[np.intp]
"""Places of the classes that count [C]."""

RANKED: dict[str, Callable[[Bools, Floats, Floats], Floats]] = {
    "auroc": auroc,
    "average_precision": average_precision,
}
STAGED: dict[str, Callable[[NDArray[Any]], Floats]] = {
    "accuracy": sleep.accuracy,
    "kappa": sleep.kappa,
}
BY_STAGE: dict[str, Callable[[NDArray[Any]], Floats]] = {
    "f1": sleep.f1_by_stage,
    "sensitivity": sleep.sensitivity,
    "specificity": sleep.specificity,
}
OF_STAGES = ("macro_f1", "f1_by_stage", "sensitivity", "specificity")
"""Metrics of exclusive classes that are of one class, or a mean over classes."""

CHALLENGE_CLASSES = {"scored_2020": SCORED_2020, "scored_2021": SCORED_2021}
"""Label sets that the Challenges' score is defined for."""


@dataclass(frozen=True)
class Measure:
    """A statistic; `per_subject` where its weights are those of subjects (`intervals.sampled`)."""

    statistic: Statistic
    per_subject: bool = False

    def sampled(self, draws: Draws) -> Sampled:
        """Its values in the draws."""
        return sampled(self.statistic, draws, per_subject=self.per_subject)

    def mean(self) -> Measure:
        """The mean over its columns."""
        return replace(self, statistic=lambda w: self.statistic(w).mean(axis=1))


@dataclass(frozen=True)
class Judged:
    """What is true of test rows, and what one model said: `called` [N, K] where the task has thresholds."""

    truth: NDArray[Any]
    scores: Floats
    called: Bools | None
    subjects: Subjects
    classes: tuple[str, ...]

    def of(self, rows: NDArray[np.intp]) -> Judged:
        """The same of some rows."""
        called = None if self.called is None else self.called[rows]
        return replace(
            self,
            truth=self.truth[rows],
            scores=self.scores[rows],
            called=called,
            subjects=self.subjects[rows],
        )


def by_round(test: Truth, validation: Truth) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """(test rows, validation rows) of each round: what is fitted on validation is fitted within one."""
    for number in np.unique(test.round):
        yield np.flatnonzero(test.round == number), np.flatnonzero(validation.round == number)


def judged(task: Task, test: Truth, validation: Truth, scores: Scores) -> Judged:
    """A model's scores beside the truth. Raises `ValueError` where they are not of these rows."""
    for name, truth, said in (
        ("test", test, scores.test),
        ("validation", validation, scores.validation),
    ):
        if said.shape != (len(truth), len(truth.classes)):
            raise ValueError(
                f"expected {name} scores of shape [{len(truth)} rows, {len(truth.classes)} classes], "
                f"found {said.shape}: they were made of other shards or another task"
            )
    called = None
    if task.threshold is not None:
        called = np.zeros(scores.test.shape, dtype=bool)
        for rows, chosen in by_round(test, validation):
            thresholds_K = multilabel.best_thresholds(
                validation.values[chosen], scores.validation[chosen], task.threshold
            )
            called[rows] = scores.test[rows] >= thresholds_K
    return Judged(test.values, scores.test, called, test.subjects, test.classes)


def one_hot(task: Task, truth: NDArray[Any], classes: int) -> Bools:
    """Which class is there, [N, K]; of quantities, which is stated."""
    if task.kind == "regression":
        stated_NK: Bools = np.isfinite(truth)
        return stated_NK
    there_NK: Bools = (
        truth if task.kind == "multilabel" else np.equal(np.arange(classes), truth[:, None])
    )
    return there_NK


def must_occur(task: Task, truth: NDArray[Any], classes: int, columns: Columns) -> Bools | None:
    """What each draw must hold: presence and absence of the classes that count; each quantity."""
    there_NC = one_hot(task, truth, classes)[:, columns]
    if not there_NC.size:
        return None
    return there_NC if task.kind == "regression" else both_sides(there_NC)


def draws_for(task: Task, test: Truth, columns: Columns, seed: int = 0) -> Draws:
    """The draws of test subjects in which a task's figures are computed."""
    must = must_occur(task, test.values, len(test.classes), columns)
    return draw_subjects(test.subjects, seed, task.title, must_occur_NC=must)


def by_class(task: Task, said: Judged, columns: Columns) -> dict[str, Measure]:
    """Name → what there is of each class that counts [C], or of each quantity.

    The ranking metrics, f1, F2 and G2 that the task names; sensitivity and specificity wherever records
    are called.
    """
    if task.kind == "regression":
        return {}
    classes = said.scores.shape[1]
    there_NC = one_hot(task, said.truth, classes)[:, columns]
    scores_NC = said.scores[:, columns]
    found = {
        name: Measure(partial(RANKED[name], there_NC, scores_NC))
        for name in task.metrics
        if name in RANKED and len(columns)
    }
    if task.kind == "multiclass":
        counts_SKK = _confusions(said)

        def staged(metric: Callable[[NDArray[Any]], Floats]) -> Measure:
            return Measure(sleep.pooled(lambda m: metric(m)[..., columns], counts_SKK), True)

        return found | {name: staged(metric) for name, metric in BY_STAGE.items() if len(columns)}
    return found | _called(task, said, columns)


def overall(task: Task, said: Judged, columns: Columns) -> dict[str, Measure]:
    """Name of a figure → its one number, in the order of the task's metrics.

    What `refused` names is not there.
    """
    each = by_class(task, said, columns)
    found: dict[str, Measure] = {}
    for name in task.metrics:
        if task.kind == "regression":
            found |= _of_quantities(name, said)
        elif name in STAGED:
            found[name] = Measure(sleep.pooled(STAGED[name], _confusions(said)), True)
        elif name == "macro_f1" and len(columns):
            found[name] = each["f1"].mean()
        elif name == "f2_g2":
            found |= {f"macro {part}": each[part].mean() for part in ("F2", "G2")}
        elif name == "challenge_score" and name not in refused(task, said.classes, columns):
            assert said.called is not None  # the task has thresholds
            table = _table(task, said.classes)
            found[name] = Measure(partial(challenge_score, said.truth, said.called, table))
        elif f"macro {name}" not in found and name in each and name in (*RANKED, "f1"):
            found[f"macro {name}"] = each[name].mean()
    return found


def refused(task: Task, classes: Sequence[str], columns: Columns) -> dict[str, str]:
    """Metric of the task → why it cannot be computed, where that is known beforehand."""
    found = {}
    if task.kind == "multiclass" and not len(columns):
        why = (
            f"no class has {task.least_subjects} subjects with and without it in train and in test"
        )
        found = {name: why for name in task.metrics if name in (*RANKED, *OF_STAGES)}
    if "challenge_score" in task.metrics:
        try:
            _table(task, classes)
        except (FileNotFoundError, ValueError) as error:
            found["challenge_score"] = str(error)
    return found


def averaged(each: Sequence[Measure]) -> Measure:
    """The mean over several seeds of one model."""
    return replace(each[0], statistic=lambda w: np.mean([one.statistic(w) for one in each], axis=0))


def _confusions(said: Judged) -> NDArray[np.int64]:
    called = said.scores.argmax(axis=1)
    return sleep.confusions(said.truth, called, said.subjects, said.scores.shape[1])[1]


def _called(task: Task, said: Judged, columns: Columns) -> dict[str, Measure]:
    if said.called is None:
        return {}
    truth_NK, called_NK = said.truth, said.called
    pair = (truth_NK[:, columns], called_NK[:, columns])
    found = {}
    if "f1" in task.metrics:
        found["f1"] = Measure(lambda w: _or_0(multilabel.f1(*pair, w)))
    if "f2_g2" in task.metrics:
        # Each record weighs by the number of all its labels, also of those that do not count.
        def part(place: int) -> Statistic:
            return lambda w: _or_0(multilabel.f2_g2(truth_NK, called_NK, w)[place][:, columns])

        found |= {"F2": Measure(part(0)), "G2": Measure(part(1))}
    found["sensitivity"] = Measure(partial(multilabel.sensitivity, *pair))
    found["specificity"] = Measure(partial(multilabel.specificity, *pair))
    return found


def _or_0(values_DK: Floats) -> Floats:
    """A class that occurs and is never called has 0 true positives: its F is 0, not undefined."""
    return np.nan_to_num(values_DK)


def _of_quantities(name: str, said: Judged) -> dict[str, Measure]:
    """`mae SBP` of all rows, and with several rows a subject the mean of their own, `mae by subject SBP`."""
    if name not in regression.METRICS:
        return {}
    metric, found = regression.METRICS[name], {}
    everybody = np.unique(said.subjects)
    for k, quantity in enumerate(said.classes):
        stated = np.isfinite(said.truth[:, k])
        if not stated.any():  # of a group of subjects, whom another quantity is judged in
            continue
        of = regression.sums(said.truth[stated, k], said.scores[stated, k], said.subjects[stated])
        # A subject may state one quantity and not another.
        places = np.searchsorted(everybody, of.ids)
        found[f"{name} {quantity}"] = _of_some(regression.pooled(metric, of), places)
        if name == "mae" and len(of.ids) < stated.sum():
            each = mean_of(regression.by_subject(metric, of))
            found[f"{name} by subject {quantity}"] = _of_some(each, places)
    return found


def _of_some(statistic: Statistic, places: NDArray[np.intp]) -> Measure:
    return Measure(lambda weights_DS: statistic(weights_DS[:, places]), per_subject=True)


def _table(task: Task, classes: Sequence[str]) -> ChallengeWeights:
    """The Challenge's weights in the order of the classes."""
    codes = CHALLENGE_CLASSES.get(task.label_set, {})
    if not set(classes) <= set(codes):
        raise ValueError(
            f"the Challenge's score is of the label sets {', '.join(CHALLENGE_CLASSES)}, not "
            f"{task.label_set!r} with {', '.join(classes)}"
        )
    path = None if task.challenge_weights is None else Path(task.challenge_weights)
    return read_weights(path, {name: codes[name] for name in classes})
