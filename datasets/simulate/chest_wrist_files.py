"""What the twins of PPG-DaLiA and WESAD share: an hour in a few minutes, felt by chest and wrist.

A session is a list of stretches. Each has its heart rate and its movement; one train of beats makes the
chest's ECG and the wrist's pulse, and what moves the wrist also spoils its pulse, at the rhythm of the
steps.

Shapes: S seconds, T time, B beats.
"""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from .pulse import breathing, draw_beats, lead, pulse

CHEST_HZ, ACC_HZ, BVP_HZ, SLOW_HZ = 700, 32, 64, 4
WINDOW_S, HOP_S = 8, 2

Wave = NDArray[np.float64]


class Stretch(NamedTuple):
    """So many seconds of one code, `above_bpm` over the resting heart rate, moving by `movement_g`."""

    code: int
    seconds: int
    above_bpm: float
    movement_g: float


@dataclass(frozen=True)
class Person:
    """Who is simulated."""

    age: int
    female: bool
    resting_bpm: float
    steps_hz: float


def draw_person(rng: np.random.Generator) -> Person:
    """A grown-up."""
    return Person(
        age=int(rng.integers(21, 56)),
        female=bool(rng.random() < 0.5),
        resting_bpm=float(rng.uniform(58, 78)),
        steps_hz=float(rng.uniform(1.6, 2.1)),
    )


@dataclass(frozen=True)
class Session:
    """`code_S` and the planted beats [B]; `arrays`: device → name → array as in the pickles."""

    code_S: NDArray[np.int64]
    beats_s: Wave
    arrays: dict[str, dict[str, Wave]]


def draw_session(
    rng: np.random.Generator, person: Person, stretches: Sequence[Stretch], wrist_unit_g: float
) -> Session:
    """Both devices' signals; the wrist's acceleration is in `wrist_unit_g`."""
    lengths = [stretch.seconds for stretch in stretches]
    code_S = np.repeat([stretch.code for stretch in stretches], lengths)
    above_S = np.repeat([stretch.above_bpm for stretch in stretches], lengths)
    moves_S = np.repeat([stretch.movement_g for stretch in stretches], lengths)
    seconds = len(code_S)
    heart_bpm = person.resting_bpm + gaussian_filter1d(above_S, 5, mode="nearest")
    breaths_hz = np.full(seconds, rng.uniform(0.2, 0.3))
    beats_s = draw_beats(rng, heart_bpm, float(breaths_hz[0]))

    swing = _swing(rng, person, moves_S, seconds * ACC_HZ, ACC_HZ)
    wrist_acc = swing[:, None] * (0.5, 1.0, 0.4) + _gravity(rng)
    wrist_acc = np.rint((wrist_acc + rng.normal(0, 0.004, wrist_acc.shape)) * 64) / 64
    at_s = np.arange(seconds * BVP_HZ) / BVP_HZ
    felt = np.interp(at_s, np.arange(len(swing)) / ACC_HZ, swing)
    # The cuff of the watch moves a moment after the arm.
    spoilt = 2.5 * gaussian_filter1d(np.roll(felt, 6), 3)
    bvp = 60 * (pulse(beats_s, len(at_s), BVP_HZ) - 0.4 + spoilt + rng.normal(0, 0.02, len(at_s)))

    samples = seconds * CHEST_HZ
    ecg = lead(beats_s, samples, CHEST_HZ) + rng.normal(0, 0.015, samples)
    breath = breathing(breaths_hz, samples, CHEST_HZ)
    shaken = _swing(rng, person, moves_S / 2, samples, CHEST_HZ)
    chest_acc = shaken[:, None] * (1.0, 0.2, 0.3) + _gravity(rng)
    arrays = {
        "chest": {
            "ACC": chest_acc + rng.normal(0, 0.002, chest_acc.shape),
            "ECG": (ecg + 0.08 * breath)[:, None],
            "Resp": (4 * breath + rng.normal(0, 0.1, samples))[:, None],
        },
        "wrist": {
            "ACC": wrist_acc / wrist_unit_g,
            "BVP": np.round(bvp, 2)[:, None],
            "EDA": _slow(rng, seconds, 1.5, 0.3),
            "TEMP": np.round(_slow(rng, seconds, 33.0, 0.2), 2),
        },
    }
    return Session(code_S, beats_s, arrays)


def window_rates(beats_s: Wave, seconds: int) -> list[float]:
    """The planted heart rate of every window that lies wholly in the session."""
    rates = []
    for onset_s in range(0, seconds - WINDOW_S + 1, HOP_S):
        inside = beats_s[(beats_s >= onset_s) & (beats_s < onset_s + WINDOW_S)]
        rates.append(float(60 * (len(inside) - 1) / (inside[-1] - inside[0])))
    return rates


def runs(code_S: NDArray[np.int64]) -> list[dict[str, int]]:
    """The runs of one code: code, onset_s, duration_s."""
    starts = np.flatnonzero(np.diff(code_S, prepend=-1))
    ends = np.append(starts[1:], len(code_S))
    return [
        {"code": int(code_S[start]), "onset_s": int(start), "duration_s": int(end - start)}
        for start, end in zip(starts, ends, strict=True)
    ]


def write_pickle(path: Path, content: dict[str, Any]) -> None:
    """The content as a pickle of protocol 2, as Python 2 wrote the real ones."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(content, protocol=2))


def _swing(
    rng: np.random.Generator, person: Person, moves_S: Wave, samples: int, rate_hz: int
) -> Wave:
    """Movement [T] in g: the arm at every other step, the body at each, and less regular ones."""
    at_s = np.arange(samples) / rate_hz
    size = np.interp(at_s, np.arange(len(moves_S)) + 0.5, moves_S)
    phase = 2 * np.pi * (person.steps_hz * at_s + rng.random())
    other = gaussian_filter1d(rng.standard_normal(samples), rate_hz / 8) * np.sqrt(rate_hz) / 2
    wave: Wave = size * (np.sin(phase) + 0.5 * np.sin(phase / 2) + 0.4 * other)
    return wave


def _gravity(rng: np.random.Generator) -> Wave:
    """1 g in a direction of its own."""
    direction = rng.standard_normal(3)
    pull: Wave = direction / np.linalg.norm(direction)
    return pull


def _slow(rng: np.random.Generator, seconds: int, level: float, spread: float) -> Wave:
    """A skin signal [T, 1] at 4 Hz that wanders about a level."""
    samples = seconds * SLOW_HZ
    wander = gaussian_filter1d(rng.standard_normal(samples), 40) * np.sqrt(2 * 40 * np.sqrt(np.pi))
    wave: Wave = (level + spread * wander)[:, None]
    return wave
