"""Embeddings of a frozen encoder, computed once and kept by content.

- **The key is what decides the numbers**: the encoder's weights and config, the SHA-256 of every shard,
  which recordings and windows of them, and `FORMAT`. Where shards and model lie, and what the split is
  called, is no part of it: the same content is found again from anywhere, and every task that looks at
  the same windows shares it.
- An array `<key>.npy` and beside it `<key>.json`, which says what it is and its SHA-256. The JSON is
  written last. An array that is not what its JSON says is computed again, with a note; so two processes
  that compute the same at once overwrite each other with equal numbers, or at worst cost a third one
  the same work again.
- Numbers are float32 in full precision on any device; which one is not part of the key.

Shape suffixes: B batch, N windows, L tokens, G groups of tokens, D width.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from .. import __version__
from ..files import sha256, write_aside
from ..models.encoder import ViTEncoder
from ..models.pretrained import PretrainedModel
from ..shards.reader import WindowReader
from ..signals import Preprocessing
from ..signals.windows import Windows

FORMAT = 1
"""Counts up when this code, the reader or the encoders give other numbers for the same content."""

Embeddings = NDArray[np.float32]


def embeddings(
    model: PretrainedModel,
    reader: WindowReader,
    cache: Path,
    *,
    layers: Sequence[int] = (),
    batch: int = 64,
    progress: bool = True,
) -> Embeddings:
    """Mean-pooled embeddings [N, D] of every window, in the reader's order of evaluation.

    `layers` asks for those after the blocks of these numbers (−1 is the last, and alone the same as none),
    side by side: [N, layers · D]. They are kept in the folder `cache`. Raises `ValueError` for windows
    that the model was not made for: another modality, channel, rate or filter; or a layer it has not.
    """
    check_windows(model, reader)
    depth = len(model.encoder.blocks.blocks)
    if any(not -depth <= layer < depth for layer in layers):
        raise ValueError(
            f"layers {list(layers)}: the encoder has {depth}, numbered from 0 or from −1"
        )
    chosen = [range(depth)[layer] for layer in layers] or [depth - 1]
    device = next(model.parameters()).device
    training = model.training
    model.eval()
    try:
        return features(
            {"model": model_digest(model), "layers": chosen},
            lambda windows: pooled_layers(model.encoder, windows.to(device), chosen),
            reader,
            model.encoder.config.patch.modality,
            len(chosen) * model.dim,
            cache,
            batch=batch,
            progress=progress,
        )
    finally:
        model.train(training)


def features(
    source: Mapping[str, Any],
    compute: Callable[[Windows], Tensor],
    reader: WindowReader,
    modality: str,
    width: int,
    cache: Path,
    *,
    batch: int = 64,
    progress: bool = True,
) -> Embeddings:
    """What `compute` makes of each window of a modality [N, width], computed once and kept in `cache`.

    `source` says in plain values all that decides what `compute` does.
    """
    terms = {"format": FORMAT, **source, **_data(reader)}
    key = hashlib.sha256(json.dumps(terms, sort_keys=True).encode()).hexdigest()
    array, about = cache / f"{key}.npy", cache / f"{key}.json"
    if (found := _read(array, about, terms, (reader.windows, width))) is not None:
        return found
    made = _compute(compute, reader, modality, width, batch, progress)
    _write(made, array, about, terms, reader)
    return made


def model_digest(model: PretrainedModel) -> str:
    """SHA-256 over an encoder's kind, config and weights, wherever it was loaded from, if at all."""
    encoder = model.encoder
    config = json.dumps(dataclasses.asdict(encoder.config), sort_keys=True)
    digest = hashlib.sha256(f"{type(encoder).__name__} {config}".encode())
    for name, weight in sorted(encoder.state_dict().items()):
        digest.update(f"{name} {weight.dtype} {tuple(weight.shape)}".encode())
        digest.update(weight.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def check_windows(model: PretrainedModel, reader: WindowReader) -> None:
    """Raises `ValueError` where shards were prepared otherwise than what the model was trained on."""
    modality = model.encoder.config.patch.modality
    if modality not in reader.config.channels:
        raise ValueError(
            f"the model reads {modality}, but these windows hold {', '.join(reader.config.channels)}"
        )
    for where, manifest in zip(reader.config.shards, reader.manifests, strict=True):
        made = Preprocessing(**manifest["config"]["preprocessing"][modality])
        if made != model.preprocessing:
            raise ValueError(
                f"{where}: {modality} was prepared as {_told(made)}, but the model learned from "
                f"{_told(model.preprocessing)}: build shards with the model's preprocessing"
            )


def _told(preprocessing: Preprocessing) -> str:
    fields = dataclasses.asdict(preprocessing).items()
    return ", ".join(f"{name} {value}" for name, value in fields if value is not None)


def _data(reader: WindowReader) -> dict[str, Any]:
    """What decides which samples the windows of a reader hold, as plain values."""
    config, recordings = reader.config, hashlib.sha256()
    for key in reader.index["key"]:
        recordings.update(f"{key}\n".encode())
    if reader.anchors is not None:
        for column in ("row", "onset_s"):
            recordings.update(reader.anchors[column].to_numpy().tobytes())
    return {
        "shards": [[shard["sha256"] for shard in m["shards"]] for m in reader.manifests],
        "index": [manifest["index_sha256"] for manifest in reader.manifests],
        "recordings": recordings.hexdigest(),
        "channels": [[modality, *names] for modality, names in config.channels.items()],
        "window_s": config.window_s,
        "hop_s": config.hop_s,
        "anchor": config.anchor,
        "before_s": config.before_s,
    }


@torch.inference_mode()
def _compute(
    compute: Callable[[Windows], Tensor],
    reader: WindowReader,
    modality: str,
    width: int,
    batch: int,
    progress: bool,
) -> Embeddings:
    made = np.empty((reader.windows, width), np.float32)
    with tqdm(total=len(made), desc="embed", unit="window", disable=not progress) as bar:
        for part in reader.evaluation_batches(micro_batch=batch, rank=0, ranks=1):
            windows = next(w for w in part.streams.values() if w.modality == modality)
            made[part.positions.numpy()] = compute(windows).float().cpu().numpy()
            bar.update(len(part))
    return made


def pooled_layers(encoder: ViTEncoder, windows: Windows, layers: Sequence[int]) -> Tensor:
    """Embeddings as if the encoder ended after each of these blocks, side by side [B, layers · D]."""
    last = len(encoder.blocks.blocks) - 1
    seen: dict[int, Tensor] = {}

    def watch(layer: int) -> Any:
        return lambda _block, _inputs, tokens_BLD: seen.update({layer: tokens_BLD})

    inner = [layer for layer in dict.fromkeys(layers) if layer != last]
    hooks = [encoder.blocks.blocks[at].register_forward_hook(watch(at)) for at in inner]
    try:
        pooled: dict[int, Tensor] = {last: encoder(windows)}
    finally:
        for hook in hooks:
            hook.remove()
    if inner:
        there_BGN = encoder.tokenizer.patches(windows).present_BCN
        if encoder.tokenizer.joint:
            there_BGN = there_BGN.any(dim=1, keepdim=True)
        pooled |= {layer: encoder.pool(tokens, there_BGN) for layer, tokens in seen.items()}
    return torch.cat([pooled[layer] for layer in layers], dim=1)


def _write(
    made: Embeddings, array: Path, about: Path, terms: dict[str, Any], reader: WindowReader
) -> None:
    with write_aside(array) as aside, aside.open("wb") as file:
        np.save(file, made)
        file.flush()
        digest = sha256(aside)
    told = {
        "what": "features [windows, width], float32, in the order of evaluation",
        "biofm": __version__,
        "title": [manifest["title"] for manifest in reader.manifests],
        "split": reader.split,
        "shape": list(made.shape),
        "sha256": digest,
        "terms": terms,
    }
    with write_aside(about) as aside:
        aside.write_text(json.dumps(told, indent=1) + "\n")


def _read(
    array: Path, about: Path, terms: dict[str, Any], shape: tuple[int, int]
) -> Embeddings | None:
    """The kept array; None where there is none, or, with a note, where it is not what it should be."""
    if not about.is_file():
        return None
    try:
        told = json.loads(about.read_text())
        if not isinstance(told, dict) or told.get("terms") != terms:
            raise ValueError(f"{about.name} describes something else")
        if told.get("sha256") != sha256(array):
            raise ValueError("its bytes are not those that were written")
        # Mapped first: a header that promises more than the file holds is refused before it takes memory.
        kept = np.load(array, mmap_mode="r", allow_pickle=False)
        if kept.dtype != np.float32 or kept.shape != shape:
            raise ValueError(f"expected float32 {shape}, found {kept.dtype} {kept.shape}")
        return np.array(kept)
    except (OSError, ValueError) as error:
        tqdm.write(f"note: {array} is of no use ({error}): computing it again", file=sys.stderr)
        return None
