"""Which encoder a subject is judged with: one that never saw it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from ..evaluation.leakage import overlap
from ..evaluation.rounds import Round
from ..models.pretrained import chosen_contents, load_model, training_contents
from ..shards.leaks import BORROWED
from .cohort import Cohort, cohort_of
from .configuration import FederatedConfig


@dataclass(frozen=True)
class Assigned:
    """One encoder's federation: all clients with its embeddings, of whom it judges some.

    `seen` are those of the judged that it learned from or was chosen on, or may have seen because its folder does not
    say: no encoder was without them, and reports mark them.
    """

    folder: Path
    cohort: Cohort
    judged: tuple[str, ...]
    seen: frozenset[str]


def assigned(config: FederatedConfig) -> list[Assigned]:
    """The federations of a config. Raises what `load_model` and `cohort_of` raise."""
    folders = [Path(model) for model in config.models]
    models = {folder: load_model(folder) for folder in folders}
    cohorts = {folder: cohort_of(config, model) for folder, model in models.items()}
    everybody = set(next(iter(cohorts.values())).clients)
    saw = {folder: _seen(folder, cohort) for folder, cohort in cohorts.items()}
    of = _dealt({s: [f for f in folders if s not in saw[f]] or folders for s in sorted(everybody)})
    found = []
    for folder in folders:
        judged = tuple(sorted(subject for subject, one in of.items() if one == folder))
        if not judged:
            continue
        cohort = cohorts[folder]
        if config.division.kind == "unseen":
            cohort = cohort_of(config, models[folder], judged=judged)
        found.append(Assigned(folder, cohort, judged, frozenset(judged) & saw[folder]))
    return found


def _dealt(possible: Mapping[str, Sequence[Path]]) -> dict[str, Path]:
    """One encoder for each subject, so that all judge about as many; those with the least choice first."""
    found: dict[str, Path] = {}
    taken = Counter[Path]()
    for subject in sorted(possible, key=lambda s: (len(possible[s]), s)):
        found[subject] = min(possible[subject], key=taken.__getitem__)
        taken[found[subject]] += 1
    return found


def _seen(folder: Path, cohort: Cohort) -> set[str]:
    """Subjects of a cohort that an encoder learned from, or was chosen on; all where its folder does not say."""
    learned, chosen = training_contents(folder), chosen_contents(folder)
    if learned is not None and chosen is not None:
        learned = pl.concat([learned, chosen])
    one = Round({"test": cohort.reader}, {"test": cohort.truth}, whole=cohort.task.anchor is None)
    found = overlap(learned, [one])
    if not found.known:
        return set(cohort.clients)
    return {name.removeprefix(BORROWED) for name in found.seen("test")["subject"].unique()}
