"""CLOCS's net: its five published sizes, and what it is told apart by."""

from __future__ import annotations

import pytest
import torch

from biofm.models.clocs_net import LEAST, ClocsNet, steps


@pytest.mark.parametrize(
    ("dim", "parameters"),
    [(320, 106_936), (256, 86_392), (128, 45_304), (64, 24_760), (32, 14_488)],
)
def test_its_five_sizes_are_the_published_ones(dim: int, parameters: int) -> None:
    assert sum(p.numel() for p in ClocsNet(2500, dim).parameters()) == parameters


@pytest.mark.parametrize("samples", [LEAST, 500, 1250, 2500, 5000])
def test_what_is_left_of_a_stretch_is_what_the_linear_layer_expects(samples: int) -> None:
    net = ClocsNet(samples, 16).eval()
    assert net.embed.in_features == 32 * steps(samples)
    assert net(torch.randn(3, samples)).shape == (3, 16)


def test_of_2500_samples_ten_steps_are_left() -> None:
    assert steps(2500) == 10
    assert steps(LEAST) == 1
    assert steps(LEAST - 1) == 0


def test_a_stretch_that_is_too_short_is_refused() -> None:
    with pytest.raises(ValueError, match=r"stretches of 388 samples or more .* not 250"):
        ClocsNet(250, 32)


def test_the_layers_stand_in_the_published_order() -> None:
    kinds = [type(layer).__name__ for layer in ClocsNet(2500, 128).convolutions]
    assert kinds == ["Conv1d", "BatchNorm1d", "ReLU", "MaxPool1d", "Dropout"] * 3
