"""Windows → tokens: patches of one lead, or of all leads at one time, embedded linearly.

Shape suffixes: B batch, C channels of the windows, M channels of the model, T time, N patches in time,
P samples of a patch, D width; G groups of tokens: the leads (C), or 1 where a token spans all of them.
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
    scale: Literal["window", "unit"] = "unit"
    """`window`: zero mean and unit deviation over all channels and samples of a window (ST-MEM), which
    forgets how large the signal was. `unit`: (physical signal − `centre`) / `unit`, which remembers."""
    unit: float = 0.25
    """What becomes 1 where scale is `unit`; 0.25 mV is about the deviation of an ECG."""
    centre: float = 0.0
    """What becomes 0 where scale is `unit`: for signals that do not swing around 0, such as heart rate."""
    floor: float = 1e-6
    """Added to the variance of a window where scale is `window`, in squared units."""
    positions: int | None = None
    """Number of patches in time that have a learned code each, as in models of other makers: longer
    windows are refused. null: codes are computed from the time in seconds, for windows of any length."""

    def __post_init__(self) -> None:
        if not self.unit > 0:
            raise ValueError(f"unit must be above 0, not {self.unit}")
        if not self.floor > 0:
            raise ValueError(f"floor must be above 0, not {self.floor}")
        if self.positions is not None and self.positions < 1:
            raise ValueError(f"positions must be 1 or more, or null, not {self.positions}")
        if self.samples < 1:
            raise ValueError(f"a patch needs at least one sample, not {self.samples}")
        for channel in self.channels:
            channel_id(self.modality, channel)
        if self.separators and self.span == "all":
            raise ValueError("separators stand between leads: they need span: lead")


@dataclass(frozen=True)
class Patches:
    """Windows cut into patches, each of one channel.

    `values_BCNP` are scaled, missing samples 0; `valid_BCNP` says which samples were there;
    `present_BCN` which patches have at least half of theirs: the others are neither input nor target.
    `complete` is true when no sample of the batch is missing, which saves the masks.
    """

    values_BCNP: Tensor
    valid_BCNP: Tensor
    present_BCN: Tensor
    complete: bool


class Tokens(NamedTuple):
    """Embedded patches [B, G, N, D]; `separators` [2, G, D] stand before and after each group, or are None."""

    patches: Tensor
    separators: Tensor | None


class Patcher(nn.Module):
    """Windows → scaled patches: what every tokenizer begins with. It has no weights of its own.

    Raises `ValueError` for windows of another modality, rate or channel than the config's.
    """

    def __init__(self, config: PatchConfig) -> None:
        super().__init__()
        self.config = config

    @property
    def joint(self) -> bool:
        """Whether a token spans all channels."""
        return self.config.span == "all"

    def rows(self, channels: tuple[str, ...]) -> list[int]:
        """Where the channels of a window stand among the model's."""
        return [self.config.channels.index(c) for c in channels]

    def patches(self, windows: Windows) -> Patches:
        """Scale and cut a batch; a tail shorter than a patch is left out."""
        self.check(windows)
        x_BCT, missing_BCT = windows.physical()
        complete = windows.complete or not bool(missing_BCT.any())
        if self.config.scale == "window":
            mean, deviation = moments(
                x_BCT, None if complete else ~missing_BCT, dims=(1, 2), floor=self.config.floor
            )
            x_BCT = (x_BCT - mean) / deviation
        else:
            x_BCT = (x_BCT - self.config.centre) / self.config.unit
        if not complete:
            x_BCT = x_BCT.masked_fill(missing_BCT, 0.0)
        B, C, T = x_BCT.shape
        P = self.config.samples
        N = T // P
        if N == 0:
            raise ValueError(f"a window of {T} samples is shorter than one patch of {P}")
        valid_BCNP = ~missing_BCT[..., : N * P].reshape(B, C, N, P)
        present_BCN = valid_BCNP.float().mean(dim=-1) >= 0.5
        return Patches(x_BCT[..., : N * P].reshape(B, C, N, P), valid_BCNP, present_BCN, complete)

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


class PatchTokenizer(Patcher):
    """Linear embedding of patches, and the codes of their time and channel."""

    def __init__(self, config: PatchConfig, dim: int) -> None:
        super().__init__(config)
        channels, size = len(config.channels), config.samples
        if config.span == "lead":
            self.norm_in = nn.LayerNorm(size)
            self.embed = nn.Linear(size, dim)
            self.norm_out = nn.LayerNorm(dim)
            self.channel_embedding = nn.Parameter(torch.randn(channels, dim) * 0.02)
        else:
            # No norms around the embedding: the size of the leads, and their relation, is the heart's axis
            # and mass. A part of the weight belongs to each channel, and stands in for one that is absent.
            self.embed = nn.Linear(channels * size, dim)
            self.hidden_embedding = nn.Parameter(torch.randn(channels, dim) * 0.02)
        if config.separators:
            self.separator = nn.Parameter(torch.randn(dim) * 0.02)
        if config.positions is not None:
            # Separators have a place of their own, before and after the patches.
            places = config.positions + 2 * config.separators
            self.position_embedding = nn.Parameter(torch.randn(places, dim) * 0.02)
        self.apply(initialise)

    def forward(
        self, windows: Windows, patches: Patches, visible_BCN: Tensor | None = None
    ) -> Tokens:
        """Embed patches and add the codes of their time and channel; separators have no time in seconds.

        Where a token spans all channels, those that are not `visible_BCN` (None: all that are present) do
        not enter it.
        """
        rows = self.rows(windows.channels)
        separators = None
        if self.joint:
            tokens = self.embed_together(patches, rows, visible_BCN)[:, None]
        else:
            channel_CD: Tensor = self.channel_embedding
            if rows != list(range(len(self.config.channels))):
                channel_CD = channel_CD[rows]
            tokens = (
                self.norm_out(self.embed(self.norm_in(patches.values_BCNP))) + channel_CD[:, None]
            )
            if self.config.separators:
                separators = (self.separator + channel_CD).expand(2, -1, -1)
        patches_in_time = patches.present_BCN.shape[2]
        if self.config.positions is None:
            code_ND = time_code(self.times_s(patches_in_time, tokens.device), tokens.shape[-1])
            return Tokens(tokens + code_ND, separators)
        code_ND = self.learned_code(patches_in_time, self.config.positions)
        if separators is not None:
            separators = separators + self.position_embedding[[0, -1], None]
        return Tokens(tokens + code_ND, separators)

    def learned_code(self, patches: int, known: int) -> Tensor:
        """The stored codes of the first places [N, D]. Raises `ValueError` where there are fewer."""
        if patches > known:
            patch_s = self.config.samples / self.config.rate_hz
            raise ValueError(
                f"this model knows {known} places in time, which is {known * patch_s:g} s, and the windows "
                f"have {patches}: give it windows of {known * patch_s:g} s at most (`window_s` of the task)"
            )
        first = int(self.config.separators)
        return self.position_embedding[first : first + patches]

    def embed_together(
        self, patches: Patches, rows: list[int], visible_BCN: Tensor | None
    ) -> Tensor:
        """All visible channels of an instant as one embedding [B, N, D]."""
        x_BCNP = patches.values_BCNP
        B, _, N, P = x_BCNP.shape
        M = len(self.config.channels)
        if visible_BCN is None:
            visible_BCN = patches.present_BCN
        if visible_BCN is patches.present_BCN and patches.complete and rows == list(range(M)):
            whole: Tensor = self.embed(x_BCNP.transpose(1, 2).flatten(2))
            return whole
        x_BMNP = x_BCNP.new_zeros(B, M, N, P)
        x_BMNP[:, rows] = x_BCNP * visible_BCN[..., None]
        hidden_BNM = x_BCNP.new_ones(B, N, M)
        hidden_BNM[..., rows] = (~visible_BCN).to(x_BCNP.dtype).transpose(1, 2)
        embedded_BND: Tensor = self.embed(x_BMNP.transpose(1, 2).flatten(2))
        return embedded_BND + hidden_BNM @ self.hidden_embedding


def moments(
    x: Tensor, valid: Tensor | None, dims: tuple[int, ...], floor: float = 1e-6
) -> tuple[Tensor, Tensor]:
    """Mean and deviation over `dims` (kept), counting `valid` samples alone; `floor` is added in variance.

    One scale for all leads of a window keeps Einthoven's law and the heart's axis.
    """
    if valid is None:
        mean = x.mean(dim=dims, keepdim=True)
        return mean, ((x - mean).square().mean(dim=dims, keepdim=True) + floor).sqrt()
    weight = valid.to(x.dtype)
    count = weight.sum(dim=dims, keepdim=True).clamp_min(1)
    mean = (x * weight).sum(dim=dims, keepdim=True) / count
    variance = ((x - mean).square() * weight).sum(dim=dims, keepdim=True) / count
    return mean, (variance + floor).sqrt()
