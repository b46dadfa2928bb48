"""Shards as memory: a tar is mapped once and read by byte range, nothing extracted or decoded."""

from __future__ import annotations

import io
import json
import mmap
import resource
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import polars as pl
from numpy.typing import NDArray

from .index import INDEX, MANIFEST, read_index

CHANGED = (
    "it was changed or cut after the build; `biofm shards verify` lists the damage, "
    "and the same build run into a new folder mends it"
)


class ShardError(ValueError):
    """A shard that is not what the index says: the message names the shard and the fix."""


class ShardFolder:
    """A finished shard folder on disk. Raises `FileNotFoundError` where it is none.

    Its `index` lacks the columns that are large and not used to read samples: fingerprints and,
    unless they are asked for, annotations.
    """

    def __init__(self, folder: Path, name: str | None = None, *, annotations: bool = False) -> None:
        self.folder = folder
        self.name = name or str(folder)
        unused = ("fingerprint",) if annotations else ("fingerprint", "annotations")
        self.index: pl.DataFrame = read_index(folder, without=unused)
        if not (folder / MANIFEST).is_file():
            raise FileNotFoundError(
                f"{folder} is not a finished shard folder ({MANIFEST} is missing): "
                "run its build again"
            )
        self.manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_text())
        self._entries: dict[str, dict[str, Any]] = {s["name"]: s for s in self.manifest["shards"]}

    def entry(self, shard: str) -> dict[str, Any]:
        """What the manifest says about a shard. Raises `ShardError` where it does not know it."""
        # A name from a file or an address must not lead out of the folder.
        if shard not in self._entries or Path(shard).name != shard:
            raise ShardError(
                f"{self.name}: {INDEX} names shard {shard!r}, which {MANIFEST} does not know: "
                "the two are not of one build; copy both again or run the build again"
            )
        return self._entries[shard]

    def check(self, shards: Sequence[str]) -> None:
        """Every shard is there and has its size. Raises `ShardError`."""
        for shard in shards:
            self.path(shard)

    def open(self, shard: str) -> BinaryIO:
        """The file of a shard, open for reading. Raises `ShardError`."""
        return self.path(shard).open("rb")

    def path(self, shard: str) -> Path:
        """The file of a shard. Raises `ShardError` where it is missing or has another size."""
        path, expected = self.folder / shard, self.entry(shard)["bytes"]
        if not path.is_file():
            raise ShardError(f"shard {path} is missing: copy it again or run the build again")
        if (size := path.stat().st_size) != expected:
            raise ShardError(f"shard {path} has {size} bytes, expected {expected}: {CHANGED}")
        return path


class Member:
    """What the index says about one array of a shard: enough to recognise it there."""

    def __init__(self, name: str, data_offset: int, shape: tuple[int, int]) -> None:
        self.name, self.data_offset, self.shape = name, data_offset, shape

    def check(self, shard: str, flat: NDArray[np.int16]) -> None:
        """The tar and npy headers before the array are the expected ones. Raises `ShardError`."""
        start = max(0, self.data_offset - 1024)
        end = self.data_offset + 2 * self.shape[0] * self.shape[1]
        found = "the array does not lie inside the file"
        if self.data_offset % 2 == 0 and end <= flat.nbytes:
            found = self._difference(flat[start // 2 : self.data_offset // 2].tobytes())
        if found:
            raise ShardError(f"shard {shard}, member {self.name}: {found}: {CHANGED}")

    def _difference(self, before: bytes) -> str:
        """What is wrong with the bytes before the array; empty when nothing is."""
        magic = before.rfind(b"\x93NUMPY")
        if magic < 512:
            return "no npy header before the array"
        name = before[magic - 512 : magic - 412].rstrip(b"\0").decode("utf-8", "replace")
        if name != self.name[:100]:
            return f"found member {name!r} in its place"
        header = io.BytesIO(before[magic:])
        try:
            np.lib.format.read_magic(header)
            shape, fortran, dtype = np.lib.format.read_array_header_1_0(header)
        except ValueError as error:
            return f"unreadable npy header ({error})"
        if (shape, fortran, dtype) != (self.shape, False, np.dtype("<i2")) or header.read(1):
            return f"expected int16 {self.shape} in C order, found {dtype} {shape}"
        return ""


class MappedShards:
    """Shards by number: each is mapped at its first touch, and its first and last array recognised.

    A map holds a file descriptor, so that at most half of the allowed number are kept (or `keep`).
    """

    def __init__(
        self,
        shards: Sequence[tuple[ShardFolder, str]],
        members: Sequence[tuple[Member, ...]],
        keep: int | None = None,
    ) -> None:
        self._shards, self._members = shards, members
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2
        self.samples = lru_cache(maxsize=min(keep or limit, limit))(self._map)

    def _map(self, shard: int) -> NDArray[np.int16]:
        """The whole file as int16: array bytes start at `data_offset // 2`. Raises `ShardError`."""
        folder, name = self._shards[shard]
        with folder.open(name) as file:
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        flat = np.frombuffer(mapped, "<i2", count=len(mapped) // 2)
        for member in self._members[shard]:
            member.check(f"{folder.name}/{name}", flat)
        return flat

    def release(self) -> None:
        """Unmap every shard that nobody reads just now; each is mapped again at its next touch."""
        self.samples.cache_clear()
