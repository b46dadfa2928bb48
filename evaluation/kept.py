"""Arrays over the windows of a reader, computed once and kept by content.

- **The key is what decides the numbers**: what computes them, the SHA-256 of every shard, which
  recordings and windows of them, and `FORMAT`. Where shards and model lie, and what the split is
  called, is no part of it: the same content is found again from anywhere, and every task that looks at
  the same windows shares it.
- An array `<key>.npy` and beside it `<key>.json`, which says what it is and its SHA-256. The JSON is
  written last. An array that is not what its JSON says is computed again, with a note; so two processes
  that compute the same at once overwrite each other with equal numbers, or at worst cost a third one
  the same work again.
- It is written as it is computed and handed out mapped: memory is that of a batch, however large it is.

Shape suffixes: N windows.
"""

from __future__ import annotations

import hashlib
import json
import math
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray
from tqdm import tqdm

from .. import __version__
from ..files import sha256, write_aside
from ..shards.reader import WindowReader

FORMAT = 1
"""Counts up when this code, the reader or the encoders give other numbers for the same content."""

LARGE_BYTES = 10**9
"""From this size on an array is announced before it is written."""

Parts = Callable[[], Iterator[NDArray[Any]]]
"""Begins to compute: the array in pieces, one after another along its first axis."""


def kept_array(
    what: str,
    source: Mapping[str, Any],
    parts: Parts,
    shape: tuple[int, ...],
    dtype: DTypeLike,
    reader: WindowReader,
    cache: Path,
) -> NDArray[Any]:
    """The array [N, …] that `parts` make of a reader's windows, mapped for reading.

    `source` says in plain values all that decides what `parts` do; `what` is for people. Raises `OSError`
    where the disk has not the room, before anything is computed.
    """
    terms = {"format": FORMAT, **source, **_data(reader)}
    key = hashlib.sha256(json.dumps(terms, sort_keys=True).encode()).hexdigest()
    array, about = cache / f"{key}.npy", cache / f"{key}.json"
    if (found := _read(array, about, terms, shape, dtype)) is not None:
        return found
    _look_for_room(what, shape, dtype, cache)
    told = {
        "what": what,
        "biofm": __version__,
        "title": [manifest["title"] for manifest in reader.manifests],
        "split": reader.split,
        "shape": list(shape),
        "sha256": _write(array, parts, shape, dtype),
        "terms": terms,
    }
    with write_aside(about) as aside:
        aside.write_text(json.dumps(told, indent=1) + "\n")
    made: NDArray[Any] = np.load(array, mmap_mode="r", allow_pickle=False)
    return made


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


def _look_for_room(what: str, shape: tuple[int, ...], dtype: DTypeLike, cache: Path) -> None:
    """Says how large a large array will be. Raises `OSError` where it does not fit."""
    needed = math.prod(shape) * np.dtype(dtype).itemsize
    cache.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(cache).free
    told = f"{what} {list(shape)} takes {needed / 1e9:.1f} GB in {cache}, where {free / 1e9:.1f} GB are free"
    if needed > free:
        raise OSError(f"{told}: choose another folder for the cache, or free some space")
    if needed >= LARGE_BYTES:
        tqdm.write(f"note: {told}", file=sys.stderr)


def _write(array: Path, parts: Parts, shape: tuple[int, ...], dtype: DTypeLike) -> str:
    """Write the array piece by piece; its SHA-256. Not through a map: a full disk would end the process."""
    kind, done = np.dtype(dtype), 0
    header = {"descr": kind.str, "fortran_order": False, "shape": shape}
    with write_aside(array) as aside, aside.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for part in parts():
            if part.shape[1:] != shape[1:]:
                raise ValueError(f"expected pieces of {shape[1:]}, found {part.shape[1:]}")
            file.write(np.ascontiguousarray(part, kind).tobytes())
            done += len(part)
        if done != shape[0]:
            raise ValueError(f"expected {shape[0]} windows, found {done}")
        file.flush()
        return sha256(aside)


def _read(
    array: Path, about: Path, terms: dict[str, Any], shape: tuple[int, ...], dtype: DTypeLike
) -> NDArray[Any] | None:
    """The kept array; None where there is none, or, with a note, where it is not what it should be."""
    if not about.is_file():
        return None
    try:
        told = json.loads(about.read_text())
        if not isinstance(told, dict) or told.get("terms") != terms:
            raise ValueError(f"{about.name} describes something else")
        if told.get("sha256") != sha256(array):
            raise ValueError("its bytes are not those that were written")
        # Mapped: a header that promises more than the file holds is refused before it takes memory.
        kept: NDArray[Any] = np.load(array, mmap_mode="r", allow_pickle=False)
        if kept.dtype != np.dtype(dtype) or kept.shape != shape:
            raise ValueError(f"expected {np.dtype(dtype)} {shape}, found {kept.dtype} {kept.shape}")
        return kept
    except (OSError, ValueError) as error:
        tqdm.write(f"note: {array} is of no use ({error}): computing it again", file=sys.stderr)
        return None
