"""Attention rollout: where an encoder's embedding looks, with or without a task (Abnar & Zuidema, ACL 2020).

- Of each block the attention is averaged over heads, and half of it is the token itself, for the
  residual path: (A + 1) / 2. The product over blocks says from which input tokens an output token comes;
  its rows sum to 1. An embedding is the mean over tokens, and so is its row.
- What separators and missing patches are given is left out, so that the rest sums to at most 1.
- Where a token is of one lead, that is lead × time. Where it spans all leads, rollout is over time alone,
  and a lead's share is how far the embedding moves when that lead is absent (occlusion: our encoders read
  any subset of leads). The product of the two says when and which leads, not which lead when.
- It follows attention alone, and not what the blocks make of it: it shows where information may have come
  from, and does not prove that it was used (Jain & Wallace, NAACL 2019).

Shape suffixes: B batch, C channels, T time, G groups of tokens, N patches in time, L tokens, H heads.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ...models.layers import Attention
from ...models.vit import ViTEncoder
from ...signals.types import MISSING
from ...signals.windows import Windows


@torch.no_grad()
def encoder_importance(encoder: ViTEncoder, windows: Windows) -> Tensor:
    """How much of each sample went into the embedding [B, C, T]; a tail shorter than a patch gets 0."""
    rollout_BGN = attention_rollout(encoder, windows)
    if encoder.tokenizer.joint:
        rollout_BGN = rollout_BGN * lead_shares(encoder, windows)[..., None]
    return spread_patches(rollout_BGN, windows.samples.shape[2], encoder.config.patch.samples)


@torch.no_grad()
def attention_rollout(encoder: ViTEncoder, windows: Windows) -> Tensor:
    """From which tokens of patches the embedding comes [B, G, N]."""
    patches = encoder.tokenizer.patches(windows)
    there_BGN = patches.present_BCN
    if encoder.tokenizer.joint:
        there_BGN = there_BGN.any(dim=1, keepdim=True)
    with recorded_attention(encoder) as attentions:
        encoder(windows)
    from_BLL = rolled_out(attentions)
    B, G, _ = there_BGN.shape
    inner = slice(1, -1) if encoder.config.patch.separators else slice(None)
    pooled_BGN = torch.zeros_like(from_BLL[:, 0]).view(B, G, -1)
    pooled_BGN[:, :, inner] = there_BGN.to(from_BLL.dtype)
    row_BL = pooled_BGN.flatten(1)
    row_BL = row_BL / row_BL.sum(dim=1, keepdim=True).clamp_min(1)
    embedding_BL = (row_BL[:, None] @ from_BLL).squeeze(1)
    return embedding_BL.view(B, G, -1)[:, :, inner] * there_BGN


def rolled_out(attentions: list[Tensor]) -> Tensor:
    """Attention of every block [B, L, L], first to last → rollout [B, L, L], output tokens in rows."""
    here_LL = torch.eye(attentions[0].shape[-1], device=attentions[0].device)
    rollout_BLL = here_LL.expand_as(attentions[0])
    for attention_BLL in attentions:
        rollout_BLL = (attention_BLL + here_LL) / 2 @ rollout_BLL
    return rollout_BLL


@contextmanager
def recorded_attention(encoder: ViTEncoder) -> Iterator[list[Tensor]]:
    """A list that gets the attention [B, L, L] of every block, averaged over heads, as the encoder runs.

    The fused kernel keeps none, so it is computed a second time from what each block was given.
    """
    seen: list[Tensor] = []

    def record(module: Attention, given: tuple[Any, ...]) -> None:
        seen.append(attention_weights(module, *given).mean(dim=1))

    layers = [module for module in encoder.blocks.modules() if isinstance(module, Attention)]
    hooks = [layer.register_forward_pre_hook(record) for layer in layers]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


def attention_weights(module: Attention, x_BLD: Tensor, attend_BL: Tensor | None = None) -> Tensor:
    """What each token looks at, in each head: float32 [B, H, L, L], rows sum to 1."""
    B, L, D = x_BLD.shape
    width = D // module.heads
    qkv = module.qkv(x_BLD).float().view(B, L, 3, module.heads, width)
    q_BHLW, k_BHLW, _ = qkv.permute(2, 0, 3, 1, 4)
    scores_BHLL = q_BHLW @ k_BHLW.transpose(-1, -2) * width**-0.5
    if attend_BL is not None:
        scores_BHLL = scores_BHLL.masked_fill(~attend_BL[:, None, None], -torch.inf)
    weights_BHLL: Tensor = scores_BHLL.softmax(dim=-1)
    return weights_BHLL


@torch.no_grad()
def lead_shares(encoder: ViTEncoder, windows: Windows) -> Tensor:
    """How far the embedding moves without each lead, as shares [B, C] that sum to 1."""
    whole_BD = encoder(windows)
    moves = []
    for channel in range(len(windows.channels)):
        samples = windows.samples.clone()
        samples[:, channel] = MISSING
        without_BD = encoder(replace(windows, samples=samples, complete=False))
        moves.append((whole_BD - without_BD).norm(dim=1))
    return shares(torch.stack(moves, dim=1))


def shares(amounts: Tensor) -> Tensor:
    """Amounts [B, C, …] as shares of their sum over C; equal ones where all are 0."""
    total = amounts.sum(dim=1, keepdim=True)
    equal = torch.full_like(amounts, 1 / amounts.shape[1])
    return torch.where(total > 0, amounts / total.where(total > 0, 1), equal)


def spread_patches(values_BCN: Tensor, samples: int, patch: int) -> Tensor:
    """Values of patches [B, C, N] as values of samples [B, C, T]; a tail shorter than a patch gets 0."""
    spread_BCT = values_BCN.repeat_interleave(patch, dim=2)
    return torch.nn.functional.pad(spread_BCT, (0, samples - spread_BCT.shape[2]))
