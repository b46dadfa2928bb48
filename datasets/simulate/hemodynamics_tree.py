"""A synthetic set of PPG segments with ten hemodynamic parameters: `ppg.npy`, `cnap.npy`, `dataset.yaml`.

A segment's labels hang together as in a person (MAP from SBP and DBP, SV = CO / HR, SVR = (MAP − CVP) /
CO, indices by body surface) and show in its wave: HR in the beats, the pulse pressure in its height, and
resistance in how early and how high the wave comes back from the periphery.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.lib.format import open_memmap
from numpy.typing import NDArray

from .layouts import Shown, Truth
from .pulse import draw_beats, pulse

RATE_HZ = 125
SEGMENT_S = 10
ROWS_PER_SUBJECT = 4
CVP_MMHG = 5.0
LABELS = {"SBP": "mmHg", "MAP": "mmHg", "DBP": "mmHg", "HR": "bpm", "CO": "L/min", "CI": "L/min/m2",
          "SV": "mL", "SI": "mL/m2", "SVR": "dyn*s/cm5", "SVRI": "dyn*s*m2/cm5"}  # fmt: skip
SIDECAR = """# Synthetic: see SYNTHETIC.md.
name: twin
rate_hz: {rate_hz}
labels: {{{labels}}}
subjects: subjects.txt
title: Synthetic PPG segments with hemodynamic parameters
licence: the project's own
"""


def write(folder: Path, records: int, seed: int, shown: Shown) -> list[Truth]:
    """Write a set of so many segments into `folder`; returns the rows of the truth table."""
    shape = (records, SEGMENT_S * RATE_HZ)
    ppg = open_memmap(folder / "ppg.npy", mode="w+", dtype=np.float64, shape=shape)
    cnap = np.empty((records, len(LABELS)))
    truth: list[Truth] = []
    for row in shown(range(records)):
        person = row // ROWS_PER_SUBJECT
        rng = np.random.default_rng([seed, 1, row])
        labels = _draw_labels(np.random.default_rng([seed, 0, person]), rng)
        ppg[row] = _draw_wave(rng, labels)
        cnap[row] = list(labels.values())
        truth.append({"record": f"twin-{row:08d}", "subject": f"twin-S{person + 1:04d}", **labels})
    ppg.flush()
    np.save(folder / "cnap.npy", cnap)
    subjects = [f"S{row // ROWS_PER_SUBJECT + 1:04d}" for row in range(records)]
    (folder / "subjects.txt").write_text("\n".join(subjects) + "\n", newline="\n")
    stated = ", ".join(f"{name}: {unit}" for name, unit in LABELS.items())
    text = SIDECAR.format(rate_hz=RATE_HZ, labels=stated)
    (folder / "dataset.yaml").write_text(text, newline="\n")
    return truth


def _draw_labels(person: np.random.Generator, rng: np.random.Generator) -> dict[str, float]:
    """A segment's labels in the order of `LABELS`: a person's own level, and what moves about it."""
    dbp = person.uniform(58, 92) + rng.normal(0, 4)
    pulse_pressure = max(22.0, person.uniform(32, 65) + rng.normal(0, 4))
    hr = float(np.clip(person.uniform(55, 95) + rng.normal(0, 5), 42, 130))
    co = float(np.clip(person.uniform(3.8, 6.8) * (1 + rng.normal(0, 0.06)), 2.5, 9))
    surface_m2 = person.uniform(1.6, 2.2)
    mean = dbp + pulse_pressure / 3
    stroke_ml = co / hr * 1000
    resistance = 80 * (mean - CVP_MMHG) / co
    values = (dbp + pulse_pressure, mean, dbp, hr, co, co / surface_m2, stroke_ml,
              stroke_ml / surface_m2, resistance, resistance * surface_m2)  # fmt: skip
    return dict(zip(LABELS, map(float, values), strict=True))


def _draw_wave(rng: np.random.Generator, labels: dict[str, float]) -> NDArray[np.float64]:
    """A segment's PPG [T]."""
    samples = SEGMENT_S * RATE_HZ
    # Three seconds more than needed, so that beats from before the segment reach into it.
    beats_s = draw_beats(rng, np.full(SEGMENT_S + 3, labels["HR"])) - 1.5
    stiffness = float(np.clip((labels["SVR"] - 700) / 1200, 0, 1))
    returning = pulse(beats_s + 0.30 - 0.14 * stiffness, samples, RATE_HZ)
    wave = pulse(beats_s, samples, RATE_HZ) + (0.15 + 0.45 * stiffness) * returning
    height = 0.6 * (labels["SBP"] - labels["DBP"]) / 45
    noise = rng.normal(0, 0.01, samples)
    drawn: NDArray[np.float64] = 1.0 + height * wave + noise
    return drawn
