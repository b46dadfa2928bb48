"""Pictures of one window: where an encoder looks (`biofm explain`), and what spoke for a class."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor

from ...embedding import read_recording
from ...files import write_aside
from ...models.encoder import ViTEncoder
from ...models.pretrained import PretrainedModel, load_model
from ...models.zoo.base import Classifier
from ...signals import Recording
from ...signals.windows import Windows
from .grad_cam import class_importance
from .picture import draw_importance
from .rollout import encoder_importance


def explain(model: str, file: Path, *, out: Path, window: int = 0) -> Path:
    """Draw where an encoder looks in a recording: attention rollout over leads and time.

    Args:
        model: A model folder (such as runs/mae_ptbxl/best), or a Hugging Face hub id.
        file: A WFDB record, with or without a suffix (.hea, .dat, .mat).
        out: The PNG to write.
        window: Which window of the recording, counted from 0.
    """
    figure = explained_encoder(load_model(model), read_recording(file), window, Path(file).stem)
    save_picture(figure, out)
    return out


def explained_encoder(
    model: PretrainedModel, recording: Recording, window: int, name: str
) -> Figure:
    """Rollout of one window of a recording on ECG paper.

    Raises `ValueError` where it has no such window, or the encoder does not read ECG.
    """
    patch = model.encoder.config.patch
    if patch.modality != "ecg":
        raise ValueError(f"this encoder reads {patch.modality}, and the picture is ECG paper")
    windows = one_window(model.windows(recording), window)
    importance = encoder_importance(model.eval().encoder, windows)[0].cpu().numpy()
    how = "attention rollout over time × each lead's share by occlusion"
    if not model.encoder.tokenizer.joint:
        how = "attention rollout over leads and time"
    return draw_importance(
        shown_mv(windows),
        importance,
        windows.channels,
        patch.rate_hz,
        title=f"{name}, window {window}: what its embedding comes from",
        note=f"{how}; it says nothing about a class",
    )


def explained_class(
    model: Callable[[Windows], Tensor],
    windows: Windows,
    target: int,
    backbone: ViTEncoder | Classifier,
    *,
    title: str,
) -> Figure:
    """What spoke for an output of a model in the first of these windows of ECG, on ECG paper.

    `title` says what was asked and answered (`MI: probability 0.81`). Arguments and errors as
    `grad_cam.class_importance`.
    """
    window = one_window(windows, 0)
    importance, _ = class_importance(model, window, target, backbone)
    return draw_importance(
        shown_mv(window),
        importance[0].cpu().numpy(),
        window.channels,
        window.rate_hz,
        title=title,
        note="Grad-CAM × |gradient × input|: what spoke for it, not why",
    )


def one_window(windows: Windows, number: int) -> Windows:
    """One of several windows, as a batch of one."""
    if not 0 <= number < len(windows.samples):
        raise ValueError(f"window {number}: the recording has {len(windows.samples)}, from 0 on")
    row = slice(number, number + 1)
    return dataclasses.replace(
        windows,
        samples=windows.samples[row],
        scale=windows.scale[row],
        offset=windows.offset[row],
    )


def shown_mv(windows: Windows) -> NDArray[np.float32]:
    """The first of a batch of windows as [C, T] in mV, NaN where missing."""
    x_BCT, missing_BCT = windows.physical()
    shown: NDArray[np.float32] = x_BCT.masked_fill(missing_BCT, float("nan"))[0].cpu().numpy()
    return shown


def save_picture(figure: Figure, path: Path) -> None:
    """Write a PNG at once, or not at all."""
    with write_aside(path) as aside:
        figure.savefig(aside, format="png", dpi=110)
