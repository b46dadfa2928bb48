"""Signatures: equal for copies in other containers, alike under processing, and nothing else."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from biofm.datasets.ptbxl import PTBXL
from biofm.datasets.simulate import simulate
from biofm.datasets.wfdb16 import read_wfdb
from biofm.shards import duplicates
from biofm.shards.duplicates import OVERLAP, SAME, correlation, find_copies, find_duplicates
from biofm.shards.signature import (
    COARSER,
    LEADS,
    RATE_HZ,
    band_passed,
    compact,
    fingerprint,
    signature,
    unpack,
)
from biofm.signals import LEADS_12, Preprocessing, Signal, preprocess, quantize


def floating(signal: Signal) -> Signal:
    """The same in physical units."""
    return Signal(signal.modality, signal.physical(), signal.rate_hz, signal.channels)


def cropped(signal: Signal, begin_s: float, end_s: float) -> Signal:
    """Without its first and last seconds."""
    first, last = round(begin_s * signal.rate_hz), round(end_s * signal.rate_hz)
    return replace(signal, samples=signal.samples[:, first : signal.samples.shape[1] - last])


def louder(signal: Signal) -> Signal:
    """With twice the gain."""
    return replace(floating(signal), samples=2 * signal.physical())


def processed(signal: Signal) -> Signal:
    """Cropped, filtered and resampled by others, twice."""
    theirs = preprocess(cropped(signal, 0.41, 0.0), Preprocessing(250, 0.67, 40))
    return cropped(quantize(preprocess(theirs, Preprocessing(100))), 0.0, 0.6)


CHANGES: dict[str, Callable[[Signal], Signal]] = {
    "resampled": lambda s: quantize(preprocess(s, Preprocessing(100))),
    "odd rate": lambda s: preprocess(s, Preprocessing(257)),
    "gain": louder,
    "filtered": lambda s: preprocess(s, Preprocessing(250, 0.67, 40)),
    "crop": lambda s: cropped(s, 1.0, 0.0),
    "uneven crop": lambda s: cropped(s, 0.613, 0.37),
    "all": processed,
}


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> list[Signal]:
    """Real ECGs where there are some, else the twin's."""
    data = os.environ.get("BIOFM_DATA")
    root = Path(data) / "ptb-xl" if data else tmp_path_factory.mktemp("twin") / "tree"
    if not data:
        simulate("ptbxl", root, records=60, progress=False)
    source = PTBXL("records500")
    return [source.read(ref).signal("ecg") for ref in source.find([root])][:60]


def challenge_pairs() -> list[tuple[Path, Path]]:
    """PTB-XL records and the Challenge's copies of them."""
    data = os.environ.get("BIOFM_DATA")
    if not data:
        return []
    copies = sorted((Path(data) / "challenge-2021" / "WFDB_PTBXL").glob("HR*.hea"))
    originals = Path(data) / "ptb-xl" / "records500" / "00000"
    pairs = [(copy.with_suffix(""), originals / f"{copy.stem[2:]}_hr") for copy in copies]
    return [pair for pair in pairs if pair[1].with_suffix(".hea").is_file()]


def test_dat_and_mat_of_one_recording_have_one_signature() -> None:
    pairs = challenge_pairs()
    if not pairs:
        pytest.skip("set BIOFM_DATA to the folder with real recordings to compare real copies")
    for copy, original in pairs:
        mine, theirs = read_wfdb(original).ecg(), read_wfdb(copy).ecg()
        assert signature([mine]) == signature([theirs])
        assert fingerprint([mine]) == fingerprint([theirs])


def test_signature_knows_samples_channels_and_rate_but_no_container(
    originals: list[Signal],
) -> None:
    ecg = originals[0]
    own = signature([ecg])
    assert signature([floating(ecg)]) == own
    assert signature([ecg.select(LEADS_12[::-1])]) == own
    assert signature([quantize(preprocess(ecg, Preprocessing(ecg.rate_hz)))]) == own
    moved = floating(ecg).samples.copy()
    moved[3, 17] += 0.002
    for other in (
        replace(floating(ecg), samples=moved),
        replace(ecg, rate_hz=250.0),
        ecg.select(LEADS_12[1:]),
        replace(ecg, channels=(LEADS_12[1], LEADS_12[0], *LEADS_12[2:])),
        cropped(ecg, 0.002, 0),
    ):
        assert signature([other]) != own
    gap = floating(ecg).samples.copy()
    gap[:, 5] = np.nan
    assert signature([replace(floating(ecg), samples=gap)]) != own


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_copies_are_found_and_nothing_else(
    originals: list[Signal], change: Callable[[Signal], Signal]
) -> None:
    prints = [fingerprint([one]) for one in originals]
    copies = [fingerprint([change(one)]) for one in originals]
    found = find_duplicates([one for one in (*prints, *copies) if one])
    count = len(originals)
    # A record that has a copy among the originals has its copy's copy too.
    assert {(i, i + count) for i in range(count)} <= {(p.first, p.second) for p in found}
    twins = {(p.first, p.second) for p in find_duplicates([one for one in prints if one])}
    unexpected = {(p.first % count, p.second % count) for p in found if p.second != p.first + count}
    assert {tuple(sorted(pair)) for pair in unexpected} <= twins


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_compact_fingerprints_find_the_same_copies(
    originals: list[Signal], change: Callable[[Signal], Signal]
) -> None:
    prints = [compact(one) for o in originals if (one := fingerprint([o]))]
    copies = [compact(one) for o in originals[20:40] if (one := fingerprint([change(o)]))]
    assert len(copies) == 20
    # The search between two lists is that within both, but for pairs within one.
    both = {(p.first, p.second) for p in find_duplicates([*copies, *prints])}
    across = {(i, j - 20) for i, j in both if i < 20 <= j}
    found = {(p.first, p.second) for p in find_copies(copies, prints)}
    assert found == across
    assert {(i, i + 20) for i in range(20)} <= found
    twins = {(p.first, p.second) for p in find_duplicates(prints)}
    assert {tuple(sorted((i + 20, j))) for i, j in found if j != i + 20} <= twins


def test_a_compact_fingerprint_has_two_leads_or_the_first_there_is(
    originals: list[Signal],
) -> None:
    whole = fingerprint([originals[0]])
    assert whole
    waves = unpack(compact(whole))
    assert tuple(waves) == ("II", "V2")
    for lead, wave in waves.items():
        assert np.abs(COARSER * wave.astype(int) - unpack(whole)[lead]).max() <= COARSER / 2
    single = fingerprint([originals[0].select(("I", "V5"))])
    assert single
    assert tuple(unpack(compact(single))) == ("I",)


def test_search_equals_comparing_every_pair(originals: list[Signal]) -> None:
    changed = [cropped(originals[i], 0.5, 0.25) for i in range(6)]
    prints = [fingerprint([one]) for one in (*originals[:12], *changed)]
    usable = [one for one in prints if one]
    slow = {
        (i, j)
        for (i, a), (j, b) in combinations(enumerate(usable), 2)
        if slow_correlation(wave(a), wave(b)) >= SAME
    }
    assert {(p.first, p.second) for p in find_duplicates(usable)} == slow
    assert len(slow) >= 6


def test_blocks_do_not_change_what_is_found(
    originals: list[Signal], monkeypatch: pytest.MonkeyPatch
) -> None:
    prints = [fingerprint([one]) for one in (*originals[:20], *map(louder, originals[5:15]))]
    usable = [one for one in prints if one]
    whole = find_duplicates(usable)
    monkeypatch.setattr(duplicates, "_BLOCK", 7)
    monkeypatch.setattr(duplicates, "_PAIRS", 3)
    blocked = find_duplicates(usable)
    assert [(p.first, p.second) for p in blocked] == [(p.first, p.second) for p in whole]
    assert len(whole) >= 10


def test_recordings_are_compared_on_their_common_leads(originals: list[Signal]) -> None:
    ecg = originals[0]
    single, other = fingerprint([ecg.select(("II",))]), fingerprint([ecg.select(("V1", "V2"))])
    whole = fingerprint([ecg])
    assert single
    assert other
    assert whole
    found = {(p.first, p.second) for p in find_duplicates([single, other, whole])}
    assert found == {(0, 2), (1, 2)}


def test_what_has_no_fingerprint(originals: list[Signal]) -> None:
    ecg = originals[0]
    assert fingerprint([ecg.select(("V1", "V6"))]) is None
    assert fingerprint([cropped(ecg, 0.0, 5.5)]) is None
    assert fingerprint([Signal("ecg", np.ones((1, 3000), np.float32), 200.0, ("II",))]) is None
    assert fingerprint([Signal("ppg", np.ones((1, 3000), np.float32), 200.0, ("ppg",))]) is None
    dead = floating(ecg).samples.copy()
    dead[LEADS_12.index("V2")] = 0.0
    shown = fingerprint([replace(floating(ecg), samples=dead)])
    assert shown
    assert tuple(unpack(shown)) == ("I", "II", "V5")


def test_short_gaps_do_not_blind_a_fingerprint(originals: list[Signal]) -> None:
    ecg = floating(originals[0])
    gappy = ecg.samples.copy()
    for first in range(300, 5000, 1000):
        gappy[:, first : first + 5] = np.nan
    prints = [fingerprint([one]) for one in (ecg, replace(ecg, samples=gappy))]
    assert len(find_duplicates([one for one in prints if one])) == 1


@pytest.mark.parametrize("rate_hz", [100.0, 128.0, 257.0, 500.0, 1000.0])
def test_band_passed_keeps_the_band_in_place(rate_hz: float) -> None:
    seconds = np.arange(round(12 * rate_hz)) / rate_hz
    tones = [np.sin(2 * np.pi * hz * seconds) for hz in (0.3, 6.0, 19.0)]
    out = band_passed(np.array(tones, np.float32), rate_hz)
    middle = slice(round(2 * RATE_HZ), round(10 * RATE_HZ))
    expected = np.sin(2 * np.pi * 6.0 * np.arange(out.shape[1]) / RATE_HZ)
    assert np.abs(out[1] - expected)[middle].max() < 0.02
    assert np.abs(out[0, middle]).max() < 0.01
    assert np.abs(out[2, middle]).max() < 0.25


def wave(one: bytes) -> NDArray[np.float32]:
    """The leads of a fingerprint as floats."""
    return np.array([unpack(one)[lead] for lead in LEADS], np.float32)


def slow_correlation(a: NDArray[Any], b: NDArray[Any], finer: int = 8) -> float:
    """Mean correlation at the best lag, a lag after the other, on the bare definition."""
    needed = int(np.ceil(OVERLAP * min(a.shape[1], b.shape[1])))
    best = -1.0
    spectrum = np.fft.rfft(b, 4096)
    frequency = np.arange(spectrum.shape[1]) / 4096
    for part in range(-finer // 2, finer // 2):
        shift = np.exp(-2j * np.pi * frequency * part / finer)
        moved = np.fft.irfft(spectrum * shift, 4096)[:, : b.shape[1]]
        for lag in range(needed - b.shape[1], a.shape[1] - needed + 1):
            first, last = max(0, lag), min(a.shape[1], b.shape[1] + lag)
            x, y = a[:, first:last], moved[:, first - lag : last - lag]
            norm = np.sqrt((x**2).sum(axis=1) * (b[:, first - lag : last - lag] ** 2).sum(axis=1))
            best = max(best, float(((x * y).sum(axis=1) / norm).mean()))
    return best


def test_correlation_equals_its_definition(originals: list[Signal]) -> None:
    signals = [originals[0], cropped(originals[0], 0.3, 0.2), originals[1], originals[2]]
    waves = [wave(one) for one in map(fingerprint, ([s] for s in signals)) if one]
    padded = np.full((4, 4, waves[0].shape[1]), np.nan, np.float32)
    for row, one in zip(padded, waves, strict=True):
        row[:, : one.shape[1]] = one
    first, second = np.array([0, 0, 2]), np.array([1, 2, 3])
    fast = correlation(padded[first], padded[second])
    slow = [slow_correlation(waves[i], waves[j]) for i, j in zip(first, second, strict=True)]
    assert fast == pytest.approx(slow, abs=0.01)
