"""What a download folder holds, kept beside it, so that a second run need not hash it again.

`.biofm-download.jsonl` has a line for every file that was verified: its path, size, time of change and
checksum. A file with that size and time counts as verified; any other is hashed again. Lines are
only appended, so that a kill costs at most the last one.
"""

from __future__ import annotations

import fcntl
import json
import threading
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

RECORD = ".biofm-download.jsonl"


class Record:
    """The record of `folder`, held by one process at a time, for a download of `origin`.

    Raises `FileExistsError` where the folder holds another download or another process fills it.
    """

    def __init__(self, folder: Path, origin: str) -> None:
        self.folder = folder
        self._lock = threading.Lock()
        self._files: dict[str, tuple[int, int, str]] = {}
        self.members: dict[str, str] = {}
        """Path → checksum of everything in the zip that the folder was unpacked from."""
        folder.mkdir(parents=True, exist_ok=True)
        self._file = (folder / RECORD).open("a+", encoding="utf-8")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._read(origin)
        except BlockingIOError:
            self._file.close()
            raise FileExistsError(
                f"{folder}: another download is filling it; wait for it or choose another folder"
            ) from None
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Record:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

    def verified(self, path: str, checksum: str | None) -> bool:
        """Whether the file was found to have this checksum (None: any) and was not touched since."""
        said = self._files.get(path)
        return (
            said is not None
            and said[:2] == _now(self.folder / path)
            and checksum in (said[2], None)
        )

    def wrote(self, path: str) -> bool:
        """Whether a file of this name was put here by a download, whatever it has become since."""
        return path in self._files

    def add(self, path: str, checksum: str) -> None:
        """Note that the file as it is now has this checksum."""
        now = _now(self.folder / path)
        if now is None:
            raise FileNotFoundError(f"{self.folder / path} vanished while it was being verified")
        self._files[path] = (*now, checksum)
        self._append({"path": path, "bytes": now[0], "mtime_ns": now[1], "checksum": checksum})

    def add_members(self, members: Mapping[str, str]) -> None:
        """Note everything that an archive holds."""
        self.members = dict(members)
        self._append({"members": self.members})

    def _read(self, origin: str) -> None:
        self._file.seek(0)
        text = self._file.read()
        for line in text.splitlines():
            try:
                said = json.loads(line)
                if "from" in said and said["from"] != origin:
                    raise FileExistsError(
                        f"{self.folder} holds a download of {said['from']}, not of {origin}; "
                        "choose another folder"
                    )
                if "path" in said:
                    known = (said["bytes"], said["mtime_ns"], said["checksum"])
                    self._files[said["path"]] = known
                self.members = said.get("members", self.members)
            except (ValueError, TypeError, KeyError, AttributeError):
                # A line that a kill cut short: what it said is found out again.
                continue
        if not text:
            self._append({"from": origin})
        elif not text.endswith("\n"):
            self._file.write("\n")

    def _append(self, line: Mapping[str, Any]) -> None:
        with self._lock:
            self._file.write(json.dumps(line) + "\n")
            self._file.flush()


def _now(path: Path) -> tuple[int, int] | None:
    """Size and time of change, None where there is no such file."""
    try:
        stat = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return stat.st_size, stat.st_mtime_ns
