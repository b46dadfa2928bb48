"""The cells of an evaluation: one row of the table with one seed, kept as scores as soon as it is there.

A cell's scores are found again by what decided them (models, shards, tasks, settings), so that an evaluation
that was stopped goes on where it was, and one with more rows computes only those.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from .. import __version__
from ..evaluation.scores import Scores, load_scores, save_scores

FORMAT = 1
"""Counts up when the same settings give other scores."""

Make = Callable[[], Mapping[str, Scores]]


@dataclass(frozen=True)
class Cell:
    """`make` gives the scores of `tasks`; `terms` are all that decides them, in plain values.

    `share` is that of the labelled training subjects it learns from.
    """

    row: str
    seed: int
    tasks: tuple[str, ...]
    terms: dict[str, Any]
    make: Make
    share: float = 1.0

    @property
    def name(self) -> str:
        """What its files are called."""
        return name_of(self.row, self.seed, self.share)


Rows = dict[str, list[Scores]]
"""Row → scores of each seed."""


def fill(cells: Sequence[Cell], out: Path) -> dict[str, dict[float, Rows]]:
    """Task → share → rows, made where they are not there yet."""
    found: dict[str, dict[float, Rows]] = {}
    for cell in tqdm(cells, desc="evaluate", unit="cell"):
        for task, scores in _scores_of(cell, out):
            rows = found.setdefault(task, {}).setdefault(cell.share, {})
            rows.setdefault(cell.row, []).append(scores)
    return found


def _scores_of(cell: Cell, out: Path) -> Iterator[tuple[str, Scores]]:
    terms = {"format": FORMAT, "biofm": __version__, **cell.terms}
    files = {task: out / task / f"{cell.name}.npz" for task in cell.tasks}
    kept = {task: load_scores(file, terms) for task, file in files.items()}
    if any(scores is None for scores in kept.values()):
        of = f", {cell.share:.0%} of the labels" if cell.share < 1 else ""
        tqdm.write(f"{cell.row}, seed {cell.seed}{of}: {', '.join(cell.tasks)}")
        for task, scores in cell.make().items():
            save_scores(files[task], scores, terms)
            kept[task] = scores
    for task, found in kept.items():
        assert found is not None  # made above
        yield task, found


def name_of(row: str, seed: int, share: float) -> str:
    """A row with its seed and share of the labels as the name of a file."""
    slug = re.sub(r"[^a-z0-9]+", "-", row.lower()).strip("-")
    return f"{slug}-{seed}" + (f"-of-{share:g}" if share < 1 else "")
