"""A synthetic tree in the original layout of CPSC2018."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from .conditions import Plan, State, plan_cohort
from .layouts import Shown, Truth
from .recording import microvolts, record, truth_of
from .wfdb_files import write_matlab_struct

CLASSES: dict[str, tuple[int, str]] = {
    "normal": (1, "426783006"),
    "af": (2, "164889003"),
    "first_degree_block": (3, "270492004"),
    "lbbb": (4, "164909002"),
    "rbbb": (5, "59118001"),
    "pac": (6, "284470004"),
    "pvc": (7, "164884008"),
    "st_depression": (8, "429622005"),
    "st_elevation": (9, "164931005"),
}
"""Condition → number in REFERENCE.csv, and the Challenge's SNOMED CT code."""

SHARES = {
    "normal": 0.16,
    "af": 0.16,
    "first_degree_block": 0.11,
    "lbbb": 0.06,
    "rbbb": 0.20,
    "pac": 0.09,
    "pvc": 0.09,
    "st_depression": 0.10,
    "st_elevation": 0.06,
}


def plan(records: int, seed: int) -> list[Plan]:
    """One recording a subject, as far as the real set tells; half last 10 s, the rest 6–60 s."""
    return plan_cohort(
        SHARES,
        records,
        seed,
        records_per_subject=(1.0,),
        second_condition=0.1,
        durations_s=(6.0, 60.0),
    )


def classes_of(state: State) -> list[str]:
    """The classes that a state shows, by name; "normal" where none does."""
    shown = [state.rhythm, state.conduction, state.ectopy, f"st_{state.st}"]
    return [c for c in shown if c in CLASSES and c != "normal"] or ["normal"]


def write(folder: Path, records: int, seed: int, shown: Shown) -> list[Truth]:
    """Write the tree of so many recordings into `folder`; returns the rows of the truth table."""
    truth: list[Truth] = []
    references: dict[Path, list[list[object]]] = {}
    for made_plan in shown(plan(records, seed)):
        made = record(made_plan, seed)
        subject = made_plan.subject
        name = f"A{made_plan.index + 1:04d}"
        classes = classes_of(made_plan.state)
        samples = microvolts(made.leads_mv)
        sex = "Female" if subject.female else "Male"
        # The real records lie in three folders of about a third each.
        part = folder / f"TrainingSet{made_plan.index * 3 // records + 1}"
        part.mkdir(exist_ok=True)
        data_mv = samples.astype(np.float64) / 1000
        age = np.array([[float(subject.age)]])
        write_matlab_struct(part / f"{name}.mat", {"sex": sex, "age": age, "data": data_mv})
        numbers: list[object] = [CLASSES[c][0] for c in classes[:3]]
        row = [name, *numbers, *[""] * (3 - len(numbers))]
        references.setdefault(part, []).append(row)
        truth.append(truth_of(made, name))
    for part, rows in references.items():
        with (part / "REFERENCE.csv").open("w", newline="", encoding="utf-8") as file:
            table = csv.writer(file, lineterminator="\n")
            table.writerow(["Recording", "First_label", "Second_label", "Third_label"])
            table.writerows(rows)
    return truth
