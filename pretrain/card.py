"""The card of a trained model: what it is, what it was trained on, what it is not for."""

from __future__ import annotations

from typing import Any

from .. import __version__
from ..evaluation.report.provenance import commit
from ..models.tokenizer import PatchConfig
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
    encoder = objective.encoder
    modalities = [patch.modality for patch in encoder.inputs]
    warning = "".join(f"> **{notice}**\n\n" for notice in origin.notices)
    parameters = sum(p.numel() for p in encoder.parameters())
    size = f"{encoder.kind}, {parameters / 1e6:.2f} M parameters"
    loss = facts.get("validation_loss")
    metrics = "" if loss is None else f"| validation loss on {objective.loss_of} | {loss:.4f} |\n"
    metrics += "".join(
        f"| {name}, the same samples | {value:.4f} |\n" for name, value in known.items()
    )
    return f"""---
library_name: biofm
tags: [biosignals, {", ".join(modalities)}, self-supervised]
---
# {config.run.out.name}

{warning}{" and ".join(m.upper() for m in modalities)} encoder ({size}, \
embeddings of {encoder.dim}) pretrained by {objective.method}. For research; not a medical device.

```python
from biofm import load_model, read_recording
embeddings = load_model("path/to/this/folder").embed(read_recording("path/to/record"))
```

| data | {origin.title} |
|---|---|
| licence of the data | {", ".join(origin.licences)} |
| training windows | {facts["training_windows"]} of {config.data.window_s:g} s |
{"".join(reads(patch, origin) for patch in encoder.inputs)}| optimizer step | {facts["step"]} |
{metrics}| biofm | {__version__}, commit {commit()} |
"""


def reads(patch: PatchConfig, origin: Provenance) -> str:
    """The rows of one modality: its channels, and how they were prepared."""
    how = origin.preprocessing[patch.modality]
    low, high = how.highpass_hz or 0, how.lowpass_hz
    band = f"{low:g}–{high:g} Hz" if high else f"above {low:g} Hz"
    return (
        f"| channels ({patch.modality}) | {', '.join(patch.channels)} |\n"
        f"| preprocessing ({patch.modality}) | {how.rate_hz:g} Hz, {band} (Butterworth order {how.order}, both "
        "directions) |\n"
    )
