"""Encoders of one modality or several, from their configs; and configs from the plain values kept of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .encoder import Embedder, EncoderConfig
from .fused import FusedConfig, FusedEncoder
from .make_encoder import make_encoder
from .multimodal import MultimodalConfig, MultimodalEncoder
from .tokenizer import PatchConfig

AnyConfig = EncoderConfig | MultimodalConfig | FusedConfig


def make_embedder(config: AnyConfig) -> Embedder:
    """A new encoder, randomly initialised."""
    if isinstance(config, MultimodalConfig):
        return MultimodalEncoder(config)
    if isinstance(config, FusedConfig):
        return FusedEncoder(config)
    return make_encoder(config)


def stored_config(fields: Mapping[str, Any]) -> AnyConfig:
    """The config of which `dataclasses.asdict` made these values, and JSON kept them."""
    if "encoders" in fields:
        encoders = {m: _stored_encoder(of) for m, of in fields["encoders"].items()}
        return MultimodalConfig(**{**fields, "encoders": encoders})
    if "patches" in fields:
        return FusedConfig(
            **{**fields, "patches": {m: _patch(of) for m, of in fields["patches"].items()}}
        )
    return _stored_encoder(fields)


def _stored_encoder(fields: Mapping[str, Any]) -> EncoderConfig:
    return EncoderConfig(**{**fields, "patch": _patch(fields["patch"])})


def _patch(fields: Mapping[str, Any]) -> PatchConfig:
    return PatchConfig(**{**fields, "channels": tuple(fields["channels"])})
