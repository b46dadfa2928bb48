"""A synthetic tree in the layout of sleep-accel: short nights, because most of the cost is text."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from .layouts import Shown, Truth
from .night import EPOCH_S, Night, draw_night

HOURS = 0.75
MOTION_HZ = 50.0
REST_NOISE_G = 0.004
STEPS_S = 600

_NUMBERS = {"W": 0, "N1": 1, "N2": 2, "N3": 3, "R": 5}
_Table = dict[str, NDArray[np.float64]]


def write(folder: Path, records: int, seed: int, shown: Shown) -> list[Truth]:
    """Write the tree of so many nights into `folder`; returns the rows of the truth table."""
    # The same names for every seed, scattered as the real ones.
    numbers = np.random.default_rng(0).choice(9_000_000, records, replace=False) + 1_000_000
    return [_subject(folder, str(number), i, seed) for i, number in enumerate(shown(numbers))]


def _subject(folder: Path, name: str, index: int, seed: int) -> Truth:
    """One subject: of every seven the second has no motion, the third no steps, the fourth no derived counts."""
    rng = np.random.default_rng([seed, 1, index])
    night = draw_night(rng, HOURS, rng.uniform(50, 68))
    labels = _labels(rng, night, index)
    _save(folder / "labels" / f"{name}_labeled_sleep.txt", labels, " ", 0)
    heart = _heart(rng, night)
    if index % 7 == 3:
        # As two real files do: everything three times over.
        heart = {column: np.tile(values, 3) for column, values in heart.items()}
    _save(folder / "heart_rate" / f"{name}_heartrate.txt", heart, ",", 5)
    if moves := index % 7 != 1:
        _save(folder / "motion" / f"{name}_acceleration.txt", _motion(rng, night), " ", 6)
    derived = _derived(folder, name, night, labels) if index % 7 != 3 else None
    steps = _steps(rng) if index % 7 != 2 else None
    if steps:
        _save(folder / "steps" / f"{name}_steps.txt", steps, ",", 0)
    by_epoch = (len(night.stages), EPOCH_S)
    return {
        "record": name,
        "subject": f"sleep_accel-{name}",
        "stages": [
            None if number < 0 else stage
            for stage, number in zip(night.stages, labels["stage"], strict=True)
        ],
        "heart_bpm": night.heart_bpm.reshape(by_epoch).mean(axis=1).tolist(),
        "movement_g": night.movement_g.reshape(by_epoch).mean(axis=1).tolist(),
        "motion": moves,
        "smoothed_counts": derived,
        "steps": float(steps["steps"].sum()) if steps else None,
    }


def _labels(rng: np.random.Generator, night: Night, index: int) -> _Table:
    """Every 30 s; some epochs unscored, of every second subject deep sleep partly as N4."""
    stages = np.array([_NUMBERS[stage] for stage in night.stages], float)
    if index % 2 == 0:
        stages[(stages == 3) & (rng.random(len(stages)) < 0.5)] = 4
    stages[: int(rng.integers(1, 8))] = -1
    return {"time_s": np.arange(len(stages)) * float(EPOCH_S), "stage": stages}


def _heart(rng: np.random.Generator, night: Night) -> _Table:
    """Now and then from two days before, then about every 5 s."""
    before_s = -np.sort(rng.uniform(60, 2 * 86400, 200))[::-1]
    night_s = np.cumsum(rng.choice((4, 5, 5, 6), len(night.heart_bpm) // 5)) + rng.random() * 5
    night_s = night_s[night_s < len(night.heart_bpm)]
    awake_bpm = rng.normal(85, 12, len(before_s)).clip(50, 160)
    asleep_bpm = night.heart_bpm[night_s.astype(int)]
    return {
        "time_s": np.concatenate((before_s, night_s)),
        "bpm": np.rint(np.concatenate((awake_bpm, asleep_bpm))),
    }


def _motion(rng: np.random.Generator, night: Night) -> _Table:
    """Gravity that turns with the wrist, and movement in the band that counts see; from 20 s before."""
    times_s = np.arange(-20.0, len(night.movement_g), 1 / MOTION_HZ)
    times_s += rng.normal(0, 0.002, len(times_s))
    times_s.sort()
    seconds = times_s.astype(int).clip(0)
    # The wrist turns with every movement.
    turned = np.cumsum(night.movement_g * rng.normal(0, 0.4, len(night.movement_g)))[seconds]
    tilt = rng.uniform(-0.5, 0.5)
    size_g = np.where(times_s < 0, 0.1, night.movement_g[seconds])
    phase = 2 * np.pi * np.cumsum(rng.normal(5, 1.5, len(times_s)).clip(3.5, 8)) / MOTION_HZ
    gravity = (np.sin(turned) * np.cos(tilt), np.sin(tilt), -np.cos(turned) * np.cos(tilt))
    return {
        "time_s": times_s,
        **{
            axis: pull + size_g * np.sin(phase + shift) + rng.normal(0, REST_NOISE_G, len(times_s))
            for axis, pull, shift in zip("xyz", gravity, (0, 1, 2), strict=True)
        },
    }


def _derived(folder: Path, name: str, night: Night, labels: _Table) -> list[float | None]:
    """What the published code leaves of the motion: counts of all scored epochs but two.

    Returns the counts of every epoch of the night, None where the files have none.
    """
    movement = night.movement_g.reshape(len(night.stages), EPOCH_S).mean(axis=1)
    smoothed = np.convolve(movement, (0.2, 0.6, 0.2), mode="same") * 1000
    kept = np.flatnonzero(labels["stage"] >= 0)
    kept = np.delete(kept, [0, len(kept) // 2])
    columns = {
        "count_feature": smoothed[kept],
        "time_feature": (labels["time_s"][kept] - labels["time_s"][kept[0]]) / 3600,
        "psg_labels": labels["stage"][kept],
    }
    for what, values in columns.items():
        _save(folder / "features" / f"{name}_{what}.out", {what: values}, " ", 6)
    return [float(smoothed[e]) if e in kept else None for e in range(len(smoothed))]


def _steps(rng: np.random.Generator) -> _Table:
    """Every 10 minutes of two days; most count nothing."""
    times_s = np.arange(-2 * 86400 + 61, HOURS * 3600, STEPS_S)
    walks = rng.random(len(times_s)) < 0.25
    return {"time_s": times_s, "steps": np.where(walks, rng.integers(1, 900, len(times_s)), 0.0)}


def _save(path: Path, table: _Table, separator: str, decimals: int) -> None:
    """Text without a header; times with so many decimals, whole numbers as such."""
    path.parent.mkdir(exist_ok=True)
    whole = [column for column in table if decimals == 0 or column == "bpm"]
    pl.DataFrame(table).with_columns(pl.col(whole).cast(pl.Int64)).write_csv(
        path, include_header=False, separator=separator, float_precision=decimals or None
    )
