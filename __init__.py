"""biofm: self-supervised foundation models for cardiac and wearable biosignals.

The names below are the public face. They are imported when first used, so that `import biofm` and
`biofm --help` do not wait for torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .embedding import read_recording
    from .models.pretrained import load_model
    from .signals import Recording, Signal

__version__ = "0.1.0"
__all__ = ["Recording", "Signal", "__version__", "load_model", "read_recording"]

_HOMES = {
    "Recording": ".signals",
    "Signal": ".signals",
    "load_model": ".models.pretrained",
    "read_recording": ".embedding",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name], __name__), name)
