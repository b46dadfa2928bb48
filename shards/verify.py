"""Prove that shards are whole, are what their index says, and leak nothing between splits."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from ..files import sha256, write_aside
from .audit import Audit, audit_shard
from .index import INDEX, MANIFEST, SCHEMA, read_index
from .leaks import BORROWED, Shared, find_shared, recordings
from .manifest import split_counts
from .physiology import CHECKS
from .quality import Physiology
from .tables import label_table, quality_table

OFF = 0.2
"""Relative residual of Einthoven's or Goldberger's law from which a record is named."""
PLAUSIBLE_MV = (0.1, 20.0)
"""Peak to peak of an ECG, median over the leads."""
FIX = "copy it again, or remove the folder and run its build again"


@dataclass(frozen=True)
class Finding:
    """What one check found; `level` is ok, note, warning or FAILURE."""

    level: str
    check: str
    message: str
    examples: tuple[str, ...] = ()

    def __str__(self) -> str:
        return "\n      ".join((f"{self.level:8} {self.check:11} {self.message}", *self.examples))


@dataclass(frozen=True)
class Report:
    """What `verify` found in each folder, what folders and splits share, and tables to read."""

    folders: dict[str, list[Finding]]
    shared: list[Shared]
    tables: dict[str, str]

    @property
    def failures(self) -> list[Finding]:
        """Everything that must not be."""
        return [f for found in self.folders.values() for f in found if f.level == "FAILURE"]

    def text(self) -> str:
        """The report as text."""
        lines = []
        for folder, findings in self.folders.items():
            lines += [folder]
            lines += [f"  {finding}" for finding in findings]
            lines += ["", self.tables[folder], ""] if folder in self.tables else [""]
        verdict = f"{len(self.failures)} FAILURES" if self.failures else "verified"
        return "\n".join([*lines, verdict])

    def raise_on_failure(self) -> None:
        """Raises `ValueError` that counts the failures."""
        if self.failures:
            first = self.failures[0]
            raise ValueError(
                f"verification failed: {len(self.failures)} failures, the first: "
                f"{first.check}: {first.message}"
            )

    def write_shared(self, path: Path) -> None:
        """Everything shared as CSV: one row for each recording that holds something shared."""
        rows = [
            {"what": number, "kind": s.kind, "name": s.name, "leak": s.leak, **vars(holder)}
            for number, s in enumerate(self.shared)
            for holder in s.holders
        ]
        with write_aside(path) as aside:
            pl.DataFrame(rows, infer_schema_length=None).write_csv(aside)


def verify(folders: Sequence[Path]) -> Report:
    """Check every folder, and what they share. Raises `FileNotFoundError` where one is unfinished."""
    findings: dict[str, list[Finding]] = {}
    tables: dict[str, str] = {}
    parts = []
    accepted: set[str] = set()
    for folder in folders:
        index, manifest = _open(folder)
        accepted.update(manifest["config"]["accepted_leaks"])
        findings[str(folder)] = check_folder(folder, index, manifest)
        tables[str(folder)] = "\n".join(
            (quality_table(index), "", label_table(index, manifest["label_sets"]))
        )
        parts.append(recordings(index, str(folder), synthetic=manifest["synthetic"]))
    shared = find_shared(parts)
    for folder, part in zip(folders, parts, strict=True):
        own = find_shared([part]) if len(folders) > 1 else shared
        findings[str(folder)] += shared_findings(own, "in this folder", part.height, accepted)
    if len(folders) > 1:
        across = [s for s in shared if len({h.folder for h in s.holders}) > 1]
        count = sum(part.height for part in parts)
        findings["between these folders"] = shared_findings(
            across, "between folders", count, accepted
        )
    return Report(findings, shared, tables)


def check_folder(folder: Path, index: pl.DataFrame, manifest: dict[str, Any]) -> list[Finding]:
    """Everything that concerns one folder but what its recordings share."""
    found = []
    level = "warning" if manifest["unknown_subjects"] else "note"
    found += [Finding(level, "provenance", notice) for notice in manifest["notices"]]
    wrong, whole = check_files(folder, index, manifest)
    found += wrong
    audits = {name: audit_shard(folder / name, index.filter(shard=name)) for name in sorted(whole)}
    found.append(_contents(audits))
    found.append(_counts(index, manifest))
    found.append(_quality(index))
    found.append(_source(manifest))
    return found + _physiology({k: v for a in audits.values() for k, v in a.physiology.items()})


def check_files(
    folder: Path, index: pl.DataFrame, manifest: dict[str, Any]
) -> tuple[list[Finding], set[str]]:
    """(what is wrong with the files, names of the shards that are as they were built)."""
    found, whole = [], set()
    if sha256(folder / INDEX) != manifest["index_sha256"]:
        found.append(_fail("checksums", f"{folder / INDEX} was changed after the build: {FIX}"))
    entries = {entry["name"]: entry for entry in manifest["shards"]}
    for name, entry in entries.items():
        path = folder / name
        if Path(name).name != name or not path.is_file():
            found.append(_fail("checksums", f"shard {path} is missing: {FIX}"))
        elif (size := path.stat().st_size) != entry["bytes"]:
            found.append(
                _fail("checksums", f"shard {path} has {size} bytes, not {entry['bytes']}: {FIX}")
            )
        elif sha256(path) != entry["sha256"]:
            found.append(_fail("checksums", f"shard {path} was changed after the build: {FIX}"))
        else:
            whole.add(name)
    found += [
        _fail("checksums", f"{path} is no shard of this build: remove it")
        for path in sorted(folder.glob("*.tar"))
        if path.name not in entries
    ]
    found += [
        _fail("checksums", f"{INDEX} and {MANIFEST} disagree about {name}: {FIX}")
        for name in sorted(set(index["shard"].unique()) ^ set(entries))
    ]
    if not found:
        size = sum(entry["bytes"] for entry in entries.values())
        found.append(Finding("ok", "checksums", f"{len(entries)} shards, {size / 1e6:.1f} MB"))
    return found, whole


def shared_findings(
    shared: Sequence[Shared], where: str, count: int, accepted: Collection[str] = ()
) -> list[Finding]:
    """What is shared, by kind and gravity: leaks are failures, with their fix.

    A subject among `accepted` is a warning: a published split has it on both sides.
    """
    found = []
    for kind in ("subject", "record", "signal", "similar signal"):
        same = [s for s in shared if s.kind == kind]
        published = [
            s
            for s in same
            if s.leak and kind == "subject" and s.name.removeprefix(BORROWED) in accepted
        ]
        leaks = [s for s in same if s.leak and s not in published]
        renamed = [s for s in same if not s.leak and kind.endswith("signal") and s.several_subjects]
        rest = [s for s in same if s not in (*leaks, *renamed, *published)]
        for level, some, said in (
            (
                "FAILURE",
                leaks,
                "in different splits: split by subject, or leave one out and build again",
            ),
            (
                "warning",
                published,
                "in different splits, as the published split has them (accepted_leaks): give figures "
                "without them too",
            ),
            ("warning", renamed, "in one split, under different subjects"),
            ("note", rest, "in one split"),
        ):
            if some:
                examples = (*map(str, some[:5]), *(["…"] if len(some) > 5 else []))
                message = f"{len(some)} {kind}(s) shared {where}, {said}"
                found.append(Finding(level, "leaks", message, examples))
    if not any(finding.level == "FAILURE" for finding in found):
        other = "other " if accepted else ""
        message = f"no {other}subject, record or signal of {count} recordings in two splits"
        found.insert(0, Finding("ok", "leaks", message))
    return found


def _open(folder: Path) -> tuple[pl.DataFrame, dict[str, Any]]:
    index = read_index(folder)
    if dict(index.schema) != dict(pl.Schema(SCHEMA)):
        raise ValueError(
            f"{folder / INDEX} has other columns than this version of biofm writes; build again"
        )
    path = folder / MANIFEST
    if not path.is_file():
        raise FileNotFoundError(
            f"{folder} is not a finished shard folder ({MANIFEST} is missing): run its build again"
        )
    manifest: dict[str, Any] = json.loads(path.read_text())
    return index, manifest


def _contents(audits: dict[str, Audit]) -> Finding:
    problems = [f"{name}: {text}" for name, audit in audits.items() for text in audit.problems]
    if problems:
        shown = "; ".join(problems[:5])
        return _fail(
            "contents", f"{len(problems)} samples are not what the index says: {shown}: {FIX}"
        )
    samples = sum(audit.samples for audit in audits.values())
    return Finding("ok", "contents", f"{samples} samples where and what the index says")


def _counts(index: pl.DataFrame, manifest: dict[str, Any]) -> Finding:
    counted = {split: split_counts(index, split) for split in manifest["splits"]}
    per_shard = dict(index.group_by("shard").len().iter_rows())
    said = {entry["name"]: entry["segments"] for entry in manifest["shards"]}
    if counted != manifest["splits"] or per_shard != said:
        wrong = [split for split in counted if counted[split] != manifest["splits"][split]]
        wrong += [name for name in {*said, *per_shard} if said.get(name) != per_shard.get(name)]
        return _fail("counts", f"{INDEX} and {MANIFEST} count differently: {sorted(wrong)}: {FIX}")
    unusable = len(manifest["bad"])
    text = ", ".join(f"{split} {c['records']}" for split, c in counted.items())
    left = f"; {manifest['left_out']} left out by the config" if manifest["left_out"] else ""
    return Finding("ok", "counts", f"records: {text}; {unusable} unusable{left}")


def _quality(index: pl.DataFrame) -> Finding:
    wrong = {
        "more than half missing": index.filter(pl.col("missing") > 0.5),
        "with a channel that never moves": index.filter(pl.col("flat") > 0),
        "more than 1 % clipped": index.filter(pl.col("clipped") > 0.01),
    }
    said = [
        f"{rows['record'].n_unique()} records {what} ({', '.join(rows['record'].unique().sort()[:5])}"
        f"{', …' if rows['record'].n_unique() > 5 else ''})"
        for what, rows in wrong.items()
        if rows.height
    ]
    level = "warning" if said else "ok"
    return Finding(level, "quality", "; ".join(said) or "nothing mostly missing, flat or clipped")


def _source(manifest: dict[str, Any]) -> Finding:
    """What the build saw in the recordings before it filtered them."""
    said = manifest["physiology"]
    odd = [
        f"{CHECKS[name].what}: {one['outside']} of {one['records']} records outside "
        f"{CHECKS[name].low:g} to {CHECKS[name].high:g} ({', '.join(one['examples'])})"
        for name, one in said.items()
        if one["outside"]
    ]
    if not odd:
        return Finding(
            "ok", "source", f"all of {len(said)} checks at build time within their bounds"
        )
    return Finding("warning", "source", "at build time, before any filter:", tuple(odd))


def _physiology(facts: dict[str, Physiology]) -> list[Finding]:
    """Records whose leads are not what they are called: named, and a failure where most are."""
    if not facts:
        return [Finding("note", "physiology", "no 12-lead ECG to check")]
    low, high = PLAUSIBLE_MV
    laws = {
        "break Einthoven's law (I + III = II)": [k for k, p in facts.items() if p.einthoven > OFF],
        "break Goldberger's laws (aVR, aVL, aVF)": [
            k for k, p in facts.items() if p.goldberger > OFF
        ],
        f"have an amplitude outside {low:g} to {high:g} mV": [
            k for k, p in facts.items() if not low <= p.peak_to_peak_mv <= high
        ],
    }
    found = []
    for law, records in laws.items():
        if not records:
            continue
        named = f"{', '.join(sorted(records)[:5])}{', …' if len(records) > 5 else ''}"
        message = f"{len(records)} of {len(facts)} records {law}: {named}"
        if 2 * len(records) > len(facts):
            fix = ". Leads or units are not what the reader takes them for: mend it and build again"
            found.append(_fail("physiology", message + fix))
        else:
            found.append(Finding("warning", "physiology", message))
    return found or [Finding("ok", "physiology", f"{len(facts)} 12-lead ECGs obey lead algebra")]


def _fail(check: str, message: str) -> Finding:
    return Finding("FAILURE", check, message)
