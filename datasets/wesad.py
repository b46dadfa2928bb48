"""WESAD: 15 people at rest, under stress and amused, with wrist and chest signals.

`WESAD/S2/S2.pkl` to `S17`, without S1 and S12; `S2_readme.txt` beside it states age and gender.
Described in the data set's own readme and in Schmidt et al., ICMI 2018.

- `label` at 700 Hz: one annotation for each run of a condition. 0 (in between) and 5 to 7 (to be ignored)
  have none.
- There are no heart rates in it. Here they come from the chest ECG, as others who train on WESAD do: R peaks
  by NeuroKit2, and the mean rate in windows of 8 s every 2 s (`signals.heart_rate.heart_rate_windows`
  says which windows get none).
- The EMG, in mV, is from the upper trapezius.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from ..signals import Annotation, Recording, Signal
from ..signals.heart_rate import heart_rate_windows, r_peaks_s
from .chest_wrist import (
    AGAIN,
    CHEST,
    CHEST_HZ,
    HOP_S,
    WINDOW_S,
    Array,
    find_subjects,
    load_subject,
    rate_labels,
    read_signals,
    spans,
    vector,
)
from .registry import About, RecordError, RecordRef
from .subjects import age_years, sex_named

CONDITIONS: dict[int, str | None] = {
    0: None,
    1: "baseline",
    2: "stress",
    3: "amusement",
    4: "meditation",
    **dict.fromkeys((5, 6, 7)),
}
"""Code → condition; those without a name are not part of the study's protocol."""

FOLDER = "WESAD"
SENSORS = (
    *CHEST,
    Array("EMG", "emg", CHEST_HZ, ("trapezius",), 1000.0),
    Array("EDA", "eda", CHEST_HZ, ("chest",)),
    Array("Temp", "temp", CHEST_HZ, ("chest",)),
)
_LONGEST_README = 1 << 16


class WESAD:
    """WESAD, one recording a subject."""

    name = "wesad"

    def about(self, roots: Sequence[Path] = ()) -> About:
        """What WESAD is."""
        return About(
            title="WESAD: wearable stress and affect detection",
            licence="scientific, non-commercial use with credit to the authors",
            access="open (University of Siegen; UCI Machine Learning Repository 465)",
            signals="wrist: PPG 64 Hz, acceleration 32 Hz, EDA and temperature 4 Hz; chest: ECG, "
            "acceleration, breathing, EMG, EDA and temperature 700 Hz; about 1.7 h",
            labels="4 conditions; heart rate from the chest ECG (NeuroKit2) in windows of 8 s every 2 s",
            subjects="15, each its own recording (S2 to S17 without S12)",
            citation="Schmidt et al., ICMI 2018, doi:10.1145/3242969.3242985",
        )

    def find(self, roots: Sequence[Path]) -> list[RecordRef]:
        """Every subject's pickle at or below the roots, sorted."""
        return find_subjects(self.name, roots, folder=FOLDER, other="PPG_FieldStudy")

    def read(self, ref: RecordRef) -> Recording:
        """One subject: the signals of wrist and chest, conditions, and heart rates from the ECG."""
        content = load_subject(ref, ("label",))
        signals = read_signals(ref.path, content, SENSORS)
        codes = vector(ref.path, content, "label")
        end_s = max(signal.duration_s for signal in signals)
        feeling = spans(ref.path, codes, CHEST_HZ, "condition", CONDITIONS, end_s)
        age, sex = _person(ref.path.with_name(f"{ref.record}_readme.txt"))
        return Recording(
            dataset=self.name,
            record=ref.record,
            subject=ref.subject,
            signals=signals,
            annotations=tuple(sorted([*feeling, *_rates(signals)], key=lambda a: a.onset_s)),
            age=age,
            sex=sex,
        )

    def label_sets(self, roots: Sequence[Path]) -> dict[str, dict[str, list[str]]]:
        """Heart rate, and the conditions."""
        named = [name for name in CONDITIONS.values() if name is not None]
        return {
            "hr": {"hr": ["hr"]},
            "condition": {name: [f"condition:{name}"] for name in named},
        }


def _rates(signals: Sequence[Signal]) -> Iterator[Annotation]:
    """Heart rate by window from the chest ECG, where there is one."""
    for ecg in (signal for signal in signals if signal.modality == "ecg"):
        peaks_s = r_peaks_s(ecg.samples[0], ecg.rate_hz)
        rates = heart_rate_windows(peaks_s, WINDOW_S, HOP_S, ecg.duration_s)
        yield from rate_labels(rates, ecg.duration_s)


def _person(readme: Path) -> tuple[float | None, str | None]:
    """Age and sex from the lines `Age: 27` and `Gender: male`; unknown where the file is not there."""
    if not readme.is_file():
        return None, None
    said: dict[str, str] = {}
    with readme.open(encoding="utf-8", errors="replace") as file:
        for line in file.read(_LONGEST_README).splitlines():
            field, _, value = line.partition(":")
            said.setdefault(field.strip().lower(), value.strip())
    try:
        return age_years(said.get("age", "")), sex_named(said.get("gender", ""))
    except ValueError as error:
        raise RecordError(f"{readme}: {str(error)[:200]}; {AGAIN}") from error
