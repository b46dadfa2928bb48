"""A synthetic tree in the layout of MIMIC's matched waveforms: arterial pressure, PPG and lead II.

`p04/p044083/3544749_0001.{hea,dat}` are segments at 125 Hz in format 16; beside them are the headers
that only join segments, and a segment without pressure, which is no record. Every record has five
stretches that are no blood pressure: a flush, a damped wave, a flat line, an open transducer, and
samples that are missing.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .layouts import Shown, Truth
from .pulse import TRANSIT_S, draw_beats, lead, pressure, pulse
from .wfdb_files import NOTICE, checksum

RATE_HZ = 125
DURATION_S = 120
RECORDS_PER_SUBJECT = 2
MISSING = -32768
CHANNELS = {
    "II": (500.0, 0, "mV", 11),
    "PLETH": (1023.0, -512, "NU", 10),
    "ABP": (5.11333, -523, "mmHg", 11),
}
"""Channel → units per physical unit, baseline, unit, bits: as in MIMIC's headers."""
ARTEFACTS = ("flush", "damped", "flat", "open", "missing")
ARTEFACT_S = 7.0
FIRST_ARTEFACT_S, EVERY_S = 15.0, 20.0

Wave = NDArray[np.float64]


def write(folder: Path, records: int, seed: int, shown: Shown) -> list[Truth]:
    """Write the tree of so many records into `folder`; returns the rows of the truth table."""
    truth: list[Truth] = []
    for number in shown(range(records)):
        person, segment = divmod(number, RECORDS_PER_SUBJECT)
        subject = f"p{44083 + 7 * person:06d}"
        place = folder / subject[:3] / subject
        stem = f"{3544749 + 31 * person}"
        place.mkdir(parents=True, exist_ok=True)
        row, waves = _record(np.random.default_rng([seed, number]), number)
        _write_segment(place / f"{stem}_{segment + 1:04d}", waves)
        truth.append({"record": f"{stem}_{segment + 1:04d}",
                      "subject": f"continuous_pressure-{subject}", **row})  # fmt: skip
        if segment == 0:
            _write_segment(place / f"{stem}_0009", {"II": waves["II"][:1250]})
            _write_joining(place, subject, stem)
    return truth


def _record(rng: np.random.Generator, number: int) -> tuple[Truth, dict[str, Wave]]:
    """The truth about one record, and its waves in physical units, NaN where a sample is missing."""
    samples = DURATION_S * RATE_HZ
    heart_bpm = rng.uniform(55, 95) + 4 * np.sin(np.arange(DURATION_S) / rng.uniform(15, 30))
    beats_s = draw_beats(rng, heart_bpm)
    diastolic = rng.uniform(55, 90) + 4 * np.sin(beats_s / 17) + rng.normal(0, 0.7, len(beats_s))
    systolic = diastolic + rng.uniform(35, 65) + 6 * np.sin(beats_s / 23)
    wave = pressure(beats_s, systolic, diastolic, samples, RATE_HZ)
    # Every record has all artefacts; which comes first goes round.
    kinds = [ARTEFACTS[(number + i) % len(ARTEFACTS)] for i in range(len(ARTEFACTS))]
    onsets_s = [FIRST_ARTEFACT_S + EVERY_S * i for i in range(len(kinds))]
    for kind, onset_s in zip(kinds, onsets_s, strict=True):
        first = round(onset_s * RATE_HZ)
        part = wave[first : first + round(ARTEFACT_S * RATE_HZ)]
        part[:] = _artefact(kind, part, rng)
    waves = {
        "II": lead(beats_s, samples, RATE_HZ) + rng.normal(0, 0.01, samples),
        "PLETH": 0.2 + 0.5 * pulse(beats_s, samples, RATE_HZ) + rng.normal(0, 0.004, samples),
        "ABP": wave,
    }
    row: Truth = {
        "feet_s": (beats_s + TRANSIT_S / 2).round(4).tolist(),
        "sbp": systolic.round(2).tolist(),
        "dbp": diastolic.round(2).tolist(),
        "artefacts": kinds,
        "artefact_onsets_s": onsets_s,
    }
    return row, waves


def _artefact(kind: str, clean: Wave, rng: np.random.Generator) -> Wave:
    """What the monitor shows instead of the clean wave [T]."""
    if kind == "flush":  # the valve to the pressurised bag is open
        return np.full(len(clean), 291.0)
    if kind == "damped":  # a clot or a kink: the mean remains
        damped: Wave = clean.mean() + 0.12 * (clean - clean.mean())
        return damped
    if kind == "flat":
        return np.full(len(clean), clean[0])
    if kind == "open":  # the transducer is open to the air
        return rng.normal(1.0, 0.8, len(clean))
    return np.full(len(clean), np.nan)


def _write_segment(stem: Path, waves: dict[str, Wave]) -> None:
    """`stem.hea` and `stem.dat`, in format 16."""
    rows, lines = [], []
    for name, wave in waves.items():
        gain, baseline, unit, bits = CHANNELS[name]
        digital = np.where(np.isnan(wave), MISSING, np.rint(np.nan_to_num(wave) * gain) + baseline)
        row = digital.astype(np.int16)
        signed = (checksum(row) + 0x8000) % 0x10000 - 0x8000
        lines.append(
            f"{stem.name}.dat 16 {gain:g}({baseline})/{unit} {bits} 0 {row[0]} {signed} 0 {name}"
        )
        rows.append(row)
    head = f"{stem.name} {len(rows)} {RATE_HZ} {len(rows[0])} 19:50:29.296"
    text = "\n".join([head, *lines, f"# {NOTICE}"]) + "\n"
    stem.with_suffix(".hea").write_text(text, newline="\n")
    stem.with_suffix(".dat").write_bytes(np.stack(rows, axis=1).astype("<i2").tobytes())


def _write_joining(place: Path, subject: str, stem: str) -> None:
    """The header of the whole record, named by its date as MIMIC's are, and its layout."""
    whole = f"{subject}-2112-05-04-19-50"
    length = DURATION_S * RATE_HZ
    joined = [f"{whole}/3 3 {RATE_HZ} {length + 1250} 19:50:29.296 04/05/2112",
              f"{stem}_layout 0", f"{stem}_0001 {length}", f"{stem}_0009 1250"]  # fmt: skip
    layout = [f"{stem}_layout 3 {RATE_HZ} 0 19:50:29.296"]
    layout += [f"~ 0 {gain:g}({baseline})/{unit} {bits} 0 0 0 0 {name}"
               for name, (gain, baseline, unit, bits) in CHANNELS.items()]  # fmt: skip
    (place / f"{whole}.hea").write_text("\n".join(joined) + "\n", newline="\n")
    (place / f"{stem}_layout.hea").write_text("\n".join(layout) + "\n", newline="\n")
