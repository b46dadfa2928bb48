"""What electrodes on a sleeper's head and chin record, from the planted stages and movements.

Wakefulness has alpha waves and blinks, N2 spindles, N3 slow waves, REM sleep quick eye movements and
the lowest muscle tone: the marks that scorers look for (AASM manual), and nothing more.

Shapes: T time.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import signal as dsp

from .night import EPOCH_S, Night

Wave = NDArray[np.float64]

BANDS_HZ = {"delta": (0.5, 4.0), "theta": (4.0, 8.0), "alpha": (8.0, 12.0), "beta": (15.0, 30.0)}
SPINDLE_HZ = 13.0

# Root mean square in µV of each band, and of the chin muscle.
_EEG_UV = {
    "W": {"delta": 5.0, "theta": 4.0, "alpha": 16.0, "beta": 6.0},
    "N1": {"delta": 6.0, "theta": 9.0, "alpha": 5.0, "beta": 4.0},
    "N2": {"delta": 14.0, "theta": 9.0, "alpha": 3.0, "beta": 2.5},
    "N3": {"delta": 45.0, "theta": 9.0, "alpha": 2.5, "beta": 1.5},
    "R": {"delta": 6.0, "theta": 10.0, "alpha": 4.0, "beta": 4.0},
}
_CHIN_UV = {"W": 14.0, "N1": 8.0, "N2": 6.0, "N3": 5.0, "R": 1.5}
_MOVES_A_SECOND = {"W": 0.25, "N1": 0.02, "N2": 0.0, "N3": 0.0, "R": 0.6}


def eeg(rng: np.random.Generator, night: Night, rate_hz: int, alpha: float) -> Wave:
    """One derivation [T] in µV; `alpha` scales its alpha rhythm, which is strongest at the back."""
    samples = len(night.stages) * EPOCH_S * rate_hz
    wave = rng.normal(0, 1.0, samples)
    for band, edges_hz in BANDS_HZ.items():
        sos = dsp.butter(2, edges_hz, "band", fs=rate_hz, output="sos")
        noise = dsp.sosfilt(sos, rng.standard_normal(samples))
        size = np.array([_EEG_UV[stage][band] for stage in night.stages]) / noise.std()
        wave += noise * np.repeat(size * (alpha if band == "alpha" else 1), EPOCH_S * rate_hz)
    _add_spindles(rng, wave, night, rate_hz)
    return wave


def eye_movements(rng: np.random.Generator, night: Night, rate_hz: int) -> Wave:
    """Both eyes [2, T] in µV: they move together, which the two electrodes see with opposite sign."""
    samples = len(night.stages) * EPOCH_S * rate_hz
    often = np.repeat([_MOVES_A_SECOND[stage] for stage in night.stages], EPOCH_S)
    seconds = np.flatnonzero(rng.random(len(often)) < often)
    jumps = np.zeros(samples)
    at = ((seconds + rng.random(len(seconds))) * rate_hz).astype(int)
    jumps[at] = rng.choice([-1, 1], len(at)) * rng.uniform(60, 200, len(at))
    # A step that decays: what an amplifier with a time constant makes of a glance.
    decay = np.exp(-1 / (0.3 * rate_hz))
    glance: Wave = dsp.lfilter([1.0], [1.0, -decay], jumps)
    return np.stack((glance, -glance)) + rng.normal(0, 4.0, (2, samples))


def chin(rng: np.random.Generator, night: Night, rate_hz: int) -> Wave:
    """Muscle tone [T] in µV, with bursts where the sleeper moves."""
    tone = np.repeat([_CHIN_UV[stage] for stage in night.stages], EPOCH_S * rate_hz)
    tone += np.repeat(60 * night.movement_g, rate_hz)
    sos = dsp.butter(2, (10.0, 100.0), "band", fs=rate_hz, output="sos")
    noise = dsp.sosfilt(sos, rng.standard_normal(len(tone)))
    muscle: Wave = noise / noise.std() * tone
    return muscle


def _add_spindles(rng: np.random.Generator, wave: Wave, night: Night, rate_hz: int) -> None:
    """Two to four spindles in every epoch of N2, in place."""
    time_s = np.arange(rate_hz) / rate_hz
    spindle = 22 * np.hanning(rate_hz) * np.sin(2 * np.pi * SPINDLE_HZ * time_s)
    for epoch in np.flatnonzero(np.array(night.stages) == "N2"):
        for second in rng.uniform(0, EPOCH_S - 1, rng.integers(2, 5)):
            first = round((epoch * EPOCH_S + second) * rate_hz)
            wave[first : first + rate_hz] += spindle
