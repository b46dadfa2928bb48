"""A data set in one zip: fetched whole, unpacked with care, and removed.

Every name, size and kind in the zip is checked before a byte is unpacked; every member's CRC is
checked by `zipfile` as it is read, and a member has its name only once it is whole. What the zip
holds is noted, so that a second run knows without the zip that nothing is missing.
"""

from __future__ import annotations

import contextlib
import lzma
import shutil
import stat
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, NoReturn
from urllib.parse import quote

from tqdm import tqdm

from ...files import disk_error
from .catalogue import ZipArchive
from .errors import DownloadError
from .paths import safe_path
from .several import Job, fetch_missing, gb
from .transfer import RemoteFile, partial_of

_PIECE_BYTES = 1 << 20
_ENCRYPTED = 0x1
INNER = ".biofm-inner.zip"


class Member(NamedTuple):
    """A file in a zip."""

    archive: zipfile.ZipFile
    info: zipfile.ZipInfo

    @property
    def crc(self) -> str:
        """Its checksum as the zip's directory states it."""
        return f"crc32:{self.info.CRC:08x}"


def download(entry: ZipArchive, job: Job) -> None:
    """Fetch the zip and unpack what is wanted of it. Raises `DownloadError`, `ValueError`."""
    if job.record.members and not _missing(job):
        job.say(f"all {len(job.wanted.of(job.record.members))} files are here and verified")
        return
    checksum = entry.sha256 and f"sha256:{entry.sha256}"
    file = RemoteFile(entry.file, quote(entry.path, safe="/+"), checksum, entry.total_bytes)
    if not checksum:
        job.say(f"no checksum of {entry.file} is published: the zip's own CRCs are verified")
    inner_bytes = entry.total_bytes if entry.inner else 0
    unpacked_bytes = entry.unpacked_bytes if job.wanted.all else 0
    fetch_missing(job, [file], more_bytes=inner_bytes + unpacked_bytes)
    unpack(entry, job)


def unpack(entry: ZipArchive, job: Job) -> None:
    """Unpack what is wanted and missing, then remove the zip.

    Raises `DownloadError` where the zip is damaged, hostile or unfolds to more than it should.
    """
    outer = job.folder / entry.file
    inner = job.folder / INNER
    most_bytes = entry.unpacked_bytes * 3 // 2
    try:
        with contextlib.ExitStack() as opened:
            archive = opened.enter_context(zipfile.ZipFile(outer))
            members = _checked(archive, outer, most_bytes)
            if entry.inner is not None:
                if entry.inner not in members:
                    raise DownloadError(f"{outer}: expected {entry.inner} in it")
                _extract(members.pop(entry.inner), inner, None)
                nested = opened.enter_context(zipfile.ZipFile(inner))
                members |= _checked(nested, inner, most_bytes)
            _unpack(job, members)
    # LZMAError: damaged data. NotImplementedError: a compression that zipfile does not have.
    except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, NotImplementedError, EOFError) as error:
        raise DownloadError(
            f"{outer}: damaged ({error}); remove it and run the same command again"
        ) from error
    finally:
        inner.unlink(missing_ok=True)
    outer.unlink()


def _unpack(job: Job, members: dict[str, Member]) -> None:
    """Unpack what is wanted and not here yet; a file that is here counts when its CRC is the zip's."""
    job.record.add_members({path: member.crc for path, member in members.items()})
    todo = []
    for path in _missing(job):
        there = job.folder / path
        if there.exists() and _crc_of(there) == members[path].crc:
            job.record.add(path, members[path].crc)
        elif there.exists() and not job.record.wrote(path):
            raise FileExistsError(
                f"{there} is not the file of that name in the zip; choose another folder or remove it"
            )
        else:
            todo.append(path)
    size_bytes = sum(members[path].info.file_size for path in todo)
    free = shutil.disk_usage(job.folder).free
    if size_bytes > free:
        raise DownloadError(
            f"{job.folder}: {gb(size_bytes)} to unpack, and {gb(free)} free; the "
            "zip is kept: free some space, or take a part (--records, --only), and run the same "
            "command again"
        )
    job.say(f"unpacking {len(todo)} files, {gb(size_bytes)}")
    with tqdm(
        total=size_bytes, unit="B", unit_scale=True, unit_divisor=1000, disable=not job.progress
    ) as bar:
        for path in todo:
            _extract(members[path], job.folder / path, bar)
            job.record.add(path, members[path].crc)


def _missing(job: Job) -> list[str]:
    """What is wanted of the zip's members and not here as it was unpacked."""
    members = job.record.members
    return [p for p in job.wanted.of(members) if not job.record.verified(p, members[p])]


def _checked(archive: zipfile.ZipFile, path: Path, most_bytes: int) -> dict[str, Member]:
    """The members that are files, by their paths. Raises `DownloadError` where one is not safe."""
    members: dict[str, Member] = {}
    for info in archive.infolist():
        # As written in the zip: `filename` ends at a null byte.
        name = info.orig_filename
        kind = stat.S_IFMT(info.external_attr >> 16)
        try:
            safe_path(name.removesuffix("/"))
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise ValueError(f"expected files and folders, found a link or device {name!r}")
            if info.flag_bits & _ENCRYPTED:
                raise ValueError(f"{name!r} is encrypted")
            if name in members:
                raise ValueError(f"{name!r} is in it twice")
        except ValueError as error:
            raise DownloadError(f"{path}: {error}; nothing of it was unpacked") from error
        if not info.is_dir():
            members[name] = Member(archive, info)
    _check_sizes([member.info for member in members.values()], path, most_bytes)
    return members


def _check_sizes(infos: Sequence[zipfile.ZipInfo], path: Path, most_bytes: int) -> None:
    """A zip that unfolds beyond reason, or whose members share their bytes, is a bomb.

    `zipfile` unpacks no more of a member than it declares.
    """
    size_bytes = sum(info.file_size for info in infos)
    if size_bytes > most_bytes:
        raise DownloadError(
            f"{path}: expected at most {gb(most_bytes)} unpacked, and it declares "
            f"{gb(size_bytes)}; nothing of it was unpacked"
        )
    if sum(info.compress_size for info in infos) > path.stat().st_size:
        raise DownloadError(f"{path}: its members overlap; nothing of it was unpacked")


def _extract(member: Member, target: Path, bar: tqdm[NoReturn] | None) -> None:
    """One member, its CRC checked at its end; `target` appears when it is whole."""
    partial = partial_of(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with member.archive.open(member.info) as source, partial.open("wb") as out:
            while piece := source.read(_PIECE_BYTES):
                out.write(piece)
                if bar is not None:
                    bar.update(len(piece))
        partial.replace(target)
    except OSError as error:
        raise disk_error(error, target) from error
    finally:
        partial.unlink(missing_ok=True)


def _crc_of(path: Path) -> str:
    crc = 0
    with path.open("rb") as file:
        while piece := file.read(_PIECE_BYTES):
            crc = zlib.crc32(piece, crc)
    return f"crc32:{crc:08x}"
