"""The picture: drawn from a file, for the whole window, with the shading where the importance is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import wfdb
from matplotlib.image import imread

from biofm.evaluation.saliency.explain import (
    explain,
    explained_answer,
    explained_encoder,
    one_window,
    save_picture,
    shown_mv,
)
from biofm.evaluation.saliency.picture import draw_importance
from biofm.models.backbones import EncoderBackbone, ZooBackbone
from biofm.models.encoder import EncoderConfig
from biofm.models.pretrained import PretrainedModel, save_model
from biofm.models.task_model import HeadConfig, InputConfig, TaskModel
from biofm.models.tokenizer import PatchConfig
from biofm.models.vit import ViTEncoder
from biofm.signals import LEADS_12, MISSING, Preprocessing, Recording, Signal
from biofm.signals.windows import Windows
from biofm.verbs import call


@pytest.mark.parametrize("span", ["all", "lead"])
def test_from_a_file_to_a_picture(span: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    patch = PatchConfig(samples=20, span=span)  # type: ignore[arg-type] # parametrized as text
    encoder = ViTEncoder(EncoderConfig(depth=1, patch=patch))
    save_model(tmp_path / "model", encoder, {"ecg": Preprocessing(100.0, 0.5, 40.0)}, 10.0, {}, "")
    time_s = np.arange(10_000) / 500
    x_mv = np.stack([np.sin(2 * np.pi * (1 + lead / 5) * time_s) for lead in range(12)], axis=1)
    wfdb.wrsamp(
        "rec", 500, ["mV"] * 12, list(LEADS_12), p_signal=x_mv, fmt=["16"] * 12,
        write_dir=str(tmp_path),
    )  # fmt: skip
    words = [str(tmp_path / "model"), str(tmp_path / "rec.hea"), "--out", str(tmp_path / "a.png")]
    assert call(explain, "biofm explain", words) == tmp_path / "a.png"
    assert imread(tmp_path / "a.png").shape[0] > 600
    with pytest.raises(ValueError, match="window 2: the recording has 2, from 0 on"):
        call(explain, "biofm explain", [*words, "--window", "2"])


def test_the_shading_is_where_the_importance_is() -> None:
    x_mv = np.zeros((12, 1000), np.float32)
    importance = np.zeros((12, 1000), np.float32)
    importance[7, 300:400] = 2.0
    importance[1, :100] = 1.0
    figure = draw_importance(x_mv, importance, LEADS_12, 100.0, title="MI: 0.93", note="how")
    of_lead = {axis.get_ylabel(): axis for axis in figure.axes if axis.get_ylabel() in LEADS_12}
    assert set(of_lead) == set(LEADS_12)
    shade = np.asarray(of_lead["V2"].images[0].get_array())
    assert shade.shape == (1, 1000)
    assert np.flatnonzero(shade[0]).tolist() == list(range(300, 400))
    assert shade.max() == 1.0
    assert np.asarray(of_lead["II"].images[0].get_array()).max() == 0.5
    assert of_lead["V2"].images[0].get_extent()[1] == 10.0
    assert figure.get_suptitle() == "MI: 0.93"
    assert len({np.diff(axis.get_ylim()).item() for axis in of_lead.values()}) == 1
    assert any("importance" in axis.get_ylabel() for axis in figure.axes)


def test_missing_leads_and_no_importance_at_all_can_be_drawn(tmp_path: Path) -> None:
    digital = torch.full((2, 3, 500), 100, dtype=torch.int16)
    digital[1, 2] = MISSING
    windows = Windows("ecg", 100.0, ("I", "II", "V1"), digital, torch.ones(2, 3), torch.zeros(2, 3))
    x_mv = shown_mv(one_window(windows, 1))
    assert np.isnan(x_mv[2]).all()
    assert np.isfinite(x_mv[:2]).all()
    figure = draw_importance(
        x_mv, np.zeros((3, 500), np.float32), windows.channels, 100.0, title="t", note="n"
    )
    save_picture(figure, tmp_path / "b.png")
    assert imread(tmp_path / "b.png").shape[2] == 4


@pytest.mark.parametrize("kind", ["encoder", "zoo"])
def test_of_a_task_model_the_likeliest_answer_or_the_named_one(kind: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    encoder = ViTEncoder(EncoderConfig(depth=1, patch=PatchConfig(samples=20)))
    channels = tuple(("ecg", lead, 100.0) for lead in LEADS_12)
    backbone = EncoderBackbone(encoder) if kind == "encoder" else ZooBackbone("mina", channels)
    heads = [
        HeadConfig("super", "multilabel", ("NORM", "MI")),
        HeadConfig("rate", "multilabel", ("SR",)),
    ]
    inputs = InputConfig({"ecg": LEADS_12}, 10.0, {"ecg": Preprocessing(100.0, 0.5, 40.0)}, 4.0)
    model = TaskModel(backbone, heads, inputs).eval()
    x_mv = np.random.default_rng(0).normal(size=(8, 6000)).astype(np.float32)
    ecg = Signal("ecg", x_mv, 500.0, LEADS_12[:8])
    recording = Recording("d", "r", "s", (ecg,))
    said = model.predict(recording)
    assert said["super"].shape == (1, 2)
    likeliest = max(
        (float(said[h.task][0, k]), h.classes[k]) for h in heads for k in range(len(h.classes))
    )
    figure = explained_answer(model, recording, 0, None, "r")
    assert f"{likeliest[1]}, probability {likeliest[0]:.2f}" in figure.get_suptitle()
    named = explained_answer(model, recording, 0, "MI", "r")
    assert f"MI, probability {float(said['super'][0, 1]):.2f} (super)" in named.get_suptitle()
    of_lead = {axis.get_ylabel(): axis for axis in named.axes if axis.images}
    shade = np.asarray(of_lead["V1"].images[0].get_array())[0]
    assert shade.shape == (1000,)
    # Every stretch that the model saw has its part (a map of the zoo may speak against the class throughout).
    assert kind == "zoo" or all(shade[first : first + 300].max() > 0 for first in (0, 400, 700))
    with pytest.raises(ValueError, match="expected one of super: NORM, MI; rate: SR; found 'AF'"):
        explained_answer(model, recording, 0, "AF", "r")


def test_an_encoder_of_another_modality_is_refused() -> None:
    patch = PatchConfig(modality="ppg", channels=("ppg",), rate_hz=32.0, samples=16)
    encoder = ViTEncoder(EncoderConfig(depth=1, patch=patch))
    model = PretrainedModel(encoder, {"ppg": Preprocessing(32.0)}, 10.0, {})
    with pytest.raises(ValueError, match="reads ppg, and the picture is ECG paper"):
        explained_encoder(model, Recording("d", "r", "s", ()), 0, "r")
