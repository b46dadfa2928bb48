"""Do labels stand a step early or late? A model's calls, compared with them at every shift, tell.

Sleep changes slowly: labels that are off by one epoch cost a model only a few hundredths of kappa, which nobody
notices in a table. But calls then agree better with the labels moved back, on the very same epochs, and in the
same draws of subjects the difference is clear.

On sixteen real nights staged from heart rate (hand-made features, kappa 0.41), labels moved by −3 to 3 epochs gave
that shift as the best in every case, and beyond chance in five of six; it was missed for labels an epoch late. A
model that tells stages apart sharply in time shows more, one that looks at half an hour less.

**What it cannot tell**: where all labels, those that were learned from as well, are off alike, the model learned
the shift along with the stages and agrees best at none. It finds recordings that differ from the rest: another
scorer's clock, a file whose first row was taken for a header, a dropped epoch.

Shape suffixes: N epochs with labels, S subjects, K classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .arrays import Floats, Ints, Subjects
from .draws import draw_subjects
from .figure import Figure
from .intervals import sampled
from .report.section import Section, Table
from .rounds import Truth
from .sleep import confusions, kappa, pooled

STEPS = 3
"""Shifts that are compared, to either side, in steps of the labels."""
MARGIN = 0.02
"""Gain in kappa from which a single subject is named. Of sixteen real nights in their place none gained as much with
hand-made features and boosting in four classes (0.012 at most); one did with a sequence head, one in two classes: a
subject that is named is one to look at, and no finding."""
LEVEL = 0.95
"""Of the intervals of all shifts together: each one's is wider, so that six looks do not make a find."""


@dataclass(frozen=True)
class LabelShift:
    """Agreement of calls with labels moved later by so many steps, on the same epochs at every shift.

    `kappa` has its interval over subjects, `ahead` by how much a shift surpasses none (other shifts alone).
    `subjects` are those who, alone, agree better at another shift by `MARGIN`, with their best shift.
    """

    kappa: dict[int, Figure]
    ahead: dict[int, Figure]
    subjects: dict[str, int]
    step_s: float

    @property
    def best(self) -> int:
        """The shift of the highest agreement."""
        return max(self.kappa, key=lambda shift: self.kappa[shift].value)

    @property
    def shifted(self) -> bool:
        """Whether another shift than none is better by more than chance among subjects."""
        return any(figure.low > 0 for figure in self.ahead.values())


def label_shift(truth: Truth, scores_NK: Floats) -> LabelShift:
    """Compare exclusive classes with a model's scores of them at every shift.

    Raises `ValueError` for labels that are no exclusive classes or have no times, and where no recording
    has `STEPS` labels to either side of one.
    """
    if truth.values.ndim != 1 or truth.facts["onset_s"].null_count():
        raise ValueError("a shift is of exclusive classes with an onset each: stages, beats")
    called_N = scores_NK.argmax(axis=1)
    onset_s = truth.facts["onset_s"].to_numpy().astype(np.float64)
    step_s = _step_s(truth.records, onset_s)
    partner = {
        shift: _moved(truth.records, onset_s, shift * step_s) for shift in range(-STEPS, STEPS + 1)
    }
    both_N = np.all([places >= 0 for places in partner.values()], axis=0)
    if not both_N.any():
        raise ValueError(f"no label has {STEPS} others to either side at distances of {step_s:g} s")
    subjects, counts = _counts(truth, called_N, partner, both_N)
    draws = draw_subjects(truth.subjects[both_N], 0, "label shift")
    of = {
        shift: sampled(pooled(kappa, counts[shift]), draws, per_subject=True) for shift in partner
    }
    others = [shift for shift in partner if shift]
    level = 1 - (1 - LEVEL) / len(others)
    alone_LS = np.nan_to_num([kappa(counts[shift]) for shift in partner])
    gains = alone_LS.max(axis=0) - alone_LS[list(partner).index(0)]
    best_S = np.array(list(partner))[alone_LS.argmax(axis=0)]
    return LabelShift(
        kappa={shift: of[shift].figures()[0] for shift in partner},
        ahead={shift: (of[shift] - of[0]).figures(level)[0] for shift in others},
        subjects={
            str(name): int(best)
            for name, best, gain in zip(subjects, best_S, gains, strict=True)
            if gain > MARGIN
        },
        step_s=step_s,
    )


def section(found: LabelShift) -> Section:
    """The comparison as a part of a report."""
    best = found.best
    moved = f"{abs(best)} step{'s' * (abs(best) > 1)} {'later' if best > 0 else 'earlier'}"
    verdict = (
        f"**Labels and calls agree better when the labels are moved {moved}** ({best * found.step_s:+g} s), and "
        "by more than chance among subjects: look for recordings whose labels are off in time."
        if found.shifted
        else "No shift of the labels agrees better than none by more than chance among subjects."
    )
    each = ", ".join(f"{name} ({shift:+d})" for name, shift in found.subjects.items())
    rows = [
        [
            f"{shift:+d}" if shift else "0",
            found.kappa[shift].text(),
            found.ahead[shift].text() if shift else "",
        ]
        for shift in found.kappa
    ]
    return Section(
        "Do the labels stand in their place?",
        (
            verdict,
            f"Subjects who alone agree better at another shift by {MARGIN:g} or more: {each or 'none'}.",
            "Where all labels are off alike, those learned from as well, this comparison cannot tell.",
        ),
        (
            Table(
                (f"labels moved later by (steps of {found.step_s:g} s)", "kappa", "more than at 0"),
                rows,
            ),
        ),
    )


def _step_s(records: NDArray[np.str_], onset_s: Floats) -> float:
    """The usual distance between neighbouring labels of a recording."""
    order = np.lexsort((onset_s, records))
    same = records[order][1:] == records[order][:-1]
    distances = np.diff(onset_s[order])[same]
    if not len(distances):
        raise ValueError("a shift needs recordings with several labels each")
    return float(np.median(distances))


def _moved(records: NDArray[np.str_], onset_s: Floats, by_s: float) -> NDArray[np.intp]:
    """For each label [N], the one that stands so much later in the same recording; −1 without."""
    place = {
        (r, round(float(t), 3)): i for i, (r, t) in enumerate(zip(records, onset_s, strict=True))
    }
    return np.array(
        [
            place.get((r, round(float(t) + by_s, 3)), -1)
            for r, t in zip(records, onset_s, strict=True)
        ],
        dtype=np.intp,
    )


def _counts(
    truth: Truth, called_N: Ints, partner: dict[int, NDArray[np.intp]], both_N: NDArray[np.bool_]
) -> tuple[Subjects, dict[int, NDArray[Any]]]:
    """(subjects [S]; by shift the confusions [S, K, K]) of the labels that have a partner at every shift."""
    subjects: Subjects = np.unique(truth.subjects[both_N])
    labels, who = truth.values[both_N], truth.subjects[both_N]
    counts = {
        shift: confusions(labels, called_N[places[both_N]], who, len(truth.classes))[1]
        for shift, places in partner.items()
    }
    return subjects, counts
