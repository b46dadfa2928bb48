"""Label efficiency as a part of a report: how each row's figure grows with the share of labelled subjects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from ..evaluation.comparison import compare
from ..evaluation.report.pictures.efficiency import label_efficiency
from ..evaluation.report.section import Section, Table
from ..evaluation.report.words import name_of
from ..evaluation.rounds import Truth
from ..evaluation.scores import Scores
from ..evaluation.tasks import Task


def efficiency_section(
    task: Task,
    test: Truth,
    validation: Truth,
    subjects: Mapping[float, int],
    by_share: Mapping[float, Mapping[str, Sequence[Scores]]],
    columns: NDArray[np.intp],
) -> Section:
    """One curve a row, and the same as a table; the classes that count are those of all labels.

    `subjects` are those with a label at each share.
    """
    shares = sorted(by_share)
    found = {share: compare(task, test, validation, by_share[share], columns) for share in shares}
    figure = next(iter(found[1.0].rows[0].figures))
    each = {
        share: {row.name: row.figures[figure] for row in comparison.rows}
        for share, comparison in found.items()
    }
    names = list(each[shares[0]])
    points = {
        name: [(share, subjects[share], each[share][name]) for share in shares] for name in names
    }
    table = Table(
        ("model", *(f"{share:.0%} ({subjects[share]} subjects)" for share in shares)),
        [[name, *(str(each[share][name]) for share in shares)] for name in names],
    )
    return Section(
        "Label efficiency",
        [
            f"{name_of(figure)} on test by the share of training subjects whose labels were used. Smaller "
            "shares are parts of larger ones, and each seed has its own; validation is the whole of it at "
            "every share."
        ],
        [table],
        [label_efficiency(points, name_of(figure))],
    )
