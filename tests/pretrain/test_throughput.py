"""FLOPs of what torch's counter passes over, and what counting leaves as it was."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from biofm.models.sequence import CausalLSTM, S4Layer
from biofm.pretrain.objectives.base import Outcome
from biofm.pretrain.throughput import flops_per_window

B, N, W = 4, 50, 16


class Counted(nn.Module):
    """A net as an objective of a batch that is a tensor."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x_BNW: Tensor) -> Outcome:
        out: Tensor = self.net(x_BNW)
        return Outcome(out.sum(), x_BNW.new_ones(()))


def flops(net: nn.Module) -> float:
    """Of a step for one row, with a gradient of the input."""
    x_BNW = torch.randn(B, N, W, requires_grad=True)
    return flops_per_window(Counted(net), x_BNW)  # type: ignore[arg-type]


@pytest.mark.parametrize("one_kernel", [True, False])
def test_a_recurrent_layer_counts_whether_or_not_it_is_one_kernel(one_kernel: bool) -> None:
    with torch.backends.mkldnn.flags(enabled=one_kernel):
        found = flops(CausalLSTM(W))
    # Four gates, each of the input and of the state; the first state, 0, may be left out.
    forward = N * 2 * 4 * W * (W + W)
    assert found == pytest.approx(3 * forward, rel=1 / N)


def test_fourier_transforms_count() -> None:
    class Spectrum(nn.Module):
        def forward(self, x_BNW: Tensor) -> Tensor:
            same: Tensor = torch.fft.irfft(torch.fft.rfft(x_BNW, n=64, dim=1), n=64, dim=1)
            return same

    real = W * 2.5 * 64 * math.log2(64)
    # Forward two; backward the same two, of which torch makes one as a complex transform of twice the work.
    assert flops(Spectrum()) == pytest.approx(5 * real, rel=1e-3)


def test_a_state_space_counts_its_transforms_and_its_mixing() -> None:
    mixing = 3 * N * 2 * W * 2 * W
    transform = W * 2.5 * 2 * N * math.log2(2 * N)
    found = flops(S4Layer(W, causal=True))
    assert mixing + 4 * transform < found < mixing + 10 * transform


def test_what_has_no_gradient_counts_once() -> None:
    class Frozen(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.learned, self.slow = nn.Linear(W, W), nn.Linear(W, W)

        def forward(self, x_BNW: Tensor) -> Tensor:
            with torch.no_grad():
                target_BNW = self.slow(x_BNW)
            error: Tensor = self.learned(x_BNW) - target_BNW
            return error

    assert flops(Frozen()) == (3 + 1) * N * 2 * W * W


def test_counting_leaves_buffers_and_gradients_as_they_were() -> None:
    class Normed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm, self.mix = nn.BatchNorm1d(N), nn.Linear(W, W)

        def forward(self, x_BNW: Tensor) -> Tensor:
            mixed: Tensor = self.mix(self.norm(x_BNW))
            return mixed

    net = Normed()
    flops(net)
    assert net.norm.num_batches_tracked is not None
    assert net.norm.num_batches_tracked.item() == 0
    assert net.norm.running_mean is not None
    assert not net.norm.running_mean.any()
    assert all(parameter.grad is None for parameter in net.parameters())
