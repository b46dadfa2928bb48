"""HTTP as a download needs it: GET and HEAD, errors sorted by what can be done about them.

- Nothing is sent but the request and `User-Agent: biofm/<version>`: no cookies, no `.netrc`.
- Proxies and certificates are the system's (`HTTPS_PROXY`, `NO_PROXY`, `SSL_CERT_FILE`).
- A redirect is followed only within its host, and never from https to http.
- A secret in an address (NSRR's tokens are part of the path) is in no message and no log.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Iterator, Mapping
from typing import NoReturn
from urllib.parse import quote, urljoin, urlsplit

import urllib3
from urllib3.exceptions import HTTPError, SSLError

from ... import __version__
from .errors import DownloadError, FileRefused, Interrupted
from .patience import patiently
from .pool import pool_for

CONNECT_S = 15.0
READ_S = 60.0
CHUNK_BYTES = 1 << 18
_REDIRECTS = 5
_LONGEST_REST_S = 120.0
_PASSING = {408, 425, 429, 500, 502, 503, 504}

# At DEBUG it writes the addresses, and in places even as warnings.
logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)


class Client:
    """Connections to `host` for so many `workers` at a time; safe to share between threads.

    `denied` says what to do where the server refuses (401, 403, or a web page instead of data).
    """

    def __init__(self, host: str, workers: int, denied: str, secret: str | None = None) -> None:
        parts = urlsplit(host)
        if (
            parts.scheme not in ("http", "https")
            or not parts.hostname
            or parts.query
            or parts.username
        ):
            shown = f"{parts.scheme}://{parts.hostname}"
            raise ValueError(f"expected an address as https://host alone, found one as {shown}…")
        self.host = host.rstrip("/")
        self._denied = denied
        self._secret = secret
        timeout = urllib3.Timeout(connect=CONNECT_S, read=READ_S)
        self._pool = pool_for(self.host, workers, timeout)

    @contextlib.contextmanager
    def get(
        self, path: str, name: str, headers: Mapping[str, str] | None = None
    ) -> Iterator[urllib3.BaseHTTPResponse]:
        """The answer to a GET of `path` below the host: 200, 206 or 416, its body not yet read.

        `name` is the file as messages call it. Raises `DownloadError`, `FileRefused`, `Interrupted`.
        """
        response = self._request("GET", path, name, headers or {})
        try:
            self._check(response, name)
            yield response
            # Read to its end, the connection serves the next request.
            response.drain_conn()
        except HTTPError as error:
            self._interrupted(error, name)
        finally:
            response.close()

    def stream(self, response: urllib3.BaseHTTPResponse, name: str) -> Iterator[bytes]:
        """The body, piece by piece. Raises `DownloadError` where it is a web page."""
        first = True
        # What has come, without waiting for a whole chunk: a kill then costs next to nothing.
        while chunk := response.read1(CHUNK_BYTES, decode_content=False):
            start = chunk[:256].lstrip().lower()
            if first and not _may_be_page(name) and start.startswith((b"<!doctype html", b"<html")):
                raise self._page(name)
            first = False
            yield chunk

    def read(self, path: str, name: str, most_bytes: int) -> bytes:
        """A small file, into memory. Raises `DownloadError` where it is larger than `most_bytes`."""
        return patiently(lambda: self._read(path, name, most_bytes), name, threading.Event())

    def size(self, path: str, name: str) -> int | None:
        """How many bytes a GET would bring, as the server says; None where it does not."""
        with contextlib.suppress(DownloadError, Interrupted):
            response = self._request("HEAD", path, name, {})
            response.drain_conn()
            length = response.headers.get("Content-Length", "")
            if response.status == 200 and length.isdecimal():
                return int(length)
        return None

    def _read(self, path: str, name: str, most_bytes: int) -> bytes:
        with self.get(path, name) as response:
            body = bytearray()
            for chunk in self.stream(response, name):
                body += chunk
                if len(body) > most_bytes:
                    raise DownloadError(
                        f"{name}: expected at most {most_bytes} bytes, and more came; check the "
                        "address"
                    )
            return bytes(body)

    def _request(
        self, method: str, path: str, name: str, headers: Mapping[str, str]
    ) -> urllib3.BaseHTTPResponse:
        """Ask, and follow redirects. Bytes come as they are stored: ranges would not fit otherwise."""
        address = f"{self.host}/{path}"
        sent = {"User-Agent": f"biofm/{__version__}", "Accept-Encoding": "identity", **headers}
        for _ in range(_REDIRECTS):
            try:
                response = self._pool.request(
                    method,
                    address,
                    headers=sent,
                    preload_content=False,
                    redirect=False,
                    retries=False,
                )
            except HTTPError as error:
                self._interrupted(error, name)
            location = response.get_redirect_location()
            if not location:
                return response
            response.close()
            onward = urljoin(address, location)
            if not _same_host(address, onward):
                raise DownloadError(
                    f"{name}: {urlsplit(address).hostname} redirects to another host "
                    f"({urlsplit(onward).scheme}://{urlsplit(onward).hostname}), which is not "
                    f"followed; {self._denied}"
                )
            address = onward
        raise DownloadError(f"{name}: more than {_REDIRECTS} redirects; {self._denied}")

    def _check(self, response: urllib3.BaseHTTPResponse, name: str) -> None:
        """Raise what an answer that holds no data means."""
        status, host = response.status, urlsplit(self.host).hostname
        if status in _PASSING:
            rest = response.headers.get("Retry-After", "")
            rest_s = float(rest) if rest.isdecimal() else 0.0
            raise Interrupted(f"{host} answered {status}", min(rest_s, _LONGEST_REST_S))
        if status in (401, 403):
            raise DownloadError(f"{name}: {host} refuses access (status {status}); {self._denied}")
        if status not in (200, 206, 416):
            missing = "has no such file" if status in (404, 410) else "does not give the file"
            raise FileRefused(f"{name}: {host} {missing} (status {status})")
        kind = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        if (
            status != 416
            and kind in ("text/html", "application/xhtml+xml")
            and not _may_be_page(name)
        ):
            raise self._page(name)

    def _page(self, name: str) -> DownloadError:
        return DownloadError(
            f"{name}: expected data, and {urlsplit(self.host).hostname} sent a web page; "
            f"{self._denied}"
        )

    def _interrupted(self, error: HTTPError, name: str) -> NoReturn:
        """Raise what a broken connection means; never with the error itself, which may hold a secret."""
        reason = str(error)
        if self._secret:
            reason = reason.replace(self._secret, "…").replace(quote(self._secret, safe=""), "…")
        if isinstance(error, SSLError):
            raise DownloadError(
                f"{name}: no trusted connection to {urlsplit(self.host).hostname} ({reason}); "
                "where its certificate is signed by an authority that this machine does not know, "
                "name a file with it in SSL_CERT_FILE"
            ) from None
        raise Interrupted(reason) from None


def _same_host(address: str, onward: str) -> bool:
    here, there = urlsplit(address), urlsplit(onward)
    if here.hostname != there.hostname or there.scheme not in ("http", "https"):
        return False
    if here.scheme != there.scheme:
        return (here.scheme, here.port, there.port) == ("http", None, None)
    return here.port == there.port


def _may_be_page(name: str) -> bool:
    """Some data sets hold web pages (MIT-BIH's `mitdbdir/intro.htm`)."""
    return name.lower().endswith((".html", ".htm", ".shtml", ".xhtml"))
