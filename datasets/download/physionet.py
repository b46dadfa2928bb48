"""PhysioNet: plain files with a list of their SHA-256.

A published version never changes there, so that the list is fetched once. It is kept, for
`sha256sum --check SHA256SUMS.txt`.
"""

from __future__ import annotations

import re
from urllib.parse import quote

from ...files import write_aside
from .catalogue import PhysioNet
from .errors import DownloadError
from .paths import safe_path
from .several import Job, fetch_missing
from .transfer import RemoteFile, checksum_of

SUMS = "SHA256SUMS.txt"
# The largest, of the Challenge's 180,000 files, takes about 20 MB.
_MOST_BYTES = 1 << 27


def download(entry: PhysioNet, job: Job) -> None:
    """Fetch what is wanted of the data set. Raises `DownloadError`, `ValueError`."""
    base = f"files/{entry.slug}/{entry.version}"
    sums = {p: s for p, s in _sums(base, job).items() if p.startswith(entry.folder) and p != SUMS}
    files = [RemoteFile(path, f"{base}/{quote(path)}", sums[path]) for path in job.wanted.of(sums)]
    fetch_missing(job, files)


def parse_sums(text: str, name: str) -> dict[str, str]:
    """Path → `sha256:…` of the lines `<digest> <path>`.

    Raises `DownloadError` for any other line, for a path that would leave the folder, and for a path
    with two digests.
    """
    sums: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        found = re.fullmatch(r"([0-9a-fA-F]{64}) [ *]?(.+)", line)
        try:
            if found is None:
                raise ValueError(f"expected a SHA-256 and a path, found {line[:100]!r}")
            path, digest = safe_path(found[2]), f"sha256:{found[1].lower()}"
            if sums.setdefault(path, digest) != digest:
                raise ValueError(f"{path} has two different SHA-256")
        except ValueError as error:
            raise DownloadError(
                f"{name}, line {number}: {error}; nothing was downloaded. Check the address"
            ) from error
    if not sums:
        raise DownloadError(f"{name} is empty; check the address")
    return sums


def _sums(base: str, job: Job) -> dict[str, str]:
    """The list, as it is here or else as it is there."""
    path, name = job.folder / SUMS, f"{job.client.host}/{base}/{SUMS}"
    if job.record.verified(SUMS, None):
        return parse_sums(path.read_text(encoding="utf-8"), str(path))
    body = job.client.read(f"{base}/{SUMS}", name, _MOST_BYTES)
    try:
        sums = parse_sums(body.decode("utf-8"), name)
    except UnicodeDecodeError as error:
        raise DownloadError(f"{name}: expected text, found bytes; check the address") from error
    with write_aside(path) as aside:
        aside.write_bytes(body)
    job.record.add(SUMS, checksum_of(path, None))
    return sums
