"""The card of a trained model: what it is, what it was trained on, what it is not for."""

from __future__ import annotations

from typing import Any

from .. import __version__
from ..evaluation.report.provenance import commit
from .configuration import PretrainConfig
from .objectives.base import Objective
from .provenance import Provenance


def model_card(
    objective: Objective,
    config: PretrainConfig,
    origin: Provenance,
    facts: dict[str, Any],
    known: dict[str, float],
) -> str:
    """The card as Markdown."""
    encoder, how = objective.encoder, origin.preprocessing
    patch = encoder.config.patch
    band = (
        f"{how.highpass_hz or 0:g}–{how.lowpass_hz:g} Hz"
        if how.lowpass_hz
        else f"above {how.highpass_hz or 0:g} Hz"
    )
    warning = "".join(f"> **{notice}**\n\n" for notice in origin.notices)
    parameters = sum(p.numel() for p in encoder.parameters())
    size = f"{encoder.config.backbone} {encoder.config.size}, {parameters / 1e6:.2f} M parameters"
    loss = facts.get("validation_loss")
    metrics = "" if loss is None else f"| validation loss on {objective.loss_of} | {loss:.4f} |\n"
    metrics += "".join(
        f"| {name}, the same samples | {value:.4f} |\n" for name, value in known.items()
    )
    return f"""---
library_name: biofm
tags: [biosignals, {patch.modality}, self-supervised]
---
# {config.run.out.name}

{warning}A {patch.modality.upper()} encoder ({size}, \
embeddings of {encoder.dim}) pretrained by {objective.method}. For research; not a medical device.

```python
from biofm import load_model, read_recording
embeddings = load_model("path/to/this/folder").embed(read_recording("path/to/record"))
```

| data | {origin.title} |
|---|---|
| licence of the data | {", ".join(origin.licences)} |
| training windows | {facts["training_windows"]} of {config.data.window_s:g} s |
| channels | {", ".join(patch.channels)} |
| preprocessing | {how.rate_hz:g} Hz, {band} (Butterworth order {how.order}, both directions) |
| optimizer step | {facts["step"]} |
{metrics}| biofm | {__version__}, commit {commit()} |
"""
