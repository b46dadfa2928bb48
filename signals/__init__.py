"""Signals: the types, the channel vocabulary, filtering, resampling. No dataset, no model."""

from .preprocessing import Preprocessing, preprocess
from .quantization import quantize
from .series import Series, on_grid
from .types import MISSING, Annotation, Recording, Signal
from .vocabulary import CHANNELS, LEADS_12, channel_id, channel_named

__all__ = [
    "CHANNELS",
    "LEADS_12",
    "MISSING",
    "Annotation",
    "Preprocessing",
    "Recording",
    "Series",
    "Signal",
    "channel_id",
    "channel_named",
    "on_grid",
    "preprocess",
    "quantize",
]
