"""`biofm adopt`: another maker's checkpoint as a model folder, so that everything here can judge it."""

from __future__ import annotations

from pathlib import Path

from ...configuration import config_file, read_config
from ...files import sha256
from ..pretrained import save_model
from ..vit import ViTEncoder
from .checkpoint import read_tensors
from .mapping import Fit, ForeignEncoder, fitted


def adopt(checkpoint: Path, *, like: str, out: Path) -> Path:
    """Turn a checkpoint that somebody else trained into a model folder.

    Every tensor must find its place with the right shape: what is missing or left over is listed, and
    nothing is written. The weights keep the licence of their maker.

    Args:
        checkpoint: A safetensors file, or a file of torch.save with tensors and plain values alone.
        like: The architecture: a shipped one (st_mem), or one's own YAML file like configs/encoders/st_mem.yaml.
        out: The model folder to write.
    """
    if out.exists():
        raise FileExistsError(f"{out} is there already: choose another --out")
    foreign = load_foreign(like)
    fit = fitted(read_tensors(checkpoint), foreign)
    encoder = ViTEncoder(fit.config)
    encoder.load_state_dict(fit.weights)
    facts = {
        "adopted": foreign.title,
        "source": foreign.source,
        "checkpoint_sha256": sha256(checkpoint),
        "data": foreign.data,
        "licences": [foreign.licence],
        "synthetic": False,
    }
    how = {fit.config.patch.modality: foreign.preprocessing}
    save_model(out, encoder, how, foreign.window_s, facts, card(foreign, fit, facts))
    return out


def load_foreign(name: str) -> ForeignEncoder:
    """An architecture by its shipped name, or from a YAML file."""
    path = Path(name)
    return read_config(ForeignEncoder, path if path.is_file() else config_file(f"encoders/{name}"))


def card(foreign: ForeignEncoder, fit: Fit, facts: dict[str, object]) -> str:
    """The folder's README."""
    patch, how = fit.config.patch, foreign.preprocessing
    low, high = how.highpass_hz, how.lowpass_hz
    count = sum(tensor.numel() for tensor in fit.weights.values())
    unused = ", ".join(f"`{name}`" for name in fit.unused) or "none"
    return f"""---
library_name: biofm
tags: [biosignals, {patch.modality}, self-supervised]
---
# {foreign.title} ({fit.config.size})

Adopted from a checkpoint of its makers by `biofm adopt`: {count / 1e6:.2f} M parameters, unchanged.
For research; not a medical device.

| source | {foreign.source} |
|---|---|
| licence of the weights | {foreign.licence} |
| pretrained on | {foreign.data}; biofm cannot compare that with evaluation data |
| checkpoint, SHA-256 | {facts["checkpoint_sha256"]} |
| windows | {foreign.window_s:g} s, {", ".join(patch.channels)} |
| preprocessing | {how.rate_hz:g} Hz, {low or 0:g}–{high or how.rate_hz / 2:g} Hz (Butterworth order {how.order}, \
both directions) of the whole recording |
| tensors left out | {unused} |
"""
