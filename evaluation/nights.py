"""What a night's hypnogram comes to, in minutes, and the errors of a model's hypnogram.

Definitions of the AASM Manual for the Scoring of Sleep and Associated Events (version 2.6, 2020, part
II, parameters to be reported): total sleep time is the time in any stage of sleep; sleep latency runs
from lights out to the first epoch of any sleep; wake after sleep onset is the wake from then until
lights on; efficiency is total sleep time over total recording time.

Open data sets rarely give lights out and lights on, so the first and the last scored epoch stand for
them. Unscored epochs in between pass as time (they lengthen the latency) but are neither sleep nor wake,
and efficiency is over scored time. Where nothing is unscored this is the manual's arithmetic.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .arrays import Floats, Ints, Subjects, check_pairs
from .sleep import UNSCORED

EPOCH_S = 30.0


@dataclass(frozen=True)
class Night:
    """One night; minutes but for `efficiency`, a share. The last two are NaN in a night without sleep."""

    total_sleep_min: float
    efficiency: float
    onset_latency_min: float
    wake_after_onset_min: float


def night(stages_N: Ints, wake: int = 0, epoch_s: float = EPOCH_S) -> Night:
    """A night from its epochs in the order of time, without gaps; −1 is unscored.

    Raises `ValueError` where no epoch is scored.
    """
    scored = np.flatnonzero(stages_N != UNSCORED)
    if not len(scored):
        raise ValueError(
            f"expected a night with scored epochs, found {len(stages_N)} unscored ones"
        )
    minutes = epoch_s / 60
    asleep = scored[stages_N[scored] != wake]
    latency = waking = np.nan
    if len(asleep):
        latency = float(asleep[0] - scored[0]) * minutes
        waking = float((stages_N[asleep[0] :] == wake).sum()) * minutes
    return Night(len(asleep) * minutes, len(asleep) / len(scored), latency, waking)


def night_errors(
    truth_N: Ints,
    output_N: Ints,
    nights_N: Subjects,
    wake: int = 0,
    epoch_s: float = EPOCH_S,
) -> tuple[NDArray[Any], dict[str, Floats]]:
    """(ids of the nights, sorted; output − truth of each parameter of `Night`, one a night).

    Epochs of a night are in the order of time and without gaps. Outputs where the truth is unscored are
    disregarded, so that both are judged on the same epochs. NaN where one of both has no sleep.
    """
    check_pairs(truth_N, output_N, nights_N)
    output_N = np.where(truth_N == UNSCORED, UNSCORED, output_N)
    ids = np.unique(nights_N)
    errors = []
    for name in ids:
        rows = nights_N == name
        if (output_N[rows] == UNSCORED).sum() != (truth_N[rows] == UNSCORED).sum():
            raise ValueError(f"night {name}: expected an output for every scored epoch")
        truth = night(truth_N[rows], wake, epoch_s)
        output = night(output_N[rows], wake, epoch_s)
        errors.append(np.subtract(astuple(output), astuple(truth)))
    columns = np.array(errors, dtype=np.float64).T
    return ids, {field.name: columns[i] for i, field in enumerate(fields(Night))}
