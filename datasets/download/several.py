"""Many files: which are missing, how large they are, and all of them at a time."""

from __future__ import annotations

import random
import shutil
import sys
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from tqdm import tqdm

from .client import Client
from .errors import DownloadError, FileRefused, Stopped
from .paths import Selection
from .record import Record
from .transfer import RemoteFile, bytes_in, checksum_of, fetch, partial_of, version_of

SAMPLED = 256
"""Sizes are asked for of so many files, and those of the others inferred."""
_REFUSED_AT_MOST = 20
_GLANCE_S = 0.2
_NAMED = 5


@dataclass(frozen=True)
class Job:
    """A download: over `client` into the folder of `record`, what of it, and how."""

    client: Client
    record: Record
    wanted: Selection
    workers: int
    progress: bool

    @property
    def folder(self) -> Path:
        """Where the files go."""
        return self.record.folder

    def say(self, text: str) -> None:
        """Tell the user, if anything is shown."""
        if self.progress:
            print(text, flush=True)


def fetch_missing(job: Job, files: Sequence[RemoteFile], more_bytes: int = 0) -> None:
    """Bring what is not here yet, after saying how much it is.

    `more_bytes` is what the disk must hold besides. Files that the server refuses do not stop the
    others. Raises `DownloadError` naming them, or what stopped everything; `FileExistsError` where
    the folder holds files of those names that are something else.
    """
    todo = _missing(job, files)
    if not todo:
        job.say(f"all {len(files)} files are here and verified")
        return
    here = len(files) - len(todo)
    size_bytes, exact = _size(job, todo)
    free = shutil.disk_usage(job.folder).free
    shown = f"{'' if exact else 'about '}{gb(size_bytes)}" if size_bytes else "of unknown size"
    job.say(
        f"{len(todo)} of {len(files)} files to fetch, {shown}, into {job.folder} "
        f"({gb(free)} free){f'; {here} are here and verified' if here else ''}"
    )
    begun_bytes = sum(bytes_in(partial_of(job.folder / file.path)) for file in todo)
    if (size_bytes or 0) - begun_bytes + more_bytes > free:
        raise DownloadError(
            f"{job.folder}: {shown} to fetch{f' and {gb(more_bytes)} to unpack' if more_bytes else ''}"
            f", and {gb(free)} free; free some space, choose another disk, or fetch a part "
            "(--records, --only)"
        )
    bar = tqdm(
        total=size_bytes, unit="B", unit_scale=True, unit_divisor=1000, disable=not job.progress
    )
    with bar:
        _fetch_all(job, todo, bar)


def _fetch_all(job: Job, todo: Sequence[RemoteFile], bar: tqdm[NoReturn]) -> None:
    """Fetch in parallel; what stops one for a reason that concerns all stops all."""
    stop, ended, lock = threading.Event(), threading.Event(), threading.Lock()
    refused: list[str] = []
    stopped_by: list[Exception] = []
    left = len(todo)

    def advance(size_bytes: int) -> None:
        with lock:
            bar.update(size_bytes)

    def one(file: RemoteFile) -> None:
        nonlocal left
        try:
            if not stop.is_set():
                job.record.add(file.path, fetch(job.client, file, job.folder, advance, stop))
        except FileRefused as error:
            refused.append(str(error))
            bar.write(f"refused {error}", file=sys.stderr)
            if len(refused) >= _REFUSED_AT_MOST:
                stop.set()
        except Stopped:
            pass
        except Exception as error:
            stopped_by.append(error)
            stop.set()
        finally:
            with lock:
                left -= 1
                if left == 0:
                    ended.set()

    with ThreadPoolExecutor(job.workers) as pool:
        try:
            for file in todo:
                pool.submit(one, file)
            # Not one long wait: where the system hands Ctrl-C to a worker, that would sleep on.
            while not ended.wait(_GLANCE_S):
                pass
        except BaseException:
            stop.set()
            pool.shutdown(cancel_futures=True)
            raise
    if stopped_by:
        raise stopped_by[0]
    if refused:
        cut_short = ", and no more were tried" if stop.is_set() else ""
        listed = "\n  ".join([*refused[:_NAMED], *["…"] * (len(refused) > _NAMED)])
        raise DownloadError(f"{len(refused)} files could not be had{cut_short}:\n  {listed}")


def _missing(job: Job, files: Sequence[RemoteFile]) -> list[RemoteFile]:
    """Those that are not here as they should be. What is here and unknown is hashed, and kept."""
    missing: list[RemoteFile] = []
    unknown: list[RemoteFile] = []
    for file in files:
        if job.record.verified(file.path, file.checksum):
            continue
        (unknown if (job.folder / file.path).exists() else missing).append(file)
    foreign = []
    for file, found in _hashed(job, unknown):
        if file.checksum in (found, None):
            # What a kill leaves that comes when the file has its name and before it is noted.
            version_of(partial_of(job.folder / file.path)).unlink(missing_ok=True)
            job.record.add(file.path, found)
        elif job.record.wrote(file.path):
            job.say(f"{job.folder / file.path} is no longer what was downloaded: fetching it again")
            missing.append(file)
        else:
            foreign.append(file.path)
    if foreign:
        raise FileExistsError(
            f"{job.folder} holds {len(foreign)} files that are not the data set's, though of the "
            f"same name ({', '.join(foreign[:_NAMED])}); choose another folder, or remove them"
        )
    return missing


def _hashed(job: Job, files: Sequence[RemoteFile]) -> Iterator[tuple[RemoteFile, str]]:
    """Each file that is here with its checksum, in parallel."""
    with ThreadPoolExecutor(job.workers) as pool:
        sums = pool.map(lambda file: checksum_of(job.folder / file.path, file.checksum), files)
        shown = tqdm(
            sums,
            total=len(files),
            desc="verifying what is here",
            unit="file",
            disable=not (job.progress and files),
        )
        yield from zip(files, shown, strict=True)


def _size(job: Job, files: Sequence[RemoteFile]) -> tuple[int | None, bool]:
    """Bytes of all files, and whether that is exact; None where the server does not say."""
    # A fixed draw, because a stride would meet only one of two kinds of file that alternate.
    asked = random.Random(0).sample(files, SAMPLED) if len(files) > SAMPLED else files
    with ThreadPoolExecutor(job.workers) as pool:
        sizes = pool.map(
            lambda file: file.size_bytes or job.client.size(file.address, file.path), asked
        )
        known = [size for size in sizes if size is not None]
    if not known:
        return None, False
    exact = len(known) == len(files)
    return sum(known) if exact else round(sum(known) / len(known) * len(files)), exact


def gb(size_bytes: int) -> str:
    """As people read it."""
    return f"{size_bytes / 1e9:.1f} GB" if size_bytes >= 1e8 else f"{size_bytes / 1e6:.1f} MB"
