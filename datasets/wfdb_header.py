"""WFDB headers: a strict and light parser of what `header(5)` of the WFDB manual describes.

    record line   name[/segments] signals [rate[/counter[(base)]] [samples [time [date]]]]
    signal line   file format[xframe][:skew][+offset] [gain[(baseline)][/units] [resolution [zero
                  [initial [checksum [block [name]]]]]]]
    comment       # text

The time and date of a recording (in either order: the Challenge's headers swap them) are kept as text
only, so that a build can prove that they are not in its output. A record name that ends in `.mat` is
read as well (headers of the Challenge's Georgia set have one, and `wfdb` refuses them).
"""

from __future__ import annotations

import math
import re
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from .registry import RecordError
from .subjects import undated

MAX_HEADER_BYTES = 1 << 20
_USUAL_BYTES = 1 << 13
DEFAULT_RATE_HZ = 250.0
DEFAULT_GAIN = 200.0
MOST_RATE_HZ = 1e6
"""No sensor of a body is faster; what claims to be takes more than memory to resample."""
LONGEST_S = 31 * 86_400.0
"""A few samples that claim to last for years would be resampled to more than memory holds."""

# Digits are bounded so that no number takes long to convert.
_NUMBER = r"[+-]?(?:\d{1,18}(?:\.\d{0,18})?|\.\d{1,18})(?:[eE][+-]?\d{1,3})?"
_INTEGER = r"[+-]?\d{1,18}"
_RECORD = re.compile(
    rf"""[-\w.]+ (?P<segments>/\d{{1,18}})? \s+ (?P<signals>\d{{1,18}})
    (?:\s+ (?P<rate>{_NUMBER}) (?:/{_NUMBER} (?:\({_NUMBER}\))?)?
      (?:\s+ (?P<samples>\d{{1,18}}) (?P<when>\s.*)? )? )?""",
    re.VERBOSE | re.ASCII,
)
_FORMAT = re.compile(r"(\d{1,18})(?:x(\d{1,18}))?(?::(\d{1,18}))?(?:\+(\d{1,18}))?", re.ASCII)
_GAIN = re.compile(rf"({_NUMBER})(?:\(({_INTEGER})\))?(?:/(\S+))?", re.ASCII)


class Storage(NamedTuple):
    """How a channel's samples are stored and become physical units; channels often share one."""

    file: str
    format: str
    samples_per_frame: int
    skew: int
    byte_offset: int
    gain: float  # digital units per physical unit
    baseline: int  # the digital value of 0 physical units
    units: str


class SignalLine(NamedTuple):
    """A channel; `initial` is its first sample, `checksum` the 16-bit sum of all (None: not "
    "stated)."""

    name: str
    storage: Storage
    initial: int | None
    checksum: int | None


class Header(NamedTuple):
    """What a header says; `samples` (per channel) is None where the size of the file decides.

    `private` are the words of its time and date.
    """

    rate_hz: float
    samples: int | None
    signals: tuple[SignalLine, ...]
    comments: tuple[str, ...]
    private: tuple[str, ...]


def read_header(path: Path) -> Header:
    """The header in a file. Raises `RecordError` where it is missing or breaks the grammar."""
    try:
        with open(path, "rb", buffering=0) as file:
            data = file.read(_USUAL_BYTES)
            if len(data) == _USUAL_BYTES:
                data += file.read(MAX_HEADER_BYTES)
    except OSError as error:
        raise RecordError(
            f"{path}: the header cannot be read ({error.strerror}); download it again, or "
            "take the record "
            "out of the source's table"
        ) from error
    if len(data) > MAX_HEADER_BYTES:
        raise RecordError(
            f"{path}: longer than {MAX_HEADER_BYTES} bytes, so this is no WFDB header"
        )
    try:
        # Comments may be in any encoding; elsewhere a replaced byte breaks the grammar below.
        return parse_header(data.decode("utf-8", errors="replace"))
    except ValueError as error:
        raise RecordError(f"{path}: {error}; get the file again from the source") from error


def parse_header(text: str) -> Header:
    """The header in `text`. Raises `ValueError` that quotes the line and says what was expected."""
    lines: list[str] = []
    comments: list[str] = []
    for line in text.split("\n"):
        line = line.strip()
        if line.startswith("#"):
            comments.append(line[1:].strip())
        elif line:
            lines.append(line)
    record = _RECORD.fullmatch(lines[0]) if lines else None
    if record is None:
        raise ValueError(
            "expected a WFDB record line (`name signals rate samples`), found "
            + (repr(undated(lines[0][:80])) if lines else "none")
        )
    segments, count, rate, samples, when = record.groups()
    if segments is not None:
        raise ValueError(
            "a record of several segments is not read: read each segment by its own name"
        )
    if int(count) == 0 or int(count) != len(lines) - 1:
        raise ValueError(f"the record line announces {count} signals, but {len(lines) - 1} follow")
    rate_hz = DEFAULT_RATE_HZ if rate is None else float(rate)
    if not 0 < rate_hz <= MOST_RATE_HZ:
        raise ValueError(
            f"the sampling rate must be above 0 and at most {MOST_RATE_HZ:g} Hz, not {rate}"
        )
    return Header(
        rate_hz,
        int(samples or 0) or None,
        tuple([parse_signal_line(line) for line in lines[1:]]),
        tuple(comments),
        tuple((when or "").split()),
    )


def parse_signal_line(line: str) -> SignalLine:
    """One signal line. Raises `ValueError` that quotes it."""
    fields = line.split(None, 8)
    if len(fields) < 9:  # lines may end after any field from the second on
        fields += [""] * (9 - len(fields))
    file, kind, gain, resolution, zero, initial, checksum, block, name = fields
    try:
        int(block or 0)
        return SignalLine(
            name,
            _storage(file, kind, gain, resolution, zero),
            int(initial) if initial else None,
            int(checksum) if checksum else None,
        )
    except ValueError as error:
        raise ValueError(
            "expected a WFDB signal line (`file format gain(baseline)/units resolution zero "
            "initial "
            f"checksum block name`), found {line[:80]!r} ({error})"
        ) from error


@lru_cache(maxsize=64)
def _storage(file: str, kind: str, gain: str, resolution: str, zero: str) -> Storage:
    """The first fields of a signal line; remembered, because the channels of a record share "
    "them."""
    # A record's files lie beside its header; a name with a folder in it could lead anywhere.
    if not file.isprintable() or "/" in file or "\\" in file or file in (".", "..", "-", "~"):
        raise ValueError(f"{file[:80]!r} is not the name of a file beside the header")
    stored = _FORMAT.fullmatch(kind)
    if stored is None:
        raise ValueError(f"{kind[:80]!r} is not a format")
    scaled = _GAIN.fullmatch(gain or "0")
    if scaled is None or not math.isfinite(float(scaled[1])):
        raise ValueError(f"{gain[:80]!r} is not a gain")
    int(resolution or 0)
    return Storage(
        file,
        stored[1],
        int(stored[2] or 1),
        int(stored[3] or 0),
        int(stored[4] or 0),
        float(scaled[1]) or DEFAULT_GAIN,
        int(scaled[2] or zero or 0),
        scaled[3] or "mV",
    )
