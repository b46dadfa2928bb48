"""From electrodes to leads: noise that arises at an electrode is in every lead that uses it.

So it obeys Einthoven's and Goldberger's laws as the heart does: a loose right arm shows in all limb leads, and
by Wilson's terminal a little in the chest leads.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

_WILSON = {"RA": -1 / 3, "LA": -1 / 3, "LL": -1 / 3}
LEADS: dict[str, dict[str, float]] = {
    "I": {"LA": 1.0, "RA": -1.0},
    "II": {"LL": 1.0, "RA": -1.0},
    "III": {"LL": 1.0, "LA": -1.0},
    "aVR": {"RA": 1.0, "LA": -0.5, "LL": -0.5},
    "aVL": {"LA": 1.0, "RA": -0.5, "LL": -0.5},
    "aVF": {"LL": 1.0, "RA": -0.5, "LA": -0.5},
    **{f"V{n}": {f"V{n}": 1.0, **_WILSON} for n in range(1, 7)},
}
"""Lead → electrode → what its potential counts."""


@lru_cache(maxsize=64)
def potentials(
    modality: str, channels: tuple[str, ...], device: torch.device, dtype: torch.dtype
) -> Tensor:
    """Weights of electrodes in channels [C, E]; a channel that is none of the twelve leads has an electrode of its own.

    Kept, because a copy to a GPU would make it wait.
    """
    leads = LEADS if modality == "ecg" else {}
    weights = [leads.get(channel, {channel: 1.0}) for channel in channels]
    electrodes = list(dict.fromkeys(name for of in weights for name in of))
    rows = [[of.get(name, 0.0) for name in electrodes] for of in weights]
    return torch.tensor(rows, device=device, dtype=dtype)
