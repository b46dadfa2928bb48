"""Pictures of one window: where an encoder looks (`biofm explain`), and what spoke for a class."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor

from ...embedding import read_recording
from ...files import write_aside
from ...models.backbones import EncoderBackbone
from ...models.pretrained import PretrainedModel, load_model
from ...models.task_model import TaskModel, is_task_model, load_task_model
from ...models.vit import ViTEncoder
from ...models.zoo.base import Classifier
from ...signals import Recording
from ...signals.windows import Windows
from .grad_cam import class_importance
from .picture import draw_importance
from .rollout import encoder_importance

HOW = "Grad-CAM × |gradient × input|: what spoke for it, not why"


def explain(
    model: str, file: Path, *, out: Path, window: int = 0, answer: str | None = None
) -> Path:
    """Draw where an encoder looks in a recording, or what spoke for an answer of a task model.

    Of an encoder, attention rollout over leads and time; of a task model, Grad-CAM over both.

    Args:
        model: A model folder (such as runs/mae_ptbxl/best), or a Hugging Face hub id.
        file: A WFDB record, with or without a suffix (.hea, .dat, .mat).
        out: The PNG to write.
        window: Which window of the recording, counted from 0.
        answer: Of a task model, the class to explain; the likeliest one of all its tasks if none is named.
    """
    recording, name = read_recording(file), Path(file).stem
    if is_task_model(Path(model)):
        figure = explained_answer(load_task_model(Path(model)), recording, window, answer, name)
    elif answer is not None:
        raise ValueError(f"{model} is an encoder, which gives no answers: leave out --answer")
    else:
        figure = explained_encoder(load_model(model), recording, window, name)
    save_picture(figure, out)
    return out


def explained_answer(
    model: TaskModel, recording: Recording, window: int, answer: str | None, name: str
) -> Figure:
    """What spoke for a class of a task model in one window, on ECG paper.

    Raises `ValueError` for a model of other signals than ECG, a window or a class that is not there.
    """
    streams = model.windows(recording)
    if list(streams) != ["ecg"]:
        raise ValueError(f"the model reads {', '.join(streams)}, and the picture is ECG paper")
    windows = one_window(streams["ecg"], window)
    said = [answers[0] for answers in model.answers({"ecg": windows})]
    number, target = _asked(model, said, answer)
    head = model.heads[number]
    backbone = model.backbone
    inside = backbone.encoder if isinstance(backbone, EncoderBackbone) else backbone.body
    if not isinstance(inside, ViTEncoder | Classifier):
        raise ValueError(
            f"{type(inside).__name__}: class activation is drawn of vit encoders and of the zoo's models alone"
        )
    importance = np.zeros(tuple(windows.samples.shape[1:]), np.float32)
    for start_s in model.inputs.starts_s():
        part = model.cropped({"ecg": windows}, start_s)["ecg"]
        found, _ = class_importance(lambda w: model({"ecg": w})[number], part, target, inside)
        first = round(start_s * windows.rate_hz)
        importance[:, first : first + found.shape[2]] = found[0].cpu().numpy()
    value = float(said[number][target])
    told = f"{value:.3g}" if head.kind == "regression" else f"probability {value:.2f}"
    return draw_importance(
        shown_mv(windows),
        importance,
        windows.channels,
        windows.rate_hz,
        title=f"{name}, window {window}: {head.classes[target]}, {told} ({head.task})",
        note=HOW,
    )


def _asked(model: TaskModel, said: list[Tensor], answer: str | None) -> tuple[int, int]:
    """(number of the head, place of the class) of the named answer, or of the likeliest of all."""
    places = [(n, k) for n, head in enumerate(model.heads) for k in range(len(head.classes))]
    if answer is not None:
        places = [(n, k) for n, k in places if model.heads[n].classes[k] == answer]
        if not places:
            known = "; ".join(f"{h.task}: {', '.join(h.classes)}" for h in model.heads)
            raise ValueError(f"answer: expected one of {known}; found {answer!r}")
    return max(places, key=lambda place: float(said[place[0]][place[1]]))


def explained_encoder(
    model: PretrainedModel, recording: Recording, window: int, name: str
) -> Figure:
    """Rollout of one window of a recording on ECG paper.

    Raises `ValueError` where it has no such window, or the encoder does not read ECG.
    """
    encoder = model.eval().encoder
    if not isinstance(encoder, ViTEncoder):
        raise ValueError(
            f"the model is a {type(encoder).__name__}, and attention is drawn of a ViTEncoder alone"
        )
    patch = encoder.config.patch
    if patch.modality != "ecg":
        raise ValueError(f"this encoder reads {patch.modality}, and the picture is ECG paper")
    windows = one_window(model.windows(recording)["ecg"], window)
    importance = encoder_importance(encoder, windows)[0].cpu().numpy()
    how = "attention rollout over time × each lead's share by occlusion"
    if not encoder.tokenizer.joint:
        how = "attention rollout over leads and time"
    return draw_importance(
        shown_mv(windows),
        importance,
        windows.channels,
        patch.rate_hz,
        title=f"{name}, window {window}: what its embedding comes from",
        note=f"{how}; it says nothing about a class",
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
