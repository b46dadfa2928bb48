"""Where a model's data came from: read from the shards, carried into its folder and card."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..shards.reader import WindowReader
from ..signals import Preprocessing


@dataclass(frozen=True)
class Provenance:
    """What the shard folders of a run say about themselves.

    `notices` are what must stand beside every figure: that recordings are simulated, that people may be
    in train and test.
    """

    title: str
    licences: tuple[str, ...]
    synthetic: bool
    notices: tuple[str, ...]
    preprocessing: Mapping[str, Preprocessing]
    shards: tuple[str, ...]

    @property
    def marks(self) -> str:
        """The heads of the notices, for pictures."""
        return "".join(f"{notice.partition(':')[0]} · " for notice in self.notices)

    def facts(self) -> dict[str, Any]:
        """The plain values kept in a model's `config.json`."""
        return {
            "data": self.title,
            "licences": list(self.licences),
            "synthetic": self.synthetic,
            "notices": list(self.notices),
            "shard_sets": list(self.shards),
        }


def provenance(reader: WindowReader) -> Provenance:
    """What the folders of a reader say. Raises `ValueError` where they were preprocessed differently."""
    manifests = reader.manifests
    return Provenance(
        title=" + ".join(dict.fromkeys(m["title"] for m in manifests)),
        licences=tuple(dict.fromkeys(m["licence"] for m in manifests)),
        synthetic=reader.synthetic,
        notices=tuple(dict.fromkeys(notice for m in manifests for notice in m["notices"])),
        preprocessing={m: _one_way(reader, m) for m in reader.config.channels},
        shards=tuple(name.rstrip("/").rpartition("/")[2] for name in reader.config.shards),
    )


def _one_way(reader: WindowReader, modality: str) -> Preprocessing:
    """How a modality was prepared. Raises `ValueError` where folders that have it differ in that."""
    folders = zip(reader.config.shards, reader.manifests, reader.held, strict=True)
    ways = [
        (name, Preprocessing(**manifest["config"]["preprocessing"][modality]))
        for name, manifest, held in folders
        if modality in held
    ]
    for name, way in ways:
        if way != ways[0][1]:
            raise ValueError(
                f"{name} was preprocessed as {way}, {ways[0][0]} as {ways[0][1]}: one model needs one "
                f"way; build both with the same preprocessing of {modality}"
            )
    return ways[0][1]
