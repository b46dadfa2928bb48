"""One shard: records read, cut, and written into a tar, with what the index says about them.

A shard is finished when its record file (`<shard>.json`, beside the rows in `<shard>.parquet`)
stands in the build's own folder: it is written last, and every file is written aside and renamed.
"""

from __future__ import annotations

import json
import tarfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import polars as pl
from webdataset import TarWriter

from ..datasets.registry import RecordError, RecordRef, Source, source
from ..files import sha256, write_aside
from ..signals import Recording
from .configuration import BuildConfig
from .index import SCHEMA
from .physiology import PER_SHARD, facts_of
from .plan import ShardPlan
from .privacy import check_private, pseudonymous
from .segments import segments

WORKING = ".building"
"""Folder inside an unfinished shard folder: the plan, and one record file for each finished shard."""


@dataclass(frozen=True)
class ShardTask:
    """All a worker needs to write one shard; it must pickle."""

    out: Path
    source: str
    plan: ShardPlan
    config: BuildConfig
    build: str


@dataclass(frozen=True)
class ShardRecord:
    """What became of a shard.

    `bad` holds (record, reason) of those that could not be used, `facts` the physiology of some records.
    """

    build: str
    name: str
    split: str
    bytes: int
    sha256: str
    records: int
    segments: int
    bad: list[tuple[str, str]]
    facts: list[tuple[str, dict[str, float]]]


def write_shard(task: ShardTask) -> ShardRecord:
    """Write a shard and its record file. Raises `OSError` for a full disk, and what is no
    `RecordError`."""
    tar_path = task.out / task.plan.name
    found = source(task.source)
    rows: list[dict[str, Any]] = []
    bad: list[tuple[str, str]] = []
    facts: list[tuple[str, dict[str, float]]] = []
    with write_aside(tar_path) as aside:
        with (
            aside.open("wb") as file,
            TarWriter(file, encoder=False, mtime=0, user="biofm", group="biofm", mode=0o444) as tar,
        ):
            for ref in task.plan.refs:
                try:
                    recording = read_record(found, ref, task.config)
                    made = list(segments(recording, task.plan.split, task.config))
                except RecordError as error:
                    bad.append((ref.record, str(error)))
                    continue
                check_private(recording, (segment.row for segment in made))
                if len(facts) < PER_SHARD:
                    said = facts_of(recording, [segment.row for segment in made])
                    facts.append((recording.record, said))
                for segment in made:
                    tar.write({"__key__": segment.row["key"], **segment.members})
                    rows.append(segment.row | {"shard": task.plan.name})
        add_offsets(aside, rows)
    record = ShardRecord(
        build=task.build,
        name=task.plan.name,
        split=task.plan.split,
        bytes=tar_path.stat().st_size,
        sha256=sha256(tar_path),
        records=len(task.plan.refs) - len(bad),
        segments=len(rows),
        bad=bad,
        facts=facts,
    )
    with write_aside(rows_path(task.out, record.name)) as aside:
        pl.DataFrame(rows, schema=SCHEMA).write_parquet(aside)
    with write_aside(record_path(task.out, record.name)) as aside:
        aside.write_text(json.dumps(asdict(record)))
    return record


def read_record(found: Source, ref: RecordRef, config: BuildConfig) -> Recording:
    """Read one record, under the name it is to have. Raises `RecordError` where it cannot be used."""
    try:
        recording = found.read(ref)
    except OSError as error:
        raise RecordError(f"{ref.path}: cannot be read ({error})") from error
    _check_reader(recording, ref)
    return pseudonymous(recording, config.pseudonym_key)


def add_offsets(tar_path: Path, rows: list[dict[str, Any]]) -> None:
    """Put into each row where its arrays begin in the tar, taken from the tar itself."""
    with tarfile.open(tar_path) as tar:
        ends = {member.name: member.offset_data + member.size for member in tar}
    for row in rows:
        for stream in row["streams"]:
            array_bytes = 2 * len(stream["channels"]) * stream["samples"]
            stream["data_offset"] = ends[f"{row['key']}.{stream['name']}.npy"] - array_bytes


def finished(task: ShardTask) -> ShardRecord | None:
    """The shard's record where it was finished by an earlier run of the same build, and is whole."""
    path, tar_path = record_path(task.out, task.plan.name), task.out / task.plan.name
    if not path.is_file() or not tar_path.is_file():
        return None
    said = json.loads(path.read_text())
    pairs = {key: [(name, what) for name, what in said[key]] for key in ("bad", "facts")}
    record = ShardRecord(**said | pairs)
    whole = record.build == task.build and record.sha256 == sha256(tar_path)
    return record if whole else None


def rows_path(out: Path, shard: str) -> Path:
    """Where a finished shard's index rows wait for the end of the build."""
    return out / WORKING / f"{shard}.parquet"


def record_path(out: Path, shard: str) -> Path:
    """The file that says that a shard is finished."""
    return out / WORKING / f"{shard}.json"


def _check_reader(recording: Recording, ref: RecordRef) -> None:
    """Raises `RuntimeError` where a reader returned another record than was asked for."""
    for name in ("record", "subject", "fold"):
        if getattr(recording, name) != getattr(ref, name):
            raise RuntimeError(
                f"the reader of {recording.dataset} returned {name} {getattr(recording, name)!r} "
                f"for {getattr(ref, name)!r} ({ref.path}): a mistake in the reader"
            )
