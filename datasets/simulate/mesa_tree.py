"""A synthetic tree in the layout of MESA Sleep: EDF, two kinds of XML, R points, actigraphy, tables.

Stretches of 40 minutes of longer nights, so that a tree is soon written and still has most stages; the
labels, rates and quirks are the real ones. The names and dates in the headers are invented, to be found
should they ever leave the reader.
"""

from __future__ import annotations

import csv
import datetime
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from pathlib import Path

import edfio
import numpy as np
from numpy.typing import NDArray

from . import pulse
from .layouts import Shown, Truth
from .night import EPOCH_S, Night, draw_night
from .sleep_signals import chin, eeg, eye_movements

HOURS, WHOLE_HOURS = 2 / 3, 4
FAST_HZ, SLOW_HZ = 256, 32
SCORE = {"W": 0, "N1": 1, "N2": 2, "N3": 3, "N4": 4, "R": 5, "?": 9}
CONCEPTS = (
    "Wake|0",
    "Stage 1 sleep|1",
    "Stage 2 sleep|2",
    "Stage 3 sleep|3",
    "Stage 4 sleep|4",
    "REM sleep|5",
)
BEFORE_LINES, AFTER_LINES = 240, 60
"""Rows of actigraphy before and after the night: two hours and half an hour of a week."""

ACTIGRAPHY = (
    "mesaid,line,linetime,offwrist,activity,marker,whitelight,redlight,greenlight,bluelight,wake,"
    "interval,dayofweek,daybymidnight,daybynoon"
)
RPOINTS = (
    "epoch,RPoint,Start,End,STLevel1,STSlope1,STLevel2,STSlope2,Manual,Type,Class,PPoint,PStart,PEnd,"
    "TPoint,TStart,TEnd,TemplateID,seconds,stage"
)
"""Columns of the actigraphy and R-point files, as NSRR documents them."""


_GIVEN = ("Ada", "Bela", "Cleo", "Dora", "Emil", "Fritz", "Greta", "Hugo")
_FAMILY = ("Querfeld", "Rosskopf", "Sandmann", "Traumwald", "Unruh", "Vielschlaf")
Wave = NDArray[np.float64]


@dataclass(frozen=True)
class Sleeper:
    """A night and what is planted in it.

    `beats_s` are R peaks and `kinds` their `Type`, which does not change their shape; the oximeter
    reads nothing in `no_reading_s`, and the electrode of EEG2 is off in `off_s` (both [first, last) in
    whole seconds).
    """

    number: int
    name: str
    start: datetime.datetime
    age: int
    sex: str
    night: Night
    beats_s: Wave
    kinds: NDArray[np.int64]
    no_reading_s: tuple[int, int]
    off_s: tuple[int, int]

    @property
    def seconds(self) -> int:
        """Length of the night."""
        return len(self.night.stages) * EPOCH_S

    @property
    def scored(self) -> list[str]:
        """Stages as a scorer of 2010 gave them: the second half of every N3 is N4; two are unscored."""
        scored: list[str] = []
        for stage, run in groupby(self.night.stages):
            length = len(list(run))
            deep = length // 2 if stage == "N3" else 0
            scored += [stage] * (length - deep) + ["N4"] * deep
        return [*scored[:-2], "?", "?"]


def draw_sleeper(index: int, seed: int, hours: float = HOURS) -> Sleeper:
    """The index-th person of a tree."""
    rng = np.random.default_rng([seed, index])
    whole = draw_night(rng, max(hours, WHOLE_HOURS), resting_bpm=float(rng.uniform(50, 68)))
    night = _richest(whole, round(hours * 3600 / EPOCH_S))
    beats_s = pulse.draw_beats(rng, night.heart_bpm)
    seconds = len(night.stages) * EPOCH_S
    day = datetime.date(2010, 11, 1) + datetime.timedelta(days=int(rng.integers(0, 800)))
    time = datetime.time(int(rng.integers(20, 24)), int(rng.integers(60)), int(rng.integers(60)))
    first, off = (int(x) for x in rng.integers(seconds // 10, seconds // 2, 2))
    return Sleeper(
        number=index + 1,
        name=f"{rng.choice(_FAMILY)}_{rng.choice(_GIVEN)}{index}",
        start=datetime.datetime.combine(day, time),
        age=int(rng.integers(54, 94)),
        sex=str(rng.choice(["female", "male"])),
        night=night,
        beats_s=beats_s,
        kinds=rng.choice([1, 2, 3, 0], len(beats_s), p=[0.96, 0.02, 0.015, 0.005]),
        no_reading_s=(first, first + 20),
        off_s=(off, off + 45),
    )


def _richest(night: Night, epochs: int) -> Night:
    """The first stretch of so many epochs that has the most stages."""
    kinds = [len(set(night.stages[i : i + epochs])) for i in range(len(night.stages) - epochs + 1)]
    first = int(np.argmax(kinds))
    of_epochs = slice(first, first + epochs)
    of_seconds = slice(first * EPOCH_S, (first + epochs) * EPOCH_S)
    return Night(
        night.stages[of_epochs],
        night.heart_bpm[of_seconds],
        night.movement_g[of_seconds],
        night.breaths_hz[of_seconds],
    )


def write_edf(path: Path, sleeper: Sleeper, seed: int) -> None:
    """The night's 27 channels, in the order and at the rates of the real files."""
    rng = np.random.default_rng([seed, sleeper.number, 1])
    start = sleeper.start
    edf = edfio.Edf(
        [
            edfio.EdfSignal(
                wave.clip(*span),
                rate_hz,
                label=label,
                physical_dimension=unit,
                physical_range=span,
            )
            for label, rate_hz, unit, span, wave in _channels(rng, sleeper)
        ],
        patient=edfio.Patient(
            code=f"MRN{70_000 + sleeper.number}", sex="X", birthdate=None, name=sleeper.name
        ),
        recording=edfio.Recording(startdate=start.date(), equipment_code="Somte_SN4711"),
        starttime=start.time(),
        data_record_duration=1,
    )
    edf.write(path)


_Channel = tuple[str, int, str, tuple[float, float], Wave]


def _channels(rng: np.random.Generator, sleeper: Sleeper) -> Iterable[_Channel]:
    """(label, rate, unit, physical range, samples [T]) one after another, to hold one at a time."""
    night, beats_s, seconds = sleeper.night, sleeper.beats_s, sleeper.seconds
    fast, slow = seconds * FAST_HZ, seconds * SLOW_HZ
    noise = rng.normal
    belt = partial(pulse.breathing, night.breaths_hz, slow, SLOW_HZ)
    moving = np.repeat(night.movement_g, SLOW_HZ)
    off = np.zeros(seconds)
    off[slice(*sleeper.off_s)] = 1

    yield "EKG", FAST_HZ, "mV", (-5, 5), pulse.lead(beats_s, fast, FAST_HZ) + noise(0, 0.01, fast)
    eyes = eye_movements(rng, night, FAST_HZ)
    for label, eye in zip(("EOG-L", "EOG-R"), eyes, strict=True):
        yield label, FAST_HZ, "uV", (-1000, 1000), eye
    yield "EMG", FAST_HZ, "uV", (-500, 500), chin(rng, night, FAST_HZ)
    for label, alpha in (("EEG1", 0.6), ("EEG2", 1.6), ("EEG3", 1.0)):
        wave = eeg(rng, night, FAST_HZ, alpha)
        if label == "EEG2":
            first, last = (second * FAST_HZ for second in sleeper.off_s)
            wave[first:last] = 400.0
        yield label, FAST_HZ, "uV", (-500, 500), wave
    flow = np.gradient(belt()) * SLOW_HZ / 2
    yield "Pres", SLOW_HZ, "", (-100, 100), 20 * flow + noise(0, 0.5, slow)
    yield "Flow", SLOW_HZ, "", (-5, 5), flow + noise(0, 0.05, slow)
    yield "Snore", SLOW_HZ, "", (-1, 1), noise(0, 0.02, slow)
    yield "Thor", SLOW_HZ, "", (-5, 5), belt() + moving * noise(0, 2, slow)
    yield "Abdo", SLOW_HZ, "", (-5, 5), 0.8 * np.roll(belt(), 3) + moving * noise(0, 2, slow)
    yield "Leg", SLOW_HZ, "mV", (-5, 5), (0.01 + moving) * noise(0, 1, slow)
    yield "Therm", SLOW_HZ, "", (-5, 5), 0.3 * np.roll(belt(), 12) + noise(0, 0.02, slow)
    yield "Pos", SLOW_HZ, "", (0, 5), np.full(slow, 2.0)
    for label in ("EKG", "EOG-L", "EOG-R", "EMG", "EEG1", "EEG2", "EEG3"):
        yield f"{label}_Off", 1, "", (0, 1), off if label == "EEG2" else np.zeros(seconds)
    yield "Pleth", FAST_HZ, "", (-5, 5), pulse.pulse(beats_s, fast, FAST_HZ) + noise(0, 0.01, fast)
    reads = np.ones(seconds)
    reads[slice(*sleeper.no_reading_s)] = 0
    yield "OxStatus", 1, "", (0, 5), 1 - reads
    desaturation = np.rint(2 * np.sin(np.arange(seconds) / 97) ** 8)
    yield "SpO2", 1, "%", (0, 200), (96 - desaturation) * reads
    rate_bpm = np.interp(np.arange(seconds), beats_s[1:], 60 / np.diff(beats_s))
    smooth_bpm = np.convolve(np.pad(rate_bpm, 4, "edge"), np.ones(9) / 9, "valid")
    yield "HR", 1, "bpm", (0, 500), np.rint(smooth_bpm) * reads
    beat = np.searchsorted(beats_s[1:], np.arange(fast) / FAST_HZ, "right").clip(1) - 1
    yield "DHR", FAST_HZ, "bpm", (0, 500), 60 / np.diff(beats_s)[beat]


def write_nsrr_xml(path: Path, sleeper: Sleeper) -> None:
    """Runs of equal epochs as one event each, between an event of another kind."""
    start = sleeper.start.strftime("%H.%M.%S")
    lines = [
        '<?xml version="1.0" encoding="UTF-8" standalone="no"?>',
        "<PSGAnnotation>",
        "<SoftwareVersion>Compumedics</SoftwareVersion>",
        f"<EpochLength>{EPOCH_S}</EpochLength>",
        "<ScoredEvents>",
        _event("", "Recording Start Time", 0, sleeper.seconds, f"<ClockTime>00.00.00 {start}</ClockTime>"),
        _event("Respiratory|Respiratory", "Hypopnea|Hypopnea", 130.5, 14.2,
               "<SignalLocation>Thor</SignalLocation>"),
    ]  # fmt: skip
    epoch = 0
    for stage, run in groupby(sleeper.scored):
        length = len(list(run))
        concept = "Unscored|9" if stage == "?" else CONCEPTS[SCORE[stage]]
        lines.append(_event("Stages|Stages", concept, epoch * EPOCH_S, length * EPOCH_S))
        epoch += length
    lines += ["</ScoredEvents>", "</PSGAnnotation>"]
    _write_lines(path, lines)


def _event(kind: str, concept: str, start_s: float, duration_s: float, rest: str = "") -> str:
    typed = f"<EventType>{kind}</EventType>" if kind else "<EventType/>"
    return (
        f"<ScoredEvent>\n{typed}\n<EventConcept>{concept}</EventConcept>\n<Start>{start_s:.1f}</Start>\n"
        f"<Duration>{duration_s:.1f}</Duration>\n{rest}</ScoredEvent>"
    )


def write_profusion_xml(path: Path, sleeper: Sleeper) -> None:
    """One number an epoch."""
    lines = [
        '<?xml version="1.0" encoding="utf-8"?>',
        "<CMPStudyConfig>",
        f"<EpochLength>{EPOCH_S}</EpochLength>",
        "<ScoredEvents>",
        "<ScoredEvent><Name>Hypopnea</Name><Start>130.5</Start><Duration>14.2</Duration>"
        "<Input>Thor</Input></ScoredEvent>",
        "</ScoredEvents>",
        "<SleepStages>",
        *(f"<SleepStage>{SCORE[stage]}</SleepStage>" for stage in sleeper.scored),
        "</SleepStages>",
        "</CMPStudyConfig>",
    ]
    _write_lines(path, lines)


def write_rpoints(path: Path, sleeper: Sleeper) -> None:
    """A row for each beat; sample numbers are at 256 Hz."""
    rows = []
    for beat_s, kind in zip(sleeper.beats_s, sleeper.kinds, strict=True):
        at = round(beat_s * FAST_HZ)
        epoch = min(at // (FAST_HZ * EPOCH_S), len(sleeper.scored) - 1)
        wide = [at - 40, at - 50, at - 30, at + 70, at + 40, at + 90]
        stage = SCORE[sleeper.scored[epoch]]
        rows.append([epoch + 1, at, at - 12, at + 12, 0, 0, 0, 0, "False", int(kind), 0, *wide, 1,
                     at / FAST_HZ, stage])  # fmt: skip
    _write_rows(path, [RPOINTS.split(","), *rows])


def write_actigraphy(path: Path, sleeper: Sleeper, seed: int) -> tuple[datetime.datetime, Wave]:
    """Counts before, in and after the night, off the wrist at first: (time at line 1, counts [E])."""
    rng = np.random.default_rng([seed, sleeper.number, 2])
    epochs = len(sleeper.night.stages)
    moved = sleeper.night.movement_g.reshape(epochs, EPOCH_S).sum(axis=1)
    night = np.rint(30 * moved)
    day = np.rint(rng.gamma(1.5, 60, BEFORE_LINES + AFTER_LINES))
    counts = np.concatenate((day[:BEFORE_LINES], night, day[BEFORE_LINES:]))
    begin = _to_half_minute(sleeper.start) - datetime.timedelta(seconds=EPOCH_S * BEFORE_LINES)
    rows: list[list[object]] = []
    for i, count in enumerate(counts):
        time = begin + datetime.timedelta(seconds=EPOCH_S * i)
        worn = i >= 20
        rows.append([sleeper.number, i + 1, time.strftime("%H:%M:%S"), int(not worn),
                     int(count) if worn else "", 0, 1.5 if worn else "", "", "", "",
                     int(count > 40) if worn else "", "ACTIVE" if worn else "EXCLUDED",
                     time.isoweekday() % 7 + 1, 1, 1])  # fmt: skip
    _write_rows(path, [ACTIGRAPHY.split(","), *rows])
    return begin, night


def _to_half_minute(time: datetime.datetime) -> datetime.datetime:
    midnight = datetime.datetime.combine(time.date(), datetime.time())
    halves = int((time - midnight).total_seconds() + 15) // EPOCH_S
    return midnight + datetime.timedelta(seconds=halves * EPOCH_S)


def write(folder: Path, records: int, seed: int, shown: Shown, hours: float = HOURS) -> list[Truth]:
    """Write the tree of so many nights into `folder`; returns the rows of the truth table.

    Every third night has Profusion's XML alone, every fourth no actigraphy, every fifth no R points.
    """
    psg = folder / "polysomnography"
    kinds = (
        "edfs",
        "annotations-events-nsrr",
        "annotations-events-profusion",
        "annotations-rpoints",
    )
    edfs, nsrr, profusion, rpoints = (psg / kind for kind in kinds)
    tables = [folder / kind for kind in ("actigraphy", "overlap", "datasets")]
    for made in (edfs, nsrr, profusion, rpoints, *tables):
        made.mkdir(parents=True)
    overlap: list[list[object]] = [["mesaid", "line", "linetime", "starttime_psg"]]
    people: list[list[object]] = [["mesaid", "examnumber", "nsrr_age", "nsrr_age_gt89", "nsrr_sex",
                                   "nsrr_flag_spsw"]]  # fmt: skip
    truth: list[Truth] = []
    for index in shown(range(records)):
        sleeper = draw_sleeper(index, seed, hours)
        name = f"mesa-sleep-{sleeper.number:04d}"
        write_edf(edfs / f"{name}.edf", sleeper, seed)
        write_profusion_xml(profusion / f"{name}-profusion.xml", sleeper)
        if index % 3 != 2:
            write_nsrr_xml(nsrr / f"{name}-nsrr.xml", sleeper)
        if index % 5 != 4:
            write_rpoints(rpoints / f"{name}-rpoint.csv", sleeper)
        counts: list[float] = []
        if index % 4 != 3:
            path = folder / "actigraphy" / f"{name}.csv"
            begin, night = write_actigraphy(path, sleeper, seed)
            counts = night.tolist()
            at = begin + datetime.timedelta(seconds=EPOCH_S * BEFORE_LINES)
            overlap.append([sleeper.number, BEFORE_LINES + 1, at.strftime("%H:%M:%S"),
                            sleeper.start.strftime("%H:%M:%S")])  # fmt: skip
        old = sleeper.age > 89
        people.append([sleeper.number, 5, 90 if old else sleeper.age, "yes" if old else "no",
                       sleeper.sex, "full scoring"])  # fmt: skip
        truth.append(_truth(name, sleeper, counts))
    _write_rows(folder / "overlap" / "mesa-actigraphy-psg-overlap.csv", overlap)
    _write_rows(folder / "datasets" / "mesa-sleep-harmonized-dataset-0.8.0.csv", people)
    return truth


def _truth(name: str, sleeper: Sleeper, counts: list[float]) -> Truth:
    return {
        "record": name,
        "subject": f"mesa-{sleeper.number:04d}",
        "name": sleeper.name,
        "start": sleeper.start.isoformat(),
        "age": sleeper.age,
        "sex": sleeper.sex,
        "stages": sleeper.scored,
        "heart_bpm": sleeper.night.heart_bpm.tolist(),
        "beats_s": sleeper.beats_s.tolist(),
        "beat_types": sleeper.kinds.tolist(),
        "counts": counts,
        "no_reading_s": list(sleeper.no_reading_s),
        "eeg2_off_s": list(sleeper.off_s),
    }


def _write_rows(path: Path, rows: Iterable[Sequence[object]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)


def _write_lines(path: Path, lines: Iterable[str]) -> None:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8", newline="\n")
