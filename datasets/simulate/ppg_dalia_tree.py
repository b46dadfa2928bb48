"""A synthetic tree in the layout of PPG-DaLiA: `PPG_FieldStudy/S1/S1.pkl` and so on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from .chest_wrist_files import (
    ACC_HZ,
    BVP_HZ,
    CHEST_HZ,
    SLOW_HZ,
    Session,
    Stretch,
    draw_person,
    draw_session,
    runs,
    window_rates,
    write_pickle,
)
from .layouts import Shown, Truth

BETWEEN = Stretch(0, 10, 5.0, 0.05)
SITTING, WALKING = Stretch(1, 60, 0.0, 0.003), Stretch(7, 50, 25.0, 0.3)
OTHERS = (
    Stretch(2, 30, 45.0, 0.35),
    Stretch(3, 30, 30.0, 0.4),
    Stretch(4, 30, 40.0, 0.15),
    Stretch(5, 30, 5.0, 0.03),
    Stretch(6, 30, 5.0, 0.05),
    Stretch(8, 30, 2.0, 0.01),
)
"""Everyone sits and walks, and does two of these."""

CUT_SHORT = "S6"
"""The signals of this subject end before the labels do."""


def write(folder: Path, records: int, seed: int, shown: Shown) -> list[Truth]:
    """Write the tree of so many subjects into `folder`; returns the rows of the truth table."""
    truth: list[Truth] = []
    for index in shown(range(records)):
        rng = np.random.default_rng([seed, index])
        name = f"S{index + 1}"
        person = draw_person(rng)
        first, second = (OTHERS[(2 * index + i) % len(OTHERS)] for i in (0, 1))
        day = (SITTING, BETWEEN, first, BETWEEN, WALKING, BETWEEN, second)
        session = draw_session(rng, person, day, wrist_unit_g=1.0)
        seconds = len(session.code_S)
        rates = window_rates(session.beats_s, seconds)
        signal_s = 3 * seconds // 4 if name == CUT_SHORT else seconds
        content = {
            "rpeaks": np.rint(session.beats_s * CHEST_HZ).astype(np.int64),
            "signal": _cut(session, signal_s),
            "label": np.array(rates),
            "activity": np.repeat(session.code_S, SLOW_HZ)[:, None].astype(np.float64),
            "questionnaire": {
                "WEIGHT": float(rng.integers(55, 95)),
                "Gender": " f" if person.female else " m",
                "AGE": person.age,
                "HEIGHT": float(rng.integers(158, 196)),
                "SKIN": int(rng.integers(2, 5)),
                "SPORT": int(rng.integers(1, 7)),
            },
            "subject": name,
        }
        write_pickle(folder / "PPG_FieldStudy" / name / f"{name}.pkl", content)
        truth.append(
            {
                "record": name,
                "subject": name,
                "age": person.age,
                "sex": "female" if person.female else "male",
                "signal_s": signal_s,
                "r_peaks_s": session.beats_s.tolist(),
                "hr_bpm": rates,
                "runs": runs(session.code_S),
            }
        )
    return truth


def _cut(session: Session, seconds: int) -> dict[str, dict[str, Any]]:
    """The arrays of both devices up to so many seconds, and the chest's sensors that nobody wore."""
    chest = {name: array[: seconds * CHEST_HZ] for name, array in session.arrays["chest"].items()}
    nothing = np.zeros((seconds * CHEST_HZ, 1), np.float32)
    rates_hz = {"ACC": ACC_HZ, "BVP": BVP_HZ, "EDA": SLOW_HZ, "TEMP": SLOW_HZ}
    wrist = {n: array[: seconds * rates_hz[n]] for n, array in session.arrays["wrist"].items()}
    return {"chest": {**chest, "EMG": nothing, "EDA": nothing, "Temp": nothing}, "wrist": wrist}
