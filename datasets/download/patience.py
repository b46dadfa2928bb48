"""Trying again what broke off, longer apart each time."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

from .errors import DownloadError, Interrupted, Stopped

ATTEMPTS = 6
"""How often in a row a transfer may break off without one more byte."""
FIRST_REST_S = 1.0
"""Doubled after every break: 31 s of rest before giving up."""

T = TypeVar("T")


def patiently(
    attempt: Callable[[], T], name: str, stop: threading.Event, come: Callable[[], int] = lambda: 0
) -> T:
    """What `attempt` returns once it is not `Interrupted`.

    `come` says how many bytes are here: more than ever before, and the patience is new. Raises
    `DownloadError` when it is at its end, `Stopped` where `stop` is set during a rest.
    """
    most = failures = 0
    while True:
        try:
            return attempt()
        except Interrupted as broken:
            here = come()
            failures = 1 if here > most else failures + 1
            most = max(most, here)
            if failures == ATTEMPTS:
                raise DownloadError(
                    f"{name}: gave up after {ATTEMPTS} attempts ({broken}); what has come is kept: "
                    "run the same command again later"
                ) from None
            if stop.wait(max(broken.after_s, FIRST_REST_S * 2 ** (failures - 1))):
                raise Stopped from None
