"""A synthetic tree in the layout of the PhysioNet/CinC Challenge 2017."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from .layouts import Shown, Truth
from .pulse import draw_beats, lead
from .wfdb_files import write_matlab_4

RATE_HZ = 300
CODES = "NAO~"


def write(folder: Path, records: int, seed: int, shown: Shown) -> list[Truth]:
    """Write the tree of so many recordings into `folder`; returns the rows of the truth table."""
    truth: list[Truth] = []
    for number in shown(range(records)):
        rng = np.random.default_rng([seed, number])
        name, code, seconds = f"A{number + 1:05d}", CODES[number % 4], int(rng.integers(9, 62))
        beats_s = draw_beats(rng, np.full(seconds, rng.uniform(50, 110)))
        if code == "A":  # fibrillating: no interval is like the one before
            beats_s = np.sort(beats_s + rng.normal(0, 0.12, len(beats_s)))
        noise_mv = rng.normal(0, 0.6 if code == "~" else 0.02, seconds * RATE_HZ)
        samples = np.rint(1000 * (lead(beats_s, seconds * RATE_HZ, RATE_HZ) + noise_mv))
        write_matlab_4(folder / name, samples.astype(np.int16)[None], RATE_HZ, ["ECG"], [])
        truth.append({"record": name, "code": code, "r_peaks_s": beats_s.round(4).tolist()})
    rows = [f"{row['record']},{row['code']}\n" for row in truth]
    (folder / "REFERENCE-v3.csv").write_text("".join(rows), newline="\n")
    return truth
