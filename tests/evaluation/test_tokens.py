"""Frozen tokens: their mean is the embedding, what is missing is told, and they are read where they are kept."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from biofm.datasets.simulate import simulate
from biofm.evaluation import tokens as module
from biofm.evaluation.embeddings import embeddings
from biofm.evaluation.tokens import FrozenTokens, tokens
from biofm.models.encoder import EncoderConfig
from biofm.models.pretrained import PretrainedModel
from biofm.models.tokenizer import PatchConfig
from biofm.models.vit import ViTEncoder
from biofm.shards.build import build
from biofm.shards.configuration import Folds, shipped
from biofm.shards.reader import DataConfig, WindowReader
from biofm.signals import Preprocessing


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("ptbxl")
    tree = simulate("ptbxl", root / "twin", records=10, seed=2, progress=False)
    config = replace(shipped("ptbxl"), folds=Folds(tuple(range(1, 11)), (), ()))
    build("ptbxl", [tree], root / "shards", config, workers=1, progress=False)
    return root / "shards"


def made(norm: Any = "tokens", **patch: Any) -> PretrainedModel:
    torch.manual_seed(0)
    patches = PatchConfig(**{"samples": 50} | patch)
    encoder = ViTEncoder(EncoderConfig(size="mini", depth=2, norm=norm, patch=patches))
    with torch.no_grad():
        encoder.blocks.norm.weight.uniform_(0.5, 2.0)
        encoder.blocks.norm.bias.uniform_(-0.5, 0.5)
    return PretrainedModel(encoder, {"ecg": Preprocessing(100.0, 0.5, 40.0)}, 10.0, {}).eval()


def reading(shards: Path, **config: Any) -> WindowReader:
    return WindowReader(DataConfig((str(shards),), **config), "train", seed=0)


def made_tokens(model: PretrainedModel, reader: WindowReader, cache: Path) -> FrozenTokens:
    return tokens(model, reader, cache, batch=4, progress=False)


@pytest.mark.parametrize("patch", [{}, {"span": "lead", "separators": True, "scale": "window"}])
def test_the_mean_of_those_that_are_there_is_the_embedding(
    patch: dict[str, Any], shards: Path, tmp_path: Path
) -> None:
    # Ten seconds and windows of eleven: each has missing patches.
    model, reader = made(**patch), reading(shards, window_s=11.0)
    found = made_tokens(model, reader, tmp_path)
    groups = 12 if patch else 1
    assert found.shape == (10, groups * 22, model.dim)
    x_NLD, there_NL = found.read()
    assert there_NL.view(10, groups, 22)[..., :20].all()
    assert not there_NL.view(10, groups, 22)[..., 20:].any()
    assert (x_NLD[~there_NL] == 0).all()
    mean_ND = x_NLD.sum(dim=1) / there_NL.sum(dim=1, keepdim=True)
    expected = embeddings(model, reader, tmp_path, batch=4, progress=False)
    np.testing.assert_allclose(mean_ND.numpy(), expected, atol=2e-3)
    assert np.abs(expected).max() > 0.1


def test_they_are_normed_one_by_one_where_the_embedding_is_normed_as_a_whole(
    shards: Path, tmp_path: Path
) -> None:
    ours = made_tokens(made(), reading(shards), tmp_path).read()[0]
    theirs = made_tokens(made(norm="mean"), reading(shards), tmp_path).read()[0]
    assert torch.equal(ours, theirs)
    assert len(list(tmp_path.glob("*.npy"))) == 2


def test_the_second_time_they_are_read_and_choosing_copies_nothing(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = made_tokens(made(), reading(shards), tmp_path)
    monkeypatch.setattr(module, "computed", None)
    again = made_tokens(made(), reading(shards), tmp_path)
    assert isinstance(again.kept, np.memmap)
    assert again.kept.dtype == np.float16
    whole = first.read()[0]
    assert torch.equal(whole, again.read()[0])
    some = again[np.array([7, 2, 5])][np.array([False, True, True])]
    assert some.shape == (2, *again.shape[1:])
    assert some.kept is again.kept
    assert torch.equal(some.read()[0], whole[[2, 5]])
    assert torch.equal(some.read(np.array([1]))[0], whole[[5]])


def test_tokens_that_half_precision_cannot_hold_are_refused(shards: Path, tmp_path: Path) -> None:
    model = made()
    assert isinstance(model.encoder, ViTEncoder)
    with torch.no_grad():
        model.encoder.blocks.norm.weight.mul_(1e6)
    with pytest.raises(ValueError, match="not finite in half precision"):
        made_tokens(model, reading(shards), tmp_path)
    assert not list(tmp_path.iterdir())
    model = made(modality="ppg", channels=("ppg",))
    with pytest.raises(ValueError, match="the model reads ppg"):
        made_tokens(model, reading(shards), tmp_path)
