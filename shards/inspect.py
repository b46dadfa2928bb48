"""What a user wants to see of a shard folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from .index import MANIFEST, read_index
from .tables import label_table, physiology_table, quality_table


def describe(folder: Path) -> str:
    """Provenance, signals, counts and labels by split, and one sample, as text.

    Raises `FileNotFoundError` for a folder that is not finished.
    """
    index = read_index(folder)
    path = folder / MANIFEST
    if not path.is_file():
        raise FileNotFoundError(
            f"{folder} is not a finished shard folder ({MANIFEST} is missing): run its build again"
        )
    manifest: dict[str, Any] = json.loads(path.read_text())
    shards = manifest["shards"]
    lines = [f"{folder}"]
    lines += [f"  *** {notice} ***" for notice in manifest["notices"]]
    lines += [
        f"  {manifest['title']} ({manifest['licence']})",
        f"  {len(shards)} shards, {sum(shard['bytes'] for shard in shards) / 1e6:.1f} MB, built by "
        f"biofm {manifest['versions']['biofm']}; split by {manifest['split_rule']}",
        *_signals(index, manifest),
        "",
        quality_table(index),
        "",
        label_table(index, manifest["label_sets"]),
        "",
        physiology_table(manifest["physiology"]),
        "",
        _subjects(index, manifest["unknown_subjects"]),
        *_bad(manifest),
        _sample(index),
    ]
    return "\n".join(lines)


def _signals(index: pl.DataFrame, manifest: dict[str, Any]) -> list[str]:
    """A line for each stream and set of channels: rate, channels, filters."""
    streams = index.select(pl.col("streams").explode()).unnest("streams")
    kinds = streams.group_by("name", "modality", "rate_hz", "channels").agg(
        pl.len().alias("segments"), pl.col("samples").max()
    )
    lines = []
    for kind in kinds.sort("name", "segments", descending=[False, True]).iter_rows(named=True):
        how = manifest["config"]["preprocessing"][kind["modality"]]
        lines.append(
            f"  {kind['name']}: {kind['segments']} segments of up to "
            f"{kind['samples'] / kind['rate_hz']:g} s at {kind['rate_hz']:g} Hz, channels "
            f"{' '.join(kind['channels'])}; {_filters(how)}"
        )
    return lines


def _filters(how: dict[str, Any]) -> str:
    cuts = [("high-pass", how["highpass_hz"]), ("low-pass", how["lowpass_hz"])]
    said = [f"{name} {cut_hz:g} Hz" for name, cut_hz in cuts if cut_hz is not None]
    return f"{', '.join(said)}, order {how['order']}" if said else "no filter"


def _subjects(index: pl.DataFrame, unknown: int) -> str:
    people = index.unique("subject")
    ages = people["age"].drop_nulls().to_numpy()
    sexes = people["sex"].drop_nulls().value_counts(sort=True)
    known = [f"{count} {sex}" for sex, count in sexes.iter_rows()]
    if ages.size:
        known.append(f"age {ages.min():g} to {ages.max():g}, median {np.median(ages):g}")
    who = f"subjects of {unknown} records unknown" if unknown else f"{people.height} subjects"
    return f"  {who}: {', '.join(known) or 'age and sex not given'}"


def _bad(manifest: dict[str, Any]) -> list[str]:
    bad = manifest["bad"]
    if not bad:
        return ["  every record could be used"]
    shown = [f"    {one['record']}: {one['reason']}" for one in bad[:5]]
    return [f"  {len(bad)} records could not be used, all named in {MANIFEST}:", *shown]


def _sample(index: pl.DataFrame) -> str:
    row = index.row(0, named=True)
    labels = " ".join(f"{label['code']}={label['value']:g}" for label in row["labels"])
    noted = len(row["annotations"])
    members = " ".join(f"{row['key']}.{stream['name']}.npy" for stream in row["streams"])
    return (
        f"  first sample: {members} {row['key']}.json in {row['shard']}\n"
        f"    subject {row['subject']}, {row['duration_s']:g} s, labels {labels or 'none'}, "
        f"{noted} annotations, "
        f"signature {row['signature'][:12]}…"
    )
