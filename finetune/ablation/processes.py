"""Other processes that do the work: several at once, one to a folder, all of them stopped together."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from types import FrameType

from tqdm import tqdm

from ...configuration import USER_ERRORS

SAID = 4
"""Lines of a failing process's output that stand in the error."""


class Processes:
    """Starts processes with so many threads each, and ends them where we are told to end."""

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self.alive: set[subprocess.Popen[bytes]] = set()
        self.guard = threading.Lock()
        self.stopped = False

    def run(self, words: Sequence[str], folder: Path) -> None:
        """Run a command to its end; what it says goes to `log.txt` in its folder.

        Raises `RuntimeError` where it fails, or where a process of an earlier command is at work there.
        """
        folder.mkdir(parents=True, exist_ok=True)
        with locked(folder) as lock, (folder / "log.txt").open("ab") as log:
            with self.guard:
                if self.stopped:
                    raise RuntimeError("stopped before it began")
                process = subprocess.Popen(
                    words,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    stdin=subprocess.DEVNULL,
                    env=os.environ | threads_of(self.threads),
                    # It keeps the lock where we are killed and it is not.
                    pass_fds=(lock,),
                    # Ctrl-C is ours: we then ask it to stop, once.
                    start_new_session=True,
                )
                self.alive.add(process)
            code = process.wait()
            with self.guard:
                self.alive.discard(process)
        if code:
            raise RuntimeError(
                f"{ending(folder / 'log.txt')} (exit status {code}; {folder}/log.txt)"
            )

    def stop(self) -> None:
        """Ask all of them to save and leave; none begins any more."""
        with self.guard:
            self.stopped = True
            for process in self.alive:
                process.terminate()


def each(processes: Processes, jobs: int, work: Mapping[str, Callable[[], None]]) -> dict[str, str]:
    """Do all the work, so many at once: name → error of what failed; the rest goes on.

    Where we are stopped, what runs is asked to save and leave, and waited for.
    """
    errors: dict[str, str] = {}
    pool = ThreadPoolExecutor(jobs)
    try:
        with ended_by_signals():
            futures = {pool.submit(do): name for name, do in work.items()}
            for future in as_completed(futures):
                name, error = futures[future], future.exception()
                if error is None:
                    tqdm.write(f"{name}: done")
                elif isinstance(error, USER_ERRORS):
                    errors[name] = str(error)
                    tqdm.write(f"{name}: FAILED: {error}")
                else:
                    raise error
    except BaseException:
        processes.stop()
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
    return errors


@contextlib.contextmanager
def ended_by_signals() -> Iterator[None]:
    """SIGTERM is like Ctrl-C: `KeyboardInterrupt`."""

    def end(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[int]:
    """A lock on the folder, as a descriptor: whoever inherits that holds it. Raises `RuntimeError` where it is held."""
    with (folder / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RuntimeError(
                f"a process of an earlier command is still at work in {folder}: wait for its end, or end it"
            ) from None
        yield file.fileno()


def threads_of(number: int) -> dict[str, str]:
    """What tells the libraries how many threads to use."""
    return {"OMP_NUM_THREADS": str(number), "MKL_NUM_THREADS": str(number)}


def ending(log: Path) -> str:
    """The last lines that say something."""
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines()]
    return " / ".join([line for line in lines if line][-SAID:]) or "it said nothing"
