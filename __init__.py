"""biofm: self-supervised foundation models for cardiac and wearable biosignals."""

from __future__ import annotations

__version__ = "0.1.0"
