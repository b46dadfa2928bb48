"""Files of a shard folder at an address: `http(s)://host/path` or `s3://bucket/prefix`.

- What breaks off goes on where it stood (`patiently`), after rests that end when the transfer is told to
  stop.
- Proxies and certificates are the system's. For S3, credentials, region and endpoint are found by boto3
  as everywhere (environment, `~/.aws`, the machine's role; `AWS_ENDPOINT_URL` for other stores).
- No message holds a password or a key.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, BinaryIO, NoReturn, Protocol
from urllib.parse import quote, urlsplit

import urllib3
from urllib3.exceptions import HTTPError, MaxRetryError, SSLError

from .. import __version__
from ..datasets.download.errors import DownloadError, Interrupted, Stopped
from ..datasets.download.patience import patiently
from ..datasets.download.pool import pool_for
from .index import INDEX, MANIFEST

CONNECT_S, READ_S = 15.0, 60.0
CHUNK_BYTES = 1 << 18
PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})
THREADS = 4
"""Transfers at a time from one address."""

NO_SUCH = (
    f"there is no such file: check the address of the folder that holds {INDEX} and {MANIFEST}"
)


class Place(Protocol):
    """Where files lie."""

    def add(self, name: str, file: BinaryIO, stop: threading.Event) -> None:
        """Write what `file` lacks behind its end.

        Raises `Interrupted` where trying again may help, else `DownloadError`; `Stopped`.
        """
        ...


def place(address: str) -> Place:
    """Raises `ValueError` for an address that cannot be read, `ImportError` without boto3 for S3."""
    parts = urlsplit(address)
    shown = f"{parts.scheme}://{parts.hostname}"
    if parts.scheme not in ("http", "https", "s3") or not parts.hostname:
        raise ValueError(
            f"{shown}…: only http://, https:// and s3:// addresses of shard folders can be read"
        )
    if parts.query or parts.fragment or parts.username or parts.password:
        raise ValueError(
            f"{shown}…: an address of shards names a host and a folder alone, no user, password or "
            "query: file names are added to it, and it is shown in messages"
        )
    return S3(address) if parts.scheme == "s3" else Http(address)


def fetch(place: Place, address: str, name: str, path: Path, stop: threading.Event) -> None:
    """Write a file to `path`. Raises `DownloadError` that names it, `Stopped` where `stop` is set."""

    with path.open("wb") as file:
        patiently(lambda: place.add(name, file, stop), f"{address}/{name}", stop, file.tell)


def _goes_on(response: urllib3.BaseHTTPResponse, start: int) -> bool:
    """Whether a part of a file begins where it was asked to."""
    return response.headers.get("Content-Range", "").startswith(f"bytes {start}-")


def _copy(read: Callable[[int], bytes], file: BinaryIO, stop: threading.Event) -> None:
    while chunk := read(CHUNK_BYTES):
        if stop.is_set():
            raise Stopped
        file.write(chunk)


class Http:
    """A folder on a web server."""

    def __init__(self, address: str) -> None:
        self._address = address
        timeout = urllib3.Timeout(connect=CONNECT_S, read=READ_S)
        self._pool = pool_for(address, THREADS, timeout)
        self._reached = False

    def add(self, name: str, file: BinaryIO, stop: threading.Event) -> None:
        """A GET, of the rest where there is something already."""
        address, start = f"{self._address}/{quote(name)}", file.tell()
        # As it is stored: a body that is cut short is noticed by its length.
        headers = {"User-Agent": f"biofm/{__version__}", "Accept-Encoding": "identity"}
        if start:
            headers["Range"] = f"bytes={start}-"
        try:
            with self._pool.request(
                "GET",
                address,
                headers=headers,
                preload_content=False,
                retries=urllib3.Retry(None, connect=0, read=0, status=0, other=0, redirect=5),
            ) as response:
                self._reached = True
                self._check(response, address)
                if response.status == 206 and not _goes_on(response, start):
                    raise Interrupted("the server sent another part than was asked for", 0.0)
                if response.status == 200:
                    # The server may not know ranges.
                    file.seek(0)
                    file.truncate()
                _copy(lambda n: response.read1(n, decode_content=False), file, stop)
        except HTTPError as error:
            self._broken(error, address)

    def _check(self, response: urllib3.BaseHTTPResponse, address: str) -> None:
        status = response.status
        if status in PASSING:
            rest = response.headers.get("Retry-After", "")
            rest_s = min(float(rest), READ_S) if rest.isdecimal() else 0.0
            raise Interrupted(f"the server answered {status}", rest_s)
        if status in (404, 410):
            raise DownloadError(f"cannot fetch {address} (status {status}): {NO_SUCH}")
        if status in (401, 403):
            raise DownloadError(
                f"cannot fetch {address} (status {status}): the server refuses access; shards are "
                "read without logging in (a private bucket has an s3:// address)"
            )
        if status not in (200, 206):
            raise DownloadError(f"cannot fetch {address} (status {status}): check the address")

    def _broken(self, error: HTTPError, address: str) -> NoReturn:
        reason = error.reason if isinstance(error, MaxRetryError) and error.reason else error
        if isinstance(reason, SSLError):
            raise DownloadError(
                f"cannot fetch {address}: no trusted connection ({reason}); where its certificate is "
                "signed by an authority that this machine does not know, name a file with it in "
                "SSL_CERT_FILE"
            ) from None
        if not self._reached:
            # Never once answered: more likely a wrong address than a break that passes.
            raise DownloadError(
                f"cannot fetch {address} ({reason}): check the address and the network"
            ) from None
        raise Interrupted(str(reason)) from None


class S3:
    """A prefix of a bucket, in AWS or in a store that speaks the same language."""

    def __init__(self, address: str) -> None:
        try:
            import boto3
            import botocore.exceptions
            from botocore.config import Config
        except ImportError as error:
            raise ImportError(
                f"{address}: shards on S3 need another package: pip install 'biofm[s3]'"
            ) from error
        parts = urlsplit(address)
        self._address, self._bucket = address, parts.netloc
        self._prefix = parts.path.strip("/")
        self._errors: Any = botocore.exceptions
        config = Config(
            connect_timeout=CONNECT_S,
            read_timeout=READ_S,
            max_pool_connections=THREADS,
            retries={"mode": "standard"},
        )
        try:
            self._client = boto3.session.Session().client("s3", config=config)
        except self._errors.PartialCredentialsError as error:
            self._broken(error, address)
        except (self._errors.BotoCoreError, ValueError) as error:
            raise DownloadError(
                f"cannot read {address}: boto3 does not accept its settings ({error}); check "
                "AWS_PROFILE, AWS_REGION, AWS_ENDPOINT_URL and ~/.aws"
            ) from None
        self._reached = False

    def add(self, name: str, file: BinaryIO, stop: threading.Event) -> None:
        """A GetObject, of the rest where there is something already."""
        start = file.tell()
        rest = {"Range": f"bytes={start}-"} if start else {}
        key = f"{self._prefix}/{name}" if self._prefix else name
        address = f"{self._address}/{name}"
        try:
            answer = self._client.get_object(Bucket=self._bucket, Key=key, **rest)
            self._reached = True
            with closing(answer["Body"]) as body:
                _copy(body.read, file, stop)
        except self._errors.ClientError as error:
            self._reached = True
            self._refused(error.response, address)
        except self._errors.BotoCoreError as error:
            self._broken(error, address)

    def _refused(self, answer: dict[str, Any], address: str) -> NoReturn:
        """Raise what an answer that holds no data means; its own words may name keys."""
        code = str(answer.get("Error", {}).get("Code", "unknown"))
        status = answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        if status in PASSING or code in ("SlowDown", "RequestTimeout", "InternalError"):
            raise Interrupted(f"the store answered {code}") from None
        remedy = "check the address, AWS_REGION and AWS_ENDPOINT_URL"
        if code == "NoSuchBucket":
            remedy = (
                f"there is no bucket {self._bucket}: check the address; for another store than AWS "
                "set AWS_ENDPOINT_URL"
            )
        elif status == 404:
            remedy = NO_SUCH
        elif status in (401, 403):
            remedy = (
                "the store refuses access: the credentials that boto3 found may be wrong or expired, or "
                "lack s3:GetObject there (without s3:ListBucket a missing file looks the same)"
            )
        raise DownloadError(f"cannot fetch {address} ({code}): {remedy}") from None

    def _broken(self, error: Exception, address: str) -> NoReturn:
        e = self._errors
        kind = type(error).__name__
        if isinstance(error, e.NoCredentialsError | e.PartialCredentialsError):
            raise DownloadError(
                f"cannot fetch {address}: boto3 finds no credentials; set AWS_ACCESS_KEY_ID and "
                "AWS_SECRET_ACCESS_KEY, or AWS_PROFILE. A public bucket needs none by its address "
                f"https://{self._bucket}.s3.amazonaws.com/{self._prefix}"
            ) from None
        passing = (
            e.ConnectionError,
            e.HTTPClientError,
            e.ConnectionClosedError,
            e.IncompleteReadError,
        )
        if self._reached and isinstance(error, passing) and not isinstance(error, e.SSLError):
            raise Interrupted(kind) from None
        raise DownloadError(
            f"cannot fetch {address} ({kind}: {error}): check the address, the network and "
            "AWS_ENDPOINT_URL"
        ) from None
