"""Sleep stages in the XML files of the National Sleep Research Resource, in both forms it ships.

- NSRR's own: `PSGAnnotation` with one `ScoredEvent` for each run of equal epochs (`EventType`
  `Stages|Stages`, `EventConcept` such as `Stage 2 sleep|2`, `Start`, `Duration` in seconds);
- Compumedics Profusion's: `CMPStudyConfig` with one `SleepStage` number for each epoch.

The files are streamed through `defusedxml`, which refuses a DTD, and so entities and external
references; size and number of elements are bounded.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import iterparse

from ..signals import Annotation
from .registry import RecordError
from .sleep_stages import EPOCH_S, epoch

MAX_BYTES = 1 << 26
MAX_ELEMENTS = 1_000_000
"""Real nights have some 10,000 elements in less than 1 MB."""

MAX_S = 7 * 86_400.0
AGAIN = "get the file again from the source"
ROOTS = ("PSGAnnotation", "CMPStudyConfig")


@dataclass(frozen=True)
class Scoring:
    """`stages`, one annotation an epoch, sorted; `private` are the clock times that the file shows."""

    stages: tuple[Annotation, ...]
    private: tuple[str, ...]


def read_scoring(path: Path) -> Scoring:
    """What a file of either form says. Raises `RecordError` where it is none, or contradicts itself."""
    stages: list[Annotation | None] = []
    private: list[str] = []
    try:
        for element in _elements(path):
            if element.tag == "EpochLength" and _number("epoch", element.text) != EPOCH_S:
                raise ValueError(f"expected epochs of {EPOCH_S:g} s, found {element.text} s")
            if element.tag == "SleepStage":
                onset_s = len(stages) * EPOCH_S
                stages.append(epoch(onset_s, int(_number("stage", element.text))))
            if element.tag == "ScoredEvent":
                said = {child.tag: (child.text or "").strip() for child in element}
                private += said.get("ClockTime", "").split()
                if said.get("EventType") == "Stages|Stages":
                    stages += _run(said)
    except ValueError as error:
        if isinstance(error, RecordError):
            raise
        raise RecordError(f"{path}: {error}; {AGAIN}") from error
    found = sorted((stage for stage in stages if stage), key=lambda stage: stage.onset_s)
    for one, after in pairwise(found):
        if after.onset_s < one.onset_s + one.duration_s:
            raise RecordError(
                f"{path}: two epochs overlap: {one.code} from {one.onset_s:g} s on and {after.code} "
                f"from {after.onset_s:g} s on; {AGAIN}"
            )
    times = [word for word in private if word != "00.00.00"]
    return Scoring(tuple(found), tuple(dict.fromkeys(times)))


def _run(said: dict[str, str]) -> list[Annotation | None]:
    """The epochs of one event; what is left of an epoch at its end is none."""
    number = int(_number("stage", said.get("EventConcept", "").rpartition("|")[2]))
    start_s = _number("start", said.get("Start"))
    duration_s = _number("duration", said.get("Duration"))
    return [epoch(start_s + i * EPOCH_S, number) for i in range(int(duration_s // EPOCH_S))]


def _number(what: str, text: str | None) -> float:
    """A stage, or seconds of a week at most. Raises `ValueError` on anything else."""
    try:
        value = float(text or "")
    except ValueError:
        value = math.nan
    if not -1 <= value <= MAX_S:
        raise ValueError(f"expected a {what} of 0 to {MAX_S:g}, found {(text or '')[:40]!r}")
    return value


def _elements(path: Path) -> Iterator[Any]:
    """Every element of the file as it ends, its content dropped afterwards. Raises `RecordError`."""
    try:
        if (size := path.stat().st_size) > MAX_BYTES:
            raise RecordError(f"{path}: {size} bytes, expected at most {MAX_BYTES}; {AGAIN}")
        root: Any = None
        with path.open("rb") as file:
            parsed = iterparse(file, ("start", "end"), forbid_dtd=True)
            for number, (event, element) in enumerate(parsed):
                if number > 2 * MAX_ELEMENTS:
                    raise RecordError(f"{path}: more than {MAX_ELEMENTS} elements; {AGAIN}")
                if root is None:
                    root = element
                    if root.tag not in ROOTS:
                        raise RecordError(
                            f"{path}: expected one of {ROOTS} as root element, found "
                            f"{str(root.tag)[:60]!r}; {AGAIN}"
                        )
                if event == "end":
                    yield element
                    if element.tag in ("ScoredEvent", "SleepStage"):
                        element.clear()
    except (ParseError, DefusedXmlException, LookupError, OSError) as error:
        raise RecordError(f"{path}: no readable XML ({error}); {AGAIN}") from error
