"""Recordings → a shard folder: plan, write shards side by side, join what they say.

A folder is finished when `index.parquet` and, last of all, `shards.json` stand in it. A build that
was stopped goes on where it was when it is run again: whole shards are kept.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import shutil
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import polars as pl
from tqdm import tqdm

from ..datasets.registry import RecordRef, source
from ..datasets.simulate import is_synthetic
from ..files import sha256, write_aside
from .configuration import BuildConfig, shipped
from .index import INDEX, MANIFEST
from .manifest import build_terms, make_manifest
from .physiology import failures_of, summary_of
from .plan import Plan, plan_shards
from .workers import cores, write_shards
from .writing import WORKING, ShardRecord, ShardTask, finished, rows_path

TERMS = "build.json"
LARGE, LARGE_SHARE = 20, 0.1
"""A subject of more records, and of a larger share of all, is worth a word."""
SHOWN = 20
"""So many unusable records are told one by one."""


def build(
    name: str,
    roots: Sequence[Path],
    out: Path,
    config: BuildConfig | None = None,
    *,
    workers: int | None = None,
    ray_address: str | None = None,
    progress: bool = True,
) -> dict[str, Any]:
    """Build the shards of a source into `out`; returns the manifest.

    Raises `FileNotFoundError` for a root that does not hold the source, `ValueError` for an empty
    split, for too many unusable records and for a folder that holds something else, `OSError` for
    a full disk. `config` None means the one that ships for the source, `workers` None one a core;
    `ray_address` hands the work to a Ray cluster.
    """
    config = config or shipped(name)
    if workers is not None and workers < 1:
        raise ValueError(f"workers must be at least 1, not {workers}")
    found = source(name)
    synthetic = _all_or_none_synthetic(roots)
    refs = found.find(roots)
    # A description of data may lie elsewhere than the data.
    synthetic = synthetic or is_synthetic(refs[0].path)
    label_sets = found.label_sets(roots)
    plan = plan_shards(name, refs, config)
    terms = build_terms(name, refs, config)
    check_folder(out, terms)
    if (out / MANIFEST).is_file():
        _say(f"{out} holds this build already, finished", progress)
        shutil.rmtree(out / WORKING, ignore_errors=True)
        manifest: dict[str, Any] = json.loads((out / MANIFEST).read_text())
        return manifest
    with only_one(out):
        with write_aside(out / WORKING / TERMS) as aside:
            aside.write_text(json.dumps(terms, indent=1))
        _say(f"{name}: {len(refs)} records, split by {plan.rule}", progress)
        for remark in remarks_on(plan, refs):
            _say(f"  {remark}", progress)
        shards = _write_all(plan, out, name, config, workers or cores(), ray_address, progress)
        summary = summary_of(pair for shard in shards for pair in shard.facts)
        check_physiology(name, summary, out)
        index = _join(out, shards)
        with write_aside(out / INDEX) as aside:
            index.write_parquet(aside)
        manifest = make_manifest(
            name,
            found.about(roots),
            plan,
            config,
            terms,
            shards,
            index,
            label_sets=label_sets,
            physiology=summary,
            synthetic=synthetic,
            index_sha256=sha256(out / INDEX),
        )
        with write_aside(out / MANIFEST) as aside:
            aside.write_text(json.dumps(manifest, indent=1, ensure_ascii=False) + "\n")
    shutil.rmtree(out / WORKING)
    return manifest


def check_folder(out: Path, terms: dict[str, Any]) -> None:
    """Raises `ValueError` where `out` holds anything but this very build, begun or finished."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    said = _terms_of(out)
    if said is None:
        raise ValueError(
            f"{out} holds something that is no shard build; name a new or empty folder with --out"
        )
    if differing := _differences(said, terms):
        raise ValueError(
            f"{out} holds another build: {'; '.join(differing[:5])}. Name another folder with "
            "--out, or remove this one first"
        )


def remarks_on(plan: Plan, refs: Sequence[RecordRef]) -> list[str]:
    """What a user would want to know of a plan before it is carried out."""
    remarks = []
    if plan.left_out:
        remarks.append(f"{plan.left_out} records are left out: no split wants their fold")
    subject, records = Counter(ref.subject for ref in refs).most_common(1)[0]
    if records > LARGE and records > len(refs) * LARGE_SHARE:
        remarks.append(
            f"{records} records count as one subject, {subject}, and stay in one split: "
            "`biofm datasets list --markdown` says by what subjects are known"
        )
    return remarks


def check_physiology(name: str, summary: dict[str, dict[str, Any]], out: Path) -> None:
    """Raises `ValueError` where the median of a source lies outside the bounds of a check."""
    if failures := failures_of(summary):
        told = "\n  ".join(failures)
        raise ValueError(
            f"{name} is not what it should be:\n  {told}\nMend the source's table or its reader, remove "
            f"{out}, and build again"
        )


@contextlib.contextmanager
def only_one(out: Path) -> Iterator[None]:
    """Hold the folder for one build at a time, and clear away what a killed one left half-written.

    Raises `RuntimeError` where another build holds it.
    """
    working = out / WORKING
    working.mkdir(parents=True, exist_ok=True)
    with (working / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise RuntimeError(
                f"another build is writing to {out}; wait for it, or name another folder"
            ) from error
        for left in (*out.glob(".*.partial"), *working.glob(".*.partial")):
            left.unlink()
        yield


def _write_all(
    plan: Plan,
    out: Path,
    name: str,
    config: BuildConfig,
    workers: int,
    ray_address: str | None,
    progress: bool,
) -> list[ShardRecord]:
    """Write what is not there yet; the records of all shards in the plan's order."""
    build_id = sha256(out / WORKING / TERMS)
    tasks = [ShardTask(out, name, shard, config, build_id) for shard in plan.shards]
    done = {task.plan.name: record for task in tasks if (record := finished(task))}
    todo = [task for task in tasks if task.plan.name not in done]
    if done:
        _say(f"{len(done)} of {len(tasks)} shards are there from an earlier run", progress)
    planned = {shard.name: len(shard.refs) for shard in plan.shards}
    bar = tqdm(
        total=sum(planned.values()),
        initial=sum(planned[shard] for shard in done),
        desc=f"shards build {name}",
        unit="record",
        disable=not progress,
    )
    bad = [pair for record in done.values() for pair in record.bad]
    with bar:
        _check_bad(bad, config, out)
        for record in write_shards(todo, workers, ray_address):
            done[record.name] = record
            bar.update(planned[record.name])
            for shown, reason in record.bad[: max(0, SHOWN - len(bad))]:
                bar.write(f"skipped {name} {shown}: {reason}", file=sys.stderr)
            bad += record.bad
            _check_bad(bad, config, out)
    if len(bad) > SHOWN:
        _say(f"… and {len(bad) - SHOWN} more were skipped: {MANIFEST} will name them", progress)
    for split in {shard.split for shard in plan.shards}:
        if not sum(r.segments for r in done.values() if r.split == split):
            raise ValueError(
                f"{name}: no record of the split {split!r} could be used ({bad[0][1]}, …); "
                "mend the source"
            )
    return [done[shard.name] for shard in plan.shards]


def _check_bad(bad: list[tuple[str, str]], config: BuildConfig, out: Path) -> None:
    if len(bad) > config.max_bad:
        shown = "\n  ".join(f"{record}: {reason}" for record, reason in bad[:5])
        raise ValueError(
            f"{len(bad)} records could not be used, more than --max_bad {config.max_bad}:\n"
            f"  {shown}\nMend the source, or allow more and run the same command again: it goes "
            f"on from the shards finished in {out}"
        )


def _join(out: Path, shards: Sequence[ShardRecord]) -> pl.DataFrame:
    """The index of all shards; a shard without a usable record is removed."""
    for shard in shards:
        if not shard.segments:
            (out / shard.name).unlink(missing_ok=True)
    parts = [pl.read_parquet(rows_path(out, s.name)) for s in shards if s.segments]
    return pl.concat(parts, rechunk=True)


def _terms_of(out: Path) -> dict[str, Any] | None:
    """The terms of the build that a folder holds, begun or finished."""
    if (out / MANIFEST).is_file():
        said = json.loads((out / MANIFEST).read_text())
        config = {key: value for key, value in said["config"].items() if key != "max_bad"}
        return {
            "source": said["dataset"],
            "input": said["input"],
            "config": config,
            "versions": {"format": said["format"], **said["versions"]},
        }
    if (out / WORKING / TERMS).is_file():
        begun: dict[str, Any] = json.loads((out / WORKING / TERMS).read_text())
        return begun
    # A build that was stopped before it wrote its terms left only its folder and its lock.
    left = [path.name for path in out.rglob("*")] if out.is_dir() else [out.name]
    ours = all(name in (WORKING, "lock") or name.endswith(".partial") for name in left)
    return {} if ours else None


def _differences(there: dict[str, Any], here: dict[str, Any], prefix: str = "") -> list[str]:
    """Dotted keys that differ, with both values; none where `there` is empty."""
    found = []
    for key in there:
        a, b = there[key], here.get(key)
        if isinstance(a, dict) and isinstance(b, dict):
            found += _differences(a, b, f"{prefix}{key}.")
        elif a != b:
            found.append(f"{prefix}{key} is {a!r} there and {b!r} here")
    return found


def _all_or_none_synthetic(roots: Sequence[Path]) -> bool:
    synthetic = [root for root in roots if is_synthetic(root)]
    if synthetic and len(synthetic) < len(roots):
        real = next(root for root in roots if root not in synthetic)
        raise ValueError(
            f"{synthetic[0]} is synthetic and {real} is not: build them into two folders, so that "
            "nobody takes one for the other"
        )
    return bool(synthetic)


def _say(text: str, progress: bool) -> None:
    if progress:
        print(text, flush=True)
