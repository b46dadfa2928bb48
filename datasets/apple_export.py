"""The XML of the iPhone's Health app, streamed into a table of the few quantities that are read.

An export of some years has gigabytes and millions of `Record` elements. They pass through a SAX parser one
by one, so that what stays is 27 bytes for each record kept. (SAX took 2.6 s for a made-up 200 MB, where
`iterparse` with cleared elements took 4.5 s, in 20 MB either way: one core of a shared x86 machine.)

What the phone writes is not always XML, and what one is given need not be from a phone:

- the document type stands inside the file, and of iOS 16 it is malformed (a `>` is missing), so it is cut
  out, never parsed. An entity declaration or an external document type in it is refused, and defusedxml
  refuses whatever might come later.
- control characters, which XML forbids and apps put into texts, become blanks.
- size, nesting, and the expansion of the zip are bounded.
"""

from __future__ import annotations

import re
import zipfile
from array import array
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import IO, Any, NamedTuple
from xml.sax import SAXException
from xml.sax.handler import ContentHandler
from xml.sax.xmlreader import AttributesImpl

import defusedxml.sax
import numpy as np
import polars as pl
from defusedxml import DefusedXmlException

from .registry import RecordError

QUANTITIES = {
    "HKQuantityTypeIdentifierHeartRate": "hr",
    "HKQuantityTypeIdentifierOxygenSaturation": "spo2",
    "HKQuantityTypeIdentifierStepCount": "steps",
    "HKCategoryTypeIdentifierSleepAnalysis": "sleep",
}
"""`type` of a Record → what it is called here; others are passed over."""
UNITS = {"hr": "count/min", "spo2": "%", "steps": "count"}
SLEEP = ("InBed", "Awake", "Asleep", "AsleepUnspecified", "AsleepCore", "AsleepDeep", "AsleepREM")
"""The values of a sleep record, after `HKCategoryValueSleepAnalysis`; the table holds their position."""
KINDS = ("watch", "phone", "other")
"""What wrote a record; where two wrote at one time, the earlier in this row is taken."""

PLAUSIBLE = {
    "hr": (20, 300, 60),
    "spo2": (40, 100, 600),
    "steps": (0, 200_000, 86_400),
    "sleep": (0, len(SLEEP), 86_400),
}
"""Lowest and highest value and longest time in seconds: a heart rate over a longer time is the mean of a
workout, steps over days were typed in."""

MAX_XML_BYTES = 1 << 33
"""Exports of 3 GB are known."""
MAX_EXPANSION = 300
"""An export shrinks in its zip to a thirtieth; a bomb to a thousandth."""
MAX_HEAD_BYTES = 1 << 20
"""The root element begins within so much; a document type takes some 10 kB."""
MAX_ELEMENT_BYTES = 1 << 24
"""No element lies further behind the one before: the parser holds what is between them."""
MAX_DEPTH = 64
MAX_DEVICES = 1 << 16
LONGEST_NAME = 200
"""Of a device's name so many signs are kept."""

_CHUNK = 1 << 16
_SLEEP_PREFIX = "HKCategoryValueSleepAnalysis"
_ROOT = re.compile(rb"<HealthData(?=[\s/>])")
_EXTERNAL = re.compile(rb"<!DOCTYPE\s+[^\s\[>]+\s+(?:SYSTEM|PUBLIC)\b")
_ZONE = re.compile(r" ([+-])(\d\d)(\d\d)", re.ASCII)
_EPOCH = datetime(1970, 1, 1)
_CONTROL = bytes(code for code in range(32) if code not in b"\t\n\r")
_BLANKS = bytes.maketrans(_CONTROL, b" " * len(_CONTROL))
_AGAIN = "export the data again on the phone (Health, your picture, Export All Health Data)"


class Device(NamedTuple):
    """Who wrote a record: the source's name and what it is, of `KINDS`."""

    name: str
    kind: str


@dataclass(frozen=True)
class Export:
    """One person's export.

    `records` has the columns quantity (of `QUANTITIES`' values), start_s and end_s (seconds since 1970 in
    UTC), offset_s (of the clock shown, to be added to UTC), value, and device (a place in `devices`), by
    time. `birth` and `sex` are as the file writes them.
    """

    records: pl.DataFrame
    devices: tuple[Device, ...]
    birth: str
    sex: str


def read_export(path: Path) -> Export:
    """An `export.xml`, or the zip that the phone makes of it. Raises `RecordError`."""
    handler = _Handler()
    parser = defusedxml.sax.make_parser()
    parser.forbid_dtd = True
    parser.setContentHandler(handler)
    try:
        with ExitStack() as stack:
            for chunk in _clean(_opened(path, stack)):
                before = handler.elements
                parser.feed(chunk)
                handler.waiting = 0 if handler.elements > before else handler.waiting + len(chunk)
                if handler.waiting > MAX_ELEMENT_BYTES:
                    raise ValueError(f"no element begins within {MAX_ELEMENT_BYTES} bytes")
            parser.close()
        return handler.export()
    # NotImplementedError: a compression or an encryption that zipfile does not have.
    except (OSError, EOFError, zipfile.BadZipFile, NotImplementedError) as error:
        raise RecordError(f"{path}: cannot be read ({error}); {_AGAIN}") from error
    except DefusedXmlException as error:
        raise RecordError(
            f"{path}, line {parser.getLineNumber()}: declares entities or another document type "
            f"({error}), which no export of the Health app does; do not trust this file"
        ) from error
    except SAXException as error:
        raise RecordError(
            f"{path}, line {parser.getLineNumber()}: expected XML as the Health app writes it, found "
            f"{error.getMessage()}; {_AGAIN}"
        ) from error
    except ValueError as error:
        where = f", line {parser.getLineNumber()}" if handler.elements else ""
        raise RecordError(f"{path}{where}: {error}; {_AGAIN}") from error


def zipped_xml(names: list[str]) -> str | None:
    """The export among the names in a zip: its only XML but `export_cda.xml`, in whichever language."""
    found = [
        name
        for name in names
        if (path := PurePosixPath(name)).suffix.lower() == ".xml"
        and not path.stem.endswith("_cda")
        and len(path.parts) <= 2
        and not path.parts[0].startswith("__MACOSX")
    ]
    return found[0] if len(found) == 1 else None


def _opened(path: Path, stack: ExitStack) -> IO[bytes]:
    """The XML as a stream; raises `ValueError` where it, or what it unfolds to, is too large."""
    stream: IO[bytes]
    if path.suffix.lower() != ".zip":
        size, stream = path.stat().st_size, stack.enter_context(path.open("rb"))
    else:
        archive = stack.enter_context(zipfile.ZipFile(path))
        name = zipped_xml(archive.namelist())
        if name is None:
            raise ValueError("expected one apple_health_export/export.xml in the zip")
        info = archive.getinfo(name)
        if info.flag_bits & 1:
            raise ValueError(f"{name} is encrypted; give it without a password")
        size = info.file_size
        if size > MAX_EXPANSION * info.compress_size + _CHUNK:
            raise ValueError(
                f"{name} unfolds from {info.compress_size} to {size} bytes, which no export does"
            )
        stream = stack.enter_context(archive.open(info))
    if size > MAX_XML_BYTES:
        raise ValueError(f"larger than {MAX_XML_BYTES} bytes, which no export is known to be")
    return stream


def _clean(stream: IO[bytes]) -> Iterator[bytes]:
    """The XML in pieces, without its document type and without control characters."""
    head = b""
    while not (root := _ROOT.search(head)):
        piece = stream.read(_CHUNK)
        if not piece or len(head) > MAX_HEAD_BYTES:
            raise ValueError(
                "expected <HealthData …>, the export of the Health app, found other content"
            )
        head += piece
    # Lines keep their numbers, for errors.
    doctype = head[: root.start()].find(b"<!DOCTYPE")
    if doctype >= 0:
        declared = head[doctype : root.start()]
        if b"<!ENTITY" in declared or _EXTERNAL.match(declared):
            raise ValueError(
                "the document type declares entities or refers to another file, which no export of the "
                "Health app does; do not trust this file"
            )
        head = head[:doctype] + b"\n" * declared.count(b"\n") + head[root.start() :]
    while head:
        yield head.translate(_BLANKS)
        head = stream.read(_CHUNK)


class _Handler(ContentHandler):
    """Collects the records that are kept."""

    def __init__(self) -> None:
        super().__init__()
        self.elements = 0
        self.waiting = 0
        self._depth = 0
        self._birth = self._sex = ""
        self._columns: dict[str, array[Any]] = {
            "quantity": array("B"),
            "start_s": array("q"),
            "end_s": array("q"),
            "offset_s": array("i"),
            "value": array("f"),
            "device": array("H"),
        }
        self._codes = {kind: number for number, kind in enumerate(QUANTITIES.values())}
        self._devices: dict[Device, int] = {}

    def startElement(self, name: str, attrs: AttributesImpl) -> None:
        self.elements += 1
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise ValueError(f"elements are nested more than {MAX_DEPTH} deep")
        if name == "Record":
            if (quantity := QUANTITIES.get(attrs.get("type", ""))) is not None:
                self._keep(quantity, attrs)
        elif name == "Me":
            self._birth = attrs.get("HKCharacteristicTypeIdentifierDateOfBirth", "")
            self._sex = attrs.get("HKCharacteristicTypeIdentifierBiologicalSex", "")

    def endElement(self, name: str) -> None:
        self._depth -= 1

    def _keep(self, quantity: str, attrs: AttributesImpl) -> None:
        unit, text = attrs.get("unit", ""), attrs.get("value", "")
        if unit and unit != UNITS.get(quantity, unit):
            raise ValueError(f"expected {quantity} in {UNITS[quantity]}, found {unit!r}")
        try:
            value = _sleep(text) if quantity == "sleep" else float(text)
        except ValueError:
            wanted = (
                f"{_SLEEP_PREFIX} and one of {', '.join(SLEEP)}"
                if quantity == "sleep"
                else "a number"
            )
            raise ValueError(f"expected {quantity} as {wanted}, found {text[:80]!r}") from None
        start_s, offset_s = clock(attrs.get("startDate", ""))
        end_s, _ = clock(attrs.get("endDate", ""))
        name = attrs.get("sourceName", "")[:LONGEST_NAME]
        device = Device(name, _kind(name, attrs.get("device", "")))
        number = self._devices.setdefault(device, len(self._devices))
        if number >= MAX_DEVICES:
            raise ValueError(f"more than {MAX_DEVICES} sources, which nobody has")
        row = (self._codes[quantity], start_s, end_s, offset_s, value, number)
        for column, cell in zip(self._columns.values(), row, strict=True):
            column.append(cell)

    def export(self) -> Export:
        """What was collected: each record once, by time, without what no body can have."""
        names = pl.Enum(list(QUANTITIES.values()))
        records = pl.DataFrame(
            {name: np.frombuffer(column, column.typecode) for name, column in self._columns.items()}
        ).with_columns(
            pl.col("quantity").replace_strict(
                dict(enumerate(names.categories)), return_dtype=names
            ),
            pl.max_horizontal("start_s", "end_s").alias("end_s"),
            pl.when(pl.col("quantity") == self._codes["spo2"])
            .then(100 * pl.col("value"))
            .otherwise(pl.col("value"))
            .alias("value"),
        )
        span_s = pl.col("end_s") - pl.col("start_s")
        sound = pl.lit(value=False)
        for quantity, (low, high, longest_s) in PLAUSIBLE.items():
            sound |= (
                (pl.col("quantity") == quantity)
                & pl.col("value").is_between(low, high)
                & (span_s <= longest_s)
            )
        # Records inside a Correlation stand in the file a second time.
        records = (
            records.filter(sound)
            .unique()
            .sort("start_s", "quantity", "end_s", "device", "value", "offset_s")
        )
        return Export(records, tuple(self._devices), self._birth, self._sex)


def clock(text: str) -> tuple[int, int]:
    """(seconds since 1970 in UTC, seconds that the clock is ahead of UTC) of `2023-01-05 07:23:41 +0100`.

    Raises `ValueError` on anything else.
    """
    try:
        ahead_s = _ahead_s(text[19:])
        shown = datetime.fromisoformat(text[:19]) - _EPOCH
    except (ValueError, TypeError):
        # It is not quoted: the date of a recording must not stand in `shards.json`.
        raise ValueError(
            "expected startDate and endDate as 2023-01-05 07:23:41 +0100, found something else"
        ) from None
    return shown.days * 86400 + shown.seconds - ahead_s, ahead_s


@lru_cache(maxsize=256)
def _ahead_s(zone: str) -> int:
    """Seconds in ` +0130`."""
    found = _ZONE.fullmatch(zone)
    if not found:
        raise ValueError(zone)
    sign, hours, minutes = found.groups()
    return int(f"{sign}1") * (3600 * int(hours) + 60 * int(minutes))


def _sleep(text: str) -> int:
    """The place of a sleep record's value in `SLEEP`; `ValueError` where it has none."""
    return SLEEP.index(text.removeprefix(_SLEEP_PREFIX))


def _kind(name: str, device: str) -> str:
    """Watch, phone or other, from a source's name and `<<HKDevice: …, model:Watch, hardware:Watch6,1>>`."""
    if "Watch" in device or "watch" in name.lower():
        return "watch"
    return "phone" if "iPhone" in device or "iphone" in name.lower() else "other"
