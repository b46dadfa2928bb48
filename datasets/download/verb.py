"""`biofm datasets download`."""

from __future__ import annotations

import shlex
from pathlib import Path

from ..registry import SOURCES, About, source
from . import archive, nsrr, physionet
from .catalogue import CATALOGUE, NSRR, Entry, PhysioNet, ZipArchive
from .client import Client
from .paths import Selection
from .record import Record
from .several import Job

_REFUSED = "see whether the address is right and no sign-in page or proxy stands in between"


def download(
    name: str,
    out: Path,
    *,
    records: int | None = None,
    only: str | None = None,
    base_url: str | None = None,
    workers: int = 8,
    token_file: Path | None = None,
    progress: bool = True,
) -> Path:
    """Download a source from its publisher, verified and resumable.

    Every file is held against the publisher's checksum before it gets its name (of WESAD none is
    published: there the zip's own CRCs are). A download that was stopped, by whatever, goes on when
    the same command is run again, and fetches only what is missing. The size is said, and held
    against the free disk, before anything is fetched.

    Args:
        name: what to download: challenge, chapman, cpsc2018, mesa, mitdb, ppg_dalia, ptbxl,
            sleep_accel or wesad.
        out: folder for it; what it holds already is verified and kept.
        records: only the first so many recordings (nights, people), with the tables, for a try-out;
            of a zip they are unpacked, but it is fetched whole.
        only: only files whose whole path matches this pattern, such as 'records500/*'; `*` stands for
            slashes too.
        base_url: a mirror's address in place of the publisher's host; the paths must be the same.
        workers: files to fetch at a time.
        token_file: file with your NSRR token alone on a line, for mesa; the environment variable
            NSRR_TOKEN does as well.
        progress: show progress bars and what happens.

    Returns:
        The folder.

    Raises:
        DownloadError: an `OSError` that says what stopped it and what to do.
        FileExistsError: `out` holds something else.
        ValueError: an unknown name, or a selection that is empty.
    """
    entry, about = _entry(name), source(name).about()
    if records is not None and (records < 1 or only is not None):
        raise ValueError("--records must be 1 or more, and goes without --only")
    if workers < 1:
        raise ValueError(f"--workers must be 1 or more, not {workers}")
    host = base_url or entry.host
    token = nsrr.read_token(token_file, host) if isinstance(entry, NSRR) else ""
    denied = nsrr.denied(entry.slug) if isinstance(entry, NSRR) else _REFUSED
    client = Client(host, workers, denied, token)
    with Record(out, _origin(entry)) as record:
        wanted = Selection(entry.records, records, only)
        job = Job(client, record, wanted, workers, progress)
        match entry:
            case PhysioNet():
                physionet.download(entry, job)
            case ZipArchive():
                archive.download(entry, job)
            case NSRR():
                nsrr.download(entry, job, token)
        job.say(_what_next(name, about, out, wanted))
    return out


def _entry(name: str) -> Entry:
    if name in CATALOGUE:
        return CATALOGUE[name]
    known = ", ".join(sorted(CATALOGUE))
    if name in SOURCES:
        access = source(name).about().access
        raise ValueError(f"{name} cannot be downloaded ({access}); these can be: {known}")
    raise ValueError(f"unknown source {name!r}; these can be downloaded: {known}")


def _origin(entry: Entry) -> str:
    """What a folder is said to hold: the same from any mirror."""
    if isinstance(entry, PhysioNet):
        return f"PhysioNet {entry.slug} {entry.version} {entry.folder}".strip()
    return f"NSRR {entry.slug}" if isinstance(entry, NSRR) else entry.file


def _what_next(name: str, about: About, out: Path, wanted: Selection) -> str:
    """The licence, what to cite, and the command that makes shards of it."""
    words = ["biofm", "shards", "build", name, str(out), "--out", f"{out}-shards"]
    words += ["--config", f"shards/{name}"]
    lines = [
        about.title,
        f"  licence  {about.licence}",
        f"  cite     {about.citation}",
        f"  next     {shlex.join(words)}",
    ]
    if wanted.layout.tables_list_all and not wanted.all:
        lines.append(
            "           --max_bad 1000000, because the tables go on listing what was not fetched"
        )
    return "\n".join(lines)
