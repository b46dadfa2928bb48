"""A server on this machine that publishes a folder, keeps a log, and can be made to fail."""

from __future__ import annotations

import hashlib
import re
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TypeAlias
from urllib.parse import unquote, urlsplit

import pytest

from biofm.datasets.download import patience

Fault: TypeAlias = "Callable[[Handler, bytes], bool]"
"""Answers a request in its own way and returns True, or returns False to have it answered as usual."""


@dataclass
class Asked:
    """A request, and what it was answered."""

    method: str
    path: str
    headers: dict[str, str]
    status: int = 0
    sent_bytes: int = 0


@dataclass
class Site:
    """What the server publishes (`files` by path, or what lies below `root`) and how it behaves."""

    root: Path
    address: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    faults: dict[str, list[Fault]] = field(default_factory=lambda: defaultdict(list))
    log: list[Asked] = field(default_factory=list)
    ranges: bool = True

    def content(self, path: str) -> bytes | None:
        if path in self.files:
            return self.files[path]
        file = self.root / path
        return file.read_bytes() if file.is_file() else None

    def asked_for(self, end: str, method: str = "GET") -> list[Asked]:
        return [asked for asked in self.log if asked.path.endswith(end) and asked.method == method]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    site: Site

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path).lstrip("/")
        self.asked = Asked(self.command, self.path, dict(self.headers))
        self.site.log.append(self.asked)
        content = self.site.content(path)
        if self.command == "GET" and self.site.faults[path]:
            if self.site.faults[path].pop(0)(self, content or b""):
                return
            content = self.site.content(path)
        if content is None:
            self.answer(404, b"no such file\n")
            return
        tag = f'"{hashlib.sha1(content).hexdigest()[:12]}"'
        wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        start = int(wanted[1]) if wanted and self.headers.get("If-Range") == tag else 0
        if not (wanted and self.site.ranges and start):
            self.answer(200, content, {"ETag": tag})
        elif start >= len(content):
            self.answer(416, b"", {"Content-Range": f"bytes */{len(content)}"})
        else:
            told = f"bytes {start}-{len(content) - 1}/{len(content)}"
            self.answer(206, content[start:], {"ETag": tag, "Content-Range": told})

    def answer(
        self, status: int, body: bytes, headers: Mapping[str, str] = {}, cut: int | None = None
    ) -> None:
        """Send it; with `cut`, only so many bytes, and break the connection."""
        self.asked.status = status
        self.send_response(status)
        usual = {"Content-Type": "application/octet-stream", "Content-Length": str(len(body))}
        for name, value in (usual | dict(headers)).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body[:cut])
            self.asked.sent_bytes = len(body[:cut])
        self.close_connection |= cut is not None

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """A server that publishes what the test puts below `site.root` or into `site.files`."""
    monkeypatch.setattr(patience, "FIRST_REST_S", 0.01)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    here = Site(tmp_path / "published")
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Here", (Handler,), {"site": here}))
    server.daemon_threads = True
    here.address = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield here
    server.shutdown()
    thread.join()
    server.server_close()
