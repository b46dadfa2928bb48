"""What a reader reads, one row a recording, and the same without names: what a model learned from.

**No name leaves the shards.** Subjects and recordings are kept as the first 128 bits of a SHA-256 of their
names there, so that they are found again by whoever has these names and by nobody else who cannot guess
them. Public ids can be guessed, and are public. Names of one's own can be guessed too: shards built with
`pseudonym_key` hold random-looking ones in their place, and only shards of the same key compare by name;
copies in other shards are still found by their signals.

**A fingerprint is a coarse picture of an ECG** (two leads, 40 Hz, half a minute at most), and so stays out
of the table for recordings under pseudonyms. Where other recordings must not be shown either, take the
column out before the model is passed on.

A million recordings of 10 s take 0.4 GB: 48 bytes of hashes and about 330 of fingerprint each.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import polars as pl

from .index import INDEX
from .leaks import BORROWED
from .mapped import ShardFolder
from .order import Integers
from .reader import WindowReader
from .signature import compact

DIGEST_BYTES = 16

SCHEMA: dict[str, type[pl.DataType]] = {
    "dataset": pl.String,
    "key": pl.String,  # which pseudonym key its names are made with; null for the source's own
    "subject": pl.Binary,  # digests
    "record": pl.Binary,
    "signature": pl.Binary,
    "fingerprint": pl.Binary,  # compact; null without an ECG, and for recordings under pseudonyms
}
"""The columns of `contents`."""

NAMES = ("dataset", "record", "subject")


def contents(reader: WindowReader) -> pl.DataFrame:
    """What a model that is trained on a reader's windows learns from: `SCHEMA`, one row a recording.

    A recording that is in two folders at different rates is two rows.
    """
    shown = pl.when(pl.col("key").is_null()).then("fingerprint")
    return recordings_read(reader).select("dataset", "key", *digests(), shown.alias("fingerprint"))


def recordings_read(reader: WindowReader, rows: Integers | None = None) -> pl.DataFrame:
    """Recordings with a window, or with one of these rows of `reader.index`, under their own names.

    dataset, record and subject as text, signature as hexadecimal digits; `key` and `fingerprint` as in
    `SCHEMA`. What is simulated borrows real names, and is called synthetic.
    """
    rows = np.unique(reader.rows_in_order() if rows is None else rows)
    folders = pl.DataFrame(
        {
            "source": np.arange(len(reader.folders)),
            "key": [manifest["config"].get("pseudonym_key") for manifest in reader.manifests],
            "synthetic": [bool(manifest["synthetic"]) for manifest in reader.manifests],
        },
        schema_overrides={"key": pl.String},
    )
    borrowed = (
        pl.when("synthetic").then(pl.concat_str(pl.lit(BORROWED), name)).otherwise(name).alias(name)
        for name in ("dataset", "subject")
    )
    named = (
        reader.index.select(*NAMES, "signature")[rows]
        .with_columns(source=pl.lit(reader.source_R[rows]))
        .join(folders, on="source", maintain_order="left")
        .with_columns(*borrowed)
        .select(*NAMES, "key", "signature", "source")
        .unique([*NAMES, "signature"], keep="first", maintain_order=True)
        .drop("source")
    )
    prints = fingerprints(reader.folders, named.select("signature").unique())
    return named.join(prints, on="signature", how="left", maintain_order="left")


def fingerprints(folders: Sequence[ShardFolder], wanted: pl.DataFrame) -> pl.DataFrame:
    """signature → compact fingerprint, of those recordings whose signature is `wanted` and that have one."""
    parts = []
    for folder in folders:
        found = (
            pl.scan_parquet(folder.folder / INDEX)
            .select("signature", "fingerprint")
            .filter(pl.col("fingerprint").is_not_null())
            .join(wanted.lazy(), on="signature", how="semi")
            .collect()
        )
        small = [compact(one) for one in found["fingerprint"]]
        parts.append(found.with_columns(fingerprint=pl.Series(small, dtype=pl.Binary)))
    return pl.concat(parts).unique("signature", keep="first", maintain_order=True)


def digests() -> tuple[pl.Expr, ...]:
    """The columns subject, record and signature of `recordings_read` as `SCHEMA` has them."""
    return (
        _digest(pl.concat_str(pl.lit("subject "), "subject")).alias("subject"),
        _digest(pl.concat_str(pl.lit("record "), "dataset", pl.lit(" "), "record")).alias("record"),
        pl.col("signature").str.decode("hex").bin.head(DIGEST_BYTES).alias("signature"),
    )


def _digest(text: pl.Expr) -> pl.Expr:
    return text.map_elements(
        lambda name: hashlib.sha256(name.encode()).digest()[:DIGEST_BYTES], return_dtype=pl.Binary
    )
