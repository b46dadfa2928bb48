"""What every source must hold: a new reader is done when it passes this.

A source needs one function in `SMALL`, which writes a small tree in its layout, and, where there are
real recordings of it, their folders in `REAL`.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import scipy.io

from biofm.datasets.registry import SOURCES, source
from biofm.signals import LEADS_12, channel_id

DATA = Path(os.environ.get("BIOFM_DATA", "/nowhere"))
RNG = np.random.default_rng(0)
LARGEST = {"ecg": 50.0}
"""Modality → the largest plausible absolute value in its unit."""


def small_ptbxl(root: Path) -> list[Path]:
    """Two roots of two records each."""
    head = "ecg_id,patient_id,age,sex,scp_codes,strat_fold,filename_lr,filename_hr"
    statements = "diagnostic,form,rhythm,diagnostic_class,diagnostic_subclass"
    for part, ids in (("a", (21, 3)), ("b", (12, 5))):
        folder = root / part / "records500" / "00000"
        folder.mkdir(parents=True)
        rows = [
            f"{i},{i}.0,60.0,{i % 2},\"{{'NORM': 100.0, 'SR': 0.0}}\",{i % 10 + 1},"
            f"records100/00000/{i:05d}_lr,records500/00000/{i:05d}_hr"
            for i in ids
        ]
        (root / part / "ptbxl_database.csv").write_text("\n".join([head, *rows]) + "\n")
        (root / part / "scp_statements.csv").write_text(
            f",{statements}\nNORM,1.0,,,NORM,NORM\nSR,,,1.0,,\n"
        )
        for i in ids:
            frames = RNG.integers(-2000, 2000, (5000, 12)).astype("<i2")
            frames.tofile(folder / f"{i:05d}_hr.dat")
            sums = frames.sum(axis=0, dtype=np.int16)
            lines = [f"{i:05d}_hr 12 500 5000"] + [
                f"{i:05d}_hr.dat 16 1000.0(0)/mV 16 0 {frames[0, c]} {sums[c]} 0 {lead.upper()}"
                for c, lead in enumerate(LEADS_12)
            ]
            (folder / f"{i:05d}_hr.hea").write_text("\n".join(lines) + "\n")
    return [root / "a", root / "b"]


def small_cpsc2018(root: Path) -> list[Path]:
    """One root in the original form and one in the Challenge's."""
    folder = root / "original" / "TrainingSet1"
    folder.mkdir(parents=True)
    (folder / "REFERENCE.csv").write_text(
        "Recording,First_label,Second_label,Third_label\nA0007,5,8,\nA0002,1,,\n"
    )
    for name in ("A0007", "A0002"):
        ecg = {"sex": "Female", "age": 50, "data": RNG.normal(size=(12, 3000))}
        scipy.io.savemat(folder / f"{name}.mat", {"ECG": ecg})
    copy = root / "copy"
    copy.mkdir()
    val = RNG.integers(-2000, 2000, (12, 3000)).astype(np.int16)
    scipy.io.savemat(copy / "A0003.mat", {"val": val}, format="4")
    sums = val.sum(axis=1, dtype=np.int16)
    lines = ["A0003 12 500 3000", "#Age: 40", "#Sex: Male", "#Dx: 164889003,164931005"] + [
        f"A0003.mat 16+24 1000/mV 16 0 {val[c, 0]} {sums[c]} 0 {lead}"
        for c, lead in enumerate(LEADS_12)
    ]
    (copy / "A0003.hea").write_text("\n".join(lines) + "\n")
    return [root / "original", copy]


SMALL: dict[str, Callable[[Path], list[Path]]] = {"ptbxl": small_ptbxl, "cpsc2018": small_cpsc2018}
REAL: dict[str, list[str]] = {
    "ptbxl": ["ptb-xl"],
    "cpsc2018": ["cpsc2018", "challenge-2021/WFDB_CPSC2018"],
}
CASES = [(name, kind) for name in sorted(SOURCES) for kind in ("small", "real")]


@pytest.fixture(params=CASES, ids=["-".join(case) for case in CASES])
def case(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, list[Path]]:
    """A source's name and roots that hold it."""
    name, kind = request.param
    if kind == "small":
        return name, SMALL[name](tmp_path)
    roots = [DATA / folder for folder in REAL.get(name, [])]
    if not roots or not all(root.is_dir() for root in roots):
        pytest.skip(f"needs real recordings of {name}: set BIOFM_DATA to a folder that holds them")
    return name, roots


def test_every_source_has_a_small_tree() -> None:
    assert sorted(SMALL) == sorted(SOURCES)


def test_an_unknown_source_lists_the_known_ones() -> None:
    with pytest.raises(
        ValueError, match=f"unknown source 'nope'; known: {', '.join(sorted(SOURCES))}"
    ):
        source("nope")


@pytest.mark.parametrize("name", sorted(SOURCES))
def test_a_source_says_what_it_is(name: str) -> None:
    found = source(name)
    assert found.name == name == name.lower()
    assert name.isidentifier()
    assert found.title
    assert found.licence
    pickle.loads(pickle.dumps(found))


def test_find_is_sorted_unique_and_deterministic(case: tuple[str, list[Path]]) -> None:
    name, roots = case
    refs = source(name).find(roots)
    records = [ref.record for ref in refs]
    assert records
    assert records == sorted(set(records))
    assert source(name).find(roots[::-1]) == refs
    assert pickle.loads(pickle.dumps(refs)) == refs
    assert all(ref.subject.startswith(f"{name}-") for ref in refs)


def test_read_yields_what_find_announced(case: tuple[str, list[Path]]) -> None:
    name, roots = case
    reader = source(name)
    for ref in reader.find(roots)[:40]:
        recording = reader.read(ref)
        assert recording.dataset == name
        assert (recording.record, recording.subject, recording.fold) == (
            ref.record,
            ref.subject,
            ref.fold,
        )
        assert recording.signals
        assert recording.age is None or 0 <= recording.age <= 90
        assert recording.sex in (None, "male", "female")
        for signal in recording.signals:
            for channel in signal.channels:
                channel_id(signal.modality, channel)
            physical = signal.physical()
            assert physical.dtype == np.float32
            assert np.isfinite(physical).any()
            assert np.nanmax(np.abs(physical)) < LARGEST[signal.modality]


def test_label_sets_cover_the_labels(case: tuple[str, list[Path]]) -> None:
    name, roots = case
    reader = source(name)
    sets = reader.label_sets(roots)
    assert sets
    assert all(codes for classes in sets.values() for codes in classes.values())
    known = {code for classes in sets.values() for codes in classes.values() for code in codes}
    found = {code for ref in reader.find(roots)[:40] for code in reader.read(ref).labels}
    assert found
    assert found <= known


@pytest.mark.parametrize("name", sorted(SOURCES))
def test_a_bad_root_says_what_was_looked_for(name: str, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no such folder"):
        source(name).find([tmp_path / "absent"])
    (tmp_path / "empty" / "below").mkdir(parents=True)
    with pytest.raises(FileNotFoundError, match=r"empty: n.* below; give the folder"):
        source(name).find([tmp_path / "empty"])
