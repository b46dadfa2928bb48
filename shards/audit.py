"""A shard against its index: every member where it should be, and what the samples say.

Members are read, never extracted; a name from a tar or an index leads nowhere else.

Shapes: C channels, T time.
"""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ..signals import MISSING, Signal
from .quality import Physiology, physiology

_SAID_TWICE = (
    *("key", "dataset", "record", "subject", "split", "fold", "segment", "start_s", "duration_s"),
    *("age", "sex", "device", "site", "annotations", "signature"),
)
"""What the index and a sample's JSON both say."""


@dataclass
class Audit:
    """Of one shard: what is wrong, how many samples it holds, and each 12-lead record's facts."""

    problems: list[str] = field(default_factory=list)
    samples: int = 0
    physiology: dict[str, Physiology] = field(default_factory=dict)


def audit_shard(path: Path, rows: pl.DataFrame) -> Audit:
    """Hold a tar against its rows of the index, in their order."""
    audit = Audit()
    try:
        with tarfile.open(path) as tar:
            samples = grouped(tar)
            for row in rows.iter_rows(named=True):
                key, members = next(samples, ("nothing more", {}))
                if key != row["key"]:
                    audit.problems.append(f"expected sample {row['key']}, found {key}")
                    break
                _audit_sample(tar, members, row, audit)
                audit.samples += 1
            else:
                if more := next(samples, None):
                    audit.problems.append(f"sample {more[0]} is not in the index")
    except (tarfile.TarError, EOFError, ValueError, KeyError, TypeError) as error:
        audit.problems.append(f"cannot be read as the index describes it ({error!r})")
    return audit


def grouped(tar: tarfile.TarFile) -> Iterator[tuple[str, dict[str, tarfile.TarInfo]]]:
    """(key, extension → member) of each run of members of one key, as webdataset groups them."""
    key, members = "", dict[str, tarfile.TarInfo]()
    for member in tar:
        name, _, extension = member.name.partition(".")
        if name != key:
            if members:
                yield key, members
            key, members = name, {}
        members[extension] = member
    if members:
        yield key, members


def _audit_sample(
    tar: tarfile.TarFile, members: dict[str, tarfile.TarInfo], row: dict[str, Any], audit: Audit
) -> None:
    key = row["key"]
    expected = {"json", *(f"{stream['name']}.npy" for stream in row["streams"])}
    if set(members) != expected:
        audit.problems.append(f"{key}: expected {sorted(expected)}, found {sorted(members)}")
        return
    said = json.loads(_bytes(tar, members["json"]))
    audit.problems += [
        f"{key}: its JSON says {name} {said.get(name)!r}, the index {row[name]!r}"
        for name in _SAID_TWICE
        if said.get(name) != row[name]
    ]
    labels = {label["code"]: label["value"] for label in row["labels"]}
    if said["labels"] != labels:
        audit.problems.append(f"{key}: its JSON and the index give different labels")
    missing = size = 0
    for stream, described in zip(row["streams"], said["streams"], strict=True):
        array = _array(_bytes(tar, members[f"{stream['name']}.npy"]))
        at = members[f"{stream['name']}.npy"]
        begins = at.offset_data + at.size - array.nbytes
        shape = (len(stream["channels"]), stream["samples"])
        if (
            array.dtype != np.dtype("<i2")
            or array.shape != shape
            or begins != stream["data_offset"]
        ):
            audit.problems.append(
                f"{key}: the index says int16 {shape} at byte {stream['data_offset']}, found "
                f"{array.dtype} {array.shape} at {begins}"
            )
            return
        if any(described[name] != stream[name] for name in ("channels", "scale", "offset")):
            audit.problems.append(f"{key}: its JSON and the index differ in channels or scale")
        missing += int((array == MISSING).sum())
        size += array.size
        _look(array, stream, row, audit)
    if abs(missing / size - row["missing"]) > 1e-6:
        audit.problems.append(
            f"{key}: {missing / size:.4f} of its samples are missing, the index says "
            f"{row['missing']:.4f}"
        )


def _look(
    array: NDArray[np.int16], stream: dict[str, Any], row: dict[str, Any], audit: Audit
) -> None:
    """Check the physiology of a record by its first segment."""
    if stream["modality"] != "ecg" or row["segment"] != 0:
        return
    scale, offset = (np.array(stream[name], np.float32) for name in ("scale", "offset"))
    signal = Signal("ecg", array, stream["rate_hz"], tuple(stream["channels"]), scale, offset)
    if (facts := physiology(signal.physical(), signal.channels)) is not None:
        audit.physiology[row["record"]] = facts


def _bytes(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = tar.extractfile(member)
    if file is None:
        raise ValueError(f"{member.name} is no file")
    return file.read()


def _array(content: bytes) -> NDArray[np.int16]:
    array: NDArray[np.int16] = np.lib.format.read_array(io.BytesIO(content), allow_pickle=False)
    return array
