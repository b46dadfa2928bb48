"""A synthetic tree in the layout of the Challenge of 2021: eight `WFDB_*` folders, with real quirks.

The n-th recording belongs to tranche n modulo 8. PTB-XL's and CPSC2018's tranches hold the first
recordings of those twins of the same number and seed, sample for sample: whoever looks for copies
must find them.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...signals import LEADS_12, MISSING
from . import cpsc_tree, ptbxl_tree
from .conditions import CONDITIONS, Plan, State, plan_cohort
from .layouts import Shown, Truth
from .recording import microvolts, record, truth_of
from .wfdb_files import write_matlab_4

SHARES = dict.fromkeys(CONDITIONS, 1.0) | {"normal": 3.0}
CODES = {code: number for code, (_, number) in cpsc_tree.CLASSES.items()} | {
    "bradycardia": "426177001",
    "tachycardia": "427084000",
    "inferior_infarction": "164865005",
    "anteroseptal_infarction": "164865005",
    "lv_hypertrophy": "164873001",
}
"""Condition → SNOMED CT code."""

FLAT = ("V1", "V2", "V3", "V4", "V5", "V6")
"""Leads without a signal in the first record of Ningbo, as in the real JS11438."""
GAP = slice(1000, 1250)
"""Samples missing from lead V3 of the first record of Chapman-Shaoxing."""


class Tranche(NamedTuple):
    """A folder, its records' names by index, its rate and its lengths in seconds."""

    folder: str
    name: Callable[[int], str]
    rate_hz: int
    durations_s: tuple[float, float]


TRANCHES = (
    Tranche("WFDB_PTBXL", "HR{:05d}".format, 500, (10.0, 10.0)),
    Tranche("WFDB_CPSC2018", lambda index: f"A{index + 1:04d}", 500, (6.0, 60.0)),
    Tranche("WFDB_Ga", lambda index: f"E{index + 1:05d}", 500, (10.0, 10.0)),
    # 30 minutes in the real one; I0036 is missing there, too.
    Tranche("WFDB_StPetersburg", lambda index: f"I{index + 1 + (index >= 35):04d}", 257, (60, 60)),
    Tranche("WFDB_PTB", lambda index: f"S{index + 1:04d}", 1000, (20.0, 30.0)),
    Tranche("WFDB_ChapmanShaoxing", lambda index: f"JS{index + 1:05d}", 500, (10.0, 10.0)),
    Tranche("WFDB_CPSC2018_2", lambda index: f"Q{index + 1:04d}", 500, (6.0, 30.0)),
    Tranche("WFDB_Ningbo", lambda index: f"JS{index + 10_647:05d}", 500, (10.0, 10.0)),
)


def plan(records: int, seed: int) -> list[list[Plan]]:
    """The recordings of each tranche."""
    counts = [len(range(number, records, len(TRANCHES))) for number in range(len(TRANCHES))]
    others = [
        plan_cohort(
            SHARES,
            counts[number],
            tranche_seed(seed, number),
            records_per_subject=(1.0,),
            second_condition=0.3,
            durations_s=TRANCHES[number].durations_s,
        )
        for number in range(2, len(TRANCHES))
    ]
    ptbxl, cpsc = ptbxl_tree.plan(records, seed), cpsc_tree.plan(records, seed)
    return [ptbxl[: counts[0]], cpsc[: counts[1]], *others]


def tranche_seed(seed: int, number: int) -> int:
    """The seed of a tranche: the first two are those of their own twins."""
    return seed if number < 2 else 1_000_003 * number + seed


def codes_of(state: State) -> list[str]:
    """The codes of a state; sinus rhythm where nothing else is to be said."""
    shown = (*vars(state).values(), f"st_{state.st}")
    found = [CODES[name] for name in shown if name in CODES and name != "normal"]
    return list(dict.fromkeys(found)) or [CODES["normal"]]


def write(folder: Path, records: int, seed: int, shown: Shown) -> list[Truth]:
    """Write the tree of so many recordings into `folder`; returns the rows of the truth table."""
    plans = plan(records, seed)
    ecg_ids = ptbxl_tree.ecg_ids(records, seed)
    truth: list[Truth] = []
    for index in shown(range(records)):
        number, nth = index % len(TRANCHES), index // len(TRANCHES)
        tranche, made_plan = TRANCHES[number], plans[number][nth]
        made = record(made_plan, tranche_seed(seed, number))
        samples = microvolts(made.leads_mv, tranche.rate_hz)
        name = tranche.name(int(ecg_ids[nth]) if number == 0 else nth)
        codes = codes_of(made_plan.state)
        if nth == 0:
            plant(samples, name)
        subject = made_plan.subject
        comments = [
            f"Age: {subject.age}",
            f"Sex: {'Female' if subject.female else 'Male'}",
            f"Dx: {','.join(codes)}",
            *("Rx: Unknown", "Hx: Unknown", "Sx: Unknown"),
        ]
        part = folder / tranche.folder
        part.mkdir(exist_ok=True)
        write_matlab_4(part / name, samples, tranche.rate_hz, LEADS_12, comments)
        header = part / f"{name}.hea"
        text = quirky(header.read_text(), name, nth)
        header.write_text(text, encoding="utf-8", newline="\n")
        truth.append(
            {
                **truth_of(made, name.removeprefix("HR")),
                "file": f"{tranche.folder}/{name}",
                "rate_hz": tranche.rate_hz,
                "codes": codes,
                "flat": [
                    lead for lead, row in zip(LEADS_12, samples, strict=True) if not row.any()
                ],
                "missing": int((samples == MISSING).sum()),
                "says_age": "NaN" not in text,
            }
        )
    return truth


def plant(samples: NDArray[np.int16], name: str) -> None:
    """Put the quirks of samples into a tranche's first recording [leads, T], in place."""
    if name.startswith("JS00"):
        samples[LEADS_12.index("V3"), GAP] = MISSING
    elif name.startswith("JS"):
        samples[[LEADS_12.index(lead) for lead in FLAT]] = 0


def quirky(header: str, name: str, nth: int) -> str:
    """The header as its tranche writes it: a date, and in the first record the quirks."""
    record_line, rest = header.split("\n", 1)
    dated = f"{record_line} {1 + nth % 28:02d}-May-2020 12:{nth % 60:02d}:59"
    if nth == 0 and name[0] == "E":  # wfdb refuses a record called so
        dated = dated.replace(name, f"{name}.mat", 1)
    if nth == 0 and name[0] == "Q":  # a code twice, and a comma at the end
        first = rest.split("#Dx: ")[1].split("\n")[0].split(",")[0]
        rest = rest.replace(f"#Dx: {first}", f"#Dx: {first},{first}", 1)
        rest = rest.replace("\n#Rx", ",\n#Rx", 1)
    if nth == 0 and name[0] == "S":
        lines = [("#Age: NaN" if line.startswith("#Age") else line) for line in rest.split("\n")]
        rest = "\n".join("#Sex: Unknown" if line.startswith("#Sex") else line for line in lines)
    if nth == 0 and name.startswith("JS1"):  # as wfdb writes headers: no date, a blank after #
        return f"{record_line}\n{rest}".replace("\n#", "\n# ").replace(
            " 16+24 1000/mV", " 16x1+24 1000.0(0)/mV"
        )
    return f"{dated}\n{rest}"
