"""Fewer labels: nested shares of the labelled training subjects, for curves of label efficiency.

Subjects stand in an order that a hash of seed and subject decides, so that it is the same for every model
and split; a share is the first of them, rounded up, so that smaller shares are parts of larger ones. A
class that a share has no longer is not an error: heads give it one score everywhere, which is chance.
For one curve, the classes that count must be those of all labels (`comparison.counted_columns` of the full
train truth), or the curve would change what it measures.

Shape suffixes: N windows with a truth.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from .arrays import Subjects
from .rounds import Round
from .targets import Targets


def labelled_subjects(of_tasks: Sequence[Subjects], share: float, seed: int) -> list[str]:
    """A share of all subjects with a label of any task, in the order of the hash.

    Raises `ValueError` for a share that is not in (0, 1].
    """
    if not 0 < share <= 1:
        raise ValueError(f"expected a share of the subjects in (0, 1], found {share}")
    everybody = sorted({str(subject) for subjects in of_tasks for subject in subjects})
    everybody.sort(key=lambda s: hashlib.sha256(f"labelled {seed} {s}".encode()).digest())
    return everybody[: math.ceil(share * len(everybody) - 1e-9)]


def labelled(of_tasks: Sequence[Subjects], share: float, seed: int) -> pl.Expr:
    """The same as an expression on the index: what `rounds_of` and `task_reader` take as `only`."""
    return pl.col("subject").is_in(labelled_subjects(of_tasks, share, seed))


def narrowed(
    rounds: Sequence[Round], share: float, seed: int, together: Sequence[Sequence[Round]] = ()
) -> list[Round]:
    """The same rounds with the labels of a share of each one's training subjects.

    `together` are the rounds of all tasks that are learned together: the share is then of those with a label
    of any. The readers stay as they are, so that what is kept of their windows (embeddings, tokens) serves
    all shares. Validation and test are those of all labels.
    """
    found = []
    for number, one in enumerate(rounds):
        truth = one.truth["train"]
        of_tasks = [of[number].truth["train"].subjects for of in together or [rounds]]
        subjects = labelled_subjects(of_tasks, share, seed)
        fewer = fewer_targets(truth, np.isin(truth.subjects, subjects))
        found.append(replace(one, truth={**one.truth, "train": fewer}))
    return found


def fewer_targets(truth: Targets, kept_N: NDArray[np.bool_]) -> Targets:
    """Some of the windows with a truth; the others count as left out."""
    changed: dict[str, Any] = {
        field.name: getattr(truth, field.name)[kept_N]
        for field in fields(truth)
        if field.name in ("values", "windows", "rows", "subjects", "records")
    }
    number_N = np.where(kept_N, np.cumsum(kept_N) - 1, -1)
    place = np.where(truth.place >= 0, number_N[truth.place], -1)
    left_out = truth.left_out + int((~kept_N).sum())
    return replace(
        truth, **changed, facts=truth.facts.filter(kept_N), left_out=left_out, place=place
    )
