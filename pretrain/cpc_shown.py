"""What contrastive predictive coding shows: where its predictions point, and what one who knows nothing reaches."""

from __future__ import annotations

import math
from pathlib import Path

import torch
from matplotlib.figure import Figure

from ..shards.reader import WindowReader
from ..signals.windows import Batch
from .figures import GUESS, save_figure
from .objectives.cpc import CPC


def predictions(
    objective: CPC, validation: WindowReader, device: torch.device, folder: Path, note: str
) -> list[Path]:
    """Of the first validation window, as a file."""
    batch = next(iter(validation.evaluation_batches(micro_batch=1, rank=0, ranks=1)))
    record = validation.index["record"][int(batch.rows[0])]
    path = folder / "predictions.png"
    objective.eval()
    draw_predictions(objective, batch.to(device), path, f"{note}; validation record {record}")
    objective.train()
    return [path]


@torch.no_grad()
def draw_predictions(objective: CPC, batch: Batch, path: Path, note: str) -> None:
    """For each instant of a window, how likely the encoder takes every other one to be what follows."""
    windows, patch = batch.streams[objective.stream], objective.encoder.config.patch
    patches = objective.encoder.tokenizer.patches(windows)
    chances_KNN = objective.likeness(windows, patches)[0].softmax(dim=-1).cpu()
    logits_BKNQ, asked_BKN = objective.logits(batch)
    right_BKN = (logits_BKNQ[..., :1] > logits_BKNQ[..., 1:]).all(dim=-1) & asked_BKN
    steps, patch_s = objective.config.steps, patch.samples / patch.rate_hz
    end_s = chances_KNN.shape[-1] * patch_s
    figure = Figure(figsize=(5.5 * len(steps), 6))
    axes = figure.subplots(1, len(steps), squeeze=False)[0]
    for axis, step, chance_NN, right_BN, asked_BN in zip(
        axes, steps, chances_KNN, right_BKN.unbind(1), asked_BKN.unbind(1), strict=True
    ):
        axis.imshow(
            chance_NN.clamp_min(1e-9).log10().numpy(),
            vmin=-4,
            vmax=0,
            cmap="Blues",
            extent=(0, end_s, end_s, 0),
            interpolation="nearest",
        )
        share = float(right_BN.sum() / asked_BN.sum().clamp_min(1))
        axis.set_title(
            f"{step * patch_s:g} s ahead: {share:.0%} told from {objective.config.negatives} others",
            fontsize=9,
        )
        ahead_s = step * patch_s
        axis.plot((ahead_s, end_s), (0, end_s - ahead_s), color=GUESS, lw=0.8, ls=":")
        axis.set_xlabel("time in s of what is pointed at; dotted: the truth")
        axis.set_ylabel("time in s of the context")
    figure.suptitle(f"{note}\nwhite: 0.0001 or less, dark: 1", fontsize=8)
    figure.tight_layout()
    save_figure(figure, path)


def chance(
    objective: CPC, train: WindowReader, validation: WindowReader, device: torch.device
) -> dict[str, float]:
    """The loss of one who takes all candidates for equally likely."""
    return {"chance": math.log(objective.config.negatives + 1)}
