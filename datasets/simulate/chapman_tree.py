"""A synthetic tree in figshare's layout of Chapman-Shaoxing: three tables and `ECGData/*.csv`."""

from __future__ import annotations

import datetime
import hashlib
from pathlib import Path

import numpy as np
import polars as pl
import xlsxwriter  # type: ignore[import-untyped] # it has no types

from ...signals import LEADS_12
from .conditions import CONDITIONS, Plan, State, plan_cohort
from .layouts import Shown, Truth
from .recording import Simulated, microvolts, record, truth_of

SHARES = dict.fromkeys(CONDITIONS, 0.05) | {"normal": 0.2, "af": 0.2, "bradycardia": 0.25}
RHYTHMS = {"sinus": "SR", "af": "AFIB", "bradycardia": "SB", "tachycardia": "ST"}
RHYTHM_NAMES = {
    "SB": "Sinus Bradycardia",
    "SR": "Sinus Rhythm",
    "AFIB": "Atrial Fibrillation",
    "ST": "Sinus Tachycardia",
    "AF": "Atrial Flutter",
    "SI": "Sinus Irregularity",
    "SVT": "Supraventricular Tachycardia",
    "AT": "Atrial Tachycardia",
    "AVNRT": "Atrioventricular Node Reentrant Tachycardia",
    "AVRT": "Atrioventricular Reentrant Tachycardia",
    "SAAWR": "Sinus Atrium to Atrial Wandering Rhythm",
}
CONDITION_NAMES = {
    "1AVB": "1 degree atrioventricular block",
    "APB": "atrial premature beats",
    "LBBB": "left bundle branch block",
    "LVH": "left ventricle hypertrophy",
    "MIFW": "myocardial infarction in the front wall",
    "MILW": "myocardial infarction in the lower wall",
    "RBBB": "right bundle branch block",
    "STDD": "ST drop down",
    "STTU": "ST tilt up",
    "VPB": "ventricular premature beat",
}
BEATS = {
    "pac": "APB",
    "pvc": "VPB",
    "first_degree_block": "1AVB",
    "lbbb": "LBBB",
    "rbbb": "RBBB",
    "depression": "STDD",
    "elevation": "STTU",
    "inferior_infarction": "MILW",
    "anteroseptal_infarction": "MIFW",
    "lv_hypertrophy": "LVH",
}
"""What a state shows → the table's condition."""

STEP_UV = 4.88
"""The recorder's resolution: every sample is a multiple of it."""
FIRST = datetime.datetime(2018, 1, 11, 16, 55, 20)


def plan(records: int, seed: int) -> list[Plan]:
    """One recording of 10 s a subject."""
    return plan_cohort(
        SHARES,
        records,
        seed,
        records_per_subject=(1.0,),
        second_condition=0.3,
        durations_s=(10.0, 10.0),
    )


def conditions_of(state: State) -> list[str]:
    """The conditions of a state, beside its rhythm."""
    return [BEATS[name] for name in vars(state).values() if name in BEATS]


def table_row(made: Simulated) -> dict[str, object]:
    """The row of `Diagnostics.xlsx`; the recorder's measurements are those that were planted."""
    index, subject, state = made.plan.index, made.plan.subject, made.plan.state
    # File names hold the time of the recording: here an invented one.
    when = FIRST + datetime.timedelta(hours=7.3 * index)
    rate_bpm = round(float(60 / np.mean(np.diff(made.beats.time_s[made.inside]))))
    return {
        "FileName": f"MUSE_{when:%Y%m%d_%H%M%S}_{index % 100:02d}000",
        # Some cells of the real table end in a blank.
        "Rhythm": RHYTHMS[state.rhythm] + " " * (index % 5 == 3),
        "Beat": " ".join(conditions_of(state)) or "NONE",
        "PatientAge": subject.age,
        "Gender": "FEMALE" if subject.female else "MALE",
        "VentricularRate": rate_bpm,
        "QRSCount": int(made.inside.sum()),
    }


def write(folder: Path, records: int, seed: int, shown: Shown) -> list[Truth]:
    """Write the tree of so many recordings into `folder`; returns the rows of the truth table."""
    (folder / "ECGData").mkdir()
    rows, truth = [], []
    for made_plan in shown(plan(records, seed)):
        made = record(made_plan, seed)
        row = table_row(made)
        steps = np.rint(microvolts(made.leads_mv) / STEP_UV)
        samples_uv = pl.DataFrame(steps.T * STEP_UV, schema=list(LEADS_12))
        samples_uv.write_csv(folder / "ECGData" / f"{row['FileName']}.csv", float_precision=2)
        rows.append(row)
        # A table shorter than the published one: readers call a record by a hash of its file name.
        name = hashlib.sha256(str(row["FileName"]).encode()).hexdigest()[:12]
        truth.append(
            {
                **truth_of(made, name),
                "file": row["FileName"],
                "codes": [RHYTHMS[made_plan.state.rhythm], *conditions_of(made_plan.state)],
            }
        )
    write_xlsx(folder / "Diagnostics.xlsx", pl.DataFrame(rows))
    for file, names in (("Rhythm", RHYTHM_NAMES), ("Condition", CONDITION_NAMES)):
        columns = {"Acronym Name": list(names), "Full Name": list(names.values())}
        write_xlsx(folder / f"{file}Names.xlsx", pl.DataFrame(columns))
    return truth


def write_xlsx(path: Path, table: pl.DataFrame) -> None:
    """Write one sheet, byte for byte the same for the same table."""
    with xlsxwriter.Workbook(path) as workbook:
        workbook.set_properties({"created": FIRST})
        table.write_excel(workbook)
