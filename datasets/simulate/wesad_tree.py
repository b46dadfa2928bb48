"""A synthetic tree in the layout of WESAD: `WESAD/S2/S2.pkl` with `S2_readme.txt`, without S1 and S12."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from .chest_wrist_files import (
    CHEST_HZ,
    Person,
    Session,
    Stretch,
    Wave,
    draw_person,
    draw_session,
    runs,
    window_rates,
    write_pickle,
)
from .layouts import Shown, Truth

NUMBERS = [number for number in range(2, 101) if number != 12]
"""Of the subjects; the real ones end at 17."""

BETWEEN = Stretch(0, 8, 4.0, 0.05)
STUDY = (
    BETWEEN,
    Stretch(1, 60, 0.0, 0.003),
    BETWEEN,
    Stretch(3, 30, 4.0, 0.01),
    BETWEEN,
    Stretch(2, 50, 25.0, 0.06),
    Stretch(6, 6, 10.0, 0.01),
    Stretch(4, 30, -4.0, 0.003),
    Stretch(7, 6, 0.0, 0.02),
)
"""The conditions in one of the study's two orders, with codes that are to be ignored."""

STRESS = 2


def write(folder: Path, records: int, seed: int, shown: Shown) -> list[Truth]:
    """Write the tree of so many subjects into `folder`; returns the rows of the truth table."""
    truth: list[Truth] = []
    for number in shown(NUMBERS[:records]):
        rng = np.random.default_rng([seed, number])
        name = f"S{number}"
        person = draw_person(rng)
        session = draw_session(rng, person, STUDY, wrist_unit_g=1 / 64)
        chest = {**session.arrays["chest"], **_sensors(rng, session)}
        content = {
            "signal": {"chest": chest, "wrist": session.arrays["wrist"]},
            "label": np.repeat(session.code_S, CHEST_HZ).astype(np.int32),
            "subject": name,
        }
        at = folder / "WESAD" / name
        write_pickle(at / f"{name}.pkl", content)
        (at / f"{name}_readme.txt").write_text(_readme(rng, person), newline="\n")
        truth.append(
            {
                "record": name,
                "subject": name,
                "age": person.age,
                "sex": "female" if person.female else "male",
                "r_peaks_s": session.beats_s.tolist(),
                "hr_bpm": window_rates(session.beats_s, len(session.code_S)),
                "runs": runs(session.code_S),
            }
        )
    return truth


def _sensors(rng: np.random.Generator, session: Session) -> dict[str, Wave]:
    """The chest's EMG in mV, EDA in µS and temperature in °C [T, 1]; stress tenses and sweats."""
    stress = np.repeat(session.code_S == STRESS, CHEST_HZ).astype(np.float64)[:, None]
    at_s = (np.arange(len(stress)) / CHEST_HZ)[:, None]
    return {
        "EMG": rng.normal(0, 0.006 * (1 + stress)),
        "EDA": 3
        + 2 * stress
        + 0.2 * np.sin(2 * np.pi * at_s / 40)
        + rng.normal(0, 0.01, at_s.shape),
        "Temp": 33.5 + 0.002 * at_s + rng.normal(0, 0.02, at_s.shape),
    }


def _readme(rng: np.random.Generator, person: Person) -> str:
    """A subject's text file."""
    return f"""### Personal information ###
Age: {person.age}
Height (cm): {rng.integers(158, 196)}
Weight (kg): {rng.integers(55, 95)}
Gender: {"female" if person.female else "male"}
Dominant hand: right

### Study pre-requisites ###
Did you drink coffee today? NO
Did you drink coffee within the last hour? NO
Did you do any sports today? NO
Are you a smoker? NO
Did you smoke within the last hour? NO
Do you feel ill today? NO

### Additional notes ###
Simulated: biofm's synthetic twin, nobody's heart.
"""
