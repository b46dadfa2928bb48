"""Which objective is defined for which backbone.

- What is hidden can be filled in from its neighbours: masked objectives take every backbone in which a token
  knows of others in both directions.
- Contrastive predictive coding says what comes from what was: it takes those that see the past alone.
- Contrast between whole windows takes all.
"""

from __future__ import annotations

from typing import Literal, get_args

from ...models.encoder import EncoderConfig

ObjectiveName = Literal["mae", "jepa", "cpc", "clocs", "simclr", "byol", "multimodal"]

BOTH_WAYS = frozenset({"vit", "xresnet", "s4"})
PAST_ALONE = frozenset({"lstm", "s4_causal"})
ALL = BOTH_WAYS | PAST_ALONE | {"clocs"}

BACKBONES: dict[ObjectiveName, frozenset[str]] = {
    "mae": BOTH_WAYS,
    "jepa": BOTH_WAYS,
    "cpc": PAST_ALONE,
    "clocs": ALL,
    "simclr": ALL,
    "byol": ALL,
    "multimodal": ALL,
}
assert set(BACKBONES) == set(get_args(ObjectiveName))


def check_backbone(objective: ObjectiveName, encoder: EncoderConfig) -> None:
    """Raises `ValueError` where the objective is not defined for the backbone."""
    takes = BACKBONES[objective]
    if encoder.backbone not in takes:
        raise ValueError(
            f"model.backbone: {objective} takes {', '.join(sorted(takes))}, not {encoder.backbone}"
        )
