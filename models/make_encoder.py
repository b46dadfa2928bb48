"""Encoders from their configs, and configs from the plain values that were kept of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .clocs_encoder import ClocsEncoder
from .encoder import Encoder, EncoderConfig
from .sequence import CausalS4Encoder, LSTMEncoder, S4Encoder, XResNetEncoder
from .tokenizer import PatchConfig
from .vit import ViTEncoder

ENCODERS: dict[str, type[Encoder]] = {
    "vit": ViTEncoder,
    "xresnet": XResNetEncoder,
    "lstm": LSTMEncoder,
    "s4": S4Encoder,
    "s4_causal": CausalS4Encoder,
    "clocs": ClocsEncoder,
}


def make_encoder(config: EncoderConfig) -> Encoder:
    """A new encoder, randomly initialised."""
    return ENCODERS[config.backbone](config)


def stored_config(fields: Mapping[str, Any]) -> EncoderConfig:
    """The config of which `dataclasses.asdict` made these values, and JSON kept them."""
    patch = {**fields["patch"], "channels": tuple(fields["patch"]["channels"])}
    return EncoderConfig(**{**fields, "patch": PatchConfig(**patch)})
