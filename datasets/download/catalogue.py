"""What can be downloaded, where from, and how each publisher lays it out.

Addresses, versions and layouts are the publishers' own; `--base_url` puts a mirror with the same
paths in place of the host.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, kw_only=True)
class Records:
    """Which of a data set's files make a record, for `--records N`.

    Three patterns that a file's whole path is held against. `record` is the one file that a record
    cannot do without, `parts` all files of a record (group 1 of both is its id), and `tables` what
    comes with any number of records.
    """

    record: str
    parts: str
    tables: str = r"[^/]+"
    tables_list_all: bool = False
    """Whether the tables go on listing the records that were not chosen."""


@dataclass(frozen=True)
class PhysioNet:
    """A version at PhysioNet: `<host>/files/<slug>/<version>/`, with its `SHA256SUMS.txt`.

    `folder` is the part of it that is the source.
    """

    slug: str
    version: str
    records: Records
    folder: str = ""
    host: str = "https://physionet.org"


@dataclass(frozen=True)
class ZipArchive:
    """One zip at `<host>/<path>`; with `inner`, that member is a zip which holds the data.

    `total_bytes` is its size and `unpacked_bytes` what it unpacks to, both as last published or seen;
    more than a half above `unpacked_bytes` is taken for a bomb. `sha256` is None where no checksum
    is known: the zip's own CRCs are then all there is.
    """

    host: str
    path: str
    file: str
    total_bytes: int
    unpacked_bytes: int
    records: Records
    sha256: str | None = None
    inner: str | None = None


@dataclass(frozen=True)
class NSRR:
    """A data set of the National Sleep Research Resource, behind each user's own token.

    `folders` are those that biofm reads; the whole is several times as large.
    """

    slug: str
    folders: tuple[str, ...]
    records: Records
    host: str = "https://sleepdata.org"


Entry: TypeAlias = PhysioNet | ZipArchive | NSRR

_CHALLENGE_PART = r"training/.+/([A-Z]+\d+)\.(?:hea|mat)"
_PERSON = r"(?:[^/]+/)+S(\d+)/.*"

CATALOGUE: dict[str, Entry] = {
    "challenge": PhysioNet(
        "challenge-2021",
        "1.0.3",
        Records(record=r"training/.+/([A-Z]+\d+)\.hea", parts=_CHALLENGE_PART),
    ),
    "chapman": PhysioNet(
        "ecg-arrhythmia",
        "1.0.0",
        Records(
            record=r"WFDBRecords/.+/(JS\d+)\.hea", parts=r"WFDBRecords/.+/(JS\d+)\.(?:hea|mat)"
        ),
    ),
    "cpsc2018": PhysioNet(
        "challenge-2021",
        "1.0.3",
        Records(record=r"training/.+/(A\d+)\.hea", parts=_CHALLENGE_PART),
        folder="training/cpsc_2018/",
    ),
    "mesa": NSRR(
        "mesa",
        (
            "polysomnography/edfs",
            "polysomnography/annotations-events-nsrr",
            "polysomnography/annotations-events-profusion",
            "polysomnography/annotations-rpoints",
            "actigraphy",
            "datasets",
            "overlap",
        ),
        Records(
            record=r"polysomnography/edfs/mesa-sleep-(\d{4})\.edf",
            parts=r".*/mesa-sleep-(\d{4})[.-][^/]*",
            tables=r"(?:datasets|overlap)/.*",
        ),
    ),
    "mitdb": PhysioNet(
        "mitdb", "1.0.0", Records(record=r"(\d{3})\.hea", parts=r"(\d{3})\.(?:hea|dat|atr|xws)")
    ),
    "ppg_dalia": ZipArchive(
        "https://archive.ics.uci.edu",
        "static/public/495/ppg+dalia.zip",
        "ppg+dalia.zip",
        total_bytes=2_865_111_320,
        unpacked_bytes=24_134_804_091,
        records=Records(record=r"(?:[^/]+/)+S(\d+)/S\d+\.pkl", parts=_PERSON, tables=r".*\.pdf"),
        # UCI publishes none; this is what independent copies of the archive agree on.
        sha256="5772387956e34e2e2dc4c2ddbeb98cb70569d5112fa4c13ee98a17680b84a1f3",
        inner="data.zip",
    ),
    "ptbxl": PhysioNet(
        "ptb-xl",
        "1.0.3",
        Records(
            record=r"records500/\d+/(\d+)_hr\.hea",
            parts=r"records500/\d+/(\d+)_hr\.(?:hea|dat)",
            tables_list_all=True,
        ),
    ),
    "sleep_accel": PhysioNet(
        "sleep-accel",
        "1.0.0",
        Records(
            record=r"labels/(\d+)_labeled_sleep\.txt",
            parts=r"(?:heart_rate|labels|motion|steps)/(\d+)_\w+\.txt",
        ),
    ),
    "wesad": ZipArchive(
        # The share that the authors' page links; what UCI lists (465) is a pointer to a dead one.
        "https://uni-siegen.sciebo.de",
        "s/HGdUkoNlW1Ub0Gx/download",
        "WESAD.zip",
        total_bytes=2_249_444_501,
        unpacked_bytes=17_000_000_000,
        records=Records(record=r"(?:[^/]+/)+S(\d+)/S\d+\.pkl", parts=_PERSON, tables=r".*\.pdf"),
    ),
}
"""Source → where it is downloaded from."""
