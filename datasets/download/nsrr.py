"""NSRR (sleepdata.org): files behind a token that each user is given with an approved request.

As its API's documentation and its own `nsrr` gem have it: `/api/v1/account/profile.json` tells whether
a token is good, `/api/v1/datasets/<slug>/files.json?path=…` lists one folder with sizes and MD5,
and `/datasets/<slug>/files/a/<token>/m/<client>/<path>` is a file. A token without approval is
redirected to a web page. MD5 guards against accidents, not against a forger; TLS does.
"""

from __future__ import annotations

import ipaddress
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from .catalogue import NSRR
from .errors import DownloadError
from .paths import safe_path
from .several import Job, fetch_missing
from .transfer import RemoteFile

VARIABLE = "NSRR_TOKEN"
_MOST_BYTES = 1 << 26
_DEEPEST = 8


def denied(slug: str) -> str:
    """What to do where NSRR does not hand over a file."""
    return (
        f"the token is expired or mistyped, or your request for {slug} is not approved: see "
        f"https://sleepdata.org/token and https://sleepdata.org/datasets/{slug}"
    )


def read_token(file: Path | None, host: str) -> str:
    """The token in `file`, or else in `NSRR_TOKEN`.

    Raises `ValueError` where there is none, it cannot be one, or it would travel unencrypted.
    """
    token = (file.read_text(encoding="utf-8") if file else os.environ.get(VARIABLE, "")).strip()
    where = str(file) if file else VARIABLE
    if not token:
        raise ValueError(
            f"{where} holds no NSRR token; copy yours from https://sleepdata.org/token into a file "
            f"and name it with --token_file, or set {VARIABLE}"
        )
    if not (token.isascii() and token.isprintable() and not set(token) & set(" /?#%&")):
        raise ValueError(f"{where}: expected an NSRR token alone on one line, found something else")
    if urlsplit(host).scheme != "https" and not _is_here(urlsplit(host).hostname or ""):
        raise ValueError(f"{host}: the token would travel unencrypted; give an https address")
    return token


def download(entry: NSRR, job: Job, token: str) -> None:
    """Fetch what is wanted of the data set. Raises `DownloadError`, `ValueError`."""
    profile = _json(job, "api/v1/account/profile.json", {"auth_token": token}, "your NSRR profile")
    if not isinstance(profile, dict) or profile.get("authenticated") is not True:
        raise DownloadError(f"NSRR does not accept the token; {denied(entry.slug)}")
    listed = {
        file["full_path"]: file for top in entry.folders for file in _files(entry, job, token, top)
    }
    files = []
    for path in job.wanted.of(listed):
        size, md5 = listed[path].get("file_size"), listed[path]["file_checksum_md5"]
        address = f"datasets/{entry.slug}/files/a/{quote(token)}/m/biofm/{quote(path)}"
        known_bytes = size if isinstance(size, int) and size > 0 else None
        files.append(RemoteFile(path, address, f"md5:{md5.lower()}", known_bytes))
    fetch_missing(job, files)


def _files(entry: NSRR, job: Job, token: str, folder: str) -> Iterator[dict[str, Any]]:
    """The files in and below a folder; those that NSRR has withdrawn (`archived`) are left out."""
    name = f"NSRR's list of {entry.slug}/{folder}"
    if folder.count("/") > _DEEPEST:
        raise DownloadError(f"{name}: expected at most {_DEEPEST} folders in one another")
    listed = _json(
        job,
        f"api/v1/datasets/{entry.slug}/files.json",
        {"path": folder, "auth_token": token},
        name,
    )
    try:
        for file in listed:
            path = safe_path(file["full_path"])
            if not path.startswith(f"{folder}/"):
                raise ValueError(f"{path} is not in it")
            if not file["is_file"]:
                yield from _files(entry, job, token, path)
            elif not file.get("archived"):
                if not re.fullmatch(r"[0-9a-fA-F]{32}", file["file_checksum_md5"]):
                    raise ValueError(f"no MD5 of {path}")
                yield file
    except (TypeError, KeyError, ValueError, AttributeError) as error:
        raise DownloadError(
            f"{name}: expected full_path, is_file and file_checksum_md5 of each file ({error!r}); {denied(entry.slug)}"
        ) from None


def _json(job: Job, path: str, query: dict[str, str], name: str) -> Any:
    body = job.client.read(f"{path}?{urlencode(query)}", name, _MOST_BYTES)
    try:
        return json.loads(body)
    except ValueError:
        raise DownloadError(f"{name}: expected JSON, found something else") from None


def _is_here(host: str) -> bool:
    """Whether an address stays on this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
