"""Shards at an address (http, https, s3): fetched into a bounded cache, checked, mapped like local ones.

The order is the local one: it takes shards in blocks, so a block is what has to be here at a time,
and random access inside it costs nothing. While one block is used the next is fetched. A fetched file
gets its name only when its SHA-256 is the one in the manifest.

webdataset's own streaming is not used: it goes through a tar once, from front to end.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import threading
import weakref
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from ..datasets.download.errors import Stopped
from ..files import sha256, write_aside
from .background import Background
from .index import INDEX, MANIFEST
from .mapped import ShardError, ShardFolder
from .transfer import THREADS, Place, fetch, place


class RemoteFolder(ShardFolder):
    """A shard folder at `address`; at most two blocks of `block_shards` shards are kept in `cache`.

    Raises `ValueError` for an address that cannot be read or for a shuffle over all shards,
    `ImportError` for s3 without boto3, and `OSError` where something cannot be fetched.
    """

    def __init__(
        self, address: str, cache: Path, block_shards: int, *, annotations: bool = False
    ) -> None:
        address = address.rstrip("/")
        there = place(address)
        if block_shards < 1:
            raise ValueError(
                f"{address}: shuffling all shards together would fetch all of them at once; "
                "set shuffle_shards to the number that may lie in the cache, 1 or more"
            )
        folder = cache / hashlib.sha256(address.encode()).hexdigest()[:16]
        for name in (INDEX, MANIFEST):
            with write_aside(folder / name) as aside:
                fetch(there, address, name, aside, threading.Event())
        super().__init__(folder, address, annotations=annotations)
        self._cache = Cache(there, address, folder, self._entries, 2 * block_shards)
        weakref.finalize(self, self._cache.end)

    @property
    def wanted(self) -> tuple[str, ...]:
        """What was last asked for ahead."""
        return self._cache.wanted

    def check(self, shards: Sequence[str]) -> None:
        """Nothing is here yet: a shard is checked when it is fetched."""
        for shard in shards:
            self.entry(shard)
        self._cache.take_over(shards)

    def open(self, shard: str) -> BinaryIO:
        """The shard in the cache, fetched if it is not there. Raises `ShardError`, `OSError`."""
        self.entry(shard)
        return self._cache.open(shard)

    def want(self, shards: tuple[str, ...]) -> None:
        """Fetch these in the background, in their order; the cache has room for two blocks."""
        self._cache.want(shards)

    def halt(self) -> None:
        """Stop all that is fetched in the background."""
        self._cache.halt()


class Cache:
    """Files of `address` in `folder`: at most `keep` that this process asked for, used last.

    Ranks on one machine share the folder. A file in it is whole: it is written aside, checked, and
    renamed. Whoever needs room removes; who finds a file gone fetches it again, so that while ranks
    stand in different blocks there may be files of a third.
    """

    def __init__(
        self,
        there: Place,
        address: str,
        folder: Path,
        entries: Mapping[str, Mapping[str, Any]],
        keep: int,
    ) -> None:
        self._there, self._address, self._folder = there, address, folder
        self._entries, self._keep = entries, keep
        self._lock = threading.Lock()
        self._recent: list[str] = []
        self._checked: set[str] = set()
        self._background = Background(self._bring, min(THREADS, keep))
        self.wanted: tuple[str, ...] = ()
        for path in folder.glob("*.tar"):
            if path.name not in entries:
                path.unlink(missing_ok=True)

    def take_over(self, shards: Sequence[str]) -> None:
        """Count those of `shards` that an earlier run has left."""
        ages = {}
        for shard in shards:
            with contextlib.suppress(FileNotFoundError):
                ages[shard] = (self._folder / shard).stat().st_mtime
        with self._lock:
            self._use(sorted(ages, key=lambda shard: ages[shard]))

    def open(self, shard: str) -> BinaryIO:
        """A whole file, waited for. Raises what kept it from coming."""
        while True:
            with self._lock:
                self._use([shard])
            if self._background.finish(shard):
                # Another rank may have needed the room.
                with contextlib.suppress(FileNotFoundError):
                    return (self._folder / shard).open("rb")

    def want(self, shards: tuple[str, ...]) -> None:
        """Make room for `shards`, and fetch them in their order."""
        with self._lock:
            self.wanted = shards
            self._use(shards[::-1])
        for shard in shards:
            self._background.begin(shard)

    def halt(self) -> None:
        """Stop all transfers; whoever wants more may ask again."""
        self.wanted = ()
        self._background.cancel()

    def end(self) -> None:
        """Stop all transfers for good."""
        self._background.end()

    def _use(self, shards: Sequence[str]) -> None:
        """Count `shards` as used, the last of them last, and remove what was used longest ago."""
        new = set(shards)
        self._recent = [shard for shard in self._recent if shard not in new] + list(shards)
        while len(self._recent) > self._keep:
            oldest = self._recent.pop(0)
            # In this order: a transfer that is done by now is removed here, a later one removes itself.
            self._background.cancel([oldest])
            (self._folder / oldest).unlink(missing_ok=True)

    def _bring(self, shard: str, stop: threading.Event) -> None:
        """Have the file here and checked. Raises `ShardError`, `DownloadError`, `Stopped`."""
        path = self._folder / shard
        with self._alone(shard, stop):
            if not self._is_whole(shard):
                for left in self._folder.glob(".*.partial"):
                    if left.name.startswith(f".{shard}."):
                        left.unlink(missing_ok=True)
                with write_aside(path) as aside:
                    fetch(self._there, self._address, shard, aside, stop)
                    self._check(shard, aside)
                self._checked.add(shard)
            if stop.is_set():
                path.unlink(missing_ok=True)
                raise Stopped

    def _is_whole(self, shard: str) -> bool:
        """Whether the file is here as the manifest describes it; read whole at its first use."""
        path, entry = self._folder / shard, self._entries[shard]
        with contextlib.suppress(FileNotFoundError):
            if path.stat().st_size == entry["bytes"]:
                if shard not in self._checked and sha256(path) == entry["sha256"]:
                    self._checked.add(shard)
                return shard in self._checked
        return False

    def _check(self, shard: str, path: Path) -> None:
        if sha256(path) != self._entries[shard]["sha256"]:
            raise ShardError(
                f"{self._address}/{shard} is not the shard that {MANIFEST} describes "
                "(SHA-256 differs): it was changed after the build, or the transfer is at fault"
            )

    @contextlib.contextmanager
    def _alone(self, shard: str, stop: threading.Event) -> Iterator[None]:
        """Ranks on one machine share the cache: one fetches a shard, the others wait."""
        with (self._folder / f".{shard}.lock").open("w") as lock:
            while True:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if stop.wait(0.05):
                        raise Stopped from None
            yield
