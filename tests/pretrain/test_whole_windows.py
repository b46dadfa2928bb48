"""Models are saved with batch norms that know whole windows, whatever they saw in training."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from biofm.models.encoder import EncoderConfig
from biofm.models.make_encoder import make_encoder
from biofm.models.sequence import SequenceEncoder
from biofm.models.tokenizer import PatchConfig
from biofm.pretrain.whole_windows import some_windows, with_whole_windows
from biofm.shards.reader import DataConfig, WindowReader


@pytest.fixture(scope="module")
def train(twin_shards: Path) -> WindowReader:
    return WindowReader(DataConfig((str(twin_shards),)), "train", seed=0)


def xresnet() -> SequenceEncoder:
    torch.manual_seed(0)
    encoder = make_encoder(EncoderConfig("xresnet", patch=PatchConfig(samples=8)))
    assert isinstance(encoder, SequenceEncoder)
    return encoder


def test_statistics_are_those_of_whole_training_windows(train: WindowReader) -> None:
    encoder = xresnet()
    before = {k: v.clone() for k, v in encoder.state_dict().items()}
    saved = with_whole_windows(encoder, train)
    assert isinstance(saved, SequenceEncoder)
    assert not saved.training
    for key, value in encoder.state_dict().items():
        assert torch.equal(value, before[key]), key
    first, norm = saved.front[0], saved.front[1]  # type: ignore[index]
    assert isinstance(norm, nn.BatchNorm1d)
    assert isinstance(norm.running_mean, Tensor)
    means = []
    with torch.no_grad():
        for streams in some_windows(train):
            windows = saved.own(streams)
            seen_BKT = first(saved.samples(windows, saved.tokenizer.patches(windows)))
            means.append(seen_BKT.mean(dim=(0, 2)))
    torch.testing.assert_close(norm.running_mean, torch.stack(means).mean(dim=0))
    assert not torch.allclose(norm.running_mean, torch.zeros(()), atol=1e-3)
    for name, weight in saved.named_parameters():
        assert torch.equal(weight, before[name]), name


def test_the_same_weights_give_the_same_model(train: WindowReader) -> None:
    one, other = (with_whole_windows(xresnet(), train).state_dict() for _ in range(2))
    assert all(torch.equal(one[key], other[key]) for key in one)


def test_an_encoder_without_batch_norm_is_saved_as_it_is(train: WindowReader) -> None:
    encoder = make_encoder(EncoderConfig(depth=1, patch=PatchConfig(samples=50)))
    assert with_whole_windows(encoder, train) is encoder
