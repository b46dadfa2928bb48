"""Find a source's folder in what the user pointed at."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

DEPTH = 8
"""How many folders deep a source may lie below the root: `wget -r` makes four, sources up to three."""


def find_folders(root: Path, holds: Callable[[Sequence[str]], bool]) -> list[Path]:
    """The folders at or below `root` whose file names satisfy `holds`, sorted.

    What lies below such a folder is not searched. Raises `FileNotFoundError` where `root` is none.
    """
    if not root.is_dir():
        raise FileNotFoundError(f"{root}: no such folder; give the folder that holds the data set")
    found = []
    for folder, below, files in os.walk(root, followlinks=True):
        path = Path(folder)
        if holds(files):
            found.append(path)
            below.clear()
        elif len(path.relative_to(root).parts) >= DEPTH:
            below.clear()
    return sorted(found)
