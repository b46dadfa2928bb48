"""What supervised runs learn from in these tests, made once: small twins' shards, tasks, and an encoder."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from unittest import mock

import pytest
import torch

from biofm.datasets.simulate import simulate
from biofm.models.encoder import EncoderConfig
from biofm.models.pretrained import save_model
from biofm.models.tokenizer import PatchConfig
from biofm.models.vit import ViTEncoder
from biofm.shards import writing
from biofm.shards.build import build
from biofm.shards.configuration import Folds, shipped
from biofm.signals import Preprocessing

BEATS = """title: Twin, beats
datasets: [mitdb]
label_set: aami
kind: multiclass
metrics: [kappa]
loss: balanced_cross_entropy
anchor: beat
window_s: 2.4
before_s: 1.2
channels: {ecg: [II]}
cross_validation: 3
"""


@pytest.fixture(scope="session")
def material(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`ptbxl` and `mitdb` (shards), `beats.yaml` (cross-validated), and encoders for them: `encoder`, `of_beats`."""
    root = tmp_path_factory.mktemp("supervised")
    trees = {
        "ptbxl": simulate("ptbxl", root / "trees" / "ptbxl", records=80, seed=5, progress=False),
        "mitdb": simulate("mitdb", root / "trees" / "mitdb", records=4, seed=5, progress=False),
    }
    folds = Folds((1, 2, 3, 4, 5), (6, 7, 8), (9, 10))
    # Whether signals are plausible is no matter here, and costs more than the rest.
    with mock.patch.object(writing, "PER_SHARD", 0):
        for name, tree in trees.items():
            config = shipped(name) if name == "mitdb" else replace(shipped(name), folds=folds)
            build(name, [tree], root / name, config, workers=1, progress=False)
    (root / "beats.yaml").write_text(BEATS)
    torch.manual_seed(0)
    prepared = Preprocessing(100.0, 0.5, 40.0)
    for name, patch in (
        ("encoder", PatchConfig(samples=50)),
        ("of_beats", PatchConfig(channels=("II",), samples=24)),
    ):
        encoder = ViTEncoder(EncoderConfig(depth=2, patch=patch))
        save_model(root / name, encoder, {"ecg": prepared}, 10.0, {}, "")
    return root
