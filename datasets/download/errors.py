"""How a download fails."""

from __future__ import annotations


class DownloadError(OSError):
    """It cannot go on; what has come so far is kept, and the same command goes on from there."""


class FileRefused(DownloadError):
    """One file cannot be had or is not what was announced; the others may."""


class Interrupted(Exception):
    """A transfer broke off in a way that may pass; `after_s` is how long the server wants to rest."""

    def __init__(self, reason: str, after_s: float = 0.0) -> None:
        super().__init__(reason)
        self.after_s = after_s


class Stopped(Exception):
    """Another file's failure, or the user, has stopped the download."""
