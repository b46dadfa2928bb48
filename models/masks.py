"""Which patches of a window an encoder sees, and which are hidden from it.

Shape suffixes: B batch, C channels, N patches in time, G groups of tokens (the leads, or 1), K kept tokens of
a group.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor


class Mask(NamedTuple):
    """What the encoder sees: `keep` [B, G, K] indices of tokens; `attend` [B, G, K] False for padding, None
    where there is none; `visible` and `hidden` [B, C, N] patches that are input and target."""

    keep: Tensor
    attend: Tensor | None
    visible: Tensor
    hidden: Tensor


def keep_some(
    noise_BGN: Tensor, present_BGN: Tensor, ratio: float, complete: bool
) -> tuple[Tensor, Tensor | None, Tensor]:
    """Keep `⌊n · (1 − ratio)⌋` of the n present tokens of each group, at least one.

    Returns their indices [B, G, K], False for those that are padding [B, G, K] (None when complete), and
    the kept tokens as flags [B, G, N]. ST-MEM keeps 7 of 30 at 0.75.
    """
    there_BG = present_BGN.sum(dim=-1)
    # In float64, and with a hair's breadth of room, so that 20 · (1 − 0.8) is 4 and not 3.99.
    kept_BG = (there_BG.double() * (1 - ratio) + 1e-9).floor().long().clamp_min(1).minimum(there_BG)
    N = noise_BGN.shape[-1]
    K = max(1, math.floor(N * (1 - ratio) + 1e-9))
    keep = (noise_BGN + (~present_BGN).float()).argsort(dim=-1, stable=True)[..., :K]
    if complete:
        return keep, None, torch.zeros_like(present_BGN).scatter(-1, keep, True)
    attend = torch.arange(K, device=keep.device) < kept_BG[..., None]
    return keep, attend, torch.zeros_like(present_BGN).scatter(-1, keep, attend)
