"""Whether a model learned from the people and recordings that it is judged on.

What it learned from stands in its folder (`training.parquet`, made by `shards.contents`); what it is judged
on are the recordings with a truth in the splits of a task. They are compared by subject, by recording (a
copy in another collection keeps its name), by the exact signal, and by a fingerprint, which also finds a
signal that was resampled, filtered, scaled or cut at the ends (`shards.duplicates`).

In train, an overlap is harmless: the labels were there all along. In validation and test it makes a figure
too good, and by how much nobody can tell, so that the figure has to carry the mark.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from ..shards.contents import digests, recordings_read
from ..shards.duplicates import find_copies
from .report.section import Section, Table
from .rounds import Round

WAYS = ("same subject", "same recording", "same signal", "similar signal")
"""By what a recording is found again. A similar signal is one that is not the same to the last sample."""
JUDGED = ("test", "validation")
NAMED = 40
"""So many recordings are named in a report for each model, split and way."""
UNKNOWN = "† it is not known what it learned from"


@dataclass(frozen=True)
class Overlap:
    """What one model had seen of what it is judged on.

    `rows` are the recordings of each split: split, dataset, record, subject, and for each of `WAYS` whether
    the model learned from that; null throughout where the model does not say (`known`). `notes` are what
    could not be compared.
    """

    rows: pl.DataFrame
    known: bool
    notes: tuple[str, ...] = ()

    def seen(self, split: str) -> pl.DataFrame:
        """The recordings of a split that were found again in any way."""
        return self.rows.filter(pl.col("split") == split, pl.any_horizontal(*WAYS))

    @property
    def clean(self) -> bool:
        """Whether it is known to have seen nobody and nothing of test and validation."""
        return self.known and not any(self.seen(split).height for split in JUDGED)

    @property
    def mark(self) -> str:
        """What has to stand beside the model's figures; empty where it is clean."""
        if not self.known:
            return UNKNOWN
        said = [
            f"{seen} of {_count(self.rows.filter(split=split))} {split} subjects"
            for split in JUDGED
            if (seen := _count(self.seen(split)))
        ]
        return f"† {' and '.join(said)} were in pretraining" if said else ""


def overlap(learned: pl.DataFrame | None, rounds: Sequence[Round]) -> Overlap:
    """What a model that learned from this (`models.pretrained.training_contents`) had seen of a task.

    All rounds together: in a cross-validation everybody is tested once.
    """
    rows = judged(rounds)
    names = rows.select("split", "dataset", "record", "subject")
    if learned is None:
        return Overlap(names.with_columns(pl.lit(None, pl.Boolean).alias(w) for w in WAYS), False)
    same = rows.select(
        pl.col(f"{what} digest").is_in(learned[what].unique().implode()).alias(f"same {what}")
        for what in ("subject", "record", "signature")
    )
    same.columns = WAYS[:3]
    similar = _similar(rows, learned) & ~same["same signal"]
    found = pl.concat([names, same, similar.to_frame()], how="horizontal")
    return Overlap(found, True, _notes(rows, learned))


def clean_for(models: Mapping[str, pl.DataFrame | None], round: Round) -> tuple[str, ...]:
    """Which of the models (name → what it learned from) may be judged in this round of a cross-validation.

    Those that are known to have seen nobody and nothing of its validation and test.
    """
    return tuple(name for name, learned in models.items() if overlap(learned, [round]).clean)


def judged(rounds: Sequence[Round]) -> pl.DataFrame:
    """The recordings with a truth in each split: `split`, `recordings_read`, and digests of the names."""
    subject, record, signature = digests()
    return (
        pl.concat(
            recordings_read(reader, np.unique(one.truth[split].rows)).with_columns(
                split=pl.lit(split)
            )
            for one in rounds
            for split, reader in one.readers.items()
        )
        .unique(["split", "dataset", "record", "signature"], keep="first", maintain_order=True)
        .with_columns(
            subject.alias("subject digest"),
            record.alias("record digest"),
            signature.alias("signature digest"),
        )
    )


def leakage_section(overlaps: Mapping[str, Overlap]) -> Section:
    """What each model (by its name in the report) had seen, counted, and named where it matters."""
    verdicts = []
    for name, found in overlaps.items():
        verdict = found.mark or "saw nobody and nothing of test and validation"
        verdicts.append(" ".join((f"{name}: {verdict}.", *found.notes)))
    known = {name: found for name, found in overlaps.items() if found.known}
    counts = [
        [name, split, *_counts(found.rows.filter(split=split)), str(_count(found.seen(split)))]
        for name, found in known.items()
        for split in (*JUDGED, "train")
    ]
    named = [
        [name, split, way, _names(seen)]
        for name, found in known.items()
        for split in JUDGED
        for way in WAYS
        if (seen := found.rows.filter(pl.col("split") == split, pl.col(way))).height
    ]
    tables = []
    if counts:
        head = ("model", "split", "subjects", "recordings", *WAYS, "subjects seen in any way")
        note = "Recordings that the model learned from. In train this is harmless."
        tables.append(Table(head, counts, note))
    if named:
        tables.append(Table(("model", "split", "found by", "recording (subject)"), named))
    return Section("What the models had seen before", verdicts, tables)


def _counts(rows: pl.DataFrame) -> list[str]:
    """Subjects, recordings, and recordings found in each way."""
    return [str(n) for n in (_count(rows), rows.height, *(rows[way].sum() for way in WAYS))]


def _count(rows: pl.DataFrame) -> int:
    return rows["subject"].n_unique()


def _names(rows: pl.DataFrame) -> str:
    shown = [
        f"{d} {r} ({s})"
        for d, r, s in rows.select("dataset", "record", "subject").head(NAMED).iter_rows()
    ]
    more = [f"and {rows.height - NAMED} more"] if rows.height > NAMED else []
    return ", ".join([*shown, *more])


def _similar(rows: pl.DataFrame, learned: pl.DataFrame) -> pl.Series:
    """Whether a recording's fingerprint is that of something learned from."""
    found = np.zeros(rows.height, np.bool_)
    have = np.flatnonzero(rows["fingerprint"].is_not_null().to_numpy())
    of = rows["fingerprint"].drop_nulls().to_list()
    for copy in find_copies(of, learned["fingerprint"].drop_nulls().unique().to_list()):
        found[have[copy.first]] = True
    return pl.Series(WAYS[3], found)


def _notes(rows: pl.DataFrame, learned: pl.DataFrame) -> tuple[str, ...]:
    """What could not be compared, in sentences."""
    notes = []
    for dataset in rows["dataset"].unique().sort():
        here, there = (
            set(table.filter(dataset=dataset)["key"].unique()) for table in (rows, learned)
        )
        if there and here != there:
            notes.append(
                f"The names of {dataset} were made with different pseudonym keys (or with one on one "
                "side alone), so that its people and recordings could be compared by signal only."
            )
    if without := learned["fingerprint"].null_count():
        notes.append(
            f"{without} of {learned.height} recordings it learned from carry no fingerprint (no ECG, or "
            "kept under pseudonyms): a changed copy of one would not be found."
        )
    if without := rows["fingerprint"].null_count():
        notes.append(
            f"{without} of {rows.height} recordings it is judged on have no fingerprint (no ECG of 5 s in "
            "leads I, II, V2 or V5): likewise."
        )
    return tuple(notes)
