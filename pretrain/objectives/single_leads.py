"""Windows cut into stretches, and embedded one lead at a time.

Shape suffixes: B rows, N stretches of a row, X windows, C channels, L leads, T time, D width.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from ...models.clocs_encoder import ClocsEncoder
from ...models.encoder import Encoder
from ...signals.types import MISSING
from ...signals.windows import Windows, with_channels


def cut(windows: Windows, stretches: int) -> Windows:
    """Windows [B, C, N · T] → their stretches [B · N, C, T], those of a row one after the other.

    Raises `ValueError` where they do not divide evenly.
    """
    B, C, samples = windows.samples.shape
    if samples % stretches:
        raise ValueError(
            f"windows of {samples} samples cannot be cut into {stretches} equal ones: the reader has to be made "
            f"with views={stretches}"
        )
    cut_BCNT = windows.samples.reshape(B, C, stretches, samples // stretches)
    return replace(
        windows,
        samples=cut_BCNT.transpose(1, 2).flatten(0, 1),
        scale=windows.scale.repeat_interleave(stretches, dim=0),
        offset=windows.offset.repeat_interleave(stretches, dim=0),
    )


def embed_leads(encoder: Encoder, windows: Windows) -> Tensor:
    """What an encoder makes of each channel of the windows alone [X, L, D], as if there were no other.

    Gradients and batch statistics are those of one pass over all leads, except where each has an embedding of
    its own in a separate token (a vit of span `lead`): there leads are passes, without a norm over the batch.
    """
    if isinstance(encoder, ClocsEncoder):
        # To this encoder all leads are one: any may go under the first one's name.
        alone = replace(
            windows,
            channels=windows.channels[:1],
            samples=windows.samples.flatten(0, 1)[:, None],
            scale=windows.scale.flatten()[:, None],
            offset=windows.offset.flatten()[:, None],
        )
    elif encoder.tokenizer.joint:
        alone = one_by_one(windows)
    else:
        parts = [encoder(with_channels(windows, (name,))) for name in windows.channels]
        return torch.stack(parts, dim=1)
    z_ND: Tensor = encoder(alone)
    return z_ND.view(len(windows.samples), len(windows.channels), encoder.dim)


def embed_whole(encoder: Encoder, windows: Windows) -> Tensor:
    """What an encoder makes of all channels together, as if they were one [X, 1, D]."""
    z_XD: Tensor = encoder(windows)
    return z_XD[:, None]


def one_by_one(windows: Windows) -> Windows:
    """Every window as many times as it has channels [X · L, L, T], each time with one of them alone."""
    X, L, T = windows.samples.shape
    missing = torch.nan if windows.samples.is_floating_point() else MISSING
    others_LL = ~torch.eye(L, dtype=torch.bool, device=windows.samples.device)
    alone_XLLT = (
        windows.samples[:, None].expand(X, L, L, T).masked_fill(others_LL[..., None], missing)
    )
    return replace(
        windows,
        samples=alone_XLLT.flatten(0, 1),
        scale=windows.scale.repeat_interleave(L, dim=0),
        offset=windows.offset.repeat_interleave(L, dim=0),
        complete=windows.complete and L == 1,
    )
