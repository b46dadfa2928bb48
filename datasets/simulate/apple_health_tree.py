"""Synthetic exports of the iPhone's Health app, of people and devices that do not exist."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from pathlib import Path
from xml.sax.saxutils import quoteattr

import numpy as np

from .layouts import Shown, Truth
from .night import EPOCH_S, Night, draw_night

NIGHTS = 3
HOURS = 5.0
BED_S = 10.5 * 3600
"""The nights begin about so long after noon."""

_DEVICE = "<<HKDevice: 0x28308{at}>, name:{name}, manufacturer:Apple Inc., model:{model}, hardware:{model}{version}>"
_WATCH = _DEVICE.format(at="c0f0", name="Apple Watch", model="Watch", version="6,1")
_PHONE = _DEVICE.format(at="d1a0", name="iPhone", model="iPhone", version="14,5")
_STAGES = {
    "W": "Awake",
    "N1": "AsleepCore",
    "N2": "AsleepCore",
    "N3": "AsleepDeep",
    "R": "AsleepREM",
}
_CODES = {"W": "W", "N1": "light", "N2": "light", "N3": "N3", "R": "R"}
_TEXT = "CDATA #REQUIRED"
_MAYBE = "CDATA #IMPLIED"
_DECLARED: dict[str, tuple[str, dict[str, str]]] = {
    "HealthData": (
        "(ExportDate,Me,(Record|Correlation|Workout|ActivitySummary|ClinicalRecord|Audiogram|VisionPrescription)*)",
        {"locale": _TEXT},
    ),
    "ExportDate": ("EMPTY", {"value": _TEXT}),
    "Me": (
        "EMPTY",
        {
            f"HKCharacteristicTypeIdentifier{fact}": _TEXT
            for fact in ("DateOfBirth", "BiologicalSex", "BloodType", "FitzpatrickSkinType")
        },
    ),
    "Record": (
        "((MetadataEntry|HeartRateVariabilityMetadataList)*)",
        {"type": _TEXT, "unit": _MAYBE, "value": _MAYBE, "sourceName": _TEXT, "sourceVersion": _MAYBE,
         "device": _MAYBE, "creationDate": _MAYBE, "startDate": _TEXT, "endDate": _TEXT},
    ),
    "MetadataEntry": ("EMPTY", {"key": _TEXT, "value": _TEXT}),
}  # fmt: skip
"""Element → content and attributes, of those that are written here."""


def write(folder: Path, records: int, seed: int, shown: Shown) -> list[Truth]:
    """Write so many people's exports into `folder`, folders and zips in turn; the rows of the truth."""
    return [row for index in shown(range(records)) for row in _person(folder, index, seed)]


def _person(folder: Path, index: int, seed: int) -> list[Truth]:
    """One person's export; a row of the truth for every day."""
    rng = np.random.default_rng([seed, index])
    name = f"person-{index + 1:04d}"
    first = date(2022, 1, 10) + timedelta(days=int(rng.integers(0, 60)))
    birth = date(1940, 1, 1) + timedelta(days=int(rng.integers(0, 22_000)))
    sex = ("Female", "Male")[int(rng.integers(2))]
    days = [
        _Day(rng, first + timedelta(days=number), f"Invented {index + 1}’s")
        for number in range(NIGHTS)
    ]
    lines = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        *_document_type(),
        '<HealthData locale="en_GB">',
        f' <ExportDate value="{first + timedelta(days=30)} 10:00:00 +0100"/>',
        f' <Me HKCharacteristicTypeIdentifierDateOfBirth="{birth}"'
        f' HKCharacteristicTypeIdentifierBiologicalSex="HKBiologicalSex{sex}"'
        ' HKCharacteristicTypeIdentifierBloodType="HKBloodTypeNotSet"'
        ' HKCharacteristicTypeIdentifierFitzpatrickSkinType="HKFitzpatrickSkinTypeNotSet"/>',
        # As the phone does: all of one type, then all of the next.
        *(line for day in days for line in day.heart()),
        *(line for day in days for line in day.oxygen()),
        *(line for day in days for line in day.steps()),
        *(line for day in days for line in day.sleep()),
        "</HealthData>",
    ]
    text = "\n".join((*lines, "")).encode()
    inside = "apple_health_export/export.xml"
    if index % 2 == 0:
        path = folder / name / inside
        path.parent.mkdir(parents=True)
        path.write_bytes(text)
    else:
        info = zipfile.ZipInfo(inside)
        info.compress_type = zipfile.ZIP_DEFLATED
        with zipfile.ZipFile(folder / f"{name}.zip", "w") as archive:
            archive.writestr(info, text)
    return [
        {
            "record": f"{name}-{number:04d}",
            "subject": f"apple-{name}",
            "age": float((day.date.year - birth.year) - ((day.date.month, day.date.day) < (birth.month, birth.day))),
            "sex": sex.lower(),
            "bed_s": day.bed_s,
            "stages": [_CODES[stage] for stage in day.night.stages],
            "heart_bpm": day.night.heart_bpm.reshape(-1, EPOCH_S).mean(axis=1).tolist(),
            "steps": float(sum(day.walks.values())),
        }
        for number, day in enumerate(days, 1)
    ]  # fmt: skip


class _Day:
    """From noon to noon of one person with a watch and a phone."""

    def __init__(self, rng: np.random.Generator, on: date, owner: str) -> None:
        self.date = on
        self._watch, self._phone = f"{owner} Apple Watch", f"{owner} iPhone"
        self.night: Night = draw_night(rng, HOURS)
        self.bed_s = float(BED_S + EPOCH_S * int(rng.integers(-60, 60)))
        # Both devices count a walk; the last of the day was the phone's alone.
        self.walks = {
            600.0 * int(n): int(rng.integers(20, 900)) for n in np.sort(rng.choice(48, 8, False))
        }
        self._beats_s = np.cumsum(rng.integers(120, 420, 90)).astype(float)
        self._beats_s = np.union1d(self._beats_s, self.bed_s + np.cumsum(rng.integers(20, 60, 700)))
        self._beats_s = self._beats_s[self._beats_s < self.bed_s + len(self.night.heart_bpm)]
        self._awake_bpm = rng.normal(80, 8, len(self._beats_s))
        self._oxygen = 0.9 + rng.integers(4, 10, 8) / 100

    def heart(self) -> Iterator[str]:
        """The watch's heart rate: every few minutes by day, more often in the night."""
        asleep_s = (self._beats_s - self.bed_s).astype(int)
        for at_s, within_s, awake_bpm in zip(self._beats_s, asleep_s, self._awake_bpm, strict=True):
            bpm = self.night.heart_bpm[within_s] if within_s >= 0 else awake_bpm
            yield self._record(
                "QuantityTypeIdentifierHeartRate", self._watch, _WATCH, "count/min", f"{bpm:.0f}", at_s, at_s,
                ('  <MetadataEntry key="HKMetadataKeyHeartRateMotionContext" value="1"/>',),
            )  # fmt: skip

    def oxygen(self) -> Iterator[str]:
        """A few values in the night, as fractions whose unit is said to be %."""
        for number, share in enumerate(self._oxygen):
            at_s = self.bed_s + 1800 * (number + 1)
            kind = "QuantityTypeIdentifierOxygenSaturation"
            yield self._record(kind, self._watch, _WATCH, "%", f"{share:g}", at_s, at_s + 15)

    def steps(self) -> Iterator[str]:
        """Each walk by both devices, the last by the phone alone."""
        kind = "QuantityTypeIdentifierStepCount"
        for at_s, count in self.walks.items():
            yield self._record(kind, self._phone, _PHONE, "count", f"{count}", at_s, at_s + 400)
        for at_s, count in list(self.walks.items())[:-1]:
            yield self._record(kind, self._watch, _WATCH, "count", f"{count}", at_s + 3, at_s + 390)

    def sleep(self) -> Iterator[str]:
        """In bed by the phone; by the watch, stages in runs."""
        kind, prefix = "CategoryTypeIdentifierSleepAnalysis", "HKCategoryValueSleepAnalysis"
        end_s = self.bed_s + EPOCH_S * len(self.night.stages)
        yield self._record(kind, self._phone, _PHONE, None, f"{prefix}InBed", self.bed_s, end_s)
        words = [_STAGES[stage] for stage in self.night.stages]
        starts = [i for i, word in enumerate(words) if i == 0 or word != words[i - 1]]
        for first, last in zip(starts, [*starts[1:], len(words)], strict=True):
            begin_s, done_s = (self.bed_s + EPOCH_S * epoch for epoch in (first, last))
            yield self._record(
                kind, self._watch, _WATCH, None, prefix + words[first], begin_s, done_s
            )

    def _record(
        self,
        kind: str,
        source: str,
        device: str,
        unit: str | None,
        value: str,
        start_s: float,
        end_s: float,
        inside: tuple[str, ...] = (),
    ) -> str:
        """A Record; `kind` is its type after `HK`."""
        noon = datetime(self.date.year, self.date.month, self.date.day, 12)
        start, end = (f"{noon + timedelta(seconds=at_s)} +0100" for at_s in (start_s, end_s))
        said = {
            "type": f"HK{kind}",
            "sourceName": source,
            "sourceVersion": "10.1",
            "device": device,
            **({} if unit is None else {"unit": unit}),
            "creationDate": end,
            "startDate": start,
            "endDate": end,
            "value": value,
        }
        head = " <Record " + " ".join(f"{key}={quoteattr(text)}" for key, text in said.items())
        return "\n".join((f"{head}>", *inside, " </Record>")) if inside else f"{head}/>"


def _document_type() -> Iterator[str]:
    """The document type inside the file, without which no export comes."""
    yield "<!DOCTYPE HealthData ["
    yield "<!-- HealthKit Export Version: 13 -->"
    for element, (content, attributes) in _DECLARED.items():
        yield f"<!ELEMENT {element} {content}>"
        yield f"<!ATTLIST {element}"
        yield from (f"  {attribute:<13} {kind}" for attribute, kind in attributes.items())
        yield ">"
    yield "]>"
