"""`biofm datasets …`."""

from __future__ import annotations

from .registry import SOURCES, source


def list_sources() -> None:
    """The sources that `biofm shards build` reads, with their licences."""
    for name in sorted(SOURCES):
        about = source(name).about()
        print(f"{name:16}{about.title} ({about.licence})")
