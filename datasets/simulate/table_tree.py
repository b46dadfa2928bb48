"""A synthetic folder of somebody's own files: a Parquet table, a `dataset.yaml`, and four formats."""

from __future__ import annotations

from pathlib import Path

import edfio
import numpy as np
import polars as pl
from numpy.typing import NDArray

from .layouts import Shown, Truth
from .pulse import breathing, draw_beats, lead, pulse

DESCRIPTION = """\
name: my_study
title: A minute at rest and after climbing stairs
licence: none needed, computed
citation: biofm datasets simulate table
table: recordings.parquet
path: recording
subject: person
age: age_years
sex: gender
labels:
  - {set: rate, classes: [rate_class]}
  - {set: medication, flags: [beta_blocker]}
  - {set: measured, quantities: [mean_hr_bpm]}
signals:
  - modality: ecg
    path: "ecg/{path}.npy"
    format: npy
    axes: CT
    rate_hz: 250
    scale: 0.001
    channels: {0: I, 1: II}
  - modality: ppg
    path: "{path}/camera.csv"
    format: csv
    time: time_ms
    time_scale: 0.001
    channels: {R: red, G: green}
  - modality: resp
    path: "{path}/belt.edf"
    format: edf
    channels: {Chest: thorax}
  - modality: spo2
    path: "{path}/belt.edf"
    format: edf
    channels: {SpO2: spo2}
annotations:
  - path: "{path}/beats.csv"
    onset: ms
    time_scale: 0.001
    code: symbol
    codes: {N: beat:N, "~": null}
intervals:
  - {path: "{path}/rr.txt", time_scale: 0.001}
"""

SECONDS = 60
ECG_HZ, BELT_HZ, FRAMES_HZ = 250, 25, 30
RATES = ("slow", "normal", "fast")
"""Below 60 bpm, from 60 to 100, above."""


def write(folder: Path, records: int, seed: int, shown: Shown) -> list[Truth]:
    """Write so many recordings, two a person; returns the rows of the truth table."""
    (folder / "dataset.yaml").write_text(DESCRIPTION, newline="\n")
    (folder / "ecg").mkdir()
    truth = [_record(folder, number, seed) for number in shown(range(records))]
    columns = ("recording", "person", "age_years", "gender", "rate_class", "beta_blocker")
    table = pl.DataFrame(truth).select(*columns, pl.col("mean_hr_bpm").round(1))
    table.write_parquet(folder / "recordings.parquet")
    return truth


def _record(folder: Path, number: int, seed: int) -> Truth:
    """Write the files of one recording; its truth."""
    person = np.random.default_rng([seed, number // 2])
    blocker = bool(person.random() < 0.3)
    resting_bpm = person.uniform(58, 85) - 14 * blocker
    age, gender = int(person.integers(18, 80)), str(person.choice(["F", "M"]))
    rng = np.random.default_rng([seed, number // 2, number % 2 + 1])
    # The second recording of a person is after the stairs, and comes back to rest.
    after = (number % 2) * rng.uniform(30, 60) * np.exp(-np.arange(SECONDS) / 90)
    breaths_hz = rng.uniform(0.2, 0.3)
    beats_s = draw_beats(rng, resting_bpm + after, breaths_hz)
    rr_ms = np.rint(np.diff(beats_s) * 1000).astype(int)
    mean_bpm = 60_000 / float(rr_ms.mean())
    name = f"r{number:04d}"
    (folder / name).mkdir()
    _write_ecg(folder / "ecg" / f"{name}.npy", rng, beats_s)
    _write_camera(folder / name / "camera.csv", rng, beats_s)
    _write_belt(folder / name / "belt.edf", rng, breaths_hz)
    symbols = ["N"] * len(beats_s)
    noise = pl.DataFrame({"ms": [int(1000 * beats_s[0]) - 5], "symbol": ["~"]})
    beats = pl.DataFrame({"ms": np.rint(1000 * beats_s).astype(int), "symbol": symbols})
    pl.concat([noise, beats]).write_csv(folder / name / "beats.csv")
    (folder / name / "rr.txt").write_text(" ".join(map(str, rr_ms)) + "\n", newline="\n")
    return {
        "record": name,
        "recording": name,
        "person": f"p{number // 2:03d}",
        "age_years": age,
        "gender": gender,
        "beta_blocker": blocker,
        "rate_class": RATES[int(mean_bpm >= 60) + int(mean_bpm > 100)],
        "mean_hr_bpm": mean_bpm,
        "breaths_hz": breaths_hz,
        "beats_s": beats_s.tolist(),
        "rr_ms": rr_ms.tolist(),
    }


def _write_ecg(path: Path, rng: np.random.Generator, beats_s: NDArray[np.float64]) -> None:
    """Leads I and II as int16 [2, T] in µV."""
    samples = SECONDS * ECG_HZ
    leads = np.stack([lead(beats_s, samples, ECG_HZ, size) for size in (0.7, 1.0)])
    leads += rng.normal(0, 0.015, leads.shape)
    np.save(path, np.rint(1000 * leads).astype(np.int16))


def _write_camera(path: Path, rng: np.random.Generator, beats_s: NDArray[np.float64]) -> None:
    """Mean colours of the frames, at times in ms that stray, and of which a few frames are lost."""
    fine_hz = 500
    wave = pulse(beats_s, SECONDS * fine_hz, fine_hz)
    frames_s = np.arange(SECONDS * FRAMES_HZ) / FRAMES_HZ + rng.uniform(
        0, 0.012, SECONDS * FRAMES_HZ
    )
    frames_s = frames_s[rng.random(len(frames_s)) > 0.01]
    light = np.interp(frames_s, np.arange(len(wave)) / fine_hz, wave)
    noise = rng.normal(0, 0.05, (2, len(frames_s)))
    pl.DataFrame(
        {
            "time_ms": np.rint(1000 * frames_s).astype(int),
            "R": (220 - 3 * light + noise[0]).round(3),
            "G": (40 - 5 * light + noise[1]).round(3),
        }
    ).write_csv(path)


def _write_belt(path: Path, rng: np.random.Generator, breaths_hz: float) -> None:
    """A breathing belt at 25 Hz and the oximeter's saturation at 1 Hz, as EDF."""
    belt = breathing(np.full(SECONDS, breaths_hz), SECONDS * BELT_HZ, BELT_HZ)
    spo2 = (97 + rng.normal(0, 0.3, SECONDS)).round().clip(90, 100)
    edfio.Edf(
        [
            edfio.EdfSignal(belt, BELT_HZ, label="Chest", physical_range=(-2, 2)),
            edfio.EdfSignal(spo2, 1, label="SpO2", physical_dimension="%", physical_range=(0, 100)),
        ]
    ).write(path)
