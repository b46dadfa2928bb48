"""What is told to come next is what comes next."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from biofm.datasets.download.errors import Stopped
from biofm.shards.background import Background, answer_to
from biofm.shards.order import EpochOrder

WINDOWS = st.lists(st.integers(1, 9), min_size=1, max_size=7)


@settings(max_examples=15)
@given(
    parts=st.lists(WINDOWS, min_size=1, max_size=3),
    block=st.integers(1, 4),
    weights=st.lists(st.integers(1, 4), min_size=3, max_size=3) | st.none(),
    seed=st.integers(0, 99),
)
def test_each_window_lies_in_the_block_that_its_source_stands_in(
    parts: list[list[int]], block: int, weights: list[int] | None, seed: int
) -> None:
    windows = [np.array(part, np.int64) for part in parts]
    shares = None if weights is None else [float(w) for w in weights[: len(parts)]]
    order = EpochOrder(windows, block, seed, shares)
    source_of = np.concatenate([np.full(part.sum(), i) for i, part in enumerate(windows)])
    shard_of = np.concatenate([np.repeat(np.arange(len(part)), part) for part in windows])
    stood: dict[int, tuple[int, int]] = {}
    for epoch in (0, 1):
        found, turns = order.at(np.arange(order.windows, dtype=np.int64), epoch)
        for position, (window, turn) in enumerate(zip(found.tolist(), turns.tolist(), strict=True)):
            standing = order.standing(position, epoch)
            source = int(source_of[window])
            assert standing[source][0] == turn
            assert shard_of[window] in blocks_of(order, source, standing[source], parts, block)[0]
            for number, now in enumerate(standing):
                if number in stood and stood[number] != now:
                    _, announced = blocks_of(order, number, stood[number], parts, block)
                    assert announced == blocks_of(order, number, now, parts, block)[0]
                stood[number] = now


def blocks_of(
    order: EpochOrder, source: int, at: tuple[int, int], parts: list[list[int]], block: int
) -> tuple[list[int], list[int]]:
    """The shards of the block where a source stands, and of the one announced after it."""
    coming = order.shards_from(source, *at)
    here = min(block, len(parts[source]) - at[1] * block)
    return coming[:here], coming[here:]


def test_a_job_runs_once_and_its_failure_waits_for_whoever_needs_it() -> None:
    begun: list[str] = []

    def work(name: str, stop: threading.Event) -> None:
        begun.append(name)
        if name == "bad":
            raise OSError("no")

    background = Background(work, threads=1)
    background.begin("bad")
    background.begin("good")
    assert background.finish("good")
    with pytest.raises(OSError, match="no"):
        background.finish("bad")
    assert sorted(begun) == ["bad", "good"]
    with pytest.raises(OSError, match="no"):
        background.finish("bad")
    assert begun.count("bad") == 2


def test_what_is_needed_now_overtakes_what_was_begun_ahead() -> None:
    order: list[str] = []
    go_on = threading.Event()

    def work(name: str, stop: threading.Event) -> None:
        go_on.wait(60)
        order.append(name)

    background = Background(work, threads=1)
    for name in "abcd":
        background.begin(name)
    waiter = threading.Thread(target=background.finish, args=("d",))
    waiter.start()
    # "a" runs; "d" must stand before "b" when it is done.
    while [job.name for job in background._queue][:1] not in (["d"], []):
        time.sleep(0.01)
    go_on.set()
    waiter.join(60)
    assert order.index("d") <= 1


def test_who_is_to_stop_is_woken_and_others_are_told_to_ask_again() -> None:
    running, stopped = threading.Event(), []

    def work(name: str, stop: threading.Event) -> None:
        running.set()
        assert stop.wait(60)
        stopped.append(name)
        raise Stopped

    background, leave = Background(work, threads=2), threading.Event()
    told: dict[str, object] = {}

    def stay() -> None:
        told["stay"] = background.finish("shard")

    def go() -> None:
        answer_to(leave)
        try:
            background.finish("shard")
        except Stopped:
            told["go"] = "stopped"
        with pytest.raises(Stopped):
            background.begin("another")

    waiters = [threading.Thread(target=wait) for wait in (stay, go)]
    for waiter in waiters:
        waiter.start()
    assert running.wait(60)
    leave.set()
    # A waiter that comes only now finds nothing running, and is cancelled in the next round.
    while any(waiter.is_alive() for waiter in waiters):
        background.cancel()
        for waiter in waiters:
            waiter.join(0.05)
    assert told == {"stay": False, "go": "stopped"}
    background.end()
    with pytest.raises(Stopped):
        background.finish("shard")
