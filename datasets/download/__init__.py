"""Sources from their publishers: parallel, resumable, every file verified."""

from .errors import DownloadError
from .verb import download

__all__ = ["DownloadError", "download"]
