"""Test cases with their signals, what is true of them, and what the model said.

Shape suffixes: K classes or quantities.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ....signals.windows import Batch
from ...rounds import Round, Truth
from ...scores import Scores
from ...tasks import Task
from ..section import Picture
from .choice import Example, choose
from .signals import Answer, draw_window, streams_of, told_streams

_MOST_CLASSES = 6


def examples(
    task: Task,
    rounds: Sequence[Round],
    test: Truth,
    scores: Scores,
    columns: NDArray[np.intp],
) -> list[Picture]:
    """Hits and mistakes, as `choice.choose` picks them."""
    return [
        _example(task, rounds, test, scores, columns, example)
        for example in choose(task, test, scores, columns)
    ]


def window_of(rounds: Sequence[Round], test: Truth, row: int) -> tuple[Batch, Round]:
    """The window that a row of the test truth is of, alone in a batch; of several, the first one."""
    number = int(test.round[row])
    one = rounds[number]
    place = one.places("test")[row - int(np.searchsorted(test.round, number))]
    window = int(one.truth["test"].windows[place])
    reader = one.readers["test"]
    # As if there were as many processes as windows: each gets its own, and none is read in vain.
    (batch,) = reader.evaluation_batches(micro_batch=1, rank=window, ranks=reader.windows)
    return batch, one


def _example(
    task: Task,
    rounds: Sequence[Round],
    test: Truth,
    scores: Scores,
    columns: NDArray[np.intp],
    example: Example,
) -> Picture:
    batch, one = window_of(rounds, test, example.row)
    streams, record = streams_of(batch), str(test.records[example.row])
    told, answers = _told(task, test, scores, columns, example.row)
    title = f"{example.why} · {record}"
    mark = _labelled(task, one, batch)
    caption = f"{example.why}. Recording {record}, {told_streams(streams)}"
    windows = int((one.truth["test"].records == record).sum()) if one.whole else 1
    if windows > 1:
        caption += f", the first of {windows} windows whose mean is judged"
    caption += f"; {told}."
    if mark is not None:
        caption += " The time that the label is of is shaded."
    # What cannot be drawn as bars from 0 to 1 is written.
    title = title if answers else f"{title}\n{told}"
    return Picture(draw_window(title, streams, answers, mark), caption)


def _told(
    task: Task, test: Truth, scores: Scores, columns: NDArray[np.intp], row: int
) -> tuple[str, list[Answer]]:
    """(what is true and what was said, the same as bars where it is probabilities)."""
    truth, said_K = test.values[row], scores.test[row]
    if task.kind == "regression":
        stated = [k for k in columns.tolist() if np.isfinite(truth[k])]
        each = (f"{test.classes[k]} true {truth[k]:.1f}, estimated {said_K[k]:.1f}" for k in stated)
        return "; ".join(each), []
    true = [int(truth)] if task.kind == "multiclass" else np.flatnonzero(truth).tolist()
    loudest = [k for k in np.argsort(-said_K, kind="stable").tolist() if k not in true]
    shown = [*true[:_MOST_CLASSES], *loudest[: max(0, _MOST_CLASSES - len(true))]]
    shown.sort(key=lambda k: -said_K[k])
    answers = [Answer(test.classes[k], k in true, float(said_K[k])) for k in shown]
    probable = _probabilities(task, scores)
    text = (
        f"true: {', '.join(test.classes[k] for k in true) or 'none of the classes'}; "
        f"{'probability' if probable else 'score'}: "
        + ", ".join(f"{answer.name} {answer.said:.2f}" for answer in answers)
    )
    return text, answers if probable else []


def _probabilities(task: Task, scores: Scores) -> bool:
    """Whether scores lie between 0 and 1, and add up to 1 where classes exclude each other."""
    inside = bool(((scores.test >= 0) & (scores.test <= 1)).all())
    return inside and (
        task.kind == "multilabel" or bool(np.allclose(scores.test.sum(axis=1), 1, atol=1e-3))
    )


def _labelled(task: Task, one: Round, batch: Batch) -> tuple[float, float] | None:
    """From when to when in the window its annotation lasts; None where the label is of all of it."""
    anchors = one.readers["test"].anchors
    if anchors is None or batch.anchors is None:
        return None
    lasts_s = anchors["duration_s"][int(batch.anchors[0])] or 0.0
    if task.before_s <= 0 and lasts_s >= task.window_s:
        return None
    return task.before_s, min(task.before_s + lasts_s, task.window_s)
