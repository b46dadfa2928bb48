"""The model a run begins with: by name, by folder, with new weights, and what does not fit the shards."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from biofm.evaluation.rounds import Round
from biofm.evaluation.tasks import load_task
from biofm.finetune.beginning import begun_from, make_backbone, make_model
from biofm.finetune.configuration import FinetuneConfig
from biofm.finetune.rounds import rounds_together
from biofm.models.backbones import EncoderBackbone, ZooBackbone
from biofm.models.encoder import EncoderConfig
from biofm.models.pretrained import load_model, save_model
from biofm.models.tokenizer import PatchConfig
from biofm.models.vit import ViTEncoder
from biofm.signals import LEADS_12, Preprocessing

TASKS = ("ptbxl_superdiagnostic", "ptbxl_rhythm")


def config_of(material: Path, model: str, **changes: object) -> FinetuneConfig:
    config = FinetuneConfig((str(material / "ptbxl"),), TASKS, model)
    return replace(config, **changes)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def rounds(material: Path) -> list[Round]:
    return rounds_together(config_of(material, "x"), [load_task(name) for name in TASKS])


def test_a_model_has_a_head_for_each_task_and_says_what_it_reads(
    material: Path, rounds: list[Round]
) -> None:
    config = config_of(material, str(material / "encoder"), crop_s=5.0)
    model = make_model(config, {name: load_task(name) for name in TASKS}, rounds)
    assert [head.task for head in model.heads] == list(TASKS)
    assert [head.classes for head in model.heads] == [one.truth["train"].classes for one in rounds]
    assert len(model.heads[0].classes) != len(model.heads[1].classes)
    assert model.inputs.channels == {"ecg": LEADS_12}
    assert model.inputs.preprocessing == {"ecg": Preprocessing(100.0, 0.5, 40.0)}
    assert (model.inputs.window_s, model.inputs.crop_s) == (10.0, 5.0)


def test_an_encoder_keeps_its_weights_unless_it_begins_from_scratch(
    material: Path, rounds: list[Round]
) -> None:
    folder = str(material / "encoder")
    kept = load_model(folder).encoder.state_dict()
    reader = rounds[0].readers["train"]
    pretrained = make_backbone(config_of(material, folder), reader)
    scratch = make_backbone(config_of(material, folder, from_scratch=True), reader)
    assert isinstance(pretrained, EncoderBackbone)
    assert isinstance(scratch, EncoderBackbone)
    assert pretrained.drop_path == scratch.drop_path == 0.1
    name = "blocks.blocks.0.mlp.0.weight"
    assert torch.equal(pretrained.encoder.state_dict()[name], kept[name])
    assert not torch.equal(scratch.encoder.state_dict()[name], kept[name])
    assert scratch.encoder.config == pretrained.encoder.config


def test_the_zoo_sees_channels_with_the_scale_of_training(
    material: Path, rounds: list[Round]
) -> None:
    reader = rounds[0].readers["train"]
    backbone = make_backbone(config_of(material, "resnet18"), reader)
    assert isinstance(backbone, ZooBackbone)
    assert backbone.input.channels == tuple(("ecg", lead, 100.0) for lead in LEADS_12)
    values = []
    for batch in reader.evaluation_batches(micro_batch=16, rank=0, ranks=1):
        x_BCT, missing_BCT = batch.streams["ecg-100hz"].physical()
        assert not missing_BCT.any()
        values.append(x_BCT.numpy().copy())
    x = np.concatenate(values)
    assert len(x) <= 64  # of fewer windows than are measured, all of them
    np.testing.assert_allclose(backbone.input.mean.numpy(), x.mean(axis=(0, 2)), atol=1e-5)
    np.testing.assert_allclose(backbone.input.spread.numpy(), x.std(axis=(0, 2)), rtol=1e-4)


def test_models_that_are_nowhere_or_of_other_data_are_refused(
    material: Path, rounds: list[Round], tmp_path: Path
) -> None:
    reader = rounds[0].readers["train"]
    with pytest.raises(
        ValueError, match=r"'resnet81' is no folder, and the zoo has resnet18, .*mina"
    ):
        make_backbone(config_of(material, "resnet81"), reader)
    other = ViTEncoder(EncoderConfig(depth=1, patch=PatchConfig(samples=50)))
    save_model(tmp_path / "other", other, {"ecg": Preprocessing(100.0, 1.0, 40.0)}, 10.0, {}, "")
    with pytest.raises(ValueError, match=r"ecg was prepared as .*build shards with the model's"):
        make_backbone(config_of(material, str(tmp_path / "other")), reader)


@pytest.mark.parametrize(
    ("model", "name"),
    [("resnet18", "resnet18"), ("/a/runs/mae/best", "mae/best"), ("owner/name", "owner/name")],
)
def test_what_a_model_came_from_is_said_without_where_it_lay(model: str, name: str) -> None:
    assert begun_from(FinetuneConfig(("s",), ("t",), model)) == name


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tasks": ("a/x.yaml", "b/x.yaml")}, "each needs a name of its own, not x, x"),
        ({"tasks": ()}, "name at least one of each"),
        ({"labelled": 0.0}, r"labelled must lie in \(0, 1\], not 0.0"),
        ({"layer_decay": 1.5}, "layer_decay must lie in"),
        ({"drop_path": 1.0}, "drop_path must lie in"),
        ({"crop_s": 0.0}, "crop_s must be above 0, or null, not 0.0"),
    ],
)
def test_impossible_settings_are_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(FinetuneConfig(("s",), ("t",), "resnet18"), **change)  # type: ignore[arg-type]
