"""The encoder of CLOCS (Kiyasseh, Zhu & Clifton, ICML 2021): one embedding for a stretch of one lead.

Leads share all weights and never meet: a token is a stretch of `patch.samples` samples of one lead (2,500 in
the paper, 5 s at 500 Hz), and the embedding of a window is the mean over its leads and stretches.

Shape suffixes: B batch, C channels, N stretches in time, P samples of one, W width.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from torch import Tensor, nn

from ..signals.windows import Windows
from .clocs_net import ClocsNet
from .encoder import Encoder, EncoderConfig, Encoding
from .masks import Mask
from .tokenizer import Patcher, Patches


class ClocsEncoder(Encoder):
    """`ClocsNet` over every lead alone."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__(config)
        (self.width,) = config.numbers
        self.tokenizer = Patcher(config.patch)
        self.net = ClocsNet(config.patch.samples, self.width)

    def run(self, windows: Windows, patches: Patches, weight_BM2: Tensor | None = None) -> Tensor:
        """Whole windows → tokens [B, C · N, W]; no block is ever skipped."""
        x_BCNP = patches.values_BCNP
        tokens_XW: Tensor = self.net(x_BCNP.flatten(0, 2))
        return tokens_XW.view(len(x_BCNP), -1, self.width)

    def hide(self, windows: Windows, patches: Patches, mask: Mask) -> Encoding:
        """Raises `TypeError`: a stretch has no neighbours that could tell what is hidden."""
        raise TypeError("the encoder of CLOCS cannot fill in what is hidden")

    def normed(self, tokens: Tensor) -> Tensor:
        """There is no final norm."""
        return tokens

    @property
    def layers(self) -> Sequence[nn.Module]:
        return [self.net]

    def stages(self) -> Iterator[nn.Module]:
        yield self.net
