"""The sources biofm reads: one file each, one row here."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from ..signals import Recording


class RecordError(ValueError):
    """A record that cannot be used: the message names the file, what was expected and found."""


@dataclass(frozen=True)
class RecordRef:
    """A record found but not read: enough to plan splits and shards before a signal is opened.

    `facts` holds what `read` needs from the source's tables (labels, age, sex); it must pickle.
    `subject_known` is False where nothing says whose recording it is: `subject` is then made up for
    this one alone, and a build that splits by it must be told that people may leak.
    """

    record: str
    subject: str
    path: Path
    fold: int | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    subject_known: bool = True


@dataclass(frozen=True)
class About:
    """What a person wants to know of a source before using it; a row of `docs/datasets.md`.

    `access` says how one comes by it, `signals` the channels with their rates, `labels` what is
    labelled, `subjects` how many there are and by what a subject is known, `citation` the paper or
    page to cite.
    """

    title: str
    licence: str
    access: str
    signals: str
    labels: str
    subjects: str
    citation: str


class Source(Protocol):
    """A source: find it, read it, label it, nothing else."""

    name: str
    """As in `biofm shards build <name>`; lower case, no dots or dashes."""

    def about(self, roots: Sequence[Path] = ()) -> About:
        """What the source is; the roots matter only where they describe themselves."""
        ...

    def find(self, roots: Sequence[Path]) -> list[RecordRef]:
        """Every record below the roots, sorted by record id, without reading a signal.

        Raises `FileNotFoundError` naming the file or layout it looked for; `ValueError` where two
        roots hold the same record id with different content.
        """
        ...

    def read(self, ref: RecordRef) -> Recording:
        """One record in physical units, at its own rate. Raises `RecordError` if it is unusable.

        Its `dataset` is where the recording first came from, so that the same recording has one name
        in every collection that holds it.
        """
        ...

    def label_sets(self, roots: Sequence[Path]) -> dict[str, dict[str, list[str]]]:
        """Label set → class → the codes of labels and annotations that stand for it.

        A measured quantity is a class of its own code (`{"pressure": {"SBP": ["SBP"]}}`).
        """
        ...


SOURCES: dict[str, str] = {
    "apple_health": "apple_health:AppleHealth",
    "challenge": "challenge:Challenge",
    "chapman": "chapman:Chapman",
    "cinc2017": "cinc2017:CinC2017",
    "continuous_pressure": "continuous_pressure:ContinuousPressure",
    "cpsc2018": "cpsc2018:CPSC2018",
    "hemodynamics": "hemodynamics:Hemodynamics",
    "mesa": "mesa:MESA",
    "mitdb": "mitdb:MITDB",
    "ppg_dalia": "ppg_dalia:PPGDaLiA",
    "ptbxl": "ptbxl:PTBXL",
    "sleep_accel": "sleep_accel:SleepAccel",
    "table": "table:Table",
    "wesad": "wesad:WESAD",
}
"""Name → module and class in this folder."""


def source(name: str) -> Source:
    """The source of that name. Raises `ValueError` listing the known ones."""
    if name not in SOURCES:
        near = difflib.get_close_matches(name, SOURCES, n=1)
        meant = f" (did you mean {near[0]}?)" if near else ""
        raise ValueError(f"unknown source {name!r}{meant}; known: {', '.join(sorted(SOURCES))}")
    module, _, cls = SOURCES[name].partition(":")
    found: Source = getattr(importlib.import_module(f"{__package__}.{module}"), cls)()
    return found
