"""Which record goes into which shard: decided before any record is read.

The plan depends on the records' names, subjects and folds and on the config, never on workers, so
a bad record only shortens its shard and any number of workers write the same bytes.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import pairwise

from ..datasets.registry import RecordRef
from .configuration import BuildConfig
from .index import SPLITS, sample_key


@dataclass(frozen=True)
class ShardPlan:
    """One shard to write: its file name, its split, and its records in their order."""

    name: str
    split: str
    refs: tuple[RecordRef, ...]


@dataclass(frozen=True)
class Plan:
    """Every shard of a build, how records were split (`rule`), how many no split wanted, and of how
    many the subject is unknown."""

    shards: tuple[ShardPlan, ...]
    rule: str
    left_out: int
    unknown_subjects: int


def plan_shards(dataset: str, refs: Sequence[RecordRef], config: BuildConfig) -> Plan:
    """Split the records, shuffle each split by a seeded hash, and deal it into shards.

    Raises `ValueError` where a split would be empty, where two records have one key, where only some
    have a fold, or where people are unknown and the config does not let them leak.
    """
    unknown = sum(not ref.subject_known for ref in refs)
    if unknown and config.unknown_subjects == "refuse":
        first = next(ref for ref in refs if not ref.subject_known)
        raise ValueError(
            f"{dataset}: nothing says whose recording {first.record} is ({unknown} of {len(refs)} are "
            "of unknown subjects), so no split keeps people apart. Name the subjects in the source's "
            "table, or allow one person in several splits with --unknown_subjects may_leak"
        )
    _check_keys(dataset, refs)
    with_fold = sum(ref.fold is not None for ref in refs)
    if 0 < with_fold < len(refs):
        lacking = next(ref.record for ref in refs if ref.fold is None)
        raise ValueError(
            f"{dataset}: {with_fold} of {len(refs)} records have an official fold, others "
            f"({lacking}, …) have none; build the two kinds into two folders"
        )
    by_split: dict[str, list[RecordRef]] = {split: [] for split in SPLITS}
    left_out, moved = 0, 0
    if not with_fold:
        split_of, moved = splits_of_subjects({ref.subject for ref in refs}, config)
    for ref in refs:
        split = split_of_fold(ref.fold, config) if with_fold else split_of[ref.subject]
        if split is None:
            left_out += 1
        else:
            by_split[split].append(ref)
    _check_splits(dataset, refs, by_split, config)
    shards = [
        ShardPlan(f"{dataset}-{split}-{number:05d}.tar", split, tuple(part))
        for split, found in by_split.items()
        for number, part in enumerate(_deal(found, config))
    ]
    whose = f"record (the subjects of {unknown} are unknown)" if unknown else "subject"
    rule = "official folds" if with_fold else f"hash of the {whose}, seed {config.seed}"
    rule += f", {moved} moved so that no split is empty" if moved else ""
    return Plan(tuple(shards), rule, left_out, unknown)


def split_of_fold(fold: int | None, config: BuildConfig) -> str | None:
    """The split that an official fold belongs to, or None."""
    return next((split for split in SPLITS if fold in getattr(config.folds, split)), None)


def splits_of_subjects(
    subjects: Collection[str], config: BuildConfig
) -> tuple[dict[str, str], int]:
    """(subject → split, how many were moved): by a hash, so the same whichever others there are.

    In a cohort so small that a split gets nobody, the subject of the largest split whose hash is
    nearest to that split's share is moved there.
    """
    place_of = {s: int(_hash(config.seed, "split", s)[:13], 16) / 16**13 for s in sorted(subjects)}
    shares, low = {}, 0.0
    for split in SPLITS:
        if fraction := getattr(config.fractions, split):
            shares[split] = (low, low + fraction)
            low += fraction
    last = list(shares)[-1]
    split_of = {
        subject: next((split for split, (_, high) in shares.items() if place < high), last)
        for subject, place in place_of.items()
    }
    moved = 0
    for split, (low, high) in shares.items():
        counts = Counter(split_of.values())
        largest = max(shares, key=lambda one: counts[one])
        if counts[split] or counts[largest] < 2:
            continue
        middle = (low + high) / 2
        candidates = [subject for subject in place_of if split_of[subject] == largest]
        split_of[min(candidates, key=lambda s: abs(place_of[s] - middle))] = split
        moved += 1
    return split_of, moved


def _check_keys(dataset: str, refs: Sequence[RecordRef]) -> None:
    """Raises `ValueError` where two records would have one key in the tars."""
    keys: dict[str, str] = {}
    for ref in refs:
        if (other := keys.setdefault(sample_key("", ref.record, 0), ref.record)) != ref.record:
            raise ValueError(
                f"{dataset}: the records {other!r} and {ref.record!r} differ only in characters that "
                "a tar member's name cannot have; name one of them otherwise"
            )


def _check_splits(
    dataset: str,
    refs: Sequence[RecordRef],
    by_split: dict[str, list[RecordRef]],
    config: BuildConfig,
) -> None:
    by_fold = any(ref.fold is not None for ref in refs)
    asked = config.folds if by_fold else config.fractions
    for split, found in by_split.items():
        wanted = getattr(asked, split)
        if found or not wanted:
            continue
        if by_fold:
            there = sorted({ref.fold for ref in refs if ref.fold is not None})
            fix = (
                f"its folds {list(wanted)} occur in no record (these do: {there}); give it others "
                f"(--folds.{split} '[…]'), or '[]' for no {split} split"
            )
        else:
            subjects = len({ref.subject for ref in refs})
            fix = (
                f"there are only {subjects} subjects; build fewer splits, such as "
                "--fractions.train 1 --fractions.validation 0 --fractions.test 0"
            )
        raise ValueError(f"{dataset}: the split {split!r} would be empty: {fix}")


def _deal(refs: list[RecordRef], config: BuildConfig) -> list[list[RecordRef]]:
    """Shuffled records in shards of nearly equal size."""
    # Ordered by a hash and not by a random generator: a record's place is the same on every
    # version of every library.
    shuffled = sorted(refs, key=lambda ref: _hash(config.seed, "order", ref.record))
    shards = math.ceil(len(refs) / config.records_per_shard)
    bounds = [len(refs) * i // shards for i in range(shards + 1)] if shards else []
    return [shuffled[first:last] for first, last in pairwise(bounds)]


def _hash(seed: int, purpose: str, name: str) -> str:
    return hashlib.sha256(f"{seed} {purpose} {name}".encode()).hexdigest()
