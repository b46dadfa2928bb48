"""Agreement of estimated numbers with the reference, and what standards for pressure devices say of them."""

from __future__ import annotations

import numpy as np

from ..agreement import bland_altman
from ..blood_pressure import (
    AAMI_MEAN_MMHG,
    AAMI_SD_MMHG,
    AAMI_SUBJECTS,
    IEEE_SUBJECTS,
    PressureGrades,
    pressure_grades,
)
from .case import Case, Part, plain
from .section import Section, Table
from .words import with_unit

FEWEST = 3
"""Limits of agreement need so many subjects."""


def agreement(case: Case) -> Part | None:
    """Bias and limits of agreement; None where the task does not name `bland_altman`."""
    if "bland_altman" not in case.task.metrics:
        return None
    seed = case.seeds[0]
    rows, found = [], {}
    for k, quantity in enumerate(seed.classes):
        there = np.isfinite(seed.truth[:, k])
        people = len(np.unique(seed.subjects[there]))
        if people < FEWEST:
            rows.append([with_unit(quantity), str(people), str(there.sum()), *["–"] * 5])
            continue
        agreed = bland_altman(seed.truth[there, k], seed.scores[there, k], seed.subjects[there])
        within = "–" if np.isnan(agreed.within_sd) else f"{agreed.within_sd:.2f}"
        rows.append(
            [
                with_unit(quantity),
                str(people),
                str(there.sum()),
                *(figure.text(2) for figure in (agreed.bias, agreed.lower, agreed.upper)),
                within,
                f"{agreed.between_sd:.2f}",
            ]
        )
        found[quantity] = plain(agreed)
    head = ["", "subjects", "windows", "bias", "lower limit", "upper limit"]
    head += ["SD within subjects", "SD between subjects"]
    note = (
        "Bias: model less reference. 95 % of errors are to lie between the limits. The spread is made of "
        "what changes within a subject and what differs between them (Bland & Altman 1999, 2007), and the "
        "intervals in brackets (95 %, Zou 2013) count subjects, not windows."
    )
    text = f"Limits of agreement (Bland–Altman) of {case.shown_first}."
    return Part("agreement", Section("Agreement", [text], [Table(head, rows, note)]), found)


def pressure(case: Case) -> Part | None:
    """Grades of BHS, AAMI and IEEE 1708; None where the task does not name `pressure_grades`."""
    if "pressure_grades" not in case.task.metrics:
        return None
    seed = case.seeds[0]
    found: dict[str, PressureGrades] = {}
    for k, quantity in enumerate(seed.classes):
        there = np.isfinite(seed.truth[:, k])
        if there.sum() > 1:
            found[quantity] = pressure_grades(
                seed.truth[there, k], seed.scores[there, k], seed.subjects[there]
            )
    rows = [[with_unit(quantity), *_cells(grades)] for quantity, grades in found.items()]
    head = ["", "subjects", "records", "ME ± SD", "MAD", "within 5 / 10 / 15 mmHg"]
    head += ["BHS grade", "AAMI limits", "IEEE 1708 grade"]
    paragraphs = [
        f"Errors of {case.shown_first}, held against the numbers of three standards for cuffless and cuff "
        "devices. This is no validation of a device, which also asks for a protocol, a reference "
        "method and a spread of pressures."
    ]
    few = [
        f"{name} {least} subjects"
        for name, least in (("BHS and AAMI", AAMI_SUBJECTS), ("IEEE 1708", IEEE_SUBJECTS))
        if any(grades.subjects < least for grades in found.values())
    ]
    if few:
        paragraphs.append(
            f"There are too few subjects for a grade to count, the standards ask for more: {'; '.join(few)}."
        )
    note = (
        f"BHS: A with 60 / 85 / 95 % within, B 50 / 75 / 90, C 40 / 65 / 85, else D. AAMI: |ME| ≤ "
        f"{AAMI_MEAN_MMHG:g} and SD ≤ {AAMI_SD_MMHG:g} mmHg. IEEE 1708: mean absolute difference (MAD) up to "
        "5 (A), 6 (B), below 7 (C), else D."
    )
    return Part(
        "pressure_grades",
        Section("Blood pressure standards", paragraphs, [Table(head, rows, note)]),
        plain(found),
    )


def _cells(grades: PressureGrades) -> list[str]:
    return [
        str(grades.subjects),
        str(grades.records),
        f"{grades.mean_error:.2f} ± {grades.sd_error:.2f}",
        f"{grades.mad:.2f}",
        " / ".join(f"{100 * share:.1f} %" for share in grades.within),
        grades.bhs,
        "kept" if grades.aami else "not kept",
        grades.ieee,
    ]
