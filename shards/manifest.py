"""`shards.json`: what a shard folder holds, how it was made, and from what."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

import polars as pl

from .. import __version__
from ..configuration import to_dict
from ..datasets.registry import About, RecordRef
from .configuration import BuildConfig
from .index import SPLITS, annotations_of
from .plan import Plan
from .privacy import key_id, pseudonym
from .writing import ShardRecord

FORMAT = 2
"""Counts up when shards change in a way that readers must know."""

SYNTHETIC = (
    "SYNTHETIC DATA: computed by biofm's twin, recorded from nobody. "
    "Do not report figures on it as results on real recordings."
)


MAY_LEAK = (
    "SUBJECTS UNKNOWN: {} records are of nobody knows whom, so that one person may be in train and test. "
    "Say so beside every figure: it is likely to be too good."
)


def versions() -> dict[str, str]:
    """Versions of all that decides the bytes of a shard."""
    libraries = ("numpy", "scipy", "webdataset", "polars")
    return {"biofm": __version__} | {name: version(name) for name in libraries}


def told_config(config: BuildConfig) -> dict[str, Any]:
    """The config as a manifest tells it: which key was used, and not where it lies."""
    return to_dict(config) | {"pseudonym_key": key_id(config.pseudonym_key)}


def build_terms(name: str, refs: Sequence[RecordRef], config: BuildConfig) -> dict[str, Any]:
    """What must be equal for two runs to be one build: source, input, config, versions."""
    kept = {key: value for key, value in told_config(config).items() if key != "max_bad"}
    listing = [[ref.record, ref.subject, ref.fold, dict(ref.facts)] for ref in refs]
    digest = hashlib.sha256(json.dumps(listing, sort_keys=True, default=str).encode()).hexdigest()
    if config.pseudonym_key is not None:
        # Who can guess the names could check them by their hash.
        digest = pseudonym(digest, config.pseudonym_key)
    return {
        "source": name,
        "input": {"records": len(refs), "sha256": digest},
        "config": kept,
        "versions": {"format": FORMAT, **versions()},
    }


def make_manifest(
    name: str,
    about: About,
    plan: Plan,
    config: BuildConfig,
    terms: dict[str, Any],
    shards: Sequence[ShardRecord],
    index: pl.DataFrame,
    *,
    label_sets: dict[str, dict[str, list[str]]],
    physiology: dict[str, dict[str, Any]],
    synthetic: bool,
    index_sha256: str,
) -> dict[str, Any]:
    """The manifest of a finished build."""
    bad = sorted(pair for shard in shards for pair in shard.bad)
    if config.pseudonym_key is not None:
        # A reason names the file, and so the record.
        bad = [(pseudonym(name, config.pseudonym_key), "told by the build") for name, _ in bad]
    notices = [SYNTHETIC] * synthetic
    notices += [MAY_LEAK.format(plan.unknown_subjects)] * bool(plan.unknown_subjects)
    return {
        "format": FORMAT,
        "dataset": name,
        "title": ("SYNTHETIC twin of " if synthetic else "") + about.title,
        "licence": about.licence if not synthetic else "none needed: computed, not recorded",
        "synthetic": synthetic,
        "notices": notices,
        "unknown_subjects": plan.unknown_subjects,
        "versions": versions(),
        "config": told_config(config),
        "input": terms["input"],
        "split_rule": plan.rule,
        "left_out": plan.left_out,
        "splits": {s: split_counts(index, s) for s in SPLITS if s in set(index["split"])},
        "label_sets": label_sets,
        "physiology": physiology,
        "index_sha256": index_sha256,
        "shards": [
            {
                "name": shard.name,
                "split": shard.split,
                "bytes": shard.bytes,
                "sha256": shard.sha256,
                "records": shard.records,
                "segments": shard.segments,
            }
            for shard in shards
            if shard.segments
        ],
        "bad": [{"record": record, "reason": reason} for record, reason in bad],
    }


def split_counts(index: pl.DataFrame, split: str) -> dict[str, Any]:
    """Records, subjects, segments, hours, and codes of a split: of labels and of annotations."""
    rows = index.filter(split=split)
    firsts = rows.unique(["dataset", "record"], maintain_order=True)
    codes = (
        firsts.select(pl.col("labels").explode(empty_as_null=False).struct.field("code"))
        .drop_nulls()
        .group_by("code")
        .len()
        .sort("code")
    )
    return {
        "records": firsts.height,
        "subjects": rows["subject"].n_unique(),
        "segments": rows.height,
        "hours": round(float(rows["duration_s"].sum()) / 3600, 6),
        "labels": dict(codes.iter_rows()),
        "annotations": dict(annotations_of(rows).group_by("code").len().sort("code").iter_rows()),
    }
