"""Grad-CAM over lead × time: what spoke for a class (Selvaraju et al., ICCV 2017), in one dimension.

- The map is what a model averages over time: the last map of a model of the zoo, or the tokens of the
  encoder that enter the mean. Its features are weighted by the gradient of the class's output, averaged
  over time; their sum, where positive, is Grad-CAM. With a mean and a linear layer above, that is each
  step's exact part of the output.
- A step of the map spans all leads (unless tokens are of one lead), and what stands in it has seen far
  beyond it, above all behind attention. So, as in the paper's Guided Grad-CAM, it is multiplied with a fine map
  of the input, here |gradient × input|: what the output would lose, to first order, if the sample
  were at 0 mV. Not with guided backpropagation, as there: that hardly depends on the weights
  (Adebayo et al., NeurIPS 2018).
- Randomising the weights must change the map: the tests do so, and plant a cause that must be found.

Shape suffixes: B batch, C channels, T time, K features, N steps, G groups of tokens, L tokens, D width.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...models.vit import ViTEncoder
from ...models.zoo.base import Classifier
from ...signals.windows import Windows
from .rollout import spread_patches

FINEST = 100
"""Parts of a window within which gradient × input is averaged: by the sample it would follow the noise."""


@dataclass(frozen=True, kw_only=True)
class _Traced(Windows):
    """Windows whose physical samples are a leaf of the graph, so that there is a gradient for them."""

    leaf: Tensor
    missing: Tensor

    def physical(self) -> tuple[Tensor, Tensor]:
        return self.leaf, self.missing


def class_importance(
    model: Callable[[Windows], Tensor],
    windows: Windows,
    target: int,
    backbone: ViTEncoder | Classifier,
) -> tuple[Tensor, Tensor]:
    """(importance of every sample for the output `target` [B, C, T], 0 or more; outputs [B, K]).

    `model` maps windows to outputs before any sigmoid or softmax, in evaluation mode, through `backbone`.
    Windows are what the backbone sees at once: crop them before. No gradient of a weight is changed.
    Raises `ValueError` where the model has no such output or does not run `backbone`.
    """
    x_BCT, missing_BCT = windows.physical()
    traced = _Traced(**vars(windows), leaf=x_BCT.detach().requires_grad_(), missing=missing_BCT)
    layer = averaged_layer(backbone)
    seen: list[Tensor] = []
    hook = layer.register_forward_hook(lambda _module, _given, out: seen.append(out))
    try:
        with torch.enable_grad():
            outputs_BK = model(traced)
    finally:
        hook.remove()
    if not seen:
        raise ValueError(f"the model never ran the {type(backbone).__name__} that it was said to")
    if not 0 <= target < outputs_BK.shape[1]:
        raise ValueError(f"target {target}: the model has {outputs_BK.shape[1]} outputs")
    # Rows do not know each other in evaluation mode, so that one pass is enough for all.
    towards_map, towards_BCT = torch.autograd.grad(
        outputs_BK[:, target].sum(), (seen[-1], traced.leaf)
    )
    moved_BCT = (towards_BCT * traced.leaf).detach().abs()
    with torch.no_grad():
        if isinstance(backbone, Classifier):
            found = _of_map(seen[-1], towards_map, moved_BCT)
        else:
            found = _of_tokens(backbone, windows, seen[-1], towards_map, moved_BCT)
    return found, outputs_BK.detach()


def averaged_layer(backbone: ViTEncoder | Classifier) -> nn.Module:
    """The layer whose output is averaged over time."""
    if isinstance(backbone, Classifier):
        return backbone.last_map
    if backbone.config.norm == "tokens":
        return backbone.blocks.norm
    last: nn.Module = backbone.blocks.blocks[-1]
    return last


def weighted(map_BKN: Tensor, towards_BKN: Tensor) -> Tensor:
    """Grad-CAM [B, N] of a map and the gradient towards it."""
    weight_BK1 = towards_BKN.mean(dim=2, keepdim=True)
    return (weight_BK1 * map_BKN).sum(dim=1).relu()


def _of_map(map_BKN: Tensor, towards_BKN: Tensor, moved_BCT: Tensor) -> Tensor:
    """Of a map over time [B, C, T]."""
    T = moved_BCT.shape[2]
    cam_BN = weighted(map_BKN, towards_BKN)
    cam_B1T = F.interpolate(cam_BN[:, None], T, mode="linear", align_corners=False)
    fine_BCN = F.adaptive_avg_pool1d(moved_BCT, min(T, FINEST))
    return cam_B1T * F.interpolate(fine_BCN, T, mode="nearest-exact")


def _of_tokens(
    encoder: ViTEncoder, windows: Windows, map_BLD: Tensor, towards_BLD: Tensor, moved_BCT: Tensor
) -> Tensor:
    """Of tokens, each of one lead or of all [B, C, T]."""
    P = encoder.config.patch.samples
    there_BCN = encoder.tokenizer.patches(windows).present_BCN
    if encoder.tokenizer.joint:
        there_BCN = there_BCN.any(dim=1, keepdim=True)
    B, G, N = there_BCN.shape

    def patches(x_BLD: Tensor) -> Tensor:
        kept_BGND = encoder.grouped(x_BLD, G)
        return (kept_BGND * there_BCN[..., None]).flatten(1, 2).transpose(1, 2)

    cam_BGN = weighted(patches(map_BLD), patches(towards_BLD)).view(B, G, N)
    fine_BCN = moved_BCT[..., : N * P].reshape(B, -1, N, P).mean(dim=3)
    return spread_patches(cam_BGN * fine_BCN, moved_BCT.shape[2], P)
