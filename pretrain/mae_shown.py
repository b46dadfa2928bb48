"""What masked autoencoding shows: reconstructions on paper, and what trivial predictors reach."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import torch

from ..shards.reader import WindowReader
from ..signals.windows import Batch
from .baselines import baselines
from .figures import draw_reconstruction
from .objectives.mae import MAE


def reconstructions(
    objective: MAE, validation: WindowReader, device: torch.device, folder: Path, note: str
) -> list[Path]:
    """Of the first validation windows, as files."""
    objective.eval()
    files = []
    batches = validation.evaluation_batches(micro_batch=1, rank=0, ranks=1)
    for i, batch in enumerate(itertools.islice(batches, 3)):
        record = validation.index["record"][int(batch.rows[0])]
        files.append(folder / f"reconstruction-{i}.png")
        draw_reconstruction(
            objective, batch.to(device), files[-1], f"{note}; validation record {record}"
        )
    objective.train()
    return files


def trivial(
    objective: MAE, train: WindowReader, validation: WindowReader, device: torch.device
) -> dict[str, float]:
    """The validation loss of predictors that learn nothing, or one covariance matrix."""

    def batches(reader: WindowReader) -> Iterator[Batch]:
        return (b.to(device) for b in reader.evaluation_batches(micro_batch=64, rank=0, ranks=1))

    return baselines(objective, itertools.islice(batches(train), 16), batches(validation))
