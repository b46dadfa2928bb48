"""When the heart beats: a sequence of beats with their kind, from the planted rhythm.

Sinus rhythm carries respiratory arrhythmia and a slow (0.1 Hz) wave; in atrial fibrillation the
intervals are independent. A premature atrial beat resets the sinus node, a premature ventricular
beat does not and is followed by a full compensatory pause.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .conditions import State

MARGIN_S = 1.5
"""Beats are made this far beyond both ends of a recording, so that no wave is cut at them."""

RATES_BPM: dict[str, tuple[float, float]] = {
    "sinus": (61, 94),
    "bradycardia": (38, 54),
    "tachycardia": (108, 150),
    "af": (65, 130),
}


@dataclass(frozen=True)
class Beats:
    """The beats of one recording, [B] each. `time_s` is the middle of the QRS complex."""

    time_s: NDArray[np.float64]
    interval_s: NDArray[np.float64]
    """From the beat before."""
    code: NDArray[np.str_]
    """N normal, A premature atrial, V premature ventricular."""
    breath: NDArray[np.float64]
    """Phase of respiration as its sine, -1 to 1."""


def draw_beats(
    rng: np.random.Generator, state: State, duration_s: float, respiratory_arrhythmia: float
) -> Beats:
    """Draw a recording's beats; `respiratory_arrhythmia` is the relative swing of the interval."""
    interval_s = 60 / rng.uniform(*RATES_BPM[state.rhythm])
    count = int((duration_s + 2 * MARGIN_S) / interval_s * 1.6) + 8
    breaths_hz = rng.uniform(0.18, 0.32)
    phase = rng.uniform(0, 2 * np.pi, 2)
    if state.rhythm == "af":
        # Gamma intervals with a deviation of about a fifth; the node conducts nothing below 0.3 s.
        shape = rng.uniform(16, 32)
        intervals = np.maximum(rng.gamma(shape, interval_s / shape, count), 0.3)
    else:
        about_s = np.arange(count) * interval_s
        swing = respiratory_arrhythmia * np.sin(2 * np.pi * breaths_hz * about_s + phase[0])
        slow = 0.015 * np.sin(2 * np.pi * 0.1 * about_s + phase[1])
        intervals = interval_s * (1 + swing + slow + 0.008 * rng.standard_normal(count))
    time_s = np.cumsum(intervals) - MARGIN_S - interval_s * rng.uniform()
    code = np.full(count, "N")
    if state.ectopy != "none":
        insert_ectopy(rng, state.ectopy, time_s, code, duration_s)
    keep = (time_s > -MARGIN_S) & (time_s < duration_s + MARGIN_S)
    breath = np.sin(2 * np.pi * breaths_hz * time_s + phase[0])
    gaps = np.diff(time_s, prepend=time_s[0] - interval_s)
    return Beats(time_s[keep], gaps[keep], code[keep], breath[keep])


def insert_ectopy(
    rng: np.random.Generator,
    kind: str,
    time_s: NDArray[np.float64],
    code: NDArray[np.str_],
    duration_s: float,
) -> None:
    """Make one to three beats (per ten seconds) premature, in place, well inside the recording."""
    inside = np.flatnonzero((time_s > 1.0) & (time_s < duration_s - 1.5))
    # Every other beat at most: a premature beat is premature to a beat that is not.
    candidates = inside[rng.integers(2) :: 2] if len(inside) > 3 else inside[:1]
    wanted = int(rng.integers(1, 4)) * max(1, round(duration_s / 10))
    chosen = np.sort(rng.permutation(candidates)[:wanted])
    for i in chosen:
        interval_s = time_s[i] - time_s[i - 1]
        coupling_s = max(interval_s * rng.uniform(0.52, 0.68), 0.3)
        earlier_s = interval_s - coupling_s
        if kind == "pac":
            code[i] = "A"
            time_s[i:] -= earlier_s
        else:
            code[i] = "V"
            time_s[i] -= earlier_s


def fibrillation(rng: np.random.Generator, samples: int, rate_hz: float) -> NDArray[np.float32]:
    """Fibrillatory waves of two atria, [2, T] in mV, each along its own axis.

    A fundamental of 4–9 Hz with harmonics, whose rate and height wander (Stridh & Sörnmo, IEEE
    Trans. Biomed. Eng. 48 (2001)); here both wander at random, or the wave would look like atrial
    flutter.
    """
    # Rate and height are drawn four times a second and joined by straight lines.
    knots_s = np.arange(0, samples / rate_hz + 0.5, 0.25)
    t_s = np.arange(samples) / rate_hz
    fundamental_hz = rng.uniform(5.0, 7.5)
    height_mv = rng.uniform(0.05, 0.11)
    waves = np.empty((2, samples), np.float32)
    for wave in waves:
        turns_hz = np.clip(rng.normal(fundamental_hz, 0.9, len(knots_s)), 3.5, 9.5)
        turns = np.interp(t_s, knots_s, np.cumsum(turns_hz) * 0.25) + rng.uniform()
        angle = (2 * np.pi * (turns % 1)).astype(np.float32)
        height = np.interp(t_s, knots_s, rng.uniform(0.4, 1.4, len(knots_s)))
        wave[:] = np.sin(angle) + 0.4 * np.sin(2 * angle) + 0.15 * np.sin(3 * angle)
        wave *= height_mv * height.astype(np.float32)
    return waves
