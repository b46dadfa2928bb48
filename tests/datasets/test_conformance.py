"""What every source must hold: a new reader is done when it passes this.

A source is tried on its twin (`biofm.datasets.simulate`) and, where there are real recordings of it, on
their folders in `REAL`.
"""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from biofm.datasets.registry import SOURCES, Source, source
from biofm.datasets.simulate import simulate
from biofm.datasets.simulate.layouts import LAYOUTS
from biofm.signals import Recording, channel_id
from biofm.signals.vocabulary import UNITS

DATA = Path(os.environ.get("BIOFM_DATA", "/nowhere"))
LARGEST = {"ecg": 50.0, "acc": 20.0, "hr": 300.0, "spo2": 101.0, "bp": 400.0, "temp": 60.0}
"""Modality → the largest plausible absolute value in its unit."""

FEW = {"mesa": 2, "sleep_accel": 2, "apple_health": 1, "ppg_dalia": 2, "wesad": 2, "mitdb": 3}
"""Source → how many recordings its twin has here; eight where nothing is said."""

REAL: dict[str, list[str]] = {
    "ptbxl": ["ptb-xl"],
    "cpsc2018": ["cpsc2018", "challenge-2021/WFDB_CPSC2018"],
    "challenge": ["challenge-2021"],
    "chapman": ["challenge-2021/WFDB_ChapmanShaoxing", "challenge-2021/WFDB_Ningbo"],
    "mitdb": ["mitdb"],
    "sleep_accel": ["sleep-accel"],
}
CASES = [(name, kind) for name in sorted(SOURCES) for kind in ("twin", "real")]


@pytest.fixture(scope="module", params=CASES, ids=["-".join(case) for case in CASES])
def case(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, list[Path]]:
    """A source's name and roots that hold it."""
    name, kind = request.param
    if kind == "twin":
        out = tmp_path_factory.mktemp(name) / "twin"
        return name, [simulate(name, out, records=FEW.get(name, 8), seed=7, progress=False)]
    roots = [DATA / folder for folder in REAL.get(name, [])]
    if not roots or not all(root.is_dir() for root in roots):
        pytest.skip(f"needs real recordings of {name}: set BIOFM_DATA to a folder that holds them")
    return name, roots


def codes_of(recording: Recording) -> set[str]:
    """Every code that a recording is labelled with."""
    return {*recording.labels, *(annotation.code for annotation in recording.annotations)}


def first_recordings(reader: Source, roots: list[Path]) -> list[Recording]:
    return [reader.read(ref) for ref in reader.find(roots)[:40]]


def test_every_source_has_a_twin() -> None:
    assert sorted(LAYOUTS) == sorted(SOURCES)


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
    assert all(vars(found.about()).values())
    pickle.loads(pickle.dumps(found))


def test_find_is_sorted_unique_and_deterministic(case: tuple[str, list[Path]]) -> None:
    name, roots = case
    refs = source(name).find(roots)
    records = [ref.record for ref in refs]
    assert records
    assert records == sorted(set(records))
    assert source(name).find(roots[::-1]) == refs
    assert pickle.loads(pickle.dumps(refs)) == refs
    assert all("-" in ref.subject for ref in refs)


def test_read_yields_what_find_announced(case: tuple[str, list[Path]]) -> None:
    name, roots = case
    reader = source(name)
    for ref in reader.find(roots)[:40]:
        recording = reader.read(ref)
        assert recording.dataset.isidentifier()
        assert (recording.record, recording.subject, recording.fold) == (
            ref.record,
            ref.subject,
            ref.fold,
        )
        assert recording.signals or recording.series
        assert recording.age is None or 0 <= recording.age <= 90
        assert recording.sex in (None, "male", "female")
        for signal in recording.signals:
            for channel in signal.channels:
                channel_id(signal.modality, channel)
            physical = signal.physical()
            assert physical.dtype == np.float32
            assert np.isfinite(physical).any()
            assert np.nanmax(np.abs(physical)) < LARGEST.get(signal.modality, np.inf)
        for series in recording.series:
            assert series.modality in UNITS
            assert np.isfinite(series.values).any()
            assert np.nanmax(np.abs(series.values)) < LARGEST.get(series.modality, np.inf)


def test_annotations_are_in_order_and_say_what_they_are(case: tuple[str, list[Path]]) -> None:
    name, roots = case
    for recording in first_recordings(source(name), roots)[:5]:
        onsets = [annotation.onset_s for annotation in recording.annotations]
        assert onsets == sorted(onsets)
        for annotation in recording.annotations:
            kind, colon, what = annotation.code.partition(":")
            assert kind == kind.lower()
            assert (annotation.value is None) == bool(colon and what)
            assert annotation.duration_s >= 0


def test_label_sets_cover_the_labels(case: tuple[str, list[Path]]) -> None:
    name, roots = case
    reader = source(name)
    sets = reader.label_sets(roots)
    assert sets
    assert all(codes for classes in sets.values() for codes in classes.values())
    known = {code for classes in sets.values() for codes in classes.values() for code in codes}
    found = set().union(*map(codes_of, first_recordings(reader, roots)))
    assert found
    assert found <= known


@pytest.mark.parametrize("name", sorted(SOURCES))
def test_a_bad_root_says_what_was_looked_for(name: str, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no such folder"):
        source(name).find([tmp_path / "absent"])
    (tmp_path / "empty" / "below").mkdir(parents=True)
    with pytest.raises(FileNotFoundError, match=r"empty: n.* below; give the folder"):
        source(name).find([tmp_path / "empty"])
