"""What contrastive predictive coding shows of a run."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from matplotlib.image import imread

from biofm.models.encoder import EncoderConfig
from biofm.models.make_encoder import make_encoder
from biofm.models.tokenizer import PatchConfig
from biofm.pretrain.cpc_shown import chance, predictions
from biofm.pretrain.objectives.cpc import CPC, CPCConfig
from biofm.shards.reader import DataConfig, WindowReader

CPU = torch.device("cpu")


def test_a_picture_of_each_step_and_the_loss_of_chance(twin_shards: Path, tmp_path: Path) -> None:
    model = EncoderConfig("s4_causal", depth=1, patch=PatchConfig(samples=20))
    objective = CPC(make_encoder(model), CPCConfig((2, 7), 16), "ecg-100hz")
    train, validation = (
        WindowReader(DataConfig((str(twin_shards),)), split, seed=0)
        for split in ("train", "validation")
    )
    assert chance(objective, train, validation, CPU) == {"chance": pytest.approx(math.log(17))}
    (picture,) = predictions(objective, validation, CPU, tmp_path, "new")
    assert objective.training
    height, width, _ = imread(picture).shape
    assert width > 1.5 * height
