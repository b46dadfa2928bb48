"""PPG-DaLiA: 15 people in daily life with pulse, acceleration and chest ECG, and heart rate by window.

`PPG_FieldStudy/S1/S1.pkl` to `S15` (UCI 495). Described in the data set's own readme and in Reiss et
al., Sensors 19:3079 (2019).

- `label[i]` is the heart rate from the ECG in the 8 s from second 2 · i on: one for every window that
  the pulse fills. Windows past the end of the pulse or the ECG (S6 is cut short) get no annotation.
- `activity` at 4 Hz: one annotation for each run. 0, on the way from one to the next, has none.
- Of the chest, the data set describes acceleration, ECG and breathing. Its EMG, EDA and temperature
  arrays come from sensors that nobody wore, and are not read.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..signals import Recording
from .chest_wrist import (
    AGAIN,
    CHEST,
    find_subjects,
    load_subject,
    rate_labels,
    read_signals,
    spans,
    vector,
)
from .registry import About, RecordError, RecordRef
from .subjects import age_years, sex_named

ACTIVITIES: dict[int, str | None] = {
    0: None,
    1: "sitting",
    2: "stairs",
    3: "table_soccer",
    4: "cycling",
    5: "driving",
    6: "lunch",
    7: "walking",
    8: "working",
}
"""Code → activity; 0 is the time between two."""

ACTIVITY_HZ = 4.0
FOLDER = "PPG_FieldStudy"


class PPGDaLiA:
    """PPG-DaLiA, one recording a subject."""

    name = "ppg_dalia"

    def about(self, roots: Sequence[Path] = ()) -> About:
        """What PPG-DaLiA is."""
        return About(
            title="PPG-DaLiA: PPG in daily life activities",
            licence="CC BY 4.0",
            access="open (UCI Machine Learning Repository 495)",
            signals="wrist: PPG 64 Hz, acceleration 32 Hz, EDA and temperature 4 Hz; chest: ECG, "
            "acceleration and breathing 700 Hz; about 2.5 h",
            labels="heart rate from the ECG in windows of 8 s every 2 s; 8 activities",
            subjects="15, each its own recording (S1 to S15)",
            citation="Reiss et al., Sensors 19:3079 (2019), doi:10.3390/s19143079",
        )

    def find(self, roots: Sequence[Path]) -> list[RecordRef]:
        """Every subject's pickle at or below the roots, sorted."""
        return find_subjects(self.name, roots, folder=FOLDER, other="WESAD")

    def read(self, ref: RecordRef) -> Recording:
        """One subject: the signals of wrist and chest, heart rates and activities."""
        content = load_subject(ref, ("label", "activity", "questionnaire"))
        signals = read_signals(ref.path, content, CHEST)
        beating_s = [s.duration_s for s in signals if s.modality in ("ppg", "ecg")]
        rates = rate_labels(vector(ref.path, content, "label"), min(beating_s, default=0.0))
        codes = vector(ref.path, content, "activity")
        end_s = max(signal.duration_s for signal in signals)
        doing = spans(ref.path, codes, ACTIVITY_HZ, "activity", ACTIVITIES, end_s)
        age, sex = _person(ref.path, content["questionnaire"])
        return Recording(
            dataset=self.name,
            record=ref.record,
            subject=ref.subject,
            signals=signals,
            annotations=tuple(sorted([*doing, *rates], key=lambda a: a.onset_s)),
            age=age,
            sex=sex,
        )

    def label_sets(self, roots: Sequence[Path]) -> dict[str, dict[str, list[str]]]:
        """Heart rate, and the activities."""
        named = [name for name in ACTIVITIES.values() if name is not None]
        return {
            "hr": {"hr": ["hr"]},
            "activity": {name: [f"activity:{name}"] for name in named},
        }


def _person(path: Path, answers: Any) -> tuple[float | None, str | None]:
    """Age and sex from the questionnaire, whose keys are AGE and Gender ("m" or "f")."""
    said = {
        key: value
        for key, value in (answers.items() if isinstance(answers, dict) else ())
        if isinstance(value, str | int | float)  # others may be endless as text
    }
    try:
        return age_years(str(said.get("AGE", ""))), sex_named(str(said.get("Gender", "")))
    except ValueError as error:
        raise RecordError(f"{path}: questionnaire: {str(error)[:200]}; {AGAIN}") from error
