"""Embeddings of recordings on disk: raw files in, one row a window out."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import polars as pl
from tqdm import tqdm

from .datasets.registry import RecordError
from .files import write_aside
from .models.pretrained import PretrainedModel, load_model
from .signals import Recording


def embed(model: str, files: list[Path], out: Path) -> None:
    """Embed WFDB records with a pretrained model, at their own rate and lead order.

    A file that cannot be used is reported and skipped; where none can, nothing is written.

    Args:
        model: A model folder (such as runs/mae_ptbxl/best), or a Hugging Face hub id.
        files: WFDB records, with or without a suffix (.hea, .dat, .mat).
        out: The Parquet file to write: record, window, start_s, embedding.
    """
    encoder = load_model(model)
    rows = list(embedded(encoder, tqdm_files(files)))
    if not rows:
        raise ValueError(f"none of the {len(files)} files could be embedded; {out} was not written")
    with write_aside(out) as aside:
        pl.DataFrame(
            rows,
            schema={
                "record": pl.String,
                "window": pl.Int64,
                "start_s": pl.Float64,
                "embedding": pl.Array(pl.Float32, encoder.dim),
            },
            orient="row",
        ).write_parquet(aside)
    print(f"{out}: {len(rows)} windows of {encoder.window_s:g} s, {encoder.dim} numbers each")


def embedded(
    encoder: PretrainedModel, files: Iterator[Path]
) -> Iterator[tuple[str, int, float, list[float]]]:
    """(record, window, start in s, embedding) of every window of every usable file."""
    for path in files:
        try:
            vectors = encoder.embed(read_recording(path))
        except (RecordError, KeyError, OSError) as error:
            tqdm.write(f"skipped {path}: {error}", file=sys.stderr)
            continue
        for i, vector in enumerate(vectors):
            yield str(path), i, i * encoder.window_s, vector.tolist()


def tqdm_files(files: list[Path]) -> Iterator[Path]:
    """The files, with a progress bar."""
    yield from tqdm(files, unit="file")


def read_recording(path: str | Path) -> Recording:
    """A WFDB record as a `Recording`, by its path with or without suffix; its ECG leads are found by name.

    Raises `RecordError` naming the file where it cannot be read.
    """
    from .datasets.wfdb16 import read_wfdb

    stem = Path(path)
    if stem.suffix in {".hea", ".dat", ".mat"}:
        stem = stem.with_suffix("")
    return Recording("file", stem.name, f"file-{stem.name}", (read_wfdb(stem).ecg(),))
