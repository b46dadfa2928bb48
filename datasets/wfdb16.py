"""WFDB records as int16: format 16 and MATLAB v4 read directly, a few others through `wfdb`.

- Format 16 is little-endian int16, interleaved by sample; so is a MATLAB v4 matrix of channels by
  samples after its 24-byte header (`16+24`). Both are one read and a transposed view, without a
  copy.
- What the header announces is held against the size of the file before anything is allocated.
- Each channel's first value and 16-bit checksum are verified where the header states them.
- −32768, or the format's own value for it, is a missing sample.

Shape suffixes: C channels, T time.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from io import FileIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..signals import MISSING, Signal, channel_named
from ..signals.vocabulary import unit
from .registry import RecordError
from .wfdb_header import LONGEST_S, Header, SignalLine, Storage, read_header

OTHER_FORMATS: dict[str, tuple[int, int | None]] = {
    "61": (16, None),
    "80": (8, -128),
    "160": (16, None),
    "212": (12, -2048),
}
"""Format read through `wfdb` → bits a sample, and its missing value where that is not `MISSING`."""

FACTORS: dict[str, dict[str, float]] = {
    "mV": {"mv": 1.0, "uv": 1e-3},
    "uV": {"uv": 1.0, "mv": 1e3},
    "mmHg": {"mmhg": 1.0},
    "bpm": {"bpm": 1.0},
    "%": {"%": 1.0},
    "g": {"g": 1.0},
    "uS": {"us": 1.0},
    "degC": {"degc": 1.0},
}
"""Unit of a modality → lower-cased unit in a header → how many of the former it is.

A modality in arbitrary units (`au`) is not here: it takes a channel in whatever unit it has.
"""

AGAIN = "get the record's files again from the source"


@dataclass(frozen=True)
class WfdbRecord:
    """A record as it is stored: `digital` int16 [C, T], `physical = (digital − baseline) / gain`.

    `digital` is a view whose time axis is not contiguous; `gain` is in digital units per unit of
    `units`; `private` are the words of its time and date, for `Recording.private` alone.
    """

    path: Path
    digital: NDArray[np.int16]
    rate_hz: float
    names: tuple[str, ...]
    gain: NDArray[np.float64]
    baseline: NDArray[np.float64]
    units: tuple[str, ...]
    comments: tuple[str, ...]
    private: tuple[str, ...]

    def ecg(self, expected: Sequence[str] | None = None) -> Signal:
        """The channels as ECG in mV, named by the vocabulary: int16 with scale and offset, no copy.

        Raises `RecordError` on an unknown lead or unit, where no sample is there at all, and where
        the leads are not those `expected` (in any order).
        """
        try:
            leads = _leads(self.names)
        except KeyError as error:
            raise RecordError(
                f"{self.path}.hea: {error.args[0]}; correct the header's lead names"
            ) from None
        if expected is not None and (len(leads) != len(expected) or set(leads) != set(expected)):
            absent = [lead for lead in expected if lead not in leads]
            raise RecordError(
                f"{self.path}.hea: expected the {len(expected)} leads {list(expected)}, found "
                f"{len(leads)}: {list(leads)} (missing: {absent}); {AGAIN}"
            )
        return self._named("ecg", leads)

    def signal(self, modality: str, channels: Mapping[str, str]) -> Signal:
        """Some channels as one modality in its unit: name in the header → vocabulary channel.

        Raises `RecordError` where a name is absent or stands for two channels, on a unit that is
        not the modality's, and where no sample is there at all.
        """
        for name in channels:
            if self.names.count(name) != 1:
                raise RecordError(
                    f"{self.path}.hea: expected one channel {name!r}, found {self.names.count(name)} "
                    f"among {list(self.names)}; correct the header's channel names"
                )
        rows = [self.names.index(name) for name in channels]
        chosen = replace(
            self,
            digital=self.digital[rows],
            names=tuple(channels),
            gain=self.gain[rows],
            baseline=self.baseline[rows],
            units=tuple(self.units[row] for row in rows),
        )
        return chosen._named(modality, tuple(channels.values()))

    def _named(self, modality: str, channels: tuple[str, ...]) -> Signal:
        """All channels as one modality, under those names."""
        # All samples can only be missing where the first one is: a cheap look spares the full one.
        if self.digital[0, 0] == MISSING and bool((self.digital == MISSING).all()):
            raise RecordError(f"{self.path}: every sample is missing (NaN); leave the record out")
        scale = _factors(self.path, modality, self.units) / self.gain
        try:
            return Signal(
                modality,
                self.digital,
                self.rate_hz,
                channels,
                scale=scale.astype(np.float32),
                offset=((0 - self.baseline) * scale).astype(np.float32),
            )
        except ValueError as error:
            raise RecordError(
                f"{self.path}.hea: {error}; correct the header's lead names"
            ) from error


def read_wfdb(path: Path) -> WfdbRecord:
    """The record `path` (its files' path without suffix), verified against its header.

    Raises `RecordError` naming the file, what was expected, what was found and the remedy.
    """
    header_path = path.with_name(f"{path.name}.hea")
    header = read_header(header_path)
    stored = [line.storage for line in header.signals]
    kinds = set(stored)
    for kind in kinds:
        if kind.samples_per_frame != 1 or kind.skew:
            raise RecordError(
                f"{header_path}: a channel has {kind.samples_per_frame} samples a frame and skew "
                f"{kind.skew}; only 1 and 0 are read here. Rewrite the record with wfdb.rdrecord "
                "(which aligns such channels) and wfdb.wrsamp"
            )
    formats = {kind.format for kind in kinds}
    if formats == {"16"}:
        frames = _read_direct(header, header_path)
    elif formats <= OTHER_FORMATS.keys():
        frames = _read_with_wfdb(path, header)
    else:
        raise RecordError(
            f"{header_path}: sample formats {sorted(formats)}; known are 16, or any of "
            f"{sorted(OTHER_FORMATS)}. Rewrite the record in format 16 with wfdb.wrsamp"
        )
    if len(frames) > LONGEST_S * header.rate_hz:
        raise RecordError(
            f"{header_path}: {len(frames)} samples at {header.rate_hz:g} Hz are longer than "
            f"{LONGEST_S:g} s, which no recording is; {AGAIN}"
        )
    _verify(frames, header.signals, header_path)
    if formats != {"16"}:
        _mark_missing(frames, [kind.format for kind in stored])
    return WfdbRecord(
        path=path,
        digital=frames.T,
        rate_hz=header.rate_hz,
        names=tuple([line.name for line in header.signals]),
        gain=np.array([kind.gain for kind in stored]),
        baseline=np.array([kind.baseline for kind in stored], np.float64),
        units=tuple([kind.units for kind in stored]),
        comments=header.comments,
        private=header.private,
    )


def comment_fields(comments: Iterable[str]) -> dict[str, str]:
    """`Key: value` comments of the Challenge's headers by lower-cased key (`age`, `sex`, `dx`)."""
    pairs = (comment.partition(":") for comment in comments)
    return {key.strip().lower(): value.strip() for key, colon, value in pairs if colon}


def _by_file(header: Header) -> dict[str, list[Storage]]:
    """The channels of each file: those of one file are interleaved in it."""
    groups: dict[str, list[Storage]] = {}
    for line in header.signals:
        groups.setdefault(line.storage.file, []).append(line.storage)
    return groups


def _read_direct(header: Header, header_path: Path) -> NDArray[np.int16]:
    """Frames [T, C] of a record in format 16."""
    groups = _by_file(header)
    if len(groups) > 1 and [line.storage.file for line in header.signals] != [
        file for file, group in groups.items() for _ in group
    ]:
        raise RecordError(
            f"{header_path}: the channels of one file must follow each other; {AGAIN}"
        )
    parts = [
        _read_file(header_path.with_name(file), group, header.samples)
        for file, group in groups.items()
    ]
    if len({len(part) for part in parts}) > 1:
        raise RecordError(f"{header_path}: its files differ in length; {AGAIN}")
    return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)


def _read_file(path: Path, stored: Sequence[Storage], samples: int | None) -> NDArray[np.int16]:
    """Frames [T, C] of one file in format 16; `samples` None means as many as it holds."""
    channels = len(stored)
    offset = stored[0].byte_offset
    if any(kind.byte_offset != offset for kind in stored):
        raise RecordError(f"{path}: the header gives its channels different byte offsets; {AGAIN}")
    try:
        with open(path, "rb", buffering=0) as file:
            held = (os.fstat(file.fileno()).st_size - offset) // (2 * channels)
            if path.suffix == ".mat":
                columns = _matlab_columns(file, path, channels, offset)
                if samples not in (None, columns):
                    raise RecordError(
                        f"{path}: expected {samples} samples, found a matrix of {columns}; {AGAIN}"
                    )
                samples = columns
            wanted = samples or max(held, 1)
            if wanted > held:
                raise RecordError(
                    f"{path}: expected {wanted} samples of {channels} channels after byte "
                    f"{offset}, found {max(held, 0)}: the file is cut short; {AGAIN}"
                )
            frames = np.empty((wanted, channels), "<i2")
            file.seek(offset)
            # Straight into the array, which takes half the time of np.fromfile for a 10-s record. A
            # system call reads 2 GiB at most, and less where the file shrinks meanwhile.
            rest = frames.data.cast("B")
            while rest:
                read = file.readinto(rest)
                if not read:
                    raise RecordError(f"{path}: the file was cut short while it was read; {AGAIN}")
                rest = rest[read:]
    except OSError as error:
        raise RecordError(
            f"{path}: the signal file cannot be read ({error.strerror}); {AGAIN}"
        ) from error
    return frames.astype(np.int16, copy=False)


def _matlab_columns(file: FileIO, path: Path, channels: int, offset: int) -> int:
    """Samples per channel of a MATLAB v4 int16 matrix, whose header of `offset` bytes is checked.

    The header is five little-endian int32 (type, rows, columns, imaginary flag, length of the name)
    and the name with its zero; type 30 is a full little-endian int16 matrix (MATLAB's MAT-file
    format, v4).
    """
    head = file.read(20)
    fields: tuple[int, ...] = struct.unpack("<5i", head) if len(head) == 20 else (0,) * 5
    kind, rows, columns, imaginary, name_bytes = fields
    if (kind, rows, imaginary) != (30, channels, 0) or name_bytes != offset - 20 or columns < 1:
        raise RecordError(
            f"{path}: expected a MATLAB v4 header of {offset} bytes for an int16 matrix of "
            f"{channels} rows, found type {kind}, {rows} × {columns}, imaginary flag {imaginary}, "
            f"{20 + name_bytes} bytes; {AGAIN}"
        )
    return columns


def _read_with_wfdb(path: Path, header: Header) -> NDArray[np.int16]:
    """Frames [T, C] of a record in one of `OTHER_FORMATS`."""
    for file, stored in _by_file(header).items():
        signal_path = path.with_name(file)
        bits = (header.samples or 1) * sum(OTHER_FORMATS[kind.format][0] for kind in stored)
        try:
            held = signal_path.stat().st_size - stored[0].byte_offset
        except OSError as error:
            raise RecordError(
                f"{signal_path}: the signal file cannot be read ({error.strerror}); {AGAIN}"
            ) from error
        if bits > 8 * held:
            raise RecordError(
                f"{signal_path}: expected {bits // 8} bytes for {header.samples or 1} samples of "
                f"{len(stored)} channels, found {held}: the file is cut short; {AGAIN}"
            )
    import wfdb  # here, because it takes most of a second and most records do not need it

    try:
        record = wfdb.rdrecord(str(path.resolve()), physical=False, return_res=16)
    except Exception as error:  # wfdb raises whatever its parts raise
        raise RecordError(f"{path}.hea: wfdb cannot read the record ({error}); {AGAIN}") from error
    frames: NDArray[np.int16] = record.d_signal
    return frames


def _mark_missing(frames: NDArray[np.int16], formats: Sequence[str]) -> None:
    """Give the missing samples of frames [T, C] our value for them, in place."""
    for column, kind in zip(frames.T, formats, strict=True):
        missing = OTHER_FORMATS[kind][1]
        if missing is not None:
            column[column == missing] = MISSING


def _verify(frames: NDArray[np.int16], lines: Sequence[SignalLine], header_path: Path) -> None:
    """Hold frames [T, C] against the first values and checksums that the header states."""
    for line, first, total in zip(lines, frames[0].tolist(), _sums(frames).tolist(), strict=True):
        if line.checksum is not None and (line.checksum - total) & 0xFFFF:
            what = f"checksum {line.checksum}, but its samples sum to {total}"
        elif line.initial is not None and line.initial != first:
            what = f"first value {line.initial}, but it is {first}"
        else:
            continue
        raise RecordError(
            f"{header_path.with_name(line.storage.file)}: for channel {line.name!r} "
            f"{header_path.name} states {what}: one of the two files is damaged or was "
            f"changed; {AGAIN}"
        )


def _sums(frames: NDArray[np.int16]) -> NDArray[np.int16]:
    """The 16-bit sum of each channel of frames [T, C], wrapping around as the checksum does.

    Fifty frames are added as one row, which is ten times as fast as adding rows of 12 numbers.
    """
    block = 50
    whole = len(frames) // block * block
    rows = np.add.reduce(frames[:whole].reshape(-1, block * frames.shape[1]), dtype=np.int16)
    head: NDArray[np.int16] = np.add.reduce(rows.reshape(block, -1), dtype=np.int16)
    if whole < len(frames):
        head += frames[whole:].sum(axis=0, dtype=np.int16)
    return head


@lru_cache(maxsize=256)
def _leads(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(channel_named("ecg", name) for name in names)


def _factors(path: Path, modality: str, units: tuple[str, ...]) -> NDArray[np.float64]:
    """How many units of the modality each channel's unit is [C]."""
    known = FACTORS.get(unit(modality))
    if known is None:
        return np.ones(len(units))
    unknown = [name for name in units if name.lower() not in known]
    if unknown:
        raise RecordError(
            f"{path}.hea: expected the units {sorted(known)} (upper or lower case) of {modality}, "
            f"found {unknown}; correct the header"
        )
    return np.array([known[name.lower()] for name in units])
