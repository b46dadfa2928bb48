"""MESA Sleep: 2,056 nights at home with 27 channels, scored sleep and a wrist actigraph (NSRR).

What is read, by name; the files are documented at https://sleepdata.org/datasets/mesa:

- `polysomnography/edfs/mesa-sleep-0001.edf` (or a flat folder of these), every channel at its own rate;
- stages from `annotations-events-nsrr/…-nsrr.xml`, or else `annotations-events-profusion/…`. Nights that
  were scored for sleep and wake alone (`nsrr_flag_spsw`) get none: their kinds of sleep were not told apart;
- beats from `annotations-rpoints/…-rpoint.csv` (see `mesa_tables`);
- activity counts from `actigraphy/…csv`, placed by `overlap/mesa-actigraphy-psg-overlap.csv`;
- age and sex from `datasets/mesa-sleep-harmonized-dataset-*.csv`.

All but the EDF may be absent. Three rules take samples out; they are then missing, not zero:

- heart rate (`HR`, `DHR`) at 0 or from 300 bpm on, saturation at 0 or above 100 % (to within half a
  unit): what devices write where they have no reading. `HR` is the oximeter's, `DHR` comes from the ECG;
- an electrode's seconds where its `…_Off` channel says 1. NSRR does not document these channels, so
  they count only where they hold nothing but 0 and 1, and say 1 for less than half of the night;
- counts while the watch was off the wrist.

`Leg` is a piezo sensor: it is kept as `emg leg` where its unit is a voltage. `Snore`, `Pos`,
`OxStatus` and `PTT` have no place in the vocabulary and are left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..signals import MISSING, Annotation, Recording, Signal
from .edf import EdfRecording, read_edf
from .mesa_tables import HARMONIZED, OVERLAP, activity, beats, overlaps, people
from .nsrr_xml import Scoring, read_scoring
from .registry import About, RecordError, RecordRef
from .sleep_stages import STAGE_SETS
from .tree import find_folders

CHANNELS: dict[str, tuple[str, str]] = {
    "EKG": ("ecg", "I"),
    "Pleth": ("ppg", "ppg"),
    "HR": ("hr", "hr"),
    "DHR": ("hr", "dhr"),
    "SpO2": ("spo2", "spo2"),
    "Thor": ("resp", "thorax"),
    "Abdo": ("resp", "abdomen"),
    "Flow": ("resp", "flow"),
    "Pres": ("resp", "pressure"),
    "Therm": ("resp", "thermistor"),
    "Aux_AC": ("resp", "thermistor"),
    "EEG1": ("eeg", "Fz-Cz"),
    "EEG2": ("eeg", "Cz-Oz"),
    "EEG3": ("eeg", "C4-M1"),
    "EOG-L": ("eog", "left"),
    "EOG-R": ("eog", "right"),
    "EMG": ("emg", "chin"),
    "Leg": ("emg", "leg"),
}
"""Label → (modality, channel). `Aux_AC` took the place of an unreliable `Therm` early in the study."""

READINGS = {"hr": (0.5, 300.0), "spo2": (0.5, 100.5)}
"""Modality → what a reading lies between; the halves are for a file's steps about 0 and 100."""

BEAT_CODES = ("N", "V", "S")
_FILE = re.compile(r"mesa-sleep-(\d{4})\.edf", re.ASCII | re.IGNORECASE)


class MESA:
    """MESA Sleep as NSRR ships it."""

    name = "mesa"

    def about(self, roots: Sequence[Path] = ()) -> About:
        """What MESA Sleep is."""
        return About(
            title="Multi-Ethnic Study of Atherosclerosis, Sleep (MESA Sleep)",
            licence="NSRR data use agreement; not to be passed on",
            access="on request, free of charge (sleepdata.org, personal token)",
            signals="a night of ECG, PPG, EEG (3), EOG (2), chin EMG at 256 Hz, breathing (5) and leg at "
            "32 Hz, heart rate and SpO2 at 1 Hz, wrist activity counts every 30 s",
            labels="sleep stages every 30 s (5, 4, 3 or 2 classes), heart beats of 3 kinds",
            subjects="2,056 people, one night each, known by their number (mesaid)",
            citation="Chen et al., Sleep 38:877 (2015), doi:10.5665/sleep.4732; "
            "Zhang et al., JAMIA 25:1351 (2018), doi:10.1093/jamia/ocy064",
        )

    def find(self, roots: Sequence[Path]) -> list[RecordRef]:
        """Every EDF file, sorted by number, with what the tables say of its subject.

        Raises `FileNotFoundError` where a root has none; `ValueError` where two roots hold one night
        in different files.
        """
        refs: dict[str, RecordRef] = {}
        for root in roots:
            folders = find_folders(root, lambda files: any(map(_FILE.fullmatch, files)))
            if not folders:
                raise FileNotFoundError(
                    f"{root}: neither polysomnography/edfs/mesa-sleep-0001.edf nor "
                    "mesa-sleep-0001.edf in it or below; give the folder that `nsrr download mesa` made"
                )
            for folder in folders:
                for ref in _nights(folder):
                    first = refs.setdefault(ref.record, ref)
                    if first.facts != ref.facts or _size(first) != _size(ref):
                        raise ValueError(
                            f"{ref.record} differs between {first.path} and {ref.path}; give roots of "
                            "one version of MESA"
                        )
                    refs[ref.record] = min(first, ref, key=lambda one: str(one.path))
        return [refs[record] for record in sorted(refs)]

    def read(self, ref: RecordRef) -> Recording:
        """One night; its second 0 is the first sample of the EDF file. Raises `RecordError`."""
        edf = read_edf(ref.path)
        signals = _signals(edf)
        if not signals:
            raise RecordError(
                f"{ref.path}: none of the channels {sorted(CHANNELS)}, but "
                f"{[channel.label for channel in edf.channels]}; correct the header's labels"
            )
        counts = _counts(ref, edf.duration_s)
        scoring = _scoring(ref)
        found = beats(_beside(ref, "annotations-rpoints", "-rpoint.csv"))
        annotations = [*(() if ref.facts["sleep_wake_only"] else scoring.stages), *found]
        inside = [a for a in annotations if 0 <= a.onset_s < edf.duration_s]
        return Recording(
            dataset=self.name,
            record=ref.record,
            subject=ref.subject,
            signals=(*signals, *counts),
            annotations=tuple(sorted(inside, key=_onset)),
            age=ref.facts["age"],
            sex=ref.facts["sex"],
            private=tuple(dict.fromkeys((*edf.private, *scoring.private))),
        )

    def label_sets(self, roots: Sequence[Path]) -> dict[str, dict[str, list[str]]]:
        """The schemes of sleep stages, and the kinds of beats."""
        return {**STAGE_SETS, "beats": {code: [f"beat:{code}"] for code in BEAT_CODES}}


def _nights(folder: Path) -> Iterator[RecordRef]:
    """What a folder of EDF files holds, with the tables that lie around it."""
    around = (folder, *folder.parents[:2])
    placed = overlaps(_first(at / where / OVERLAP for at in around for where in ("", "overlap")))
    tables = [t for at in around for w in ("", "datasets") for t in (at / w).glob(HARMONIZED)]
    known = people(max(tables, key=lambda table: table.name, default=None))
    for path in sorted(folder.iterdir()):
        if matched := _FILE.fullmatch(path.name):
            number = matched[1]
            facts: dict[str, Any] = {"overlap": placed.get(int(number)), **known[int(number)]}
            yield RecordRef(f"mesa-sleep-{number}", f"mesa-{number}", path, None, facts)


def _signals(edf: EdfRecording) -> list[Signal]:
    """The channels in the vocabulary, without what is no reading."""
    labels = [channel.label for channel in edf.channels]
    wanted = {label: named for label, named in CHANNELS.items() if label in labels}
    if "Aux_AC" in wanted:
        wanted.pop("Therm", None)
    if "Leg" in wanted and not edf.channel("Leg").unit.upper().endswith("V"):
        del wanted["Leg"]
    signals = [kept for signal in edf.signals(wanted) for kept in _readings(signal)]
    for label, (modality, name) in wanted.items():
        if f"{label}_Off" in labels:
            off, rate_hz = _lead_off(edf, f"{label}_Off")
            for signal in signals:
                if signal.modality == modality and name in signal.channels:
                    _hide(signal, signal.channels.index(name), off, rate_hz)
    return signals


def _readings(signal: Signal) -> list[Signal]:
    """The signal with values that stand for no reading missing; none where nothing is left."""
    if signal.modality not in READINGS:
        return [signal]
    low, high = READINGS[signal.modality]
    physical = signal.physical()
    physical[(physical <= low) | (physical >= high)] = np.nan
    if not np.isfinite(physical).any():
        return []
    return [replace(signal, samples=physical, scale=None, offset=None)]


def _lead_off(edf: EdfRecording, label: str) -> tuple[NDArray[np.bool_], float]:
    """Where a lead-off channel says 1 [T], at its rate; nowhere where it is no such flag."""
    channel = edf.channel(label)
    low, high = channel.physical_range
    if low == high:  # a file may leave the range of a flag that never rises undefined
        return np.zeros(0, bool), channel.rate_hz
    flags = channel.samples * channel.scale + channel.offset
    off = np.rint(flags) == 1
    is_flag = bool((np.abs(flags - off) < 0.01).all()) and off.mean() < 0.5
    return off & is_flag, channel.rate_hz


def _hide(signal: Signal, row: int, hidden: NDArray[np.bool_], rate_hz: float) -> None:
    """Mark as missing, in place, what lies in the intervals [T] of `rate_hz` that are hidden."""
    gone = MISSING if signal.samples.dtype == np.int16 else np.nan
    for interval in np.flatnonzero(hidden):
        first, last = (round(i * signal.rate_hz / rate_hz) for i in (interval, interval + 1))
        signal.samples[row, first:last] = gone


def _counts(ref: RecordRef, duration_s: float) -> list[Signal]:
    path = _beside(ref, "actigraphy", ".csv")
    overlap = ref.facts["overlap"]
    if path is None or overlap is None:
        return []
    line, shift_s = overlap
    return activity(path, line, shift_s, duration_s)


def _scoring(ref: RecordRef) -> Scoring:
    """From NSRR's file, or Profusion's where that is absent."""
    path = _beside(ref, "annotations-events-nsrr", "-nsrr.xml") or _beside(
        ref, "annotations-events-profusion", "-profusion.xml"
    )
    return Scoring((), ()) if path is None else read_scoring(path)


def _beside(ref: RecordRef, folder: str, ending: str) -> Path | None:
    """A night's file in the folder of its kind, up to two folders up, or beside the EDF file."""
    name = f"{ref.record}{ending}"
    up = ref.path.parents[:3]
    return _first((ref.path.with_name(name), *(at / folder / name for at in up)))


def _first(paths: Any) -> Path | None:
    return next((path for path in paths if path.is_file()), None)


def _size(ref: RecordRef) -> int:
    return ref.path.stat().st_size


def _onset(annotation: Annotation) -> float:
    return annotation.onset_s
