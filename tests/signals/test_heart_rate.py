"""Heart rate from ECG and PPG: planted, real, and where it cannot be told."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl
import pytest
import wfdb
from numpy.typing import NDArray

from biofm.datasets.simulate.pulse import draw_beats, lead, pulse
from biofm.signals.heart_rate import (
    heart_rate_bpm,
    heart_rate_windows,
    mean_rate_bpm,
    r_peaks_s,
)

DATA = Path(os.environ.get("BIOFM_DATA", "/nowhere"))
BEATS = "NLRBAaJSVrFejnE/fQ?"
Kind = Literal["ecg", "ppg"]
KINDS: tuple[Kind, ...] = ("ecg", "ppg")


def planted(kind: Kind, bpm: float, rate_hz: float, seconds: int = 10) -> NDArray[np.float64]:
    """A clean signal of a heart that beats at `bpm`, and breathes a little."""
    rng = np.random.default_rng(round(bpm))
    beats_s = draw_beats(rng, np.full(seconds + 2, bpm))
    wave = lead if kind == "ecg" else pulse
    return wave(beats_s, round(seconds * rate_hz), rate_hz) + rng.normal(
        0, 0.01, round(seconds * rate_hz)
    )


def told(samples: NDArray[np.floating], rate_hz: float, kind: Kind) -> float:
    rate = heart_rate_bpm(samples, rate_hz, kind)
    assert rate is not None
    return rate


@pytest.mark.parametrize("bpm", [42.0, 60.0, 85.0, 120.0, 160.0])
@pytest.mark.parametrize(
    ("kind", "rate_hz"), [("ecg", 100.0), ("ecg", 700.0), ("ppg", 32.0), ("ppg", 64.0)]
)
def test_a_planted_rate_is_found(kind: Kind, rate_hz: float, bpm: float) -> None:
    samples = planted(kind, bpm, rate_hz)
    assert told(samples, rate_hz, kind) == pytest.approx(bpm, abs=2.5)
    # Neither unit nor baseline matter, nor whether the samples are float32.
    moved = (40 * samples + 1000).astype(np.float32)
    assert told(moved, rate_hz, kind) == pytest.approx(told(samples, rate_hz, kind), abs=0.5)
    if kind == "ecg":
        assert told(-samples, rate_hz, kind) == pytest.approx(bpm, abs=2.5)


@pytest.mark.parametrize("kind", KINDS)
def test_a_short_gap_is_bridged(kind: Kind) -> None:
    samples = planted(kind, 75.0, 100.0)
    samples[400:420] = np.nan
    assert told(samples, 100.0, kind) == pytest.approx(75.0, abs=4)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rate_hz", [1.0, 10.0, 100.0])
def test_it_is_not_told_where_it_cannot_be(kind: Kind, rate_hz: float) -> None:
    length = round(10 * rate_hz)
    noise = np.random.default_rng(0).standard_normal(length)
    ramp = np.linspace(0, 1, length)
    step = np.repeat([0.0, 1.0], length // 2)
    gone = np.where(ramp < 0.5, noise, np.nan)
    for samples in (
        np.zeros(length),
        np.full(length, 0.1),
        np.full(length, np.nan),
        np.full(length, np.inf),
        noise,
        ramp,
        step,
        gone,
        noise[: length // 4],
        noise[:0],
        np.where(np.arange(length) == length // 3, 1.0, 0.0),
    ):
        assert heart_rate_bpm(samples, rate_hz, kind) is None


def test_noise_has_no_rate() -> None:
    rng = np.random.default_rng(1)
    for _ in range(20):
        assert heart_rate_bpm(rng.standard_normal(2500), 250.0, "ecg") is None
        assert heart_rate_bpm(rng.standard_normal(640), 64.0, "ppg") is None


def test_a_pulse_spoilt_in_between_is_not_told() -> None:
    samples = planted("ppg", 75.0, 64.0)
    rng = np.random.default_rng(2)
    samples[200:500] += 20 * rng.standard_normal(300).cumsum()
    assert heart_rate_bpm(samples, 64.0, "ppg") is None


def test_r_peaks_stand_where_they_were_planted() -> None:
    beats_s = draw_beats(np.random.default_rng(0), np.linspace(55, 140, 300))
    found_s = r_peaks_s(lead(beats_s, 300 * 700, 700.0), 700.0)
    inside_s = beats_s[(beats_s > 1) & (beats_s < 299)]
    nearest_s = found_s[np.abs(found_s[:, None] - inside_s).argmin(axis=0)]
    assert np.abs(nearest_s - inside_s).max() < 0.01
    assert abs(len(found_s) - len(beats_s)) <= 2
    assert r_peaks_s(np.zeros(7000), 700.0).shape == (0,)


def test_windows_count_from_the_intervals_inside_them() -> None:
    peaks_s = np.arange(0.5, 40, 0.8)
    rates = heart_rate_windows(peaks_s, 8, 2, 40.0)
    assert len(rates) == 17
    np.testing.assert_allclose(rates, 75)
    assert len(heart_rate_windows(peaks_s, 8, 2, 39.99)) == 16
    assert heart_rate_windows(peaks_s, 8, 2, 7.9).shape == (0,)


def test_windows_without_beats_have_no_rate() -> None:
    peaks_s = np.concatenate((np.arange(0, 20, 1.0), np.arange(31, 50, 1.0)))
    rates = heart_rate_windows(peaks_s, 8, 2, 50.0)
    onsets_s = np.arange(len(rates)) * 2
    # A window needs half its time in plausible intervals; the gap itself is none.
    gone = (onsets_s + 8 > 23) & (onsets_s < 28)
    assert np.isnan(rates[gone]).all()
    np.testing.assert_allclose(rates[~gone], 60)
    assert np.isnan(heart_rate_windows(np.empty(0), 8, 2, 20.0)).all()


def test_implausible_intervals_do_not_count() -> None:
    beats_s = np.array([0.0, 0.8, 1.6, 1.7, 2.4, 3.2, 4.0, 4.8])
    # 0.1 s is no heart beat; the 0.7 s after it is taken as it is.
    assert mean_rate_bpm(beats_s, 8.0) == pytest.approx(60 / np.mean([0.8] * 5 + [0.7]))
    assert mean_rate_bpm(beats_s, 12.0) is None
    assert mean_rate_bpm(beats_s[:2], 1.0) is None


def needs(folder: str) -> Path:
    if not (DATA / folder).is_dir():
        pytest.skip(f"needs real recordings: set BIOFM_DATA to a folder that holds {folder}")
    return DATA / folder


@pytest.mark.parametrize(
    ("record", "worst_bpm"),
    # 106 and 200: ventricular bigeminy; 119: compensatory pauses; 208: fusion beats; 231: block.
    [("100", 0.3), ("106", 1.5), ("119", 1.0), ("200", 2.0), ("208", 1.5), ("231", 0.3)],
)
def test_real_ecg_against_its_annotated_beats(record: str, worst_bpm: float) -> None:
    path = str(needs("mitdb") / record)
    read = wfdb.rdrecord(path, channels=[0], sampto=360 * 600)
    noted = wfdb.rdann(path, "atr", sampto=360 * 600)
    beats_s = noted.sample[[symbol in BEATS for symbol in noted.symbol]] / 360
    errors = []
    for onset_s in range(0, 600, 10):
        truth = mean_rate_bpm(beats_s[(beats_s >= onset_s) & (beats_s < onset_s + 10)], 10)
        window = read.p_signal[onset_s * 360 : (onset_s + 10) * 360, 0]
        found = heart_rate_bpm(window, 360.0, "ecg")
        if truth is not None and found is not None:
            errors.append(abs(truth - found))
    assert len(errors) >= 55
    assert np.mean(errors) < worst_bpm


def test_real_pulse_against_a_chest_strap() -> None:
    errors, windows = [], 0
    for folder in sorted((needs("welltory-ppg") / "data").iterdir()):
        table = pl.read_csv(folder / "PPG.csv")
        time_s = table["time"].to_numpy() / 1000
        grid_s = np.arange(time_s[0], time_s[-1], 1 / 32)
        # Blood darkens the picture: the pulse is the red channel turned over.
        pulse_au = -np.interp(grid_s, time_s, table["R"].cast(pl.Float64).to_numpy())
        intervals_s = np.array((folder / "RR.txt").read_text().split(), float) / 1000
        beats_s = np.cumsum(intervals_s)
        for onset_s in range(0, int(grid_s[-1]) - 10, 10):
            truth = mean_rate_bpm(beats_s[(beats_s >= onset_s) & (beats_s < onset_s + 10)], 10)
            found = heart_rate_bpm(pulse_au[onset_s * 32 : (onset_s + 10) * 32], 32.0, "ppg")
            if truth is not None:
                windows += 1
                errors += [] if found is None else [abs(truth - found)]
    assert len(errors) > 0.7 * windows
    assert np.median(errors) < 1.0
    assert np.mean(errors) < 1.6
