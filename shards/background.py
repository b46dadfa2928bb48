"""Jobs by name in a few threads that live only while there is work.

- A job that was begun ahead keeps what came of it, a failure too, until somebody waits for it.
- The threads are daemons: neither the end of the program nor Ctrl-C waits for a silent server.
"""

from __future__ import annotations

import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future

from ..datasets.download.errors import Stopped

_waiter = threading.local()


def answer_to(stop: threading.Event) -> None:
    """From now on this thread's waits end with `Stopped` where `stop` is set."""
    _waiter.stop = stop


class Job:
    """One piece of work; `stop` asks it to end, `done` is what came of it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.stop = threading.Event()
        self.done: Future[None] = Future()


class Background:
    """Runs `work(name, stop)` in up to `threads` threads, each name once at a time."""

    def __init__(self, work: Callable[[str, threading.Event], None], threads: int) -> None:
        self._work, self._most = work, threads
        self._lock = threading.Lock()
        self._jobs: dict[str, Job] = {}
        self._queue: deque[Job] = deque()
        self._threads = 0
        self._ended = False
        _open.add(self)

    def begin(self, name: str) -> None:
        """Queue the job behind all others, unless it is there. Raises `Stopped` as `finish` does."""
        with self._lock:
            self._begin(name)

    def finish(self, name: str) -> bool:
        """Wait for the job, before all others that have not begun. Raises what it raised.

        False where somebody else has cancelled it; `Stopped` where the waiter itself is to stop.
        """
        with self._lock:
            job = self._begin(name)
            if job in self._queue:
                self._queue.remove(job)
                self._queue.appendleft(job)
        try:
            job.done.result()
        except Stopped:
            if self._must_stop():
                raise
            return False
        finally:
            with self._lock:
                if self._jobs.get(name) is job:
                    del self._jobs[name]
        return True

    def cancel(self, names: Iterable[str] | None = None) -> None:
        """Forget these jobs, or all: those that run are asked to stop, and who waits is woken."""
        with self._lock:
            for name in list(self._jobs if names is None else names):
                job = self._jobs.pop(name, None)
                if job is None:
                    continue
                job.stop.set()
                if job in self._queue:
                    self._queue.remove(job)
                if not job.done.done():
                    job.done.set_exception(Stopped())

    def end(self) -> None:
        """Cancel everything, for good."""
        self._ended = True
        self.cancel()

    def _must_stop(self) -> bool:
        stop: threading.Event | None = getattr(_waiter, "stop", None)
        return self._ended or (stop is not None and stop.is_set())

    def _begin(self, name: str) -> Job:
        # Under the lock: what is begun before a `cancel` is cancelled by it, and after it nothing is begun.
        if self._must_stop():
            raise Stopped
        job = self._jobs.get(name)
        if job is None:
            job = self._jobs[name] = Job(name)
            self._queue.append(job)
            if self._threads < self._most:
                self._threads += 1
                threading.Thread(target=self._run, name="biofm-fetch", daemon=True).start()
        return job

    def _run(self) -> None:
        while True:
            with self._lock:
                if not self._queue:
                    self._threads -= 1
                    return
                job = self._queue.popleft()
            error: BaseException | None = None
            try:
                self._work(job.name, job.stop)
            except BaseException as raised:
                error = raised
            with self._lock:
                if not job.done.done():
                    job.done.set_exception(error) if error else job.done.set_result(None)


_open: weakref.WeakSet[Background] = weakref.WeakSet()


def _end_all() -> None:
    for background in list(_open):
        background.end()


# The reader's own thread is joined when the program ends, before anything that `atexit` calls: it must
# not wait there for a transfer. This is the hook by which concurrent.futures itself is called in time.
threading._register_atexit(_end_all)  # type: ignore[attr-defined]
