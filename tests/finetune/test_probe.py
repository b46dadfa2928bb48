"""`biofm probe` from shards and a model folder to a table: rows, files, what it refuses."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from biofm.cli import main
from biofm.datasets.simulate import simulate
from biofm.finetune import frozen
from biofm.finetune.probe import probe
from biofm.models.encoder import EncoderConfig
from biofm.models.pretrained import save_model
from biofm.models.tokenizer import PatchConfig
from biofm.models.vit import ViTEncoder
from biofm.shards.build import build
from biofm.shards.configuration import Folds, shipped
from biofm.signals import Preprocessing

TASK = """title: Twin, five superclasses
datasets: [ptbxl]
label_set: superdiagnostic
kind: multilabel
metrics: [auroc, f1]
loss: bce
threshold: max_f1
least_subjects: 5
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`shards`, two models of one configuration, another one, and the task."""
    root = tmp_path_factory.mktemp("probe")
    tree = simulate("ptbxl", root / "tree", records=160, seed=5, progress=False)
    config = replace(shipped("ptbxl"), folds=Folds((1, 2, 3, 4, 5), (6, 7), (8, 9, 10)))
    build("ptbxl", [tree], root / "shards", config, workers=1, progress=False)
    preprocessing = Preprocessing(100.0, 0.5, 40.0)
    for name, depth, seed in (("one", 1, 0), ("two", 1, 1), ("deep", 2, 0)):
        torch.manual_seed(seed)
        encoder = ViTEncoder(EncoderConfig(depth=depth, patch=PatchConfig(samples=50)))
        save_model(root / name, encoder, {"ecg": preprocessing}, 10.0, {}, "")
    (root / "task.yaml").write_text(TASK)
    return root


def test_three_rows_with_intervals_and_paired_differences(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frozen, "KERNELS", 20)
    words = [
        "probe",
        str(folder / "one"),
        str(folder / "two"),
        "--shards",
        str(folder / "shards"),
    ]
    words += ["--task", str(folder / "task.yaml"), "--out", str(folder / "out"), "--seeds", "1"]
    assert main([*words, "--cache", str(folder / "cache")]) == 0
    shown = capsys.readouterr().out
    assert "SYNTHETIC DATA" in shown
    assert "classes counted" in shown
    assert (folder / "out" / "probe.md").read_text().strip() in shown
    said = json.loads((folder / "out" / "probe.json").read_text())
    names = [row["name"] for row in said["rows"]]
    assert names == ["pretrained, linear †", "untrained, linear", "random kernels, ridge"]
    assert [row["seeds"] for row in said["rows"]] == [2, 1, 1]
    for row in said["rows"]:
        for figure in row["figures"].values():
            assert figure["low"] <= figure["value"] <= figure["high"]
        assert row["figures"]["macro auroc"]["value"] > 0.5
    first, second = (row["figures"]["macro auroc"]["value"] for row in said["rows"][:2])
    difference = said["differences"]["untrained, linear"]["macro auroc"]["value"]
    assert difference == pytest.approx(first - second)


def test_models_of_different_configurations_are_refused(folder: Path) -> None:
    with pytest.raises(ValueError, match="seeds of one configuration"):
        probe(
            [folder / "one", folder / "deep"],
            shards=[folder / "shards"],
            task=str(folder / "task.yaml"),
        )


def test_classes_that_nobody_can_be_judged_by_are_named(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "task.yaml").write_text(TASK.replace("least_subjects: 5", "least_subjects: 500"))
    with pytest.raises(ValueError, match=r"no class is left to judge by.*CD \("):
        probe(
            [folder / "one"],
            shards=[folder / "shards"],
            task=str(tmp_path / "task.yaml"),
            cache=tmp_path,
        )
