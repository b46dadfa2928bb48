"""Encoders of one modality or several, from their configs; and configs from the plain values kept of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .encoder import Embedder, EncoderConfig
from .make_encoder import make_encoder
from .multimodal import MultimodalConfig, MultimodalEncoder
from .tokenizer import PatchConfig

AnyConfig = EncoderConfig | MultimodalConfig


def make_embedder(config: AnyConfig) -> Embedder:
    """A new encoder, randomly initialised."""
    if isinstance(config, MultimodalConfig):
        return MultimodalEncoder(config)
    return make_encoder(config)


def stored_config(fields: Mapping[str, Any]) -> AnyConfig:
    """The config of which `dataclasses.asdict` made these values, and JSON kept them."""
    if "encoders" in fields:
        encoders = {m: _stored_encoder(of) for m, of in fields["encoders"].items()}
        return MultimodalConfig(**{**fields, "encoders": encoders})
    return _stored_encoder(fields)


def _stored_encoder(fields: Mapping[str, Any]) -> EncoderConfig:
    patch = {**fields["patch"], "channels": tuple(fields["patch"]["channels"])}
    return EncoderConfig(**{**fields, "patch": PatchConfig(**patch)})
