"""A trained model is a folder: `model.safetensors`, `config.json`, `README.md`. Save it, load it, embed with it.

The folder carries its preprocessing (rate, filters, units, channels), so that `embed` on a raw recording
does what training did. `training.parquet` beside them says which recordings it learned from (made by
`shards.contents`), so that nobody need judge it on these unknowingly.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ..files import folder_aside
from ..signals import Preprocessing, Recording, preprocess, quantize
from ..signals.types import MISSING, Signal
from ..signals.windows import Windows, chosen_rows
from .encoder import Embedder
from .make_embedder import make_embedder, stored_config

FORMAT = 2
"""Version of the folder's layout."""
TRAINING, CHOSEN = "training.parquet", "chosen.parquet"
"""What a model learned from, and what its best weights were chosen on."""


class PretrainedModel(nn.Module):
    """An encoder with the preprocessing of each modality that it was trained on."""

    def __init__(
        self,
        encoder: Embedder,
        preprocessing: Mapping[str, Preprocessing],
        window_s: float,
        facts: dict[str, Any],
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.preprocessing = dict(preprocessing)
        self.window_s = window_s
        self.facts = facts

    @property
    def dim(self) -> int:
        """Width of an embedding."""
        return self.encoder.dim

    def forward(self, streams: Mapping[str, Windows]) -> Tensor:
        """Preprocessed windows by modality, or by stream → embeddings [B, D]."""
        return self.encoder.embed(streams)

    @torch.no_grad()
    def embed(self, recording: Recording, batch: int = 64) -> NDArray[np.float32]:
        """Embeddings [windows, D] of a recording at its own rate, in its own lead order.

        Windows follow one another without overlap; a recording shorter than a window gives one, its end
        marked missing, and a shorter remainder at the end is left out. Channels and modalities
        that the model knows and the recording lacks are simply absent. Raises `KeyError` where none of them is there.
        """
        training = self.training
        self.eval()
        streams = self.windows(recording)
        device = next(self.parameters()).device
        parts = []
        for first in range(0, len(next(iter(streams.values())).samples), batch):
            rows = slice(first, first + batch)
            part = {m: chosen_rows(windows, rows).to(device) for m, windows in streams.items()}
            parts.append(self(part).float().cpu())
        self.train(training)
        embeddings: NDArray[np.float32] = torch.cat(parts).numpy()
        return embeddings

    def windows(self, recording: Recording) -> dict[str, Windows]:
        """A recording as the model's windows by modality: channels by name, preprocessed, quantized like a shard.

        Raises `KeyError` where it has no channel that the model reads.
        """
        held = {signal.modality for signal in recording.signals}
        found: dict[str, Signal] = {}
        for patch in self.encoder.inputs:
            if patch.modality not in held:
                continue
            signal = recording.signal(patch.modality)
            present = tuple(c for c in patch.channels if c in signal.channels)
            if present:
                how = self.preprocessing[patch.modality]
                found[patch.modality] = quantize(preprocess(signal.select(present), how))
        if not found:
            wanted = "; ".join(f"{p.modality} {', '.join(p.channels)}" for p in self.encoder.inputs)
            there = "; ".join(f"{s.modality} {', '.join(s.channels)}" for s in recording.signals)
            raise KeyError(
                f"{recording.dataset} {recording.record}: none of the model's channels ({wanted}) is among its "
                f"own ({there})"
            )
        return cut_windows(found, self.window_s)


def cut_windows(signals: Mapping[str, Signal], window_s: float) -> dict[str, Windows]:
    """Successive windows of int16 signals by modality, cut at the same times: what a signal lacks is MISSING.

    They begin where the first signal does and go on to the end of the last one, but for a remainder shorter than a
    window; where there is less than one, the end of the window is missing.
    """
    begin_s = min(signal.start_s for signal in signals.values())
    end_s = max(s.start_s + s.samples.shape[1] / s.rate_hz for s in signals.values())
    # A sample at most may be missing of the last window: rates are not multiples of one another.
    slack_s = max(1 / signal.rate_hz for signal in signals.values()) if len(signals) > 1 else 0.0
    count = max(1, math.floor((end_s - begin_s + slack_s) / window_s + 1e-9))
    return {m: _cut(signal, begin_s, window_s, count) for m, signal in signals.items()}


def _cut(signal: Signal, begin_s: float, window_s: float, count: int) -> Windows:
    """So many windows from a time on."""
    samples, scale, offset = signal.samples, signal.scale, signal.offset
    if scale is None or offset is None:
        raise ValueError(f"{signal.modality}: cut_windows needs a quantized signal")
    C, T = samples.shape
    length = round(window_s * signal.rate_hz)
    grid = np.full((C, count * length), MISSING, np.int16)
    first = round((signal.start_s - begin_s) * signal.rate_hz)
    there = min(T, count * length - first)
    if there > 0:
        grid[:, first : first + there] = samples[:, :there]
    cut = grid.reshape(C, count, length).transpose(1, 0, 2)
    return Windows(
        signal.modality,
        signal.rate_hz,
        signal.channels,
        torch.from_numpy(np.ascontiguousarray(cut)),
        torch.from_numpy(np.repeat(scale[None], count, axis=0)),
        torch.from_numpy(np.repeat(offset[None], count, axis=0)),
    )


def save_model(
    folder: Path,
    encoder: Embedder,
    preprocessing: Mapping[str, Preprocessing],
    window_s: float,
    facts: dict[str, Any],
    card: str,
    training: pl.DataFrame | None = None,
    chosen: pl.DataFrame | None = None,
) -> None:
    """Write the model folder at once, or not at all. `facts` are plain values kept in `config.json`.

    `training` is what it learned from (`shards.contents.contents`), `chosen` what its best weights were chosen on; None
    where nobody knows.
    """
    config = {
        "format": FORMAT,
        "encoder": dataclasses.asdict(encoder.config),
        "preprocessing": {m: dataclasses.asdict(how) for m, how in preprocessing.items()},
        "window_s": window_s,
        "facts": facts,
    }
    write_model_folder(folder, encoder, config, card, training, chosen)


def write_model_folder(
    folder: Path,
    module: nn.Module,
    config: dict[str, Any],
    card: str,
    training: pl.DataFrame | None,
    chosen: pl.DataFrame | None = None,
) -> None:
    """Weights, `config.json`, card and what was learned from, at once or not at all: any model's folder."""
    weights = {k: v.detach().cpu().contiguous() for k, v in module.state_dict().items()}
    with folder_aside(folder) as aside:
        save_file(weights, aside / "model.safetensors")
        (aside / "config.json").write_text(json.dumps(config, indent=1) + "\n")
        (aside / "README.md").write_text(card)
        for name, table in ((TRAINING, training), (CHOSEN, chosen)):
            if table is not None:
                table.write_parquet(aside / name, compression_level=9)


def training_contents(source: str | Path) -> pl.DataFrame | None:
    """What a model learned from, as `save_model` was given it; None where its folder does not say.

    Raises `FileNotFoundError` where there is no such model.
    """
    return _contents(source, TRAINING)


def chosen_contents(source: str | Path) -> pl.DataFrame | None:
    """What its best weights were chosen on, likewise."""
    return _contents(source, CHOSEN)


def _contents(source: str | Path, name: str) -> pl.DataFrame | None:
    path = model_folder(source) / name
    return pl.read_parquet(path) if path.is_file() else None


def load_model(source: str | Path) -> PretrainedModel:
    """A trained model from its folder, or from a Hugging Face hub id where the hub can be reached.

    Raises `FileNotFoundError` where there is no such folder and the hub has none; `ValueError` where the
    folder's layout is newer than this version, it is a task model, or the weights do not fit the config.
    """
    folder = model_folder(source)
    config = json.loads((folder / "config.json").read_text())
    if config.get("kind") == "task":
        raise ValueError(
            f"{folder} is a task model, which gives answers and no embeddings: load it with "
            "`biofm.models.task_model.load_task_model`; its encoder before fine-tuning has a folder of its own"
        )
    if config.get("format") != FORMAT:
        raise ValueError(
            f"{folder}/config.json has layout {config.get('format')!r}, this biofm reads {FORMAT}: "
            "install the version that wrote it"
        )
    encoder = make_embedder(stored_config(config["encoder"]))
    try:
        weights = load_file(folder / "model.safetensors")
    except (OSError, SafetensorError) as error:
        raise ValueError(
            f"{folder}/model.safetensors cannot be read ({error}): get the folder again"
        ) from error
    have = encoder.state_dict()
    wrong = sorted(
        k
        for k in have.keys() | weights.keys()
        if k not in have or k not in weights or have[k].shape != weights[k].shape
    )
    if wrong:
        raise ValueError(
            f"{folder}/model.safetensors does not fit its config.json at {wrong[:5]}: the folder is damaged"
        )
    encoder.load_state_dict(weights)
    preprocessing = {m: Preprocessing(**how) for m, how in config["preprocessing"].items()}
    model = PretrainedModel(encoder, preprocessing, config["window_s"], config["facts"])
    return model.eval()


def model_folder(source: str | Path) -> Path:
    """Where a model lies, fetched first where it is named by its hub id. Raises `FileNotFoundError`."""
    folder = Path(source)
    return folder if (folder / "config.json").is_file() else download(str(source))


def download(name: str) -> Path:
    """A model folder from the Hugging Face hub, by `owner/name`."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(
            snapshot_download(
                name,
                allow_patterns=["config.json", "model.safetensors", "README.md", TRAINING, CHOSEN],
            )
        )
    except (HFValidationError, LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        raise FileNotFoundError(
            f"no model folder {name!r} (config.json is missing there), and the Hugging Face hub gave none of "
            f"that name ({type(error).__name__}): check the path; a run keeps its best model in <run folder>/best"
        ) from error
