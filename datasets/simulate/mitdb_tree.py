"""A synthetic tree in the layout of the MIT-BIH Arrhythmia Database, two minutes a record.

Real record names, so that the official folds are there; records 201 and 202 have one heart. The first
minute is in sinus rhythm, the second fibrillates in records where the real one does.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...signals.preprocessing import resample
from .conditions import Conduction, Ectopy, Plan, State, Subject
from .dipole import LEADS_8
from .layouts import Shown, Truth
from .recording import RATE_HZ as DRAWN_HZ
from .recording import Simulated, record
from .wfdb_files import NOTICE, checksum

RATE_HZ = 360
HALF_S = 60.0
GAIN, ZERO, BITS = 200, 1024, 11

FIRST = ("201", "202", "119", "114", "102", "100")
"""What a small tree holds: both records of one person, every fold, swapped leads, a pacemaker."""
RECORDS = (*FIRST, *(name for numbers in (range(100, 125), range(200, 235))
                     for name in map(str, numbers)
                     if name not in FIRST and name not in ("110", "120", "204", "206", "211", "216",
                                                           "218", "224", "225", "226", "227", "229")
                     ))  # fmt: skip
LEADS = {"102": ("V5", "V2"), "104": ("V5", "V2"), "114": ("V5", "MLII"), "100": ("MLII", "V5"),
         "123": ("MLII", "V5"), "103": ("MLII", "V2"), "117": ("MLII", "V2"),
         "124": ("MLII", "V4")}  # fmt: skip
"""Record → its leads in their order, where they are not MLII and V1."""
PACED = ("102", "104", "107", "217")
FIBRILLATING = ("201", "202", "203", "210", "219", "221", "222")
BLOCKED: dict[str, Conduction] = {
    **dict.fromkeys(("109", "111", "207", "214"), "lbbb"),
    **dict.fromkeys(("118", "124", "212", "231", "232"), "rbbb"),
}


def write(folder: Path, records: int, seed: int, shown: Shown) -> list[Truth]:
    """Write the tree of so many records into `folder`; returns the rows of the truth table."""
    names = sorted(RECORDS[:records])
    (folder / "RECORDS").write_text("\n".join(names) + "\n", newline="\n")
    (folder / "ANNOTATORS").write_text(
        "atr\treference beat, rhythm, and signal quality annotations\n"
    )
    return [_write_record(folder, name, seed) for name in shown(names)]


def _write_record(folder: Path, name: str, seed: int) -> Truth:
    person = 201 if name == "202" else int(name)
    drawn = np.random.default_rng([seed, 5, person])
    subject = Subject(person, (), int(drawn.integers(23, 90)), bool(drawn.random() < 0.5), 0, 1)
    halves = [_half(subject, name, half, seed) for half in (0, 1)]
    leads = LEADS.get(name, ("MLII", "V1"))
    rows = [LEADS_8.index("II" if lead == "MLII" else lead) for lead in leads]
    drawn_mv = np.concatenate([half.leads_mv[rows] for half in halves], axis=1)
    times_s = np.concatenate([half.beats.time_s[half.inside] + half.plan.index * HALF_S
                              for half in halves])  # fmt: skip
    symbols = "".join(_symbols(half, name) for half in halves)
    if name in PACED:
        # A spike of a few milliseconds that ends where the QRS complex begins.
        spikes = np.rint((times_s - 0.05) * DRAWN_HZ).astype(int)
        drawn_mv[:, spikes[spikes >= 0]] += 4.0
    digital = np.rint(resample(drawn_mv, DRAWN_HZ, RATE_HZ) * GAIN) + ZERO
    digital = digital.clip(0, 2**BITS - 1).astype(np.int16)
    person_line = f"{subject.age} {'F' if subject.female else 'M'} 1085 1629 x1"
    write_format_212(folder / name, digital, leads, [person_line, "None", NOTICE])
    rhythms = ["N", "AFIB" if name in FIBRILLATING else "N"]
    changes = [(18, "N")] + [(round(HALF_S * RATE_HZ), rhythms[1])] * (rhythms[1] != rhythms[0])
    peaks = np.rint(times_s * RATE_HZ).astype(int).clip(0, digital.shape[1] - 1)
    _write_annotations(folder, name, peaks, symbols, changes)
    return {
        "record": name,
        "subject": f"mitdb-{person}",
        "age": subject.age,
        "sex": "female" if subject.female else "male",
        "leads": list(leads),
        "r_peaks_s": (peaks / RATE_HZ).tolist(),
        "beats": symbols,
        "rhythms": [rhythm for _, rhythm in changes],
        "rhythm_onsets_s": [sample / RATE_HZ for sample, _ in changes],
    }


def _half(subject: Subject, name: str, half: int, seed: int) -> Simulated:
    """One minute: premature ventricular beats in the first, atrial ones or fibrillation in the second."""
    ectopy: Ectopy = "none" if name in PACED else "pac" if half else "pvc"
    state = State(ectopy=ectopy, conduction=BLOCKED.get(name, "normal"))
    if half and name in FIBRILLATING:
        state = replace(state, rhythm="af", ectopy="pvc")
    return record(Plan(half, subject, state, "low", HALF_S), seed + 1000 * int(name))


def _symbols(half: Simulated, name: str) -> str:
    """The annotators' symbol of each beat: what conducts it decides the name of a normal one."""
    usual = "/" if name in PACED else {"lbbb": "L", "rbbb": "R"}.get(BLOCKED.get(name, ""), "N")
    return "".join(half.beats.code[half.inside]).replace("N", usual)


def write_format_212(
    stem: Path, digital: NDArray[np.int16], leads: tuple[str, ...], comments: list[str]
) -> None:
    """Write `stem.dat` and `stem.hea` as MIT-BIH does, from two channels [2, T] of 12 bits.

    Three bytes hold a pair: the low bytes of the first and second value around their high halves.
    """
    first, second = digital.astype(np.int32)
    high = ((first >> 8) & 0xF) | (((second >> 8) & 0xF) << 4)
    triples = np.stack((first & 0xFF, high, second & 0xFF), axis=1).astype(np.uint8)
    stem.with_suffix(".dat").write_bytes(triples.tobytes())
    lines = [f"{stem.name} 2 {RATE_HZ} {digital.shape[1]}"]
    for row, lead in zip(digital, leads, strict=True):
        signed = (checksum(row) + 0x8000) % 0x10000 - 0x8000
        lines.append(f"{stem.name}.dat 212 {GAIN} {BITS} {ZERO} {row[0]} {signed} 0 {lead}")
    lines += [f"# {comment}" for comment in comments]
    stem.with_suffix(".hea").write_text("\n".join(lines) + "\n", newline="\n")


def _write_annotations(
    folder: Path, name: str, peaks: NDArray[np.int_], symbols: str, changes: list[tuple[int, str]]
) -> None:
    """`name.atr`: beats, changes of rhythm, and one change of signal quality, in order of time."""
    import wfdb  # here, because it takes most of a second

    rows = [(int(peak), symbol, "") for peak, symbol in zip(peaks, symbols, strict=True)]
    rows += [(sample, "+", f"({rhythm}\0") for sample, rhythm in changes]
    rows.append((5 * RATE_HZ + 1, "~", ""))
    samples, marks, texts = zip(*sorted(rows), strict=True)
    wfdb.wrann(name, "atr", np.array(samples), symbol=list(marks), aux_note=list(texts),
               write_dir=str(folder))  # fmt: skip
