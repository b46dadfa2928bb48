"""ResNet18 and ResNet34 with one-dimensional convolutions (He et al., CVPR 2016).

Stem of kernel 7, basic blocks of kernel 3, widths 64 to 512, as for images. With 12 channels and 9 outputs
3.85 M and 7.23 M parameters, 176.6 M and 357.7 M multiply-adds for 1,000 samples.

Shape suffixes: B batch, C channels, T time, K maps, N steps, D features.
"""

from __future__ import annotations

from torch import Tensor, nn

from .base import Classifier, conv_norm, initialise


class BasicBlock(nn.Module):
    """Two convolutions and a shortcut, which is a 1×1 convolution where the shape changes."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *conv_norm(inputs, outputs, 3, stride),
            nn.ReLU(inplace=True),
            *conv_norm(outputs, outputs, 3),
        )
        changes = stride != 1 or inputs != outputs
        self.shortcut = nn.Sequential(*(conv_norm(inputs, outputs, 1, stride) if changes else []))
        self.activation = nn.ReLU(inplace=True)

    def forward(self, x_BKN: Tensor) -> Tensor:
        """[B, inputs, N] → [B, outputs, ⌈N / stride⌉]."""
        out: Tensor = self.activation(self.body(x_BKN) + self.shortcut(x_BKN))
        return out


class ResNet(Classifier):
    """`blocks` are the numbers of basic blocks in the four stages."""

    def __init__(self, channels: int, outputs: int, *, blocks: tuple[int, int, int, int]) -> None:
        super().__init__(channels, outputs, width=512)
        self.stem = nn.Sequential(
            *conv_norm(channels, 64, 7, stride=2), nn.ReLU(inplace=True), nn.MaxPool1d(3, 2, 1)
        )
        widths = (64, 64, 128, 256, 512)
        self.stages = nn.Sequential(
            *(
                BasicBlock(
                    widths[s] if b == 0 else widths[s + 1],
                    widths[s + 1],
                    stride=2 if b == 0 and s > 0 else 1,
                )
                for s, depth in enumerate(blocks)
                for b in range(depth)
            )
        )
        self.apply(initialise)

    def embed(self, x_BCT: Tensor) -> Tensor:
        """[B, C, T] → [B, 512], the mean over T / 32 steps."""
        map_BKN: Tensor = self.last_map(self.stages(self.stem(x_BCT)))
        return map_BKN.mean(dim=2)
