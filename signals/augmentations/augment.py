"""Augmented batches: each row has some of the operations, all rows at once, and no row decides about another.

What a row gets is a function of (seed, epoch, position, view): the same at any number of ranks and after a
resume. Which operations are chosen is drawn as in ST-MEM's downstream recipe, which follows RandAugment (Cubuk et al.,
arXiv 1909.13719), but they are applied in the order in which they are named, so that each is computed once.

Shapes: B batch, C channels, T time, K operations.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..windows import Batch, Windows
from . import masking, noise
from .base import About, Draws, Operation, rest_and_deviation

OPERATIONS: dict[str, Operation] = {
    "shift": masking.shift,
    "cutout": masking.cutout,
    "drop": masking.drop,
    "flip": masking.flip,
    "erase": masking.erase,
    "sine": noise.sine,
    "partial_sine": noise.partial_sine,
    "partial_white_noise": noise.partial_white_noise,
    "wander": noise.wander,
    "powerline": noise.powerline,
    "electrode_motion": noise.electrode_motion,
    "lead_dropout": masking.lead_dropout,
    "scale": masking.scale,
}

ST_MEM = (
    "shift",
    "cutout",
    "drop",
    "flip",
    "erase",
    "sine",
    "partial_sine",
    "partial_white_noise",
)
"""Those of ST-MEM's downstream recipe, with 2 layers and probability 0.5."""

MOST_STRENGTH = 2.0


@dataclass(frozen=True)
class AugmentConfig:
    """How windows are changed before a model sees them in training."""

    ops: tuple[str, ...] = ()
    """Operations to choose from, none for no change: shift, cutout, drop, flip, erase, sine, partial_sine,
    partial_white_noise (all of ST-MEM's recipe), wander, powerline, electrode_motion, lead_dropout, scale."""
    layers: int = 2
    """How many different ones are chosen for a window."""
    probability: float = 0.5
    """With which each that was chosen is applied."""
    strength: float = 1.0
    """Factor of every extent: shares of time, noise, jumps, lost leads; 1 is as published or as documented."""

    def __post_init__(self) -> None:
        for name in self.ops:
            if name not in OPERATIONS:
                near = difflib.get_close_matches(name, OPERATIONS, n=1)
                hint = f"; did you mean {near[0]}?" if near else "."
                raise ValueError(f"ops: unknown {name!r}{hint} There are {', '.join(OPERATIONS)}")
        if len(set(self.ops)) != len(self.ops):
            raise ValueError(f"ops: each once, not {', '.join(self.ops)}")
        if self.layers < 1 or (self.ops and self.layers > len(self.ops)):
            raise ValueError(
                f"layers must lie between 1 and the number of ops, {len(self.ops)}, not {self.layers}"
            )
        if not 0 < self.probability <= 1:
            raise ValueError(f"probability must lie in (0, 1], not {self.probability}")
        if not 0 < self.strength <= MOST_STRENGTH:
            raise ValueError(f"strength must lie in (0, {MOST_STRENGTH:g}], not {self.strength}")


@torch.no_grad()
def augment(batch: Batch, config: AugmentConfig, view: int = 0) -> Batch:
    """The same rows, changed; each `view` of a batch is drawn independently.

    Operations are the same for all streams of a row, and so are their times. Windows hold floats then. Raises
    `ValueError` for an operation that is possible in none of the streams.
    """
    if not config.ops:
        return batch
    _check(batch, config)
    draws = Draws(batch.seed, batch.epoch, batch.positions, "", f"augment {view}")
    apply_BK = choose(config, draws)
    changed = {}
    # Half precision is for models: a wave of 0.1 Hz does not survive it.
    with torch.autocast(batch.positions.device.type, enabled=False):
        for stream, windows in batch.streams.items():
            changed[stream] = _changed(windows, apply_BK, config, replace(draws, stream=stream))
    return replace(batch, streams=changed)


def choose(config: AugmentConfig, draws: Draws) -> Tensor:
    """Which operations which rows have [B, K]: `layers` different ones, each with `probability`."""
    K = len(config.ops)
    rank_BK = draws.together("which", K).argsort(dim=1, stable=True).argsort(dim=1)
    return (rank_BK < config.layers) & (draws.together("whether", K) < config.probability)


def _changed(windows: Windows, apply_BK: Tensor, config: AugmentConfig, draws: Draws) -> Windows:
    x_BCT, missing_BCT = windows.physical()
    rest_BC1, deviation_B11 = rest_and_deviation(x_BCT, missing_BCT)
    about = About(
        windows.modality,
        windows.channels,
        windows.rate_hz,
        rest_BC1,
        deviation_B11,
        config.strength,
    )
    for name, apply_B in zip(config.ops, apply_BK.unbind(1), strict=True):
        own = replace(draws, purpose=f"{draws.purpose} {name}")
        new_BCT, gone_BCT = OPERATIONS[name](x_BCT, missing_BCT, about, own)
        x_BCT = torch.where(apply_B[:, None, None], new_BCT, x_BCT)
        missing_BCT = torch.where(apply_B[:, None, None], gone_BCT, missing_BCT)
    # Said without looking, because a GPU would have to be waited for.
    complete = windows.complete and "lead_dropout" not in config.ops
    return windows.changed(x_BCT, missing_BCT, complete)


def _check(batch: Batch, config: AugmentConfig) -> None:
    """Raises `ValueError` where there is no stream for the mains."""
    fastest_hz = max(windows.rate_hz for windows in batch.streams.values())
    if "powerline" in config.ops and fastest_hz <= 2 * min(noise.MAINS_HZ):
        raise ValueError(
            f"ops: windows at {fastest_hz:g} Hz cannot hold powerline noise of {min(noise.MAINS_HZ):g} Hz: leave "
            "powerline out, or build shards of a higher rate"
        )
