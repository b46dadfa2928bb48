"""Mean-pooled embeddings of a frozen encoder, computed once and kept by content (`kept`).

Numbers are float32 in full precision on any device; which one is not part of what they are kept by.

Shape suffixes: B batch, N windows, L tokens, G groups of tokens, D width.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from tqdm import tqdm

from ..models.encoder import Embedder, Encoder
from ..models.pretrained import PretrainedModel
from ..models.task_model import TaskModel
from ..shards.reader import WindowReader
from ..signals import Preprocessing
from ..signals.windows import Windows
from .kept import kept_array

Embeddings = NDArray[np.float32]
Streams = Mapping[str, Windows]


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
    depth = len(model.encoder.layers)
    if any(not -depth <= layer < depth for layer in layers):
        raise ValueError(
            f"layers {list(layers)}: the encoder has {depth}, numbered from 0 or from −1"
        )
    chosen = [range(depth)[layer] for layer in layers] or [depth - 1]
    if chosen != [depth - 1] and not isinstance(model.encoder, Encoder):
        raise ValueError(
            f"layers {list(layers)}: of an encoder of several modalities there is the last one alone; leave them out"
        )
    device = next(model.parameters()).device
    training = model.training
    model.eval()
    try:
        return features(
            {"model": model_digest(model), "layers": chosen},
            lambda streams: pooled_layers(model.encoder, on(streams, device), chosen),
            reader,
            len(chosen) * model.dim,
            cache,
            batch=batch,
            progress=progress,
        )
    finally:
        model.train(training)


def features(
    source: Mapping[str, Any],
    compute: Callable[[Streams], Tensor],
    reader: WindowReader,
    width: int,
    cache: Path,
    *,
    batch: int = 64,
    progress: bool = True,
) -> Embeddings:
    """What `compute` makes of the streams of each window [N, width], computed once and kept in `cache`.

    `source` says in plain values all that decides what `compute` does.
    """
    kept = kept_array(
        "features [windows, width], float32, in the order of evaluation",
        source,
        lambda: computed(
            lambda streams: compute(streams).float(),
            reader,
            batch=batch,
            progress=progress,
        ),
        (reader.windows, width),
        np.float32,
        reader,
        cache,
    )
    return np.array(kept)


def model_digest(model: PretrainedModel | TaskModel) -> str:
    """SHA-256 over a model's kind, config and weights, wherever it was loaded from, if at all."""
    if isinstance(model, TaskModel):
        said: Any = [model.backbone.described(), [dataclasses.asdict(head) for head in model.heads]]
        module: nn.Module = model
    else:
        said, module = dataclasses.asdict(model.encoder.config), model.encoder
    config = json.dumps(said, sort_keys=True)
    digest = hashlib.sha256(f"{type(module).__name__} {config}".encode())
    for name, weight in sorted(module.state_dict().items()):
        digest.update(f"{name} {weight.dtype} {tuple(weight.shape)}".encode())
        digest.update(weight.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def check_windows(model: PretrainedModel, reader: WindowReader) -> None:
    """Raises `ValueError` where shards were prepared otherwise than what the model was trained on."""
    own = [patch.modality for patch in model.encoder.inputs]
    if not any(modality in reader.config.channels for modality in own):
        raise ValueError(
            f"the model reads {', '.join(own)}, but these windows hold {', '.join(reader.config.channels)}"
        )
    for where, manifest in zip(reader.config.shards, reader.manifests, strict=True):
        for modality in own:
            how = manifest["config"]["preprocessing"].get(modality)
            if modality not in reader.config.channels or how is None:
                continue
            if Preprocessing(**how) != model.preprocessing[modality]:
                raise ValueError(
                    f"{where}: {modality} was prepared as {_told(Preprocessing(**how))}, but the model learned "
                    f"from {_told(model.preprocessing[modality])}: build shards with the model's preprocessing"
                )


def _told(preprocessing: Preprocessing) -> str:
    fields = dataclasses.asdict(preprocessing).items()
    return ", ".join(f"{name} {value}" for name, value in fields if value is not None)


@torch.inference_mode()
def computed(
    compute: Callable[[Streams], Tensor],
    reader: WindowReader,
    *,
    batch: int,
    progress: bool,
) -> Iterator[NDArray[Any]]:
    """What `compute` makes of a reader's windows, batch by batch in their order."""
    with tqdm(total=reader.windows, desc="embed", unit="window", disable=not progress) as bar:
        for part in reader.evaluation_batches(micro_batch=batch, rank=0, ranks=1):
            yield compute(part.streams).cpu().numpy()
            bar.update(len(part))


def on(streams: Streams, device: torch.device) -> Streams:
    """The same on another device."""
    return {name: windows.to(device) for name, windows in streams.items()}


def pooled_layers(encoder: Embedder, streams: Streams, layers: Sequence[int]) -> Tensor:
    """Embeddings as if the encoder ended after each of these blocks, side by side [B, layers · D]."""
    last = len(encoder.layers) - 1
    seen: dict[int, Tensor] = {}

    def watch(layer: int) -> Any:
        return lambda _block, _inputs, tokens_BLD: seen.update({layer: tokens_BLD})

    inner = [layer for layer in dict.fromkeys(layers) if layer != last]
    hooks = [encoder.layers[at].register_forward_hook(watch(at)) for at in inner]
    try:
        pooled: dict[int, Tensor] = {last: encoder.embed(streams)}
    finally:
        for hook in hooks:
            hook.remove()
    if inner:
        # Of other encoders nobody may ask for inner layers (`embeddings`).
        assert isinstance(encoder, Encoder)
        there_BGN = encoder.there(encoder.tokenizer.patches(encoder.own(streams)))
        pooled |= {layer: encoder.pool(tokens, there_BGN) for layer, tokens in seen.items()}
    return torch.cat([pooled[layer] for layer in layers], dim=1)
