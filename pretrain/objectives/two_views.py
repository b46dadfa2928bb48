"""What SimCLR and BYOL share: two changed views of every row, and the heads that are thrown away after pretraining.

Shape suffixes: B rows of a batch, V = 2 · B rows of both views, C channels, T time.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from ...models.encoder import Encoder
from ...signals.augmentations import AugmentConfig, augment
from ...signals.randomness import uniform
from ...signals.windows import Batch, Windows, crop


@dataclass(frozen=True)
class ViewsConfig:
    """How a window becomes a view. What changes it must leave what is to be learned."""

    crop_s: float | None = 5.0
    """Length of the stretch of a window that a view shows, in seconds; each view begins at a time of its own.
    null: all of the window."""
    augment: AugmentConfig = AugmentConfig(
        ops=("wander", "partial_white_noise", "cutout", "lead_dropout", "scale"),
        layers=3,
        probability=0.8,
    )
    """What is done to a view. Not among the defaults: turning an ECG over, which changes its diagnosis."""

    def __post_init__(self) -> None:
        if self.crop_s is not None and not self.crop_s > 0:
            raise ValueError(f"crop_s must be above 0 s, or null, not {self.crop_s}")
        if self.crop_s is None and not self.augment.ops:
            raise ValueError(
                "both views would be the window as it is: set crop_s, or name operations in augment.ops"
            )


def two_views(batch: Batch, stream: str, config: ViewsConfig) -> Windows:
    """The first view of all rows, then the second [V, C, T]. Raises `ValueError` where crops do not fit."""
    one, other = (view(batch, stream, config, number) for number in (0, 1))
    return replace(
        one,
        samples=torch.cat([one.samples, other.samples]),
        scale=torch.cat([one.scale, other.scale]),
        offset=torch.cat([one.offset, other.offset]),
    )


def view(batch: Batch, stream: str, config: ViewsConfig, number: int) -> Windows:
    """A view of every row, drawn by position, and by its number."""
    windows = batch.streams[stream]
    if config.crop_s is not None:
        spare_s = windows.samples.shape[2] / windows.rate_hz - config.crop_s
        u_B1 = uniform(batch.seed, batch.epoch, batch.positions, f"crop {number}", 1)
        windows = crop(windows, u_B1[:, 0].double() * spare_s, config.crop_s)
    alone = replace(batch, streams={stream: windows})
    return augment(alone, config.augment, number).streams[stream]


def rows_there(encoder: Encoder, batch: Batch, stream: str, config: ViewsConfig) -> Tensor:
    """Which rows have a patch in both views [B]; the others take no part."""
    whole = batch.streams[stream]
    if whole.complete:
        # Operations leave something of every window.
        return torch.ones(len(batch), dtype=torch.bool, device=whole.samples.device)
    patches = encoder.tokenizer.patches(two_views(batch, stream, config))
    one_B, other_B = patches.present_BCN.flatten(1).any(dim=1).chunk(2)
    return one_B & other_B


def head(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    """Two layers. Layer norm between them, and not batch norm: a run is the same on any number of processes."""
    return nn.Sequential(
        nn.Linear(inputs, hidden), nn.LayerNorm(hidden), nn.ReLU(), nn.Linear(hidden, outputs)
    )


def check_widths(hidden: int, dim: int) -> None:
    """Raises `ValueError` where a head would have no width."""
    if hidden < 1 or dim < 1:
        raise ValueError(f"hidden and dim must be 1 or more, not {hidden} and {dim}")
