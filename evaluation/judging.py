"""A task's metrics as statistics of weighted windows, so that each gets its interval over subjects.

Shape suffixes: N windows, K classes or quantities, D draws, S subjects.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import regression, sleep
from .arrays import Bools, Floats, Subjects
from .draws import Draws, both_sides, draw_subjects
from .intervals import Statistic
from .multilabel import best_thresholds, f1, f2_g2
from .ranking import auroc, average_precision
from .tasks import Task

RANKED: dict[str, Callable[[Bools, Floats, Floats], Floats]] = {
    "auroc": auroc,
    "average_precision": average_precision,
}
STAGED: dict[str, Callable[[NDArray[Any]], Floats]] = {
    "accuracy": sleep.accuracy,
    "kappa": sleep.kappa,
    "macro_f1": sleep.macro_f1,
}


@dataclass(frozen=True)
class Judged:
    """What a model said of the test windows [N, K], and, where thresholds are needed, of validation."""

    test: Floats
    validation_truth: NDArray[Any]
    validation: Floats


def draws_for(task: Task, truth: NDArray[Any], subjects: Subjects, seed: int = 0) -> Draws:
    """The draws of test subjects in which a task's figures are computed.

    Every class occurs and is absent in each (multilabel). Of exclusive classes, figures are of one row a
    subject (`Draws.per_subject`).
    """
    must = both_sides(truth) if task.kind == "multilabel" else None
    drawn = draw_subjects(subjects, seed, task.title, must_occur_NC=must)
    return drawn.per_subject() if task.kind == "multiclass" else drawn


def statistics(
    task: Task, classes: tuple[str, ...], truth: NDArray[Any], subjects: Subjects, judged: Judged
) -> dict[str, Statistic]:
    """Name of a figure → its statistic. A macro figure is the mean over the columns given.

    Metrics that are no single number of all windows (curves, grades, nights) have reports of their own
    and are left out.
    """
    if task.kind == "multilabel":
        return _multilabel(task, truth, judged)
    if task.kind == "multiclass":
        called = judged.test.argmax(axis=1)
        _, counts_SKK = sleep.confusions(truth, called, subjects, len(classes))
        wanted = [name for name in task.metrics if name in STAGED]
        return {name: sleep.pooled(STAGED[name], counts_SKK) for name in wanted}
    return {
        f"{name} {quantity}": _of_quantity(regression.METRICS[name], truth[:, k], judged.test[:, k])
        for k, quantity in enumerate(classes)
        for name in task.metrics
        if name in regression.METRICS
    }


def averaged(each: Sequence[Mapping[str, Statistic]]) -> dict[str, Statistic]:
    """The mean of each figure over several seeds of one model."""

    def mean(name: str) -> Statistic:
        return lambda weights_DN: np.mean([one[name](weights_DN) for one in each], axis=0)

    return {name: mean(name) for name in each[0]}


def _multilabel(task: Task, truth_NK: Bools, judged: Judged) -> dict[str, Statistic]:
    found = {
        f"macro {name}": _mean_of_classes(partial(RANKED[name], truth_NK, judged.test))
        for name in task.metrics
        if name in RANKED
    }
    if task.threshold is None:
        return found
    thresholds_K = best_thresholds(judged.validation_truth, judged.validation, task.threshold)
    called_NK = judged.test >= thresholds_K
    if "f1" in task.metrics:
        found["macro f1"] = _mean_of_classes(lambda w: _or_0(f1(truth_NK, called_NK, w)))
    if "f2_g2" in task.metrics:
        found["macro F2"] = _mean_of_classes(lambda w: _or_0(f2_g2(truth_NK, called_NK, w)[0]))
        found["macro G2"] = _mean_of_classes(lambda w: _or_0(f2_g2(truth_NK, called_NK, w)[1]))
    return found


def _mean_of_classes(of_classes: Callable[[Floats], Floats]) -> Statistic:
    return lambda weights_DN: np.asarray(of_classes(weights_DN).mean(axis=1))


def _or_0(values_DK: Floats) -> Floats:
    """A class that occurs and is never called has 0 true positives: its F is 0, not undefined."""
    return np.nan_to_num(values_DK)


def _of_quantity(metric: regression.Metric, truth_N: Floats, output_N: Floats) -> Statistic:
    stated = np.isfinite(truth_N)
    return lambda weights_DN: metric(truth_N[stated], output_N[stated], weights_DN[:, stated])
