"""A night's sleep as a few planted time courses: stages, heart rate, movement, breathing.

Stages are a Markov chain over 30-s epochs whose target drifts through cycles of about 90 minutes:
deep sleep early, REM late (the shape that every textbook of sleep medicine draws). Heart rate and
movement follow the stage, so that a model that reads them can find it.

Shapes: E epochs of 30 s, S seconds.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

STAGES = ("W", "N1", "N2", "N3", "R")
EPOCH_S = 30

# Above the resting rate, in bpm; share of seconds with movement, and its size in g.
_HEART_BPM = {"W": 11.0, "N1": 4.0, "N2": 0.0, "N3": -3.0, "R": 5.0}
_MOVES = {"W": 0.35, "N1": 0.06, "N2": 0.02, "N3": 0.008, "R": 0.03}


@dataclass(frozen=True)
class Night:
    """`stages` [E] of `STAGES`; `heart_bpm`, `movement_g` (0: still) and `breaths_hz` at 1 Hz [S]."""

    stages: tuple[str, ...]
    heart_bpm: NDArray[np.float64]
    movement_g: NDArray[np.float64]
    breaths_hz: NDArray[np.float64]


def draw_night(rng: np.random.Generator, hours: float, resting_bpm: float = 58.0) -> Night:
    """A night of whole epochs, from lying down awake to getting up."""
    epochs = max(2, round(hours * 3600 / EPOCH_S))
    stages = _draw_stages(rng, epochs)
    seconds = epochs * EPOCH_S
    per_second = np.repeat(stages, EPOCH_S)
    level = np.array([_HEART_BPM[stage] for stage in per_second])
    waves = 2.5 * gaussian_filter1d(rng.standard_normal(seconds), 30) * np.sqrt(60 * np.sqrt(np.pi))
    restless = np.array([_MOVES[stage] for stage in per_second])
    # Movements come in bursts of some seconds.
    bursts = gaussian_filter1d((rng.random(seconds) < restless / 5).astype(float), 2) * 5
    movement_g = bursts * rng.gamma(2.0, 0.15, seconds)
    heart_bpm = (
        resting_bpm + gaussian_filter1d(level, 20) + waves + 25 * gaussian_filter1d(bursts, 6)
    )
    rem = np.array([stage == "R" for stage in per_second])
    breaths_hz = 0.24 + gaussian_filter1d(rng.standard_normal(seconds), 20) * np.where(
        rem, 0.12, 0.04
    )
    return Night(
        tuple(stages),
        heart_bpm.clip(35, 150),
        movement_g,
        breaths_hz.clip(0.12, 0.45),
    )


def _draw_stages(rng: np.random.Generator, epochs: int) -> list[str]:
    """Stay most of the time; else go where the phase of the cycle and the hour pull."""
    latency = int(rng.integers(10, 50))
    stages: list[str] = []
    now = "W"
    for epoch in range(epochs):
        night = epoch / epochs
        phase = (epoch - latency) * EPOCH_S / 60 % 90 / 90
        if epoch < latency or epoch > epochs - 6:
            pull = {"W": 1.0}
        elif phase < 0.55:
            pull = {"N1": 0.12, "N2": 0.55, "N3": 0.9 * (1 - night) ** 2, "W": 0.04}
        elif phase < 0.75:
            pull = {"N2": 0.8, "N1": 0.12, "W": 0.06}
        else:
            pull = {"R": 0.3 + 0.8 * night, "N2": 0.35, "W": 0.06, "N1": 0.1}
        if now not in pull or rng.random() < 0.12:
            names, weights = list(pull), np.array(list(pull.values()))
            now = names[int(rng.choice(len(names), p=weights / weights.sum()))]
        stages.append(now)
    return stages
