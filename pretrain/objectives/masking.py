"""Masks of whole batches: each row's is a function of (seed, epoch, position), the same at any number of ranks.

Shape suffixes: B batch, C channels, N patches in time, G groups of tokens (the leads, or 1), K kept patches.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from ...models.masks import Mask, keep_some
from ...models.tokenizer import Patches
from ...signals.randomness import uniform
from ...signals.windows import Batch

Along = Literal["both", "time", "lead"]


def random_mask(
    batch: Batch,
    patches: Patches,
    *,
    joint: bool,
    along: Along,
    ratio: float,
    lead_ratio: float = 0.0,
    apart: str = "",
) -> Mask:
    """Hide a share `ratio` of every row at random; masks `apart` of one batch are drawn independently.

    Missing patches are neither visible nor hidden.

    Where tokens are `joint` (span all leads): `time` hides instants, `lead` hides leads from end to end, and
    `both` hides instants, and of each instant that stays a share `lead_ratio` of the leads. Where a token is of
    one lead: `time` hides the same instants in all leads, `lead` hides leads, `both` draws for each lead alone.

    Raises `ValueError` for windows of one patch.
    """
    present_BCN = patches.present_BCN
    B, C, N = present_BCN.shape
    if along == "lead":
        return _leads_mask(batch, patches, joint=joint, ratio=ratio, apart=apart)
    if N < 2:
        raise ValueError(
            "a window of one patch leaves nothing to hide: shorten model.patch.samples or lengthen data.window_s"
        )
    if not joint:
        numbers = C * N if along == "both" else N
        noise = uniform(batch.seed, batch.epoch, batch.positions, f"mask{apart}", numbers)
        noise_BCN = noise.view(B, -1, N).expand(B, C, N)
        keep, attend, kept_BCN = keep_some(noise_BCN, present_BCN, ratio, patches.complete)
        return Mask(keep, attend, kept_BCN, present_BCN & ~kept_BCN)
    noise_B1N = uniform(batch.seed, batch.epoch, batch.positions, f"mask{apart}", N).view(B, 1, N)
    there_B1N = present_BCN.any(dim=1, keepdim=True)
    keep, attend, kept_B1N = keep_some(noise_B1N, there_B1N, ratio, patches.complete)
    visible_BCN = present_BCN & kept_B1N
    if along == "both":
        numbers_BCN = uniform(batch.seed, batch.epoch, batch.positions, f"leads{apart}", C * N)
        visible_BCN &= shown(numbers_BCN.view(B, C, N), present_BCN, lead_ratio)
    return Mask(keep, attend, visible_BCN, present_BCN & ~visible_BCN)


def block_mask(batch: Batch, patches: Patches, *, joint: bool, ratio: float, block: int) -> Mask:
    """Hide about a share `ratio` of every row in blocks of `block` patches in time, the same for all leads.

    Every way to lay so many blocks that do not overlap is equally likely; they may touch. Missing patches are
    neither visible nor hidden, and a row of which nothing is visible has nothing hidden: there is nothing to say
    it from. `joint` says that a token spans all leads.

    Raises `ValueError` where a block would leave nothing of a window.
    """
    present_BCN = patches.present_BCN
    B, _, N = present_BCN.shape
    blocks = min(max(1, round(ratio * N / block)), (N - 1) // block)
    if blocks < 1:
        raise ValueError(
            f"a block of {block} patches leaves nothing of a window of {N}: shorten objective.block_s, or lengthen "
            "data.window_s"
        )
    # A row is a list of blocks and of single patches that stay; which of its entries are blocks is drawn.
    kept = N - blocks * block
    noise = uniform(batch.seed, batch.epoch, batch.positions, "blocks", kept + blocks)
    is_block = noise.argsort(dim=1, stable=True).argsort(dim=1) < blocks
    length = torch.where(is_block, block, 1)
    start = length.cumsum(dim=1) - length
    keep_BK = start.masked_fill(is_block, N).sort(dim=1).values[:, :kept]
    shown_B1N = torch.zeros(B, 1, N, dtype=torch.bool, device=keep_BK.device)
    shown_B1N.scatter_(2, keep_BK[:, None], True)
    visible_BCN = present_BCN & shown_B1N
    told_B11 = visible_BCN.flatten(1).any(dim=1)[:, None, None]
    there_BGN = present_BCN.any(dim=1, keepdim=True) if joint else present_BCN
    keep_BGK = keep_BK[:, None].expand(B, there_BGN.shape[1], kept)
    attend_BGK = None if patches.complete else there_BGN.gather(2, keep_BGK)
    return Mask(keep_BGK, attend_BGK, visible_BCN, present_BCN & ~shown_B1N & told_B11)


def _leads_mask(batch: Batch, patches: Patches, *, joint: bool, ratio: float, apart: str) -> Mask:
    """Leads hidden from end to end."""
    present_BCN = patches.present_BCN
    B, C, N = present_BCN.shape
    if C < 2:
        raise ValueError(
            "a window of one lead leaves no lead to hide: choose objective.mask time, or more channels"
        )
    there_BC1 = present_BCN.any(dim=2, keepdim=True)
    noise_BC1 = uniform(batch.seed, batch.epoch, batch.positions, f"leads{apart}", C).view(B, C, 1)
    visible_BCN = present_BCN & shown(noise_BC1, there_BC1, ratio)
    everything = torch.arange(N, device=present_BCN.device)
    hidden_BCN = present_BCN & ~visible_BCN
    if not joint:
        return Mask(everything.expand(B, C, N), visible_BCN, visible_BCN, hidden_BCN)
    there_B1N = present_BCN.any(dim=1, keepdim=True)
    attend = None if patches.complete else there_B1N
    return Mask(everything.expand(B, 1, N), attend, visible_BCN, hidden_BCN)


def shown(noise_BCN: Tensor, present_BCN: Tensor, ratio: float) -> Tensor:
    """At each instant, all but a share `ratio` of the leads that are there: one at least."""
    # Ranks among the leads that are there: at each instant the same share of them is hidden.
    rank_BCN = (noise_BCN + (~present_BCN).float()).argsort(dim=1, stable=True).argsort(dim=1)
    shown_B1N = present_BCN.sum(dim=1, keepdim=True) * (1 - ratio)
    return rank_BCN < shown_B1N.round().clamp_min(1)
