"""Windows → tokens: patches of one lead, or of all leads at one time, embedded linearly.

Shape suffixes: B batch, C channels, T time, G groups (leads, or 1 where a patch spans all of them),
N patches in time, P samples of a patch, D width.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from ..signals.vocabulary import channel_id
from ..signals.windows import Windows
from .layers import initialise, time_code


@dataclass(frozen=True)
class PatchConfig:
    """How windows of one modality become tokens."""

    modality: str = "ecg"
    """Modality of the channels."""
    channels: tuple[str, ...] = (
        "I",
        "II",
        "III",
        "aVR",
        "aVL",
        "aVF",
        "V1",
        "V2",
        "V3",
        "V4",
        "V5",
        "V6",
    )
    """Channels the model has weights for; a window may bring any subset, in any order."""
    rate_hz: float = 100.0
    """Sampling rate of the windows in Hz."""
    samples: int = 20
    """Samples in a patch."""
    span: Literal["lead", "all"] = "all"
    """`lead`: a patch covers one lead (ST-MEM). `all`: all leads at one time (a twelfth of the tokens)."""
    separators: bool = False
    """One learned token at both ends of each lead (ST-MEM)."""
    standardise: Literal["window", "none"] = "window"
    """`window`: zero mean and unit deviation over all channels and samples of a window. `none`: as it is."""

    def __post_init__(self) -> None:
        if self.samples < 1:
            raise ValueError(f"a patch needs at least one sample, not {self.samples}")
        for channel in self.channels:
            channel_id(self.modality, channel)
        if self.separators and self.span == "all":
            raise ValueError("separators stand between leads: they need span: lead")


@dataclass(frozen=True)
class Patches:
    """Windows cut into patches.

    `values_BGNP` are standardised, missing samples 0; `valid_BGNP` says which samples were there;
    `present_BGN` which patches have at least half of theirs: the others are neither input nor target.
    `complete` is true when no sample of the batch is missing, which saves the masks.
    """

    values_BGNP: Tensor
    valid_BGNP: Tensor
    present_BGN: Tensor
    complete: bool


class Tokens(NamedTuple):
    """Embedded patches [B, G, N, D]; `separators` [G, D] stand at both ends of each group, or are None."""

    patches: Tensor
    separators: Tensor | None


class PatchTokenizer(nn.Module):
    """LayerNorm, linear embedding, LayerNorm, and the code of the patch's time and channel.

    Raises `ValueError` for windows of another modality, rate or channel than the config's.
    """

    def __init__(self, config: PatchConfig, dim: int) -> None:
        super().__init__()
        self.config = config
        channels, size = len(config.channels), config.samples
        if config.span == "lead":
            # LayerNorm makes each patch's embedding independent of its level and gain.
            self.norm_in: nn.Module = nn.LayerNorm(size)
            self.embed = nn.Linear(size, dim)
            self.norm_out: nn.Module = nn.LayerNorm(dim)
            self.channel_embedding = nn.Parameter(torch.randn(channels, dim) * 0.02)
        else:
            # No norm here: the relative size of the leads is the heart's axis. Rows of the weight belong
            # to channels, so that any subset of them can be embedded.
            self.embed = nn.Linear(channels * size, dim)
            self.norm_out = nn.LayerNorm(dim)
        if config.separators:
            self.separator = nn.Parameter(torch.randn(dim) * 0.02)
        self.apply(initialise)

    def patches(self, windows: Windows) -> Patches:
        """Standardise and cut a batch; a tail shorter than a patch is left out."""
        self.check(windows)
        x_BCT, missing_BCT = windows.physical()
        complete = windows.complete or not bool(missing_BCT.any())
        if self.config.standardise == "window":
            x_BCT = standardise(x_BCT, None if complete else missing_BCT)
        B, C, T = x_BCT.shape
        P = self.config.samples
        N = T // P
        if N == 0:
            raise ValueError(f"a window of {T} samples is shorter than one patch of {P}")

        def cut(x: Tensor) -> Tensor:
            x_BCNP = x[..., : N * P].reshape(B, C, N, P)
            if self.config.span == "lead":
                return x_BCNP
            return x_BCNP.transpose(1, 2).reshape(B, 1, N, C * P)

        valid_BGNP = cut(~missing_BCT)
        present_BGN = valid_BGNP.float().mean(dim=-1) >= 0.5
        return Patches(cut(x_BCT), valid_BGNP, present_BGN, complete)

    def forward(self, windows: Windows, patches: Patches) -> Tokens:
        """Embed patches and add the codes of their time and channel; separators have no time."""
        x_BGNP = patches.values_BGNP
        rows = [self.config.channels.index(c) for c in windows.channels]
        separators = None
        if self.config.span == "lead":
            channel_GD = self.channel_embedding[rows]
            tokens = self.norm_out(self.embed(self.norm_in(x_BGNP))) + channel_GD[:, None]
            if self.config.separators:
                separators = self.separator + channel_GD
        else:
            tokens = self.norm_out(self.embed_channels(x_BGNP, rows))
        times_N = self.times_s(x_BGNP.shape[2], x_BGNP.device)
        return Tokens(tokens + time_code(times_N, tokens.shape[-1]), separators)

    def embed_channels(self, x_BGNP: Tensor, rows: list[int]) -> Tensor:
        """The linear embedding of all leads at once, with the weights of the channels that are there."""
        if rows == list(range(len(self.config.channels))):
            embedded: Tensor = self.embed(x_BGNP)
            return embedded
        D = self.embed.out_features
        weight_DCP = self.embed.weight.view(D, len(self.config.channels), self.config.samples)[
            :, rows
        ]
        return nn.functional.linear(x_BGNP, weight_DCP.reshape(D, -1), self.embed.bias)

    def times_s(self, patches: int, device: torch.device) -> Tensor:
        """Centre of each patch in the window, in seconds, [N]."""
        step_s = self.config.samples / self.config.rate_hz
        return (torch.arange(patches, device=device) + 0.5) * step_s

    def check(self, windows: Windows) -> None:
        """Refuse windows that this tokenizer was not made for."""
        c = self.config
        if windows.modality != c.modality or windows.rate_hz != c.rate_hz:
            raise ValueError(
                f"this model reads {c.modality} at {c.rate_hz:g} Hz, not {windows.modality} at "
                f"{windows.rate_hz:g} Hz: set model.patch.rate_hz, or build shards at {c.rate_hz:g} Hz"
            )
        unknown = [name for name in windows.channels if name not in c.channels]
        if unknown:
            raise ValueError(
                f"this model has no weights for the channels {unknown}; it knows {list(c.channels)}"
            )


def standardise(x_BCT: Tensor, missing_BCT: Tensor | None) -> Tensor:
    """Zero mean and unit deviation over all channels and samples of each window; missing samples stay 0.

    One scale for all leads keeps Einthoven's law and the heart's axis, as in ST-MEM.
    """
    if missing_BCT is None:
        mean = x_BCT.mean(dim=(1, 2), keepdim=True)
        deviation = (x_BCT - mean).square().mean(dim=(1, 2), keepdim=True).sqrt()
        return (x_BCT - mean) / deviation.clamp_min(1e-6)
    valid = (~missing_BCT).to(x_BCT.dtype)
    count = valid.sum(dim=(1, 2), keepdim=True).clamp_min(1)
    mean = (x_BCT * valid).sum(dim=(1, 2), keepdim=True) / count
    centred = (x_BCT - mean) * valid
    deviation = (centred.square().sum(dim=(1, 2), keepdim=True) / count).sqrt()
    return centred / deviation.clamp_min(1e-6)
