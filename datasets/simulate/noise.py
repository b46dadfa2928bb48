"""What electrodes add to the heart: drift, mains hum, muscle, loose contacts.

Noise is made at the nine electrodes that lead to the eight independent leads (RA, LA, LL, V1–V6)
and goes through the same differences as a real potential, so noisy leads obey Einthoven and
Goldberger too.

Shapes: T time, 9 electrodes, 8 leads.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import signal as dsp

from .conditions import Noise

ELECTRODES = ("RA", "LA", "LL", "V1", "V2", "V3", "V4", "V5", "V6")
DRIFT_TERMS = 5

LEVELS_UV: dict[Noise, dict[str, tuple[float, float]]] = {
    "low": {"drift": (6, 40), "mains": (0.3, 2), "muscle": (1, 5)},
    "medium": {"drift": (30, 90), "mains": (1, 8), "muscle": (4, 14)},
    "high": {"drift": (80, 220), "mains": (4, 30), "muscle": (12, 40)},
}
"""Level → kind → range of its root mean square at one electrode, in µV."""


@dataclass(frozen=True)
class NoiseTruth:
    """What was added: root mean square per electrode in µV, and the number of contact artefacts."""

    drift_uv: float
    mains_uv: float
    muscle_uv: float
    contacts: int


def electrodes_to_leads() -> NDArray[np.float32]:
    """[8, 9]: I = LA − RA, II = LL − RA, and V1–V6 against Wilson's terminal."""
    matrix = np.zeros((8, 9), np.float32)
    matrix[0, [0, 1]] = -1, 1
    matrix[1, [0, 2]] = -1, 1
    matrix[2:, :3] = -1 / 3
    matrix[2:, 3:] = np.eye(6)
    return matrix


def draw_noise(
    rng: np.random.Generator, level: Noise, samples: int, rate_hz: float
) -> tuple[NDArray[np.float32], NoiseTruth]:
    """Noise of leads I, II, V1–V6, [8, T] in mV, and what it consists of."""
    drift_uv, mains_uv, muscle_uv = (rng.uniform(*LEVELS_UV[level][k]) for k in LEVELS_UV[level])
    t_s = np.arange(samples, dtype=np.float32) / np.float32(rate_hz)
    electrodes = drift(rng, t_s, drift_uv) + mains(rng, t_s, mains_uv)
    electrodes += muscle(rng, samples, rate_hz, muscle_uv)
    contacts = int(rng.integers(1, 4)) if level == "high" and rng.random() < 0.6 else 0
    for _ in range(contacts):
        electrodes[rng.integers(9)] += contact(rng, t_s)
    leads_8 = electrodes_to_leads() @ electrodes
    leads_8 *= np.float32(1e-3)
    return leads_8, NoiseTruth(drift_uv, mains_uv, muscle_uv, contacts)


def drift(rng: np.random.Generator, t_s: NDArray[np.float32], rms_uv: float) -> NDArray[np.float32]:
    """Baseline wander [9, T] in µV: slow sines, mixed by every electrode in its own way."""
    frequencies_hz = rng.uniform(0.05, 0.5, DRIFT_TERMS)
    angles = np.outer(2 * np.pi * frequencies_hz, t_s).astype(np.float32)
    terms = np.concatenate([np.sin(angles), np.cos(angles)])
    mix = rng.standard_normal((9, 2 * DRIFT_TERMS)) / np.tile(1 + frequencies_hz / 0.15, 2)
    mix *= rms_uv * np.sqrt(2) / np.sqrt((mix**2).sum(axis=1, keepdims=True))
    return np.asarray(mix.astype(np.float32) @ terms)


def mains(rng: np.random.Generator, t_s: NDArray[np.float32], rms_uv: float) -> NDArray[np.float32]:
    """Mains hum [9, T] in µV: 50 Hz and a little of its third harmonic, of one phase everywhere."""
    angle = np.float32(2 * np.pi * 50) * t_s + np.float32(rng.uniform(0, 2 * np.pi))
    wave = np.sin(angle) + np.float32(0.15) * np.sin(3 * angle)
    coupling = rms_uv * np.sqrt(2) * rng.uniform(0.4, 1.6, 9)
    return np.outer(coupling, wave).astype(np.float32)


@lru_cache
def muscle_band(rate_hz: float) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Numerator and denominator of the band of muscle activity; white noise keeps its power."""
    b, a = dsp.butter(1, (20, 120), "bandpass", fs=rate_hz)
    impulse = np.zeros(round(rate_hz))
    impulse[0] = 1
    b /= np.sqrt(np.sum(np.square(dsp.lfilter(b, a, impulse))))
    return b.astype(np.float32), a.astype(np.float32)


def muscle(
    rng: np.random.Generator, samples: int, rate_hz: float, rms_uv: float
) -> NDArray[np.float32]:
    """Muscle activity [9, T] in µV: band-limited noise whose strength swells and fades."""
    white = rng.standard_normal((9, samples), dtype=np.float32)
    noise = dsp.lfilter(*muscle_band(rate_hz), white, axis=1)
    t_s = np.arange(samples, dtype=np.float32) / np.float32(rate_hz)
    angle = 2 * np.pi * rng.uniform(0.1, 0.5) * t_s + rng.uniform(0, 2 * np.pi)
    swell = rms_uv * (1 + 0.5 * np.sin(angle.astype(np.float32)))
    return np.asarray(noise * swell.astype(np.float32), np.float32)


def contact(rng: np.random.Generator, t_s: NDArray[np.float32]) -> NDArray[np.float32]:
    """One artefact of a loose electrode [T] in µV: a jump that decays within a second or so."""
    since_s = t_s - np.float32(rng.uniform(0.05, 0.9) * t_s[-1])
    height_uv = rng.choice([-1, 1]) * rng.uniform(150, 600)
    decay = np.exp(-np.maximum(since_s, 0) / np.float32(rng.uniform(0.2, 0.9)))
    rise = 1 / (1 + np.exp(-np.clip(since_s / np.float32(0.008), -30, 30)))
    return np.asarray(height_uv * decay * rise, np.float32)
