"""The encoders that are judged: seeds of one configuration, and what each had seen before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from ..evaluation.embeddings import model_digest
from ..evaluation.leakage import Overlap, clean_for, overlap
from ..evaluation.rounds import Round
from ..evaluation.scores import Scores
from ..models.pretrained import PretrainedModel, load_model, training_contents

OWN = "pretrained"
"""How the rows of the encoder that is judged begin."""


@dataclass(frozen=True)
class Seed:
    """One seed of an encoder: the model of each round, which were pretrained without the round's subjects."""

    folders: tuple[Path, ...]
    models: tuple[PretrainedModel, ...]

    def terms(self) -> dict[str, Any]:
        """What decides its embeddings."""
        return {"models": [model_digest(model) for model in self.models]}


@dataclass(frozen=True)
class Encoders:
    """Models by their folder, and what each learned from (None where its folder does not say)."""

    models: dict[Path, PretrainedModel]
    learned: dict[str, pl.DataFrame | None]

    @classmethod
    def of(cls, folders: Sequence[Path]) -> Encoders:
        """Load them. Raises `ValueError` where they are not seeds of one configuration."""
        models = {folder: load_model(folder) for folder in folders}
        kinds = {
            (repr(m.encoder.config), m.window_s, repr(m.preprocessing)) for m in models.values()
        }
        if len(kinds) > 1:
            raise ValueError(
                "the models must be seeds of one configuration: judge others on their own"
            )
        return cls(models, {str(folder): training_contents(folder) for folder in folders})

    def named(self) -> dict[str, PretrainedModel]:
        """The models by what reports call them."""
        return dict(zip(names_of(list(self.models)), self.models.values(), strict=True))

    def seeds(self, rounds: Sequence[Round]) -> list[Seed]:
        """The seeds; of a cross-validation, in each round a model that never saw its subjects.

        Where a round has no such model, every model serves every round: reports mark what it had seen.
        """
        alone = [
            Seed((folder,) * len(rounds), (model,) * len(rounds))
            for folder, model in self.models.items()
        ]
        if len(rounds) == 1:
            return alone
        clean = [clean_for(self.learned, one) for one in rounds]
        folders = [
            tuple(Path(names[seed]) for names in clean)
            for seed in range(min(len(names) for names in clean))
        ]
        return [Seed(of, tuple(self.models[f] for f in of)) for of in folders] or alone

    def overlaps(self, seeds: Sequence[Seed], rounds: Sequence[Round]) -> dict[str, Overlap]:
        """What each model had seen of the rounds that it is judged in, by its name in reports."""
        judged_in: dict[Path, list[Round]] = {}
        for seed in seeds:
            for folder, one in zip(seed.folders, rounds, strict=True):
                judged_in.setdefault(folder, []).append(one)
        found = [overlap(self.learned[str(folder)], of) for folder, of in judged_in.items()]
        return dict(zip(names_of(list(judged_in)), found, strict=True))


def marked(
    rows: Mapping[str, Sequence[Scores]],
    encoders: Mapping[str, Overlap],
    fixed: Mapping[str, Overlap],
) -> dict[str, Sequence[Scores]]:
    """The rows, with a † those of a model that may have seen who is judged.

    `fixed` are what task models had seen, by their rows; `encoders` what the seeds of the pretrained one had.
    A task model was chosen on its own validation, which may be this one: of it, tested subjects alone count.
    """

    def clean(row: str) -> bool:
        if row in fixed:
            return fixed[row].known and not fixed[row].seen("test").height
        return not row.startswith(OWN) or all(one.clean for one in encoders.values())

    return {row if clean(row) else f"{row} †": scores for row, scores in rows.items()}


def as_trained(name: str) -> str:
    """The row of a task model that is judged as it is."""
    return f"{name}, as trained"


def names_of(folders: Sequence[Path]) -> list[str]:
    """What reports call the models: their run, or their folder; counted where several are called alike."""
    names = [folder.parent.name if folder.name == "best" else folder.name for folder in folders]
    return [
        f"{name} ({names[:place].count(name) + 1})" if names.count(name) > 1 else name
        for place, name in enumerate(names)
    ]
