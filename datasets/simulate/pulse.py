"""Waves that follow given heart beats: one ECG lead, the pulse (PPG), arterial pressure, breathing.

Everything starts from the times of the beats (R peaks), so that heart rate, pulse and pressure of a
twin agree as they do in a person.

Shapes: B beats, S seconds, T time.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Wave = NDArray[np.float64]

# Centre and width in seconds and size in mV of P, Q, R, S and T about the R peak.
_LEAD = ((-0.16, 0.025, 0.12), (-0.025, 0.008, -0.1), (0.0, 0.011, 1.1), (0.028, 0.009, -0.2),
         (0.26, 0.05, 0.28))  # fmt: skip
TRANSIT_S = 0.22
"""From the R peak to the foot of the pulse at the wrist or finger."""


def draw_beats(rng: np.random.Generator, heart_bpm: Wave, breaths_hz: float = 0.25) -> Wave:
    """Times of the R peaks [B] in seconds, for a heart rate at 1 Hz [S]; it breathes a little."""
    seconds = len(heart_bpm)
    time_s = np.arange(0, seconds, 0.05)
    rate_hz = np.interp(time_s, np.arange(seconds), heart_bpm) / 60
    rate_hz *= 1 + 0.03 * np.sin(2 * np.pi * breaths_hz * time_s)
    phase = np.cumsum(rate_hz) * 0.05 + rng.random()
    beats = np.arange(np.ceil(phase[0]), np.floor(phase[-1]) + 1)
    times: Wave = np.interp(beats, phase, time_s) + rng.normal(0, 0.004, len(beats))
    return np.sort(times)


def lead(beats_s: Wave, samples: int, rate_hz: float, size: float = 1.0) -> Wave:
    """One ECG lead [T] in mV."""
    wave = np.zeros(samples)
    for centre_s, width_s, mv in _LEAD:
        _add_bumps(wave, beats_s + centre_s, width_s, size * mv, rate_hz)
    return wave


def pulse(beats_s: Wave, samples: int, rate_hz: float) -> Wave:
    """A PPG [T]: a systolic and a diastolic bump after each beat, about 1 high."""
    wave = np.zeros(samples)
    _add_bumps(wave, beats_s + TRANSIT_S + 0.12, 0.07, 1.0, rate_hz)
    _add_bumps(wave, beats_s + TRANSIT_S + 0.36, 0.09, 0.35, rate_hz)
    return wave


def pressure(
    beats_s: Wave, systolic_mmhg: Wave, diastolic_mmhg: Wave, samples: int, rate_hz: float
) -> Wave:
    """Arterial pressure [T] in mmHg that touches each beat's planted diastole and systole exactly.

    Between beats it falls from systole to the next diastole; a small dicrotic notch breaks the fall.
    """
    foot_s = beats_s + TRANSIT_S / 2
    peak_s = foot_s + 0.14
    times = np.column_stack((foot_s, peak_s, peak_s + 0.16, peak_s + 0.22)).ravel()
    falling = diastolic_mmhg + 0.45 * (systolic_mmhg - diastolic_mmhg)
    values = np.column_stack((diastolic_mmhg, systolic_mmhg, falling, falling + 2)).ravel()
    order = np.argsort(times, kind="stable")
    wave: Wave = np.interp(np.arange(samples) / rate_hz, times[order], values[order])
    return wave


def breathing(breaths_hz: Wave, samples: int, rate_hz: float) -> Wave:
    """A breathing belt [T] of size 1, from the rate at 1 Hz [S]."""
    time_s = np.arange(samples) / rate_hz
    phase = np.cumsum(np.interp(time_s, np.arange(len(breaths_hz)), breaths_hz)) / rate_hz
    wave: Wave = np.sin(2 * np.pi * phase)
    return wave


def _add_bumps(wave: Wave, centres_s: Wave, width_s: float, size: float, rate_hz: float) -> None:
    """Add a Gaussian at each centre, in place, over four widths to each side."""
    reach = int(np.ceil(4 * width_s * rate_hz))
    around = np.arange(-reach, reach + 1)
    at = np.rint(centres_s * rate_hz).astype(int)[:, None] + around
    offset_s = at / rate_hz - centres_s[:, None]
    bumps = size * np.exp(-0.5 * (offset_s / width_s) ** 2)
    inside = (at >= 0) & (at < len(wave))
    np.add.at(wave, at[inside], bumps[inside])
