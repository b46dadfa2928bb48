"""What recordings share: ids, subjects, and signals, exact or similar, in one folder or several.

Shared between different splits it is a leak; within one split it is only worth knowing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from .duplicates import find_duplicates

BORROWED = "synthetic "
"""Before the names of simulated data sets and subjects, which are those of real ones."""


@dataclass(frozen=True)
class Holder:
    """A recording that holds what is shared."""

    folder: str
    split: str
    dataset: str
    record: str
    subject: str


@dataclass(frozen=True)
class Shared:
    """One thing that recordings share: `kind` is subject, record, signal or similar signal."""

    kind: str
    name: str
    holders: tuple[Holder, ...]

    @property
    def leak(self) -> bool:
        """Whether it stands in more than one split."""
        return len({holder.split for holder in self.holders}) > 1

    @property
    def several_subjects(self) -> bool:
        """Whether its recordings are said to be of different people."""
        return len({holder.subject for holder in self.holders}) > 1

    def __str__(self) -> str:
        several = len({holder.folder for holder in self.holders}) > 1
        where = [
            f"{h.record} ({h.split}{f' of {h.folder}' if several else ''}, {h.subject})"
            for h in self.holders[:4]
        ]
        more = f" and {len(self.holders) - 4} more" if len(self.holders) > 4 else ""
        return f"{self.kind} {self.name}: {', '.join(where)}{more}"


def recordings(index: pl.DataFrame, folder: str, *, synthetic: bool = False) -> pl.DataFrame:
    """One row a recording. What is simulated borrows real names, and is nobody real."""
    if synthetic:
        borrowed = (pl.concat_str(pl.lit(BORROWED), n).alias(n) for n in ("dataset", "subject"))
        index = index.with_columns(borrowed)
    return (
        index.sort("dataset", "record", "segment")
        .unique(["dataset", "record"], keep="first", maintain_order=True)
        .select(
            pl.lit(folder).alias("folder"),
            *("split", "dataset", "record", "subject", "signature", "fingerprint"),
        )
    )


def find_shared(parts: Sequence[pl.DataFrame]) -> list[Shared]:
    """All that is worth reporting about the recordings of one or several folders, leaks first."""
    table = pl.concat(list(parts))
    identity = table.select(
        pl.concat_str("dataset", "record", separator=" ").alias("id")
    ).to_series()
    found = [
        *_same(table, "subject", table["subject"]),
        *_same(table, "record", identity),
        *_same(table, "signal", table["signature"]),
        *_similar(table),
    ]
    return sorted(found, key=lambda shared: not shared.leak)


def _same(table: pl.DataFrame, kind: str, key: pl.Series) -> list[Shared]:
    """Groups of equal keys that stand in several splits or folders (a signal: in any two records)."""
    several = (pl.col("split").n_unique() > 1) | (pl.col("folder").n_unique() > 1)
    if kind == "signal":
        several = pl.struct("folder", "dataset", "record").n_unique() > 1
    keyed = table.with_columns(_key=key)
    groups = keyed.filter(several.over("_key")).partition_by("_key", maintain_order=True)
    return [
        Shared(kind, _short(kind, group["_key"][0]), _holders(group))
        for group in groups
        # The same record in two folders has one signal, of course: the record is reported.
        if kind != "signal" or group.n_unique(["dataset", "record"]) > 1
    ]


def _short(kind: str, key: str) -> str:
    return key[:16] if kind == "signal" else key


def _similar(table: pl.DataFrame) -> list[Shared]:
    """Pairs of different signals that are copies by their fingerprints."""
    one_each = table.filter(pl.col("fingerprint").is_not_null()).unique(
        ["signature"], keep="first", maintain_order=True
    )
    found = []
    for pair in find_duplicates(one_each["fingerprint"].to_list()):
        signatures = one_each["signature"][[pair.first, pair.second]].implode()
        both = table.filter(pl.col("signature").is_in(signatures))
        if both.n_unique(["dataset", "record"]) > 1:
            name = f"(correlation {pair.correlation:.3f})"
            found.append(Shared("similar signal", name, _holders(both)))
    return found


def _holders(group: pl.DataFrame) -> tuple[Holder, ...]:
    columns = ("folder", "split", "dataset", "record", "subject")
    return tuple(Holder(*row) for row in group.select(columns).iter_rows())
