"""Random kernels: the published draws for a seed, and the definition of the features."""

from __future__ import annotations

import pytest
import torch

from biofm.models.zoo import RandomKernels


def waves() -> torch.Tensor:
    time_s = torch.arange(300) / 100
    return torch.stack([torch.sin(7 * time_s), torch.cos(11 * time_s)])[None]


def test_the_seed_decides() -> None:
    """Figures were published with these draws: the numbers were computed by the code that made them."""
    expected = [[0.47333333, 9.0712833, 0.44, 5.2695737, 0.60666668, 3.8844709]]
    torch.testing.assert_close(
        RandomKernels(2, 300, kernels=3, seed=5)(waves()), torch.tensor(expected)
    )
    other = RandomKernels(2, 300, kernels=3, seed=6)(waves())
    assert not torch.allclose(other, torch.tensor(expected))


def test_features_are_share_of_positive_values_and_maximum() -> None:
    kernels = RandomKernels(2, 300, kernels=20, seed=0)
    weights = list(kernels.buffers())
    features = kernels.features(waves())
    assert features.shape == (1, kernels.width) == (1, 40)
    for k in (0, 7, 19):
        weight, dilation = weights[k][0], kernels.dilations[k]
        reach = dilation * (weight.shape[1] - 1) // 2
        padded = torch.nn.functional.pad(waves()[0], (reach, reach))
        response = torch.stack(
            [
                (padded[:, t : t + 2 * reach + 1 : dilation] * weight).sum() + kernels.biases[k]
                for t in range(padded.shape[1] - 2 * reach)
            ]
        )
        assert features[0, 2 * k].item() == pytest.approx((response > 0).float().mean().item())
        assert features[0, 2 * k + 1].item() == pytest.approx(response.max().item(), rel=1e-5)


def test_nothing_is_trained_or_saved() -> None:
    kernels = RandomKernels(1, 100, kernels=4)
    assert not list(kernels.parameters())
    assert not kernels.state_dict()


def test_refusals() -> None:
    with pytest.raises(ValueError, match="samples=11"):
        RandomKernels(1, 11)
    with pytest.raises(ValueError, match=r"\[batch, 2, time\], not \[1, 3, 300\]"):
        RandomKernels(2, 300, kernels=1)(torch.randn(1, 3, 300))
