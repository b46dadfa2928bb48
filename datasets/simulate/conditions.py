"""What can be planted in a synthetic recording, and who has it: the cohort and the plan of every
record.

Everything here is decided before a sample is drawn, from the seed alone. A subject has one leading
condition (dealt from a deck, so that every class occurs even in a small tree) and sometimes a
second one. Conduction, structure and atrial fibrillation stay with the subject; the rest comes and
goes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

Rhythm = Literal["sinus", "af", "bradycardia", "tachycardia"]
Ectopy = Literal["none", "pac", "pvc"]
Conduction = Literal["normal", "first_degree_block", "lbbb", "rbbb"]
Segment = Literal["none", "depression", "elevation"]
Structure = Literal["normal", "inferior_infarction", "anteroseptal_infarction", "lv_hypertrophy"]
Noise = Literal["low", "medium", "high"]


@dataclass(frozen=True)
class State:
    """The planted truth of one recording."""

    rhythm: Rhythm = "sinus"
    ectopy: Ectopy = "none"
    conduction: Conduction = "normal"
    st: Segment = "none"
    structure: Structure = "normal"


CONDITIONS: dict[str, dict[str, Any]] = {
    "normal": {},
    "af": {"rhythm": "af"},
    "bradycardia": {"rhythm": "bradycardia"},
    "tachycardia": {"rhythm": "tachycardia"},
    "pac": {"ectopy": "pac"},
    "pvc": {"ectopy": "pvc"},
    "first_degree_block": {"conduction": "first_degree_block"},
    "lbbb": {"conduction": "lbbb"},
    "rbbb": {"conduction": "rbbb"},
    "st_depression": {"st": "depression"},
    "st_elevation": {"st": "elevation"},
    "inferior_infarction": {"structure": "inferior_infarction"},
    "anteroseptal_infarction": {"structure": "anteroseptal_infarction"},
    "lv_hypertrophy": {"structure": "lv_hypertrophy"},
}
"""Condition → the fields of `State` it sets."""

PASSING = ("bradycardia", "tachycardia", "pac", "pvc", "st_depression", "st_elevation")
"""Conditions that a subject does not show in every recording."""


@dataclass(frozen=True)
class Subject:
    """One invented person. `age` is in years and not yet capped; `fold` is 1–10."""

    number: int
    conditions: tuple[str, ...]
    age: int
    female: bool
    fold: int
    recordings: int


@dataclass(frozen=True)
class Plan:
    """One recording to be made: the `index`-th of the tree, of this subject, in this state."""

    index: int
    subject: Subject
    state: State
    noise: Noise
    duration_s: float


def compatible(state: State) -> bool:
    """Whether a state is one that an ECG can show unambiguously."""
    if state.rhythm == "af" and (state.conduction == "first_degree_block" or state.ectopy == "pac"):
        return False  # both are statements about a P wave, and fibrillating atria have none
    if state.conduction == "lbbb" and (state.st != "none" or state.structure != "normal"):
        return False  # left bundle branch block hides infarction, hypertrophy and ST changes
    return state.st == "none" or state.structure == "normal"


def state_of(conditions: tuple[str, ...]) -> State:
    """The state in which all these conditions show."""
    state = State()
    for condition in conditions:
        state = replace(state, **CONDITIONS[condition])
    return state


def plan_cohort(
    shares: dict[str, float],
    records: int,
    seed: int,
    *,
    records_per_subject: tuple[float, ...],
    second_condition: float,
    durations_s: tuple[float, float],
) -> list[Plan]:
    """Plan `records` recordings, in the order of their record ids.

    `shares` weighs the leading conditions over subjects; `records_per_subject` are the
    probabilities of 1, 2, … recordings; `second_condition` is the probability of a second
    condition; `durations_s` the range of lengths (half of the recordings last 10 s if the range is
    one).
    """
    rng = np.random.default_rng([seed, 0])
    counts = recordings_of_subjects(rng, records, records_per_subject)
    deck = deal(rng, shares, len(counts))
    # Folds are dealt within each condition, so that all ten hold the same mixture; the ten folds
    # themselves are shuffled, so that a small tree does not always leave the last ones empty.
    order = sorted(range(len(deck)), key=lambda i: (deck[i], i))
    folds = np.empty(len(deck), int)
    folds[order] = rng.permutation(10)[np.arange(len(deck)) % 10] + 1
    subjects = [
        subject_of(
            rng, number, deck[number], int(folds[number]), count, list(shares), second_condition
        )
        for number, count in enumerate(counts)
    ]
    owners = [s for s in subjects for _ in range(s.recordings)]
    return [
        plan_recording(rng, index, owners[i], durations_s)
        for index, i in enumerate(rng.permutation(len(owners)))
    ]


def recordings_of_subjects(
    rng: np.random.Generator, records: int, probabilities: tuple[float, ...]
) -> list[int]:
    """How many recordings each subject has; they sum to `records`."""
    counts: list[int] = []
    while (left := records - sum(counts)) > 0:
        counts.append(min(left, 1 + int(rng.choice(len(probabilities), p=probabilities))))
    return counts


def deal(rng: np.random.Generator, shares: dict[str, float], subjects: int) -> list[str]:
    """A shuffled deck of conditions: by share, each at least once where there is room."""
    names = list(shares)
    weights = np.array(list(shares.values()))
    once = names[:subjects]
    left = np.maximum(weights / weights.sum() * subjects - 1, 0)
    cumulated = np.round(np.cumsum(left / max(left.sum(), 1e-9)) * (subjects - len(once))).astype(
        int
    )
    extra = [n for n, k in zip(names, np.diff(cumulated, prepend=0), strict=True) for _ in range(k)]
    return [str(name) for name in rng.permutation(once + extra)]


def subject_of(
    rng: np.random.Generator,
    number: int,
    leading: str,
    fold: int,
    recordings: int,
    conditions: list[str],
    second_condition: float,
) -> Subject:
    """Draw one subject; whoever has a condition is older on average than whoever has none."""
    held: tuple[str, ...] = (leading,)
    if leading != "normal" and rng.random() < second_condition:
        taken = set(CONDITIONS[leading])
        others = [
            c
            for c in conditions
            if c != "normal"
            and not taken & set(CONDITIONS[c])
            and compatible(state_of((leading, c)))
        ]
        held = (leading, str(rng.choice(others)))
    age = int(np.clip(rng.normal(52 if leading == "normal" else 66, 16), 18, 95))
    return Subject(number, held, age, bool(rng.random() < 0.48), fold, recordings)


def plan_recording(
    rng: np.random.Generator, index: int, subject: Subject, durations_s: tuple[float, float]
) -> Plan:
    """Draw what one recording of the subject shows, how noisy it is and how long."""
    # The first condition always shows in a subject's only recording: the deck promised it.
    shown = tuple(
        c
        for c in subject.conditions
        if c not in PASSING or subject.recordings == 1 or rng.random() < 0.75
    )
    noise: Noise = ("low", "medium", "high")[int(rng.choice(3, p=(0.7, 0.22, 0.08)))]
    low, high = durations_s
    length = 10.0 if rng.random() < 0.5 else float(np.exp(rng.uniform(np.log(low), np.log(high))))
    return Plan(index, subject, state_of(shown), noise, round(float(np.clip(length, low, high)), 2))
