"""Write shards side by side: in this process, in local processes, or on a Ray cluster.

Nothing here decides a byte: a shard is one task, and tasks share nothing.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context, parent_process
from typing import Any

from .writing import ShardRecord, ShardTask, write_shard


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def write_shards(
    tasks: Sequence[ShardTask], workers: int, ray_address: str | None
) -> Iterator[ShardRecord]:
    """The record of each shard as it is finished, in any order. Raises what a worker raised."""
    if ray_address is not None:
        yield from _on_ray(tasks, ray_address)
    elif workers == 1 or len(tasks) < 2:
        yield from map(write_shard, tasks)
    else:
        yield from _in_processes(tasks, min(workers, len(tasks)))


def _in_processes(tasks: Sequence[ShardTask], workers: int) -> Iterator[ShardRecord]:
    # Spawned, not forked: a fork of a process that runs threads (polars, BLAS) can hang.
    with ProcessPoolExecutor(workers, get_context("spawn"), _leave_with_parent) as pool:
        futures = [pool.submit(write_shard, task) for task in tasks]
        try:
            for future in as_completed(futures):
                yield future.result()
        except BrokenProcessPool as error:
            raise RuntimeError(
                "a worker process ended without an answer: it was killed (out of memory?), or the "
                "calling script starts a build when it is imported (put it under `if __name__ == "
                '"__main__":`); what is finished is kept: run the same build again, with fewer '
                "--workers if memory was short"
            ) from error
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _leave_with_parent() -> None:
    """End this worker when the build is killed: an orphan would wait for work for ever."""
    parent = parent_process()

    def wait() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def _on_ray(tasks: Sequence[ShardTask], address: str) -> Iterator[ShardRecord]:
    """Every core of the cluster takes one shard at a time; all machines must see the folders."""
    try:
        import ray
    except ImportError as error:
        raise ImportError("building on Ray needs the package: pip install 'biofm[ray]'") from error
    ours = not ray.is_initialized()
    if ours:
        ray.init(address=address, log_to_driver=False)
    try:
        remote: Any = ray.remote(num_cpus=1)(write_shard)
        waiting = [remote.remote(task) for task in tasks]
        while waiting:
            ready, waiting = ray.wait(waiting)
            try:
                yield from ray.get(ready)
            except ray.exceptions.RayTaskError as error:
                for task in waiting:
                    ray.cancel(task)
                raise error.cause from error
    finally:
        if ours:
            ray.shutdown()
