"""Encoders that read samples in order: convolutions, and recurrent or state-space nets over their output.

All leads at once; one token for each `patch.samples` samples. Hidden patches are not dropped but filled, with
one learned number for each channel, because such nets need their neighbours in place.

Shape suffixes: B batch, C channels of the windows, M channels of the model, T time, N patches in time, P
samples of a patch, W width.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from ..signals.windows import Windows
from .encoder import Encoder, EncoderConfig, Encoding
from .masks import Mask
from .tokenizer import Patcher, Patches
from .zoo.base import conv_norm, initialise
from .zoo.s4d import S4Block
from .zoo.xresnet import EXPANSION, KERNEL, WIDTH, Bottleneck

STATE = 8
"""Real dimensions of the state of each feature (as in models/zoo/s4d.py)."""


class SequenceEncoder(Encoder):
    """`front`: samples of a patch → its features; `context`: layers over features in their order."""

    front: nn.Module
    context: nn.ModuleList

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__(config)
        self.tokenizer = Patcher(config.patch)
        self.missing_embedding = nn.Parameter(torch.zeros(len(config.patch.channels)))

    def samples(
        self, windows: Windows, patches: Patches, visible_BCN: Tensor | None = None
    ) -> Tensor:
        """Scaled samples of the model's channels [B, M, T]; what is not visible, or not there, is filled."""
        x_BCNP = patches.values_BCNP
        rows, M = self.tokenizer.rows(windows.channels), len(self.config.patch.channels)
        if visible_BCN is None and patches.complete and rows == list(range(M)):
            return x_BCNP.flatten(2)
        shown_BCN = patches.present_BCN if visible_BCN is None else visible_BCN
        B, _, N, P = x_BCNP.shape
        x_BMNP = x_BCNP.new_zeros(B, M, N, P)
        shown_BMN = shown_BCN.new_zeros(B, M, N)
        x_BMNP[:, rows], shown_BMN[:, rows] = x_BCNP, shown_BCN
        filled = self.missing_embedding[:, None, None]
        return torch.where(shown_BMN[..., None], x_BMNP, filled).flatten(2)

    def features(
        self, windows: Windows, patches: Patches, visible_BCN: Tensor | None = None
    ) -> Tensor:
        """What the front makes of each patch [B, N, W]."""
        features_BWN: Tensor = self.front(self.samples(windows, patches, visible_BCN))
        return features_BWN.transpose(1, 2)

    def contexts(self, features_BNW: Tensor) -> Tensor:
        """What the context makes of features [B, N, W]."""
        for layer in self.context:
            features_BNW = layer(features_BNW)
        return features_BNW

    def run(self, windows: Windows, patches: Patches, weight_BM2: Tensor | None = None) -> Tensor:
        """Whole windows → tokens [B, N, W]; no block is ever skipped."""
        return self.contexts(self.features(windows, patches))

    def hide(self, windows: Windows, patches: Patches, mask: Mask) -> Encoding:
        """Hidden patches are filled: there is a token for each."""
        tokens_BNW = self.contexts(self.features(windows, patches, mask.visible))
        there_B1N = self.there(patches)
        everything = torch.arange(there_B1N.shape[2], device=tokens_BNW.device)
        return Encoding(
            tokens_BNW[:, None],
            everything.expand_as(there_B1N),
            None if patches.complete else there_B1N,
            separators=False,
        )

    def normed(self, tokens: Tensor) -> Tensor:
        """There is no final norm."""
        return tokens

    @property
    def layers(self) -> Sequence[nn.Module]:
        return list(self.context)

    def stages(self) -> Iterator[nn.Module]:
        yield self.front
        yield from self.context


class XResNetEncoder(SequenceEncoder):
    """xresnet1d (models/zoo/xresnet.py) without its head, with a token for each step of its last map."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__(config)
        strides = {4: 0, 8: 1, 16: 2, 32: 3}
        if config.patch.samples not in strides:
            raise ValueError(
                f"patch.samples: an xresnet's stride is 4, 8, 16 or 32, not {config.patch.samples}"
            )
        self.width = WIDTH * EXPANSION
        stem: list[nn.Module] = []
        for inputs, width, stride in (
            (len(config.patch.channels), 32, 2),
            (32, 32, 1),
            (32, WIDTH, 1),
        ):
            stem += [*conv_norm(inputs, width, KERNEL, stride), nn.ReLU(inplace=True)]
        blocks = [
            Bottleneck(
                WIDTH if s == b == 0 else self.width,
                stride=2 if b == 0 and 0 < s <= strides[config.patch.samples] else 1,
            )
            for s, depth in enumerate(config.numbers)
            for b in range(depth)
        ]
        self.front = nn.Sequential(*stem, nn.MaxPool1d(3, 2, 1), *blocks)
        # Convolutions are their own context; a layer that does nothing gives the last map a name.
        self.context = nn.ModuleList([nn.Identity()])
        self.apply(initialise)

    def stages(self) -> Iterator[nn.Module]:
        """The stem, then each block."""
        parts = list(self.front.children())
        blocks = [m for m in parts if isinstance(m, Bottleneck)]
        yield nn.ModuleList(m for m in parts if m not in blocks)
        yield from blocks


class CausalLSTM(nn.Module):
    """One recurrent layer."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(width, width, batch_first=True)

    def forward(self, x_BNW: Tensor) -> Tensor:
        """[B, N, W] → [B, N, W]."""
        out_BNW: Tensor = self.lstm(x_BNW)[0]
        return out_BNW


class S4Layer(nn.Module):
    """A state-space block, over the past alone or in both directions."""

    def __init__(self, width: int, *, causal: bool) -> None:
        super().__init__()
        self.block = S4Block(width, STATE, dropout=0.0, causal=causal)

    def forward(self, x_BNW: Tensor) -> Tensor:
        """[B, N, W] → [B, N, W]."""
        out_BNW: Tensor = self.block(x_BNW.transpose(1, 2)).transpose(1, 2)
        return out_BNW


def patch_front(channels: int, samples: int, width: int) -> nn.Sequential:
    """Four convolutions that see one patch at a time: of its samples, then three over its features.

    At one sample a patch it is the front of the published CPC for ECG (Mehari & Strodthoff, arXiv
    2103.12676): at 100 Hz there is nothing to be strided over.
    """
    parts: list[nn.Module] = []
    for number in range(4):
        inputs, kernel = (channels, samples) if number == 0 else (width, 1)
        convolution = nn.Conv1d(inputs, width, kernel, stride=kernel, bias=False)
        parts += [convolution, nn.BatchNorm1d(width), nn.ReLU(inplace=True)]
    return nn.Sequential(*parts)


class LSTMEncoder(SequenceEncoder):
    """The published CPC's encoder and context for 12 leads at 100 Hz, at size base and one sample a patch."""

    causal = True

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__(config)
        self.width, depth = config.numbers
        self.front = patch_front(len(config.patch.channels), config.patch.samples, self.width)
        layers = (CausalLSTM(self.width) for _ in range(config.depth or depth))
        self.context = nn.ModuleList(layers)


class S4Encoder(SequenceEncoder):
    """A convolutional front and state spaces in both directions of time."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__(config)
        self.width, depth = config.numbers
        self.front = patch_front(len(config.patch.channels), config.patch.samples, self.width)
        layers = (S4Layer(self.width, causal=self.causal) for _ in range(config.depth or depth))
        self.context = nn.ModuleList(layers)


class CausalS4Encoder(S4Encoder):
    """The same over the past alone."""

    causal = True
