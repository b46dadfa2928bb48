"""Files that never look whole while they are not.

Everything biofm leaves behind is written beside its place and renamed into it, so that a kill, a
full disk or a second writer leaves either the old file or the new one.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def write_aside(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success fsync it and rename it into place.

    On any error the temporary file is removed and `path` is left as it was. A full disk is
    re-raised as an `OSError` that names `path` and says what to do.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        yield aside
        sync(aside)
        aside.replace(path)
        sync(path.parent)
    except OSError as error:
        aside.unlink(missing_ok=True)
        raise disk_error(error, path) from error
    except BaseException:
        aside.unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def folder_aside(path: Path, *, durable: bool = True) -> Iterator[Path]:
    """The same for a folder: yield an empty one beside `path`, which replaces `path` on success.

    With `durable` false nothing waits for the disk: for thousands of files that can be made again.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}.partial")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir()
    try:
        yield aside
        if durable:
            for file in aside.rglob("*"):
                sync(file)
        if path.exists():
            # Two renames, because a folder cannot be replaced in one: readers of `path` see the old
            # folder, for an instant nothing, then the new one, and never a mixture.
            old = path.with_name(f".{path.name}.{os.getpid()}.old")
            path.rename(old)
            aside.rename(path)
            shutil.rmtree(old)
        else:
            aside.rename(path)
        sync(path.parent)
    except OSError as error:
        shutil.rmtree(aside, ignore_errors=True)
        raise disk_error(error, path) from error
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise


def sync(path: Path) -> None:
    """Force a file or a folder to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def disk_error(error: OSError, path: Path) -> OSError:
    """`error`, with the file it concerns and the remedy where the disk is full."""
    import errno

    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        free = shutil.disk_usage(path.parent).free
        return OSError(
            error.errno,
            f"no space left while writing {path} ({free / 1e6:.0f} MB free): nothing half-written "
            "was kept; free some space or choose another folder, and run the same command again",
        )
    return error


def sha256(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
