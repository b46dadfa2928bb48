"""Operations that move, hide, turn or stretch what is there.

`shift`, `cutout`, `drop`, `flip` and `erase` are those of ST-MEM's downstream recipe at its level 10 (Na et al.,
ICLR 2024, arXiv 2402.09450; definitions as released). There a window has mean 0 and deviation 1, and what is hidden
becomes 0; here each channel's mean, so that any modality has a place to rest.

Shapes: B batch, C channels, T time.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .base import About, Draws

MOST_HIDDEN = 0.3
"""Largest share of a window's time that is shifted out, cut out or dropped."""
LEADS_LOST = 0.5
"""Probability that a lead is lost: random lead masking (Oh et al., CHIL 2022, arXiv 2203.06889)."""
GAIN = 1.3
"""Largest factor of the size, and largest divisor."""


def stretch(about: About, draws: Draws, length: int) -> tuple[Tensor, Tensor]:
    """(time since a random stretch began, in samples [B, T], whether it lasts [B, T])."""
    share_B1 = draws.together("length") * (MOST_HIDDEN * about.strength)
    count_B1 = (share_B1 * length).long()
    start_B1 = (draws.together("start") * (length - count_B1)).long()
    since_BT = torch.arange(length, device=start_B1.device) - start_B1
    return since_BT, (since_BT >= 0) & (since_BT < count_B1)


def shift(x_BCT: Tensor, missing_BCT: Tensor, about: About, draws: Draws) -> tuple[Tensor, Tensor]:
    """Move a window forwards or backwards in time; where nothing comes in, channels rest."""
    T = x_BCT.shape[2]
    share_B1 = draws.together("by") * (MOST_HIDDEN * about.strength)
    by_B1 = (share_B1 * T).long() * torch.where(draws.together("way") < 0.5, -1, 1)
    from_BT = torch.arange(T, device=by_B1.device) - by_B1
    inside_B1T = ((from_BT >= 0) & (from_BT < T))[:, None]
    index_BCT = from_BT.clamp(0, T - 1)[:, None].expand_as(x_BCT)
    moved_BCT = torch.where(inside_B1T, x_BCT.gather(2, index_BCT), about.rest_BC1)
    return moved_BCT, missing_BCT.gather(2, index_BCT) & inside_B1T


def cutout(x_BCT: Tensor, missing_BCT: Tensor, about: About, draws: Draws) -> tuple[Tensor, Tensor]:
    """All channels rest during a stretch."""
    _, inside_BT = stretch(about, draws, x_BCT.shape[2])
    return torch.where(inside_BT[:, None], about.rest_BC1, x_BCT), missing_BCT


def drop(x_BCT: Tensor, missing_BCT: Tensor, about: About, draws: Draws) -> tuple[Tensor, Tensor]:
    """All channels rest at single samples, here and there."""
    T = x_BCT.shape[2]
    count_B1 = (draws.together("count") * int(MOST_HIDDEN * about.strength * T)).long()
    order_BT = draws.uniform("order", T)
    least_B1 = order_BT.sort(dim=1).values.gather(1, count_B1)
    return torch.where((order_BT < least_B1)[:, None], about.rest_BC1, x_BCT), missing_BCT


def flip(x_BCT: Tensor, missing_BCT: Tensor, about: About, draws: Draws) -> tuple[Tensor, Tensor]:
    """Turn all channels over, around where they rest."""
    return 2 * about.rest_BC1 - x_BCT, missing_BCT


def erase(x_BCT: Tensor, missing_BCT: Tensor, about: About, draws: Draws) -> tuple[Tensor, Tensor]:
    """One of the channels that are there rests throughout; the only one does not."""
    there_BC = ~missing_BCT.all(dim=2)
    chosen_BC = _largest(draws.uniform("channel", x_BCT.shape[1]), there_BC)
    erased_BC = chosen_BC & (there_BC.sum(dim=1, keepdim=True) > 1)
    return torch.where(erased_BC[..., None], about.rest_BC1, x_BCT), missing_BCT


def lead_dropout(
    x_BCT: Tensor, missing_BCT: Tensor, about: About, draws: Draws
) -> tuple[Tensor, Tensor]:
    """Channels are missing, each with a probability; one of those that are there stays."""
    luck_BC = draws.uniform("channel", x_BCT.shape[1])
    lost_BC = luck_BC < min(1.0, LEADS_LOST * about.strength)
    lost_BC &= ~_largest(luck_BC, ~missing_BCT.all(dim=2))
    return x_BCT, missing_BCT | lost_BC[..., None]


def scale(x_BCT: Tensor, missing_BCT: Tensor, about: About, draws: Draws) -> tuple[Tensor, Tensor]:
    """Channels swing more or less around where they rest, all by the same factor."""
    reach = about.strength * math.log(GAIN)
    gain_B11 = ((2 * draws.uniform("gain") - 1) * reach).exp()[..., None].to(x_BCT.dtype)
    return about.rest_BC1 + (x_BCT - about.rest_BC1) * gain_B11, missing_BCT


def _largest(value_BC: Tensor, of_BC: Tensor) -> Tensor:
    """Where a row's largest value among those of `of_BC` stands, as flags [B, C]; anywhere if there is none."""
    place_B1 = value_BC.masked_fill(~of_BC, -1.0).argmax(dim=1, keepdim=True)
    return torch.zeros_like(of_BC).scatter(1, place_B1, True)
