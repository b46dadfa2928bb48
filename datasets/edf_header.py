"""The header of EDF, EDF+ and BDF files, held against the size of the file before anything is read.

It is read leniently (NUL bytes, decimal commas), because what it says is what bounds are checked by.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from pathlib import Path

from .registry import RecordError
from .wfdb_header import LONGEST_S, MOST_RATE_HZ

AGAIN = "get the file again from the source"
TEXTS = ("EDF Annotations", "BDF Annotations")
"""The labels of channels that hold texts."""

_NO_NAMES = {
    "",
    "X",
    "M",
    "F",
    "MALE",
    "FEMALE",
    "STARTDATE",
    "01.01.85",
    "00.00.00",
    "01-JAN-1985",
}


@dataclass(frozen=True)
class Header:
    """What the bounds, the units and the private words are taken from, leniently."""

    path: Path
    bytes_a_sample: int
    reserved: str
    private: tuple[str, ...] = field(repr=False)
    record_s: float
    records: int
    labels: tuple[str, ...]
    units: tuple[str, ...]
    physical: tuple[tuple[float, float], ...]
    digital: tuple[tuple[float, float], ...]
    samples_a_record: tuple[int, ...]

    @property
    def ordinary(self) -> list[int]:
        """The places of the channels that are not annotations."""
        return [i for i, label in enumerate(self.labels) if label not in TEXTS]


def read_header(path: Path) -> Header:
    """The header, held against the size of the file. Raises `RecordError`."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            fixed = file.read(256)
            version = fixed[:8]
            if len(fixed) < 256 or version not in (b"0       ", b"\xffBIOSEMI"):
                raise RecordError(
                    f"{path}: expected an EDF or BDF header of 256 bytes, found {len(fixed)} bytes "
                    f"that begin with {fixed[:8]!r}; {AGAIN}"
                )
            count = _whole(path, "number of channels", fixed[252:256])
            if count < 1 or 256 * (count + 1) > size:
                raise RecordError(
                    f"{path}: its header announces {count} channels, which take "
                    f"{256 * (count + 1)} bytes, but the file has {size}; {AGAIN}"
                )
            each = file.read(256 * count)
    except OSError as error:
        raise RecordError(f"{path}: the file cannot be read ({error.strerror}); {AGAIN}") from error

    def column(start: int, width: int) -> list[bytes]:
        first = start * count
        return [each[first + i * width : first + (i + 1) * width] for i in range(count)]

    def ranges(what: str, start: int) -> tuple[tuple[float, float], ...]:
        lows, highs = column(start, 8), column(start + 8, 8)
        pairs = zip(lows, highs, strict=True)
        return tuple((_number(path, what, low), _number(path, what, high)) for low, high in pairs)

    stated = _whole(path, "size of the header", fixed[184:192])
    if stated != 256 * (count + 1):
        raise RecordError(
            f"{path}: its header says to be {stated} bytes long, but {count} channels take "
            f"{256 * (count + 1)}; {AGAIN}"
        )
    header = Header(
        path=path,
        bytes_a_sample=2 if version == b"0       " else 3,
        reserved=_text(fixed[192:236]),
        private=_private(fixed),
        record_s=_number(path, "duration of a data record", fixed[244:252]),
        records=_whole(path, "number of data records", fixed[236:244]),
        labels=tuple(_text(field) for field in column(0, 16)),
        units=tuple(_text(field) for field in column(96, 8)),
        physical=ranges("physical range", 104),
        digital=ranges("digital range", 120),
        samples_a_record=tuple(
            _whole(path, "samples in a data record", field) for field in column(216, 8)
        ),
    )
    return _bounded(header, size - stated)


def _bounded(header: Header, data_bytes: int) -> Header:
    """The header with the number of data records that the file has. Raises `RecordError`."""
    path = header.path
    if min(header.samples_a_record) < 1:
        place = header.samples_a_record.index(min(header.samples_a_record))
        raise RecordError(
            f"{path}: channel {header.labels[place]!r} has {header.samples_a_record[place]} samples "
            f"in a data record, expected at least 1; {AGAIN}"
        )
    if header.ordinary and not header.record_s > 0:
        raise RecordError(
            f"{path}: a data record lasts {header.record_s:g} s, expected more than 0; {AGAIN}"
        )
    record_bytes = header.bytes_a_sample * sum(header.samples_a_record)
    held, rest = divmod(data_bytes, record_bytes)
    # −1 stands in a file whose recording was not ended properly.
    if header.records != -1 and (header.records > held or rest):
        raise RecordError(
            f"{path}: expected {header.records} data records of {record_bytes} bytes, found "
            f"{held} and {rest} bytes of another: the file is cut short or damaged; {AGAIN}"
        )
    fastest_hz = max((header.samples_a_record[i] for i in header.ordinary), default=0)
    if header.ordinary and fastest_hz > MOST_RATE_HZ * header.record_s:
        raise RecordError(
            f"{path}: {fastest_hz} samples in {header.record_s:g} s are more than {MOST_RATE_HZ:g} Hz, "
            f"which no sensor of a body has; {AGAIN}"
        )
    if held < 1:
        raise RecordError(f"{path}: it holds no data record; leave it out")
    if held * header.record_s > LONGEST_S:
        raise RecordError(
            f"{path}: {held} data records of {header.record_s:g} s are longer than {LONGEST_S:g} s, "
            f"which no recording is; {AGAIN}"
        )
    return replace(header, records=held)


def _private(fixed: bytes) -> tuple[str, ...]:
    """Words of the patient, recording, date and time fields, but for sex and placeholders."""
    patient, recording, date, time = fixed[8:88], fixed[88:168], fixed[168:176], fixed[176:184]
    words = [*_text(patient).split(), *_text(recording).split(), _text(date), _text(time)]
    return tuple(dict.fromkeys(word for word in words if word.upper() not in _NO_NAMES))


def _text(field: bytes) -> str:
    return field.decode("latin-1").replace("\0", " ").strip()


def _number(path: Path, what: str, field: bytes) -> float:
    try:
        value = float(_text(field).replace(",", "."))
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise RecordError(f"{path}: the {what} is {field!r}, expected a number; {AGAIN}")
    return value


def _whole(path: Path, what: str, field: bytes) -> int:
    value = _number(path, what, field)
    if value != int(value):
        raise RecordError(f"{path}: the {what} is {field!r}, expected a whole number; {AGAIN}")
    return int(value)
