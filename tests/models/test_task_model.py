"""Task models: answers in the right units, crops that cover the window, and a folder that keeps all of it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from biofm.models.backbones import Backbone, EncoderBackbone, ZooBackbone
from biofm.models.encoder import EncoderConfig
from biofm.models.pretrained import load_model, save_model
from biofm.models.task_model import (
    HeadConfig,
    InputConfig,
    TaskModel,
    load_task_model,
    save_task_model,
)
from biofm.models.tokenizer import PatchConfig
from biofm.models.vit import ViTEncoder
from biofm.signals import Preprocessing
from biofm.signals.windows import Windows, crop

LEADS = ("I", "II")
PREPARED = Preprocessing(100.0, 0.5, 40.0)
HEADS = (
    HeadConfig("labels", "multilabel", ("a", "b", "c")),
    HeadConfig("stages", "multiclass", ("W", "N", "R", "X")),
    HeadConfig("pressure", "regression", ("sbp", "dbp"), (120.0, 80.0), (15.0, 9.0)),
)


def ecg(batch: int = 3, samples: int = 400) -> dict[str, Windows]:
    digital = torch.randint(-900, 900, (batch, 2, samples), generator=torch.manual_seed(1))
    scale = torch.full((batch, 2), 1e-3)
    windows = Windows(
        "ecg", 100.0, LEADS, digital.to(torch.int16), scale, torch.zeros_like(scale), True
    )
    return {"ecg-100hz": windows}


def backbone_of(kind: str) -> Backbone:
    torch.manual_seed(0)
    if kind == "encoder":
        patch = PatchConfig(channels=LEADS, samples=50)
        return EncoderBackbone(ViTEncoder(EncoderConfig(depth=2, patch=patch)), 0.3)
    backbone = ZooBackbone(kind, tuple(("ecg", lead, 100.0) for lead in LEADS))
    backbone.input.fit([ecg(8)])
    backbone.train()
    backbone(ecg(8))  # running statistics that are not those of a new one
    return backbone


def model_of(kind: str = "encoder", crop_s: float | None = None) -> TaskModel:
    inputs = InputConfig({"ecg": LEADS}, 4.0, {"ecg": PREPARED}, crop_s)
    return TaskModel(backbone_of(kind), HEADS, inputs, {"step": 7, "synthetic": True}).eval()


def test_answers_are_probabilities_and_estimates_in_their_units() -> None:
    outputs_BK = np.array([[-2.0, 0.0, 1.0], [3.0, 3.0, 3.0]])
    labels = HEADS[0].answers(torch.from_numpy(outputs_BK)).numpy()
    np.testing.assert_allclose(labels, 1 / (1 + np.exp(-outputs_BK)))
    stages = HeadConfig("s", "multiclass", ("W", "N", "R")).answers(torch.from_numpy(outputs_BK))
    odds = np.exp(outputs_BK)
    np.testing.assert_allclose(stages, odds / odds.sum(axis=1, keepdims=True))
    pressure = HEADS[2].answers(torch.tensor([[0.0, 0.0], [1.0, -2.0]]))
    assert pressure.tolist() == [[120.0, 80.0], [135.0, 62.0]]


@pytest.mark.parametrize("kind", ["encoder", "resnet18"])
def test_answers_of_a_window_are_the_mean_over_its_crops(kind: str) -> None:
    model = model_of(kind, crop_s=1.5)
    assert model.inputs.starts_s() == [0.0, 1.5, 2.5]
    streams = ecg()
    found = model.answers(streams)
    assert [tuple(one.shape) for one in found] == [(3, 3), (3, 4), (3, 2)]
    with torch.no_grad():
        each = [
            [
                head.answers(out)
                for head, out in zip(
                    HEADS,
                    model({k: crop(w, start, 1.5) for k, w in streams.items()}),
                    strict=True,
                )
            ]
            for start in (0.0, 1.5, 2.5)
        ]
    for number, one in enumerate(found):
        torch.testing.assert_close(one, torch.stack([said[number] for said in each]).mean(dim=0))


@pytest.mark.parametrize("crop_s", [None, 4.0, 9.0])
def test_without_crops_a_window_is_seen_whole(crop_s: float | None) -> None:
    model, streams = model_of(crop_s=crop_s), ecg()
    assert model.inputs.starts_s() == [0.0]
    assert model.cropped(streams, 0.0) is streams
    with torch.no_grad():
        direct = [head.answers(out) for head, out in zip(HEADS, model(streams), strict=True)]
    assert all(torch.equal(a, b) for a, b in zip(model.answers(streams), direct, strict=True))


@given(st.floats(0.05, 1000), st.floats(0.01, 1))
def test_crops_cover_the_window_in_order_and_none_twice(window_s: float, share: float) -> None:
    crop_s = window_s * share
    starts = InputConfig({"ecg": LEADS}, window_s, {}, crop_s).starts_s()
    edges = np.array(starts)
    slack = 1e-5 * window_s
    assert edges[0] == pytest.approx(0, abs=slack)
    assert edges[-1] + crop_s == pytest.approx(window_s)
    assert (np.diff(edges) <= crop_s + slack).all()
    assert (np.diff(edges) > crop_s * 1e-7).all()
    assert len(edges) <= np.ceil(window_s / crop_s)


@given(st.integers(1, 40), st.sampled_from([0.1, 0.2, 0.3, 0.7, 1.1, 2.5, 30.0]))
def test_a_window_of_n_crops_has_n(crops: int, crop_s: float) -> None:
    starts = InputConfig({"ecg": LEADS}, crops * crop_s, {}, crop_s).starts_s()
    np.testing.assert_allclose(starts, np.arange(crops) * crop_s, atol=1e-9)


@pytest.mark.parametrize("kind", ["encoder", "resnet18", "mina"])
def test_a_folder_gives_the_same_model_back(kind: str, tmp_path: Path) -> None:
    model = model_of(kind, crop_s=1.5)
    save_task_model(tmp_path / "best", model, "# card\n")
    again = load_task_model(tmp_path / "best")
    assert not again.training
    assert (again.heads, again.inputs, again.facts) == (HEADS, model.inputs, model.facts)
    for one, two in zip(again.answers(ecg()), model.answers(ecg()), strict=True):
        assert torch.equal(one, two)
    assert (tmp_path / "best" / "README.md").read_text() == "# card\n"


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A task model and an encoder, each in its folder."""
    root = tmp_path_factory.mktemp("models")
    save_task_model(root / "task", model_of(), "")
    encoder = ViTEncoder(EncoderConfig(depth=1, patch=PatchConfig(samples=50)))
    save_model(root / "encoder", encoder, {"ecg": PREPARED}, 10.0, {}, "")
    return root


def test_each_kind_of_folder_says_how_it_is_loaded(kept: Path) -> None:
    with pytest.raises(ValueError, match=r"is an encoder.*biofm finetune --model .*encoder"):
        load_task_model(kept / "encoder")
    with pytest.raises(ValueError, match=r"is a task model.*load_task_model"):
        load_model(kept / "task")
    with pytest.raises(FileNotFoundError, match=r"no model folder .*<run folder>/best"):
        load_task_model(kept / "nothing")


def without_heads(folder: Path) -> None:
    rewrite(folder, lambda config: {k: v for k, v in config.items() if k != "heads"})


def newer(folder: Path) -> None:
    rewrite(folder, lambda config: {**config, "format": 2})


def other_options(folder: Path) -> None:
    rewrite(folder, lambda config: {**config, "inputs": {**config["inputs"], "channels": ["I"]}})


def other_backbone(folder: Path) -> None:
    rewrite(folder, lambda config: {**config, "backbone": {"encoder": {"width": 3, "patch": {}}}})


def more_classes(folder: Path) -> None:
    head = {"task": "x", "kind": "multilabel", "classes": ["a"], "mean": [], "spread": []}
    rewrite(folder, lambda config: {**config, "heads": [head]})


def rewrite(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(change(json.loads(path.read_text()))))


def no_json(folder: Path) -> None:
    (folder / "config.json").write_text('{"format": 1, "kin')


def a_list(folder: Path) -> None:
    (folder / "config.json").write_text("[1]")


def cut_short(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:1000])


def no_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def one_tensor_less(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    weights.pop("outputs.0.weight")
    save_file(weights, folder / "model.safetensors")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (no_json, "config.json is damaged"),
        (a_list, "config.json is damaged"),
        (without_heads, "config.json is damaged.*heads"),
        (other_options, "config.json is damaged"),
        (other_backbone, "config.json is damaged"),
        (newer, "has layout 2, this biofm reads 1: install the version"),
        (more_classes, "model.safetensors is damaged or not of this folder.*outputs.1"),
        (cut_short, "model.safetensors is damaged"),
        (no_weights, "model.safetensors is damaged.*get the folder again"),
        (one_tensor_less, "model.safetensors is damaged.*outputs.0.weight"),
    ],
)
def test_a_damaged_folder_is_refused_and_named(
    kept: Path, tmp_path: Path, damage: Callable[[Path], None], message: str
) -> None:
    shutil.copytree(kept / "task", tmp_path / "damaged")
    damage(tmp_path / "damaged")
    with pytest.raises(ValueError, match=message) as refused:
        load_task_model(tmp_path / "damaged")
    assert str(tmp_path / "damaged") in str(refused.value)
    assert "\n" not in str(refused.value)
