"""Where a model's data came from: read from the shards, carried into its folder and card."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..shards.index import MANIFEST
from ..signals import Preprocessing


@dataclass(frozen=True)
class Provenance:
    """What the shard folders of a run say about themselves."""

    title: str
    licences: tuple[str, ...]
    synthetic: bool
    preprocessing: Preprocessing
    shards: tuple[str, ...]

    def facts(self) -> dict[str, Any]:
        """The plain values kept in a model's `config.json`."""
        return {
            "data": self.title,
            "licences": list(self.licences),
            "synthetic": self.synthetic,
            "shard_sets": list(self.shards),
        }


def provenance(folders: Sequence[str], modality: str) -> Provenance:
    """Read `shards.json` of every folder. Raises `ValueError` where they were preprocessed differently."""
    manifests = [json.loads((Path(folder) / MANIFEST).read_text()) for folder in folders]
    ways = [Preprocessing(**m["config"]["preprocessing"][modality]) for m in manifests]
    for folder, way in zip(folders, ways, strict=True):
        if way != ways[0]:
            raise ValueError(
                f"{folder} was preprocessed as {way}, {folders[0]} as {ways[0]}: one model needs one way; "
                "build both with the same preprocessing"
            )
    return Provenance(
        title=" + ".join(dict.fromkeys(m["title"] for m in manifests)),
        licences=tuple(dict.fromkeys(m["licence"] for m in manifests)),
        synthetic=any(m["synthetic"] for m in manifests),
        preprocessing=ways[0],
        shards=tuple(Path(folder).name for folder in folders),
    )
