"""Random dilated convolutions (after ROCKET; Dempster, Petitjean & Webb 2020): the reference that learns nothing.

A linear model, ridge regression for instance, reads the features.

Shape suffixes: B batch, C channels, T time, D features.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

LENGTHS = (7, 9, 11)


class RandomKernels(nn.Module):
    """`kernels` random convolutions for windows of `samples` samples, the same for the same seed.

    Each has a length of 7, 9 or 11, a dilation up to the window's length, weights of zero mean on a random
    subset of channels, and a bias. Nothing is saved: the arguments say it all. Raises `ValueError` for
    other numbers of channels, and for windows of fewer than 12 samples.
    """

    def __init__(self, channels: int, samples: int, *, kernels: int = 300, seed: int = 0) -> None:
        super().__init__()
        if channels < 1 or kernels < 1 or samples <= max(LENGTHS):
            raise ValueError(
                f"random kernels need a channel, a kernel and more than {max(LENGTHS)} samples, not "
                f"channels={channels}, kernels={kernels}, samples={samples}"
            )
        self.channels = channels
        self.width = 2 * kernels
        generator = np.random.default_rng(seed)
        self.biases: list[float] = []
        self.dilations: list[int] = []
        for number in range(kernels):
            length = int(generator.choice(LENGTHS))
            steps = (samples - 1) / (length - 1)
            self.dilations.append(int(2 ** generator.uniform(0, np.log2(steps))))
            weight = generator.normal(size=(1, channels, length))
            used = generator.permutation(channels) < 2 ** generator.uniform(
                0, np.log2(channels + 1)
            )
            weight = (weight - weight.mean(axis=2, keepdims=True)) * used[None, :, None]
            self.biases.append(float(generator.uniform(-1, 1)))
            self.register_buffer(
                f"weight_{number}", torch.from_numpy(weight).float(), persistent=False
            )

    def forward(self, x_BCT: Tensor) -> Tensor:
        """[B, C, T] → [B, D]: of each kernel the share of positive values, and the largest."""
        if x_BCT.ndim != 3 or x_BCT.shape[1] != self.channels:
            raise ValueError(
                f"these kernels were drawn for [batch, {self.channels}, time], not {list(x_BCT.shape)}"
            )
        out = []
        for weight, bias, dilation in zip(self.buffers(), self.biases, self.dilations, strict=True):
            padding = dilation * (weight.shape[-1] - 1) // 2
            y_BT = F.conv1d(x_BCT, weight, padding=padding, dilation=dilation)[:, 0] + bias
            out += [(y_BT > 0).float().mean(dim=1), y_BT.amax(dim=1)]
        return torch.stack(out, dim=1)

    def features(self, x_BCT: Tensor) -> Tensor:
        """The same as `forward`: what a linear model reads."""
        return self.forward(x_BCT)
