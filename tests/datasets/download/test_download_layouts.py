"""Each source as its publisher lays it out: a record is found in the list, downloaded and read."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from biofm.datasets.download import download
from biofm.datasets.download.catalogue import CATALOGUE, PhysioNet
from biofm.datasets.download.paths import Selection
from biofm.datasets.registry import SOURCES, source
from biofm.datasets.simulate import simulate

CHALLENGE = {
    "WFDB_CPSC2018": "training/cpsc_2018/g1",
    "WFDB_CPSC2018_2": "training/cpsc_2018_extra/g1",
    "WFDB_ChapmanShaoxing": "training/chapman_shaoxing/g1",
    "WFDB_Ga": "training/georgia/g1",
    "WFDB_Ningbo": "training/ningbo/g1",
    "WFDB_PTB": "training/ptb/g1",
    "WFDB_PTBXL": "training/ptb-xl/g1",
    "WFDB_StPetersburg": "training/st_petersburg_incart/g1",
}
"""Folder of the twin → folder at PhysioNet."""


def as_published(path: str) -> str:
    folder, _, name = path.rpartition("/")
    return f"{CHALLENGE.get(folder, folder)}/{name}".lstrip("/")


def as_chapman(path: str) -> str:
    folder, _, name = path.rpartition("/")
    chapman = folder in ("WFDB_ChapmanShaoxing", "WFDB_Ningbo")
    return f"WFDBRecords/01/010/{name}" if chapman else f"other/{name}"


@pytest.mark.parametrize(
    ("name", "twin", "records", "place", "found"),
    [
        ("challenge", "challenge", 8, as_published, {"A0001"}),
        ("cpsc2018", "challenge", 8, as_published, {"A0001"}),
        ("chapman", "challenge", 8, as_chapman, {"JS00001"}),
        ("mitdb", "mitdb", 1, str, None),
        ("sleep_accel", "sleep_accel", 1, str, None),
    ],
)
def test_one_record_is_downloaded_and_read(
    site: Any,
    tmp_path: Path,
    name: str,
    twin: str,
    records: int,
    place: Callable[[str], str],
    found: set[str] | None,
) -> None:
    tree = simulate(twin, tmp_path / "twin", records=records, progress=False)
    entry = CATALOGUE[name]
    assert isinstance(entry, PhysioNet)
    base, sums = f"files/{entry.slug}/{entry.version}", ""
    for path in tree.rglob("*"):
        if path.is_file():
            published = place(path.relative_to(tree).as_posix())
            site.files[f"{base}/{published}"] = path.read_bytes()
            sums += f"{hashlib.sha256(path.read_bytes()).hexdigest()} {published}\n"
    site.files[f"{base}/SHA256SUMS.txt"] = sums.encode()
    out = download(name, tmp_path / "out", records=1, base_url=site.address, progress=False)
    reader = source(name)
    refs = reader.find([out])
    assert len(refs) == 1
    assert found is None or {ref.record for ref in refs} == found
    recording = reader.read(refs[0])
    assert recording.signals or recording.series


@pytest.mark.parametrize(
    ("name", "paths", "wanted"),
    [
        (
            "ppg_dalia",
            ["PPG_FieldStudy/PPG_FieldStudy_readme.pdf", "PPG_FieldStudy/S10/S10.pkl",
             "PPG_FieldStudy/S2/S2.pkl", "PPG_FieldStudy/S2/S2_E4.zip"],
            [0, 2, 3],
        ),
        (
            "wesad",
            ["WESAD/S10/S10.pkl", "WESAD/S2/S2.pkl", "WESAD/S2/S2_quest.csv", "WESAD/wesad_readme.pdf"],
            [1, 2, 3],
        ),
        (
            "ptbxl",
            ["LICENSE.txt", "RECORDS", "ptbxl_database.csv", "records100/00000/00001_lr.dat",
             "records500/00000/00001_hr.dat", "records500/00000/00001_hr.hea",
             "records500/00000/00002_hr.hea", "scp_statements.csv"],
            [0, 1, 2, 4, 5, 7],
        ),
        (
            "mitdb",
            ["100.atr", "100.dat", "100.hea", "100.xws", "101.hea", "RECORDS", "mitdbdir/intro.htm"],
            [0, 1, 2, 3, 5],
        ),
    ],
)  # fmt: skip
def test_the_first_person_is_the_one_with_the_least_number(
    name: str, paths: list[str], wanted: list[int]
) -> None:
    found = Selection(CATALOGUE[name].records, records=1).of(paths)
    assert found == [paths[n] for n in wanted]


def test_what_can_be_downloaded_can_be_read_and_is_named_in_the_help() -> None:
    assert set(CATALOGUE) <= set(SOURCES)
    told = " ".join((download.__doc__ or "").split())
    *most, last = sorted(CATALOGUE)
    assert f"{', '.join(most)} or {last}." in told


def test_what_cannot_be_downloaded_says_how_to_come_by_it(tmp_path: Path) -> None:
    name = "apple_health"
    with pytest.raises(ValueError, match=f"{name} cannot be downloaded") as raised:
        download(name, tmp_path / "out")
    assert source(name).about().access in str(raised.value)
    assert not (tmp_path / "out").exists()
