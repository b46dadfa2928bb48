"""Encoders of one modality, from their configs."""

from __future__ import annotations

from .clocs_encoder import ClocsEncoder
from .encoder import Encoder, EncoderConfig
from .sequence import CausalS4Encoder, LSTMEncoder, S4Encoder, XResNetEncoder
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
