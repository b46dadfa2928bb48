"""File names that came from elsewhere: which are safe to write, and which are wanted."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath

from .catalogue import Records

_LONGEST_NAME = 255
_LONGEST_PATH = 1000


def safe_path(name: str) -> str:
    """`name`, if it is a plain relative path that stays inside its folder on any system.

    Raises `ValueError` for an absolute path, `..`, a drive, a backslash, control characters, and for
    the names of files that a download keeps for itself.
    """
    parts = name.split("/")
    if (
        len(name) > _LONGEST_PATH
        or not name.isprintable()
        or "\\" in name
        or ":" in parts[0]
        or any(part in ("", ".", "..") or len(part.encode()) > _LONGEST_NAME for part in parts)
        or parts[-1].startswith(".biofm-")
        or ".partial" in PurePosixPath(name).suffixes
    ):
        raise ValueError(
            f"expected a plain path inside the data set's folder, found {name[:200]!r}"
        )
    return name


@dataclass(frozen=True)
class Selection:
    """What is wanted of a data set: its first `records`, what matches `only`, or all of it."""

    layout: Records
    records: int | None = None
    only: str | None = None

    @property
    def all(self) -> bool:
        """Whether nothing is left out."""
        return self.records is None and self.only is None

    def of(self, paths: Iterable[str]) -> list[str]:
        """The wanted ones of `paths`, sorted. Raises `ValueError` where that is none."""
        known = sorted(paths)
        if self.only is not None:
            found = [path for path in known if fnmatch.fnmatchcase(path, self.only)]
            if not found:
                raise ValueError(
                    f"--only {self.only!r} matches none of the {len(known)} files, such as "
                    f"{', '.join(known[:3])}"
                )
            return found
        return known if self.records is None else self._first(known, self.records)

    def _first(self, known: list[str], number: int) -> list[str]:
        """The files of the first `number` records in the order of their ids, and the tables."""
        whole = {m[1] for path in known if (m := re.fullmatch(self.layout.record, path))}
        ids = set(sorted(whole, key=lambda record: (len(record), record))[:number])
        if not ids:
            raise ValueError(
                f"none of the {len(known)} files is a record as {self.layout.record!r}"
            )
        found = []
        for path in known:
            part = re.fullmatch(self.layout.parts, path)
            if part[1] in ids if part else re.fullmatch(self.layout.tables, path):
                found.append(path)
        return found
