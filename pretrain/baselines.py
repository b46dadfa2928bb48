"""What a masked autoencoder has to beat: predictors that learn nothing, or one covariance matrix.

All are judged on the very masks, targets and samples of the validation loss.

- patch mean: knows the true mean of each hidden patch, and nothing else;
- linear interpolation: joins what is visible of the lead before and after, in time;
- ridge from visible leads: the linear regression of a hidden lead on the leads visible at the same
  instant, fitted on training windows. One covariance of the leads gives it for every pattern of masks. It is
  defined only where leads are masked one by one.

Shape suffixes: B batch, C channels, N patches in time, P samples of a patch.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor

from ..models.tokenizer import Patches
from ..signals.windows import Batch
from .objectives.mae import MAE, Mask, draw_mask, normalise

RIDGE = 1e-3
"""Added to the leads' variances (1 in standardised units): 12 leads have rank 8, so some must be."""


@torch.no_grad()
def baselines(
    objective: MAE, train: Iterable[Batch], validation: Iterable[Batch]
) -> dict[str, float]:
    """Mean squared error of each predictor over the validation windows, in the space of the loss."""
    patch = objective.encoder.config.patch
    channels = len(patch.channels) if patch.span == "all" else 1
    covariance_CC = lead_covariance(objective, train) if patch.span == "lead" else None
    sums: dict[str, float] = {}
    count = 0.0
    for batch in validation:
        if not len(batch):
            continue
        patches = objective.encoder.tokenizer.patches(batch.streams[objective.stream])
        mask = draw_mask(batch, patches, objective.config.mask_ratio)
        guesses = {
            "patch mean": patches.values_BGNP.mean(dim=-1, keepdim=True).expand_as(
                patches.values_BGNP
            ),
            "linear interpolation": interpolate(patches, mask, channels),
        }
        if covariance_CC is not None:
            guesses["ridge from visible leads"] = regress(patches, mask, covariance_CC)
        weight = (mask.masked[..., None] & patches.valid_BGNP).float()
        for name, guess in guesses.items():
            error = in_loss_space(guess, patches, objective.config.target)
            sums[name] = sums.get(name, 0.0) + float((error.square() * weight).sum())
        count += float(weight.sum())
    return {name: value / max(count, 1.0) for name, value in sums.items()}


def in_loss_space(guess_BGNP: Tensor, patches: Patches, target: str) -> Tensor:
    """The error of a guessed signal as the loss sees it.

    Where targets are normalised patch by patch, a guess's own level does not count (it is removed), and
    the true deviation is the unit.
    """
    if target == "window":
        return guess_BGNP - patches.values_BGNP
    x_BGNP = patches.values_BGNP
    deviation = (x_BGNP.var(dim=-1, keepdim=True, unbiased=False) + 1e-6).sqrt()
    return (guess_BGNP - guess_BGNP.mean(dim=-1, keepdim=True)) / deviation - normalise(patches)


def interpolate(patches: Patches, mask: Mask, channels: int) -> Tensor:
    """Each lead's hidden samples on the straight line between the visible ones around them."""
    B, G, N, P = patches.values_BGNP.shape
    lead = P // channels

    def leads(x: Tensor) -> Tensor:  # [B, G, N, channels·lead] → [B·G·channels, N·lead]
        return x.view(B, G, N, channels, lead).permute(0, 1, 3, 2, 4).reshape(-1, N * lead)

    visible = ~mask.masked[..., None] & patches.valid_BGNP
    x, seen = leads(patches.values_BGNP).cpu().numpy().copy(), leads(visible).cpu().numpy()
    time = np.arange(N * lead)
    for row, known in zip(x, seen, strict=True):
        if known.any():
            row[~known] = np.interp(time[~known], time[known], row[known])
        else:
            row[:] = 0.0
    back = (
        torch.from_numpy(x).view(B, G, channels, N, lead).permute(0, 1, 3, 2, 4).reshape(B, G, N, P)
    )
    return back.to(patches.values_BGNP.device)


def lead_covariance(objective: MAE, train: Iterable[Batch]) -> Tensor:
    """Covariance [C, C] of the leads at one instant, over training windows."""
    sums: Tensor | None = None
    count = 0
    for batch in train:
        x_BCNP = objective.encoder.tokenizer.patches(batch.streams[objective.stream]).values_BGNP
        x_CX = x_BCNP.transpose(0, 1).flatten(1).double()
        sums = x_CX @ x_CX.T + (0 if sums is None else sums)
        count += x_CX.shape[1]
    if sums is None:
        raise ValueError("no training window to fit the ridge regression on")
    return sums / count


def regress(patches: Patches, mask: Mask, covariance_CC: Tensor) -> Tensor:
    """Every lead from those visible at the same instant: E[x | visible] under the leads' covariance."""
    x_BNCP = patches.values_BGNP.transpose(1, 2).double()
    seen_BNC = (~mask.masked & patches.present_BGN).transpose(1, 2)
    C = len(covariance_CC)
    eye = torch.eye(C, dtype=torch.float64, device=x_BNCP.device)
    both_BNCC = seen_BNC[..., :, None] & seen_BNC[..., None, :]
    # Hidden rows become rows of the identity, so that one batched solve serves every pattern.
    known_BNCC = torch.where(both_BNCC, covariance_CC + RIDGE * eye, eye)
    visible_BNCP = torch.where(seen_BNC[..., None], x_BNCP, 0.0)
    weights_BNCP = torch.linalg.solve(known_BNCC, visible_BNCP)
    weights_BNCP = torch.where(seen_BNC[..., None], weights_BNCP, 0.0)
    return (covariance_CC @ weights_BNCP).transpose(1, 2).to(patches.values_BGNP.dtype)
