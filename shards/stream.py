"""Shards at an http(s) address: fetched into a bounded cache, checked, then mapped like local ones.

The order is the local one: it takes shards in blocks, so a block is what has to be here at a time,
and random access inside it costs nothing. What was fetched counts only when its SHA-256 is the one
in the manifest.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import shutil
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote, urlsplit

from ..files import sha256, write_aside
from .index import INDEX, MANIFEST
from .mapped import ShardError, ShardFolder

TIMEOUT_S = 60


class RemoteFolder(ShardFolder):
    """A shard folder at `address`; at most two blocks of `block_shards` shards are kept in `cache`.

    Raises `ValueError` for an address that is not http(s) or for a shuffle over all shards, and
    `OSError` where something cannot be fetched.
    """

    def __init__(
        self, address: str, cache: Path, block_shards: int, *, annotations: bool = False
    ) -> None:
        if urlsplit(address).scheme not in ("http", "https"):
            raise ValueError(f"{address}: only http:// and https:// addresses can be read")
        if block_shards < 1:
            raise ValueError(
                f"{address}: shuffling all shards together would fetch all of them at once; "
                "set shuffle_shards to the number that may lie in the cache, 1 or more"
            )
        self.address = address.rstrip("/")
        self._keep = 2 * block_shards
        self._checked: set[str] = set()
        folder = cache / hashlib.sha256(self.address.encode()).hexdigest()[:16]
        for name in (INDEX, MANIFEST):
            fetch(f"{self.address}/{name}", folder / name)
        super().__init__(folder, self.address, annotations=annotations)
        left = sorted(folder.glob("*.tar"), key=lambda path: path.stat().st_mtime)
        self._recent = [path.name for path in left]

    def check(self, shards: Sequence[str]) -> None:
        """Nothing is here yet: a shard is checked when it is fetched."""
        for shard in shards:
            self.entry(shard)

    def open(self, shard: str) -> BinaryIO:
        """The shard in the cache, fetched if it is not there. Raises `ShardError`, `OSError`."""
        entry, path = self.entry(shard), self.folder / shard
        with self._alone(shard):
            if not (path.is_file() and path.stat().st_size == entry["bytes"]):
                self._checked.discard(shard)
                fetch(f"{self.address}/{quote(shard)}", path)
            if shard not in self._checked and sha256(path) != entry["sha256"]:
                path.unlink()
                raise ShardError(
                    f"{self.address}/{shard} is not the shard that {MANIFEST} describes "
                    "(SHA-256 differs): it was changed after the build, or the transfer is at fault"
                )
            self._checked.add(shard)
            file = path.open("rb")
        self._forget(shard)
        return file

    def _forget(self, shard: str) -> None:
        """Remove what was used longest ago; a file that is still open or mapped keeps its bytes."""
        self._recent = [name for name in self._recent if name != shard] + [shard]
        while len(self._recent) > self._keep:
            oldest = self._recent.pop(0)
            with self._alone(oldest):
                (self.folder / oldest).unlink(missing_ok=True)

    @contextlib.contextmanager
    def _alone(self, shard: str) -> Iterator[None]:
        """Ranks on one machine share the cache: one touches a shard, the others wait."""
        with (self.folder / f".{shard}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def fetch(address: str, path: Path) -> None:
    """Download a file. Raises `OSError` naming the address."""
    try:
        with (
            urllib.request.urlopen(address, timeout=TIMEOUT_S) as response,
            write_aside(path) as aside,
            aside.open("wb") as file,
        ):
            shutil.copyfileobj(response, file, 1 << 20)
    except urllib.error.URLError as error:
        raise OSError(
            f"cannot fetch {address} ({error.reason}): check the address and the network"
        ) from error
