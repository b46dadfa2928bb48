"""One file: received, resumed where it broke off, verified, and only then given its name.

While it comes it is `<name>.partial`; beside it `<name>.partial.version` holds what the server calls
this version of it (ETag or date), so that a resumed file is never spliced from two versions: the
server sends the rest only of that version, and the whole of any other. Nothing waits for the disk:
these are files that can be fetched again.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import re
import shutil
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

import urllib3

from .client import Client
from .errors import DownloadError, FileRefused, Interrupted, Stopped
from .patience import patiently


@dataclass(frozen=True)
class RemoteFile:
    """A file to fetch: its path here, its path below the host (which may hold a token) and facts.

    `checksum` is `sha256:…` or `md5:…` as the publisher gives it, None where it gives none.
    """

    path: str
    address: str = field(repr=False)
    checksum: str | None
    size_bytes: int | None = None


def fetch(
    client: Client,
    file: RemoteFile,
    folder: Path,
    advance: Callable[[int], object],
    stop: threading.Event,
) -> str:
    """Bring `file` into `folder`; return its checksum.

    `advance` is told how many bytes have come, and given a negative number where they are thrown
    away. A file that is not what was announced is fetched once more from its start, then refused.
    Raises `FileRefused`, `DownloadError`, `Stopped`.
    """
    target = folder / file.path
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise DownloadError(f"{target.parent}: expected a folder, found a file; move it") from error
    partial = partial_of(target)
    found = ""
    for _ in range(2):
        _receive(client, file, partial, advance, stop)
        found = checksum_of(partial, file.checksum)
        if file.checksum in (found, None):
            partial.replace(target)
            version_of(partial).unlink(missing_ok=True)
            return found
        _discard(partial, advance)
    raise FileRefused(
        f"{target}: expected {file.checksum}, found {found}, twice; nothing was kept. The file was "
        "changed at its source, or something on the way alters it: try another network or mirror"
    )


def checksum_of(path: Path, like: str | None) -> str:
    """The file's checksum by the algorithm of `like`, SHA-256 where there is none."""
    algorithm = like.partition(":")[0] if like else "sha256"
    with path.open("rb") as file:
        return f"{algorithm}:{hashlib.file_digest(file, algorithm).hexdigest()}"


def partial_of(target: Path) -> Path:
    """What a file is called until it is whole."""
    return target.with_name(f"{target.name}.partial")


def bytes_in(file: Path) -> int:
    """Size of a file, 0 where there is none."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        return file.stat().st_size
    return 0


def _receive(
    client: Client,
    file: RemoteFile,
    partial: Path,
    advance: Callable[[int], object],
    stop: threading.Event,
) -> None:
    """Go on until all of it is here."""
    advance(bytes_in(partial))
    patiently(
        lambda: _receive_once(client, file, partial, advance, stop),
        file.path,
        stop,
        lambda: bytes_in(partial),
    )


def _receive_once(
    client: Client,
    file: RemoteFile,
    partial: Path,
    advance: Callable[[int], object],
    stop: threading.Event,
) -> None:
    """Ask for what is missing, or for all of it, and append what comes."""
    offset, version = bytes_in(partial), _read_version(partial)
    if offset and not version:
        _discard(partial, advance)
        offset = 0
    headers = {"Range": f"bytes={offset}-", "If-Range": version} if offset else {}
    with client.get(file.address, file.path, headers) as response:
        told = re.fullmatch(
            r"bytes (?:(\d+)-\d+|\*)/(\d+|\*)", response.headers.get("Content-Range", "")
        )
        if response.status == 416 and told and told[2] == str(offset):
            return
        if response.status == 416 or (
            response.status == 206 and not (told and told[1] == str(offset))
        ):
            _discard(partial, advance)
            raise Interrupted("the server's range does not fit what is here: from the start again")
        if response.status == 200:
            _discard(partial, advance)
            version_of(partial).write_text(_version(response), encoding="utf-8")
        _hold_against_disk(response, partial)
        # Unbuffered: what a kill leaves is what was received.
        with partial.open("ab", buffering=0) as out:
            for chunk in client.stream(response, file.path):
                if stop.is_set():
                    raise Stopped
                try:
                    out.write(chunk)
                except OSError as error:
                    _disk_full(error, partial)
                advance(len(chunk))


def _version(response: urllib3.BaseHTTPResponse) -> str:
    """What `If-Range` may name: a strong ETag, or the date; empty where a file cannot be resumed."""
    tag = response.headers.get("ETag", "")
    return tag if tag.startswith('"') else response.headers.get("Last-Modified", "")


def version_of(partial: Path) -> Path:
    """Where the version stands that a partial file is of."""
    return partial.with_name(f"{partial.name}.version")


def _read_version(partial: Path) -> str:
    with contextlib.suppress(FileNotFoundError):
        return version_of(partial).read_text(encoding="utf-8")
    return ""


def _discard(partial: Path, advance: Callable[[int], object]) -> None:
    advance(-bytes_in(partial))
    partial.unlink(missing_ok=True)
    version_of(partial).unlink(missing_ok=True)


def _hold_against_disk(response: urllib3.BaseHTTPResponse, partial: Path) -> None:
    """Refuse what will not fit before any of it is written."""
    length = response.headers.get("Content-Length", "")
    if length.isdecimal() and int(length) > shutil.disk_usage(partial.parent).free:
        _disk_full(OSError(errno.ENOSPC, "no space left"), partial)


def _disk_full(error: OSError, partial: Path) -> NoReturn:
    """Say where the disk is full; any other `error` is raised as it is."""
    if error.errno not in (errno.ENOSPC, errno.EDQUOT):
        raise error
    free = shutil.disk_usage(partial.parent).free
    raise DownloadError(
        error.errno,
        f"no space left for {partial} ({free / 1e6:.0f} MB free): what has come is kept; free some "
        "space and run the same command again",
    ) from error
