"""`biofm shards …`."""

from __future__ import annotations

from pathlib import Path

from .build import build as build_shards
from .configuration import BuildConfig
from .inspect import describe
from .verify import verify as verify_folders


def build(
    source: str,
    roots: list[Path],
    *,
    out: Path,
    config: BuildConfig,
    workers: int | None = None,
    ray: str | None = None,
) -> None:
    """Turn the recordings of a source into audited tar shards with an index.

    A build that was stopped goes on when the same command is run again. The bytes do not depend on
    the number of workers.

    Args:
        source: what to read, such as ptbxl; `biofm datasets list` shows all.
        roots: folders that hold the source; several are merged.
        out: folder to write; new, empty, or left by the same build.
        config: how to build; the one shipped as shards/SOURCE where none is named.
        workers: processes to use; one a core when not given.
        ray: address of a Ray cluster to use instead of local processes (`auto` for the one this
            machine belongs to); all its machines must see the roots and `out` at the same place.
    """
    build_shards(source, roots, out, config, workers=workers, ray_address=ray)
    print(describe(out))


def verify(folders: list[Path], shared: Path | None = None) -> None:
    """Prove that shards are whole and leak nothing between splits; exit status 1 where they do.

    With several folders it also reports every recording and subject that they share.

    Args:
        folders: shard folders.
        shared: CSV file to write with every shared recording and subject, not only the first.
    """
    report = verify_folders(folders)
    print(report.text())
    if shared is not None:
        report.write_shared(shared)
    report.raise_on_failure()


def inspect(folder: Path) -> None:
    """Show what a shard folder holds: counts, labels, channels, provenance and one sample.

    Args:
        folder: a finished shard folder.
    """
    print(describe(folder))
