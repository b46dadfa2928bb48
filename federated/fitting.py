"""Whether an encoder fits a client's data; where it does not, what would."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from ..evaluation.embeddings import check_windows
from ..models.pretrained import PretrainedModel, load_model
from ..shards.reader import WindowReader

LOOKED_AT = 50
"""Model folders that are looked at for one that fits."""


def check_fits(models: Sequence[str], model: PretrainedModel, reader: WindowReader) -> None:
    """Raises `ValueError` that lists what the client has, what the encoder reads, and which encoders fit."""
    try:
        check_windows(model, reader)
        _check_channels(model, reader)
    except ValueError as error:
        have = "; ".join(f"{m} {', '.join(c)}" for m, c in reader.config.channels.items())
        fit = fitting(models, reader)
        told = f"these fit: {', '.join(fit)}" if fit else "none of the encoders beside it fits"
        raise ValueError(
            f"the encoder does not fit the clients' data: {error}. The encoder reads {_reads(model)}; the clients' "
            f"windows hold {have}; {told}"
        ) from error


def fitting(models: Sequence[str], reader: WindowReader) -> list[str]:
    """Model folders at most two levels below the folder that holds the runs of `models`, which fit the windows."""
    roots = {Path(model).resolve().parent.parent for model in models}
    found = []
    for root in sorted(roots):
        for config in sorted([*root.glob("*/config.json"), *root.glob("*/*/config.json")])[
            :LOOKED_AT
        ]:
            try:
                if "encoder" not in json.loads(config.read_text()):
                    continue
                other = load_model(config.parent)
                check_windows(other, reader)
                _check_channels(other, reader)
            except (ValueError, OSError, KeyError):
                continue
            found.append(str(config.parent))
    return found


def _check_channels(model: PretrainedModel, reader: WindowReader) -> None:
    """At least one channel of some modality is in common, and there are samples of it."""
    asked = reader.config.channels
    shared = [c for p in model.encoder.inputs for c in p.channels if c in asked.get(p.modality, ())]
    if not shared:
        raise ValueError("they have no channel in common")


def _reads(model: PretrainedModel) -> str:
    return "; ".join(f"{p.modality} {', '.join(p.channels)}" for p in model.encoder.inputs)
