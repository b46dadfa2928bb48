"""What all supervised references share: the checks of their input, the features, the last linear layer.

Shape suffixes: B batch, C channels, T time, K maps, N steps of the last map, D features.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

from torch import Tensor, nn


class Classifier(nn.Module):
    """Windows [B, C, T] → logits [B, outputs].

    A subclass writes `embed`, which sends its last map [B, K, N] through `last_map` before it pools over
    time: a forward hook there is all that Grad-CAM needs. Physical units (mV) are expected, missing
    samples as 0. Raises `ValueError` for windows of another shape or shorter than `shortest`.
    """

    shortest: ClassVar[int] = 32
    """Fewest samples of a window: one step of the last map, or the longest kernel."""

    def __init__(self, channels: int, outputs: int, width: int) -> None:
        super().__init__()
        if channels < 1 or outputs < 1:
            raise ValueError(
                f"a model needs at least one channel and one output, not channels={channels}, outputs={outputs}"
            )
        self.channels = channels
        self.last_map = nn.Identity()
        self.head = nn.Linear(width, outputs)

    def forward(self, x_BCT: Tensor) -> Tensor:
        """[B, C, T] → logits [B, outputs]."""
        logits: Tensor = self.head(self.features(x_BCT))
        return logits

    def features(self, x_BCT: Tensor) -> Tensor:
        """[B, C, T] → [B, D]: what the last linear layer reads."""
        self.check(x_BCT)
        return self.embed(x_BCT)

    @abstractmethod
    def embed(self, x_BCT: Tensor) -> Tensor:
        """[B, C, T] → [B, D], for windows that were checked."""

    def check(self, x_BCT: Tensor) -> None:
        """Refuse what this model cannot read."""
        name = type(self).__name__
        if x_BCT.ndim != 3 or not x_BCT.is_floating_point():
            raise ValueError(
                f"{name} reads float [batch, channels, time], not {x_BCT.dtype} {list(x_BCT.shape)}"
            )
        if x_BCT.shape[1] != self.channels:
            raise ValueError(
                f"{name} was made for {self.channels} channels, not {x_BCT.shape[1]}: "
                f"create it with channels={x_BCT.shape[1]}"
            )
        if x_BCT.shape[2] < self.shortest:
            raise ValueError(
                f"{name} reads windows of at least {self.shortest} samples, not {x_BCT.shape[2]}"
            )


def conv_norm(
    inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1
) -> list[nn.Module]:
    """Convolution without bias, centred, and batch norm."""
    padding = (kernel - 1) // 2
    return [
        nn.Conv1d(inputs, outputs, kernel, stride, padding, groups=groups, bias=False),
        nn.BatchNorm1d(outputs),
    ]


def same_conv(inputs: int, outputs: int, kernel: int, bias: bool) -> nn.Sequential:
    """Convolution that keeps the length, for even kernels too (padding="same" warns about those)."""
    return nn.Sequential(
        nn.ZeroPad1d(((kernel - 1) // 2, kernel // 2)),
        nn.Conv1d(inputs, outputs, kernel, bias=bias),
    )


def initialise(module: nn.Module) -> None:
    """Kaiming-normal convolutions (He et al. 2015); norms and linear layers as PyTorch makes them."""
    if isinstance(module, nn.Conv1d | nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        if module.bias is not None:
            nn.init.zeros_(module.bias)
