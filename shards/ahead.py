"""Reading ahead: the next step while the last is used, the next block of remote shards while one is used.

The order is a closed form, so what comes next is known; nothing about the order or the bytes of a batch
depends on what is fetched when.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import TypeVar

import numpy as np

from .background import answer_to
from .mapped import MappedShards, ShardFolder
from .order import EpochOrder, Integers
from .stream import RemoteFolder

T = TypeVar("T")


class ReadAhead:
    """Tells remote folders which shards come next: the block in use and the one after it.

    For each source: its folder, the shards that hold windows, and how many they hold, in the order of the
    index.
    """

    def __init__(
        self,
        sources: Sequence[tuple[ShardFolder, Sequence[str], Integers]],
        block_shards: int,
        order: EpochOrder,
        mapped: MappedShards,
    ) -> None:
        self.order, self.mapped = order, mapped
        self.names = [names for _, names, _ in sources]
        self.remote = {
            number: folder
            for number, (folder, _, _) in enumerate(sources)
            if isinstance(folder, RemoteFolder)
        }
        # Evaluation reads the sources one after another, each in the order of its index.
        self.blocks: list[tuple[int, tuple[str, ...]]] = []
        sizes = []
        for number, (_, names, windows) in enumerate(sources if self.remote else ()):
            for first in range(0, len(names), block_shards):
                self.blocks.append((number, tuple(names[first : first + block_shards])))
                sizes.append(int(windows[first : first + block_shards].sum()))
        self.edges = np.cumsum(sizes)

    def halt(self) -> None:
        """Stop what is fetched in the background."""
        for folder in self.remote.values():
            folder.halt()


class Course:
    """How far one iteration over a reader has come."""

    def __init__(self, ahead: ReadAhead) -> None:
        self._ahead = ahead
        self._at: dict[int, object] = {}
        self._told: dict[int, tuple[str, ...]] = {}

    def train(self, position: int, epoch: int) -> None:
        """A step begins at this position of an epoch."""
        if not self._ahead.remote:
            return
        for source, at in enumerate(self._ahead.order.standing(position, epoch)):
            if source in self._ahead.remote and self._at.get(source) != at:
                self._at[source] = at
                names = self._ahead.names[source]
                shards = self._ahead.order.shards_from(source, *at)
                self._told[source] = tuple(dict.fromkeys(names[shard] for shard in shards))
        self._tell()

    def evaluate(self, window: int) -> None:
        """A batch begins at this window of the index."""
        if not self._ahead.remote:
            return
        number = int(np.searchsorted(self._ahead.edges, window, side="right"))
        if self._at.get(0) != number:
            self._at[0] = number
            told: dict[int, tuple[str, ...]] = {}
            for source, names in self._ahead.blocks[number : number + 2]:
                told[source] = told.get(source, ()) + names
            self._told = {s: names for s, names in told.items() if s in self._ahead.remote}
        self._tell()

    def _tell(self) -> None:
        """What another iteration over the same reader has changed meanwhile is changed back."""
        news = False
        for source, names in self._told.items():
            folder = self._ahead.remote[source]
            if folder.wanted is not names:
                folder.want(names)
                news = True
        if news:
            # A map keeps the bytes of a shard that has left the cache.
            self._ahead.mapped.release()


def ahead(items: Iterator[T], halt: Callable[[], None]) -> Iterator[T]:
    """The same items, the next one made in a thread while the last is used.

    Whoever leaves early, or is interrupted, calls `halt`, so that nobody waits for a transfer.
    """
    stop = threading.Event()
    with ThreadPoolExecutor(1, "biofm-reader", answer_to, (stop,)) as pool:
        pending = pool.submit(next, items, None)
        try:
            while (item := _made(pending)) is not None:
                pending = pool.submit(next, items, None)
                yield item
        except BaseException:
            stop.set()
            halt()
            raise


def _made(pending: Future[T | None]) -> T | None:
    """The item, waited for in pieces: polars restarts waits that Ctrl-C would end, but not the next."""
    while not pending.done():
        wait((pending,), timeout=0.5)
    return pending.result()
