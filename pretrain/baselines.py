"""What a masked autoencoder has to beat: predictors that learn nothing, or one covariance matrix.

All are judged on the very masks, targets and samples of the validation loss.

- patch mean: knows the true mean of each hidden patch, and nothing else;
- linear interpolation: joins what is visible of the lead before and after, in time;
- ridge from visible leads: the linear regression of a hidden lead on the leads visible at the same
  instant, fitted on training windows; one covariance of the leads gives it for every pattern of masks.
  Where no lead is visible at an instant it says the mean, 0.

Shape suffixes: B batch, C channels, N patches in time, P samples of a patch.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from ..models.masks import Mask
from ..models.tokenizer import Patches, moments
from ..signals.windows import Batch
from .objectives.mae import MAE

RIDGE = 1e-3
"""Added to the leads' variances (1 in standardised units): 12 leads have rank 8, so some must be."""


@torch.no_grad()
def baselines(
    objective: MAE, train: Iterable[Batch], validation: Iterable[Batch]
) -> dict[str, float]:
    """Mean squared error of each predictor over the validation windows, in the space of the loss."""
    covariance_CC = lead_covariance(objective, train)
    sums: dict[str, float] = {}
    count = 0.0
    for batch in validation:
        if not len(batch):
            continue
        patches = objective.encoder.tokenizer.patches(batch.streams[objective.stream])
        mask = objective.draw_mask(batch, patches)
        weight = (mask.hidden[..., None] & patches.valid_BCNP).float()
        valid = None if patches.complete else patches.valid_BCNP
        guesses = {
            "patch mean": moments(patches.values_BCNP, valid, (-1,))[0].expand_as(
                patches.values_BCNP
            ),
            "linear interpolation": interpolate(patches, mask),
            "ridge from visible leads": regress(patches, mask, covariance_CC),
        }
        for name, guess in guesses.items():
            error = loss_error(objective, guess, patches)
            sums[name] = sums.get(name, 0.0) + float((error.square() * weight).sum())
        count += float(weight.sum())
    return {name: value / max(count, 1.0) for name, value in sums.items()}


def loss_error(objective: MAE, guess_BCNP: Tensor, patches: Patches) -> Tensor:
    """The error of a guessed signal as the loss sees it.

    Where every patch is normalised, so is every patch of the guess, by its own mean and deviation.
    """
    mean, deviation = objective.target_scale(patches)
    target = (patches.values_BCNP - mean) / deviation
    if objective.config.target == "patch":
        mean, deviation = objective.target_scale(replace(patches, values_BCNP=guess_BCNP))
    return (guess_BCNP - mean) / deviation - target


def interpolate(patches: Patches, mask: Mask) -> Tensor:
    """Each lead's hidden samples on the straight line between the visible ones around them."""
    x_BCNP = patches.values_BCNP
    visible_BCNP = mask.visible[..., None] & patches.valid_BCNP
    x = x_BCNP.flatten(2).flatten(0, 1).cpu().numpy().copy()
    seen = visible_BCNP.flatten(2).flatten(0, 1).cpu().numpy()
    time = np.arange(x.shape[1])
    for row, known in zip(x, seen, strict=True):
        row[~known] = np.interp(time[~known], time[known], row[known]) if known.any() else 0.0
    filled: Tensor = torch.from_numpy(x).reshape(x_BCNP.shape)
    return filled.to(x_BCNP.device)


def lead_covariance(objective: MAE, train: Iterable[Batch]) -> Tensor:
    """Covariance [C, C] of the leads at one instant, over training windows."""
    sums: Tensor | None = None
    count = 0
    for batch in train:
        x_BCNP = objective.encoder.tokenizer.patches(batch.streams[objective.stream]).values_BCNP
        x_CX = x_BCNP.transpose(0, 1).flatten(1).double()
        product: Tensor = x_CX @ x_CX.T
        sums = product if sums is None else sums + product
        count += x_CX.shape[1]
    if sums is None:
        raise ValueError("no training window to fit the ridge regression on")
    return sums / count


def regress(patches: Patches, mask: Mask, covariance_CC: Tensor) -> Tensor:
    """Every lead from those visible at the same instant: E[x | visible] under the leads' covariance."""
    x_BNCP = patches.values_BCNP.transpose(1, 2).double()
    seen_BNC = mask.visible.transpose(1, 2)
    eye = torch.eye(len(covariance_CC), dtype=torch.float64, device=x_BNCP.device)
    both_BNCC = seen_BNC[..., :, None] & seen_BNC[..., None, :]
    # Hidden rows become rows of the identity, so that one batched solve serves every pattern.
    known_BNCC = torch.where(both_BNCC, covariance_CC + RIDGE * eye, eye)
    visible_BNCP = torch.where(seen_BNC[..., None], x_BNCP, 0.0)
    weights_BNCP = torch.linalg.solve(known_BNCC, visible_BNCP)
    guess_BNCP: Tensor = covariance_CC @ weights_BNCP
    return guess_BNCP.transpose(1, 2).to(patches.values_BCNP.dtype)
