"""Pictures of a run: reconstructions on ECG paper, the loss curve, and the space of embeddings."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from sklearn.decomposition import PCA

from ..evaluation.arrays import Bools, Floats
from ..evaluation.ecg_paper import paper
from ..files import write_aside
from ..signals.vocabulary import UNITS
from ..signals.windows import Batch
from .objectives.mae import MAE, Reconstruction

LEADS_SHOWN = ("I", "II", "aVR", "V1", "V3", "V5")
TRUTH, GUESS, HIDDEN = "#4a4a4a", "#d1495b", "#f3e3d3"
HAS, LACKS = "#08519c", "#d0d0d0"
MOST_CLASSES = 7
"""Panels of classes in a picture of embeddings: the most frequent ones."""


def draw_reconstruction(objective: MAE, batch: Batch, path: Path, note: str) -> None:
    """One window: the recording, which parts were hidden, and what the model put there.

    Where targets are normalised patch by patch, the patch's own mean and deviation are given back to the
    prediction, as in the figures of He et al. (2022): the picture then judges shape, not level.
    """
    with torch.no_grad():
        seen = objective.reconstruct(batch)
    patch = objective.encoder.config.patch
    channels = batch.streams[objective.stream].channels
    unit, centre = (1.0, 0.0) if patch.scale == "window" else (patch.unit, patch.centre)
    truth_CT, guess_CT, hidden_CT = as_leads(seen, unit, centre)
    shown = [c for c in LEADS_SHOWN if c in channels] or list(channels[:6])
    time_s = np.arange(truth_CT.shape[1]) / patch.rate_hz
    name = "the window's deviation" if patch.scale == "window" else UNITS[patch.modality]
    figure = Figure(figsize=(12, 1.5 * len(shown) + 0.8))
    axes = figure.subplots(len(shown), 1, sharex=True, squeeze=False)
    for axis, lead in zip(axes[:, 0], shown, strict=True):
        row = channels.index(lead)
        axis.set_xlim(0, time_s[-1])
        if patch.modality == "ecg":
            paper(axis, time_s[-1])
        hidden = hidden_CT[row]
        axis.fill_between(
            time_s,
            0,
            1,
            where=hidden,
            transform=axis.get_xaxis_transform(),
            color=HIDDEN,
            lw=0,
            zorder=0,
        )
        axis.plot(time_s, truth_CT[row], color=TRUTH, lw=0.9, label="recording")
        axis.plot(
            time_s,
            np.where(hidden, guess_CT[row], np.nan),
            color=GUESS,
            lw=1.1,
            label="reconstruction",
        )
        low, high = np.percentile(truth_CT[row], [0.2, 99.8])
        margin = 0.35 * max(high - low, 1e-3)
        axis.set_ylim(low - margin, high + margin)
        axis.set_ylabel(lead, rotation=0, ha="right", va="center")
    axes[0, 0].legend(loc="upper right", ncols=2, fontsize=8, frameon=False)
    axes[0, 0].set_title(note, fontsize=9, loc="left")
    axes[-1, 0].set_xlabel(f"time in s; shaded parts were hidden from the model; unit: {name}")
    figure.tight_layout()
    save_figure(figure, path)


def as_leads(
    seen: Reconstruction, unit: float, centre: float
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_]]:
    """The first row of a batch as truth, reconstruction and hidden flags, each [C, T]."""
    truth_BCNP = seen.patches.values_BCNP * unit + centre
    guess_BCNP = (seen.prediction.float() * seen.deviation + seen.mean) * unit + centre
    hidden_BCNP = seen.mask.hidden[..., None].expand_as(truth_BCNP)
    truth, guess, hidden = (
        x[0].flatten(1).cpu().numpy() for x in (truth_BCNP, guess_BCNP, hidden_BCNP)
    )
    return truth, guess, hidden


def draw_curve(
    metrics: list[dict[str, Any]], baselines: dict[str, float], path: Path, marks: str
) -> None:
    """Training and validation loss over steps, with the trivial predictors as lines."""
    figure = Figure(figsize=(8, 4.5))
    axis = figure.subplots()
    axis.set_title(marks.removesuffix(" · "), fontsize=9, loc="left")
    train = [(m["step"], m["loss"]) for m in metrics if "loss" in m]
    validation = [(m["step"], m["validation_loss"]) for m in metrics if "validation_loss" in m]
    if train:
        axis.plot(*zip(*train, strict=True), color="#9ecae1", lw=0.8, label="training, each step")
    if validation:
        axis.plot(*zip(*validation, strict=True), color="#08519c", lw=1.8, label="validation")
    for (name, value), style in zip(baselines.items(), ("--", ":", "-."), strict=False):
        axis.axhline(value, color="#666666", ls=style, lw=1, label=f"{name} {value:.3f}")
    axis.set_xlabel("optimizer step")
    axis.set_ylabel("squared error on hidden samples")
    axis.set_ylim(bottom=0)
    axis.legend(frameon=False, fontsize=8)
    axis.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    save_figure(figure, path)


def draw_embeddings(x_ND: Floats, classes: Mapping[str, Bools], path: Path, note: str) -> None:
    """Windows on the first two principal components, a panel a class; and how the variance is spread.

    Which windows have each of `classes` is bool [N]. A panel each, for a window may have several. The map is
    of principal components and not t-SNE, so that those of two moments can be compared, and cost nothing.
    """
    components = min(*x_ND.shape, 100)
    with np.errstate(invalid="ignore"):  # where all are the same, no component has a share
        found = PCA(components, svd_solver="full").fit(x_ND)
    share = np.maximum(np.nan_to_num(found.explained_variance_ratio_), 1e-9)
    map_N2 = found.transform(x_ND)[:, :2]
    if components == 1:
        map_N2 = np.pad(map_N2, ((0, 0), (0, 1)))
    frequent = sorted(classes.items(), key=lambda item: -int(item[1].sum()))[:MOST_CLASSES]
    everybody = np.ones(len(x_ND), dtype=np.bool_)
    panels = frequent or [("windows", everybody)]
    rows = math.ceil((len(panels) + 1) / 4)
    columns = math.ceil((len(panels) + 1) / rows)
    figure = Figure(figsize=(3.1 * columns, 3.1 * rows + 0.4))
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for axis, (name, has_N) in zip(axes, panels, strict=False):
        draw_map(axis, map_N2, has_N)
        axis.set_title(f"{name}: {int(has_N.sum())} of {len(has_N)}", fontsize=9, loc="left")
        axis.set_xlabel(f"component 1 ({share[0]:.0%})", fontsize=8)
    axes[0].set_ylabel(f"component 2 ({share[1] if len(share) > 1 else 0:.0%})", fontsize=8)
    spectrum = axes[len(panels)]
    spectrum.plot(np.arange(1, components + 1), share, color=HAS, lw=1.4)
    spectrum.set_title("share of the variance", fontsize=9, loc="left")
    spectrum.set_xlabel("component", fontsize=8)
    spectrum.set_yscale("log")
    spectrum.set_ylim(1e-5, 1.2)
    for axis in axes[len(panels) + 1 :]:
        axis.set_axis_off()
    for axis in axes:
        axis.tick_params(labelsize=7)
        axis.spines[["top", "right"]].set_visible(False)
    figure.suptitle(f"{note}; ✖ the mean of each kind", fontsize=9, x=0.01, ha="left")
    figure.tight_layout()
    save_figure(figure, path)


def draw_map(axis: Axes, map_N2: Floats, has_N: Bools) -> None:
    """Points, those with the class in front, and the middle of each kind."""
    for chosen, colour, front in ((~has_N, LACKS, 1), (has_N, HAS, 2)):
        if not chosen.any():
            continue
        axis.scatter(
            map_N2[chosen, 0], map_N2[chosen, 1], s=7, color=colour, linewidths=0, zorder=front
        )
        middle = map_N2[chosen].mean(axis=0)
        axis.scatter(
            middle[0], middle[1], s=60, marker="X", color=colour, edgecolors="black", zorder=3
        )
    axis.set_box_aspect(1)


def save_figure(figure: Figure, path: Path) -> None:
    """Write a PNG at once, or not at all."""
    with write_aside(path) as aside:
        figure.savefig(aside, format="png", dpi=110)
