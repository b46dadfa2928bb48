"""What physiology says about a source: looked at while it is built, before anything is filtered.

A few records of every shard are checked, which is a random sample. One odd record is worth knowing; a
source whose median is out of bounds was not read for what it is, and its build stops.

Shapes: C channels, T time.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..signals import MISSING, Recording, Series, Signal
from ..signals.heart_rate import heart_rate_bpm, heart_rate_windows, r_peaks_s
from .quality import WAVES, physiology

PER_SHARD = 16
"""So many records of each shard are looked at: enough for a median, and it costs next to nothing."""

WINDOW_S, WINDOWS = 30.0, 6
"""Heart rates are compared in so many windows of a recording, spread over it."""

LONGEST_LAG_S = 30
"""Labels are looked for so far before and after where they stand."""

LAG_LABELS, LAG_WITHIN_S = 30, 150.0
"""At least so many labels, so far before and after the middle one, show whether they are shifted."""

CLEARER = 0.7
"""Labels fit elsewhere only where they are off by less than this share of what they are off as they stand."""


class Check(NamedTuple):
    """Between `low` and `high` a source's median must lie; else `cause` is the likely reason."""

    low: float
    high: float
    what: str
    cause: str


UNITS = "gain, baseline or unit is not what the reader takes it for"
CHECKS: dict[str, Check] = {
    "einthoven": Check(
        0, 0.2, "residual of I + III = II, relative", "limb leads are swapped or named wrongly"
    ),
    "goldberger": Check(
        0,
        0.2,
        "residual of aVR, aVL, aVF, relative",
        "augmented leads are swapped, or have another sign",
    ),
    "ecg_size": Check(0.1, 20, "peak to peak of the ECG, mV", UNITS),
    "eeg_size": Check(2, 3000, "peak to peak of the EEG, µV", UNITS),
    "eog_size": Check(2, 6000, "peak to peak of the EOG, µV", UNITS),
    "acc_level": Check(0.7, 1.4, "median size of the acceleration, g (gravity is 1)", UNITS),
    "hr_level": Check(35, 180, "median of the reported heart rate, bpm", UNITS),
    "spo2_level": Check(75, 100.5, "median oxygen saturation, %", UNITS),
    "bp_level": Check(40, 160, "median arterial pressure, mmHg", UNITS),
    "temp_level": Check(15, 42, "median skin temperature, °C", UNITS),
    "hr_ecg_ppg": Check(
        0,
        8,
        "heart rate from ECG against PPG, bpm",
        "the two are not of one heart, or not of one time",
    ),
    "hr_reported": Check(
        0, 8, "heart rate from ECG or PPG against the reported one, bpm", "they are not of one time"
    ),
    "hr_labelled": Check(
        0, 8, "heart rate from ECG or PPG against the labels, bpm", "labels belong to other windows"
    ),
    "hr_label_lag": Check(
        -6, 6, "by how much the heart rate labels come late, s", "labels are shifted in time"
    ),
    "beat_lag": Check(
        -0.12,
        0.12,
        "by how much annotated beats come after R peaks, s",
        "annotations are shifted in time",
    ),
    "lengths": Check(
        0.999,
        10,
        "longest of its waves against the shortest, times",
        "a unit of time or a rate is not what the reader takes it for",
    ),
    "labels_outside": Check(
        0, 0.1, "share of the labelled time without any signal", "labels are shifted in time"
    ),
    "flat": Check(
        0, 0.34, "share of channels that never move (lead off)", "channels are not connected"
    ),
    "clipped": Check(
        0, 0.05, "share of samples at an extreme in runs", "the range was cut by the reader"
    ),
    "missing": Check(0, 0.6, "share of missing samples", "the reader misses what is there"),
}
"""Check → its bounds; a recording has those that its signals allow."""


def facts_of(recording: Recording, rows: Sequence[dict[str, Any]]) -> dict[str, float]:
    """The checks of a recording; `rows` are its rows of the index."""
    found: dict[str, float | None] = {
        name: float(np.mean([row[name] for row in rows])) for name in ("flat", "clipped")
    }
    found["missing"] = _missing(recording.signals)
    for signal in recording.signals:
        found |= _sizes(signal)
    found |= _levels(recording)
    found |= _heart_rates(recording)
    found["beat_lag"] = _beat_lag(recording)
    found["hr_label_lag"] = _hr_label_lag(recording)
    found["lengths"] = _lengths(recording)
    found["labels_outside"] = _labels_outside(recording)
    return {name: round(value, 6) for name, value in found.items() if value is not None}


def summary_of(facts: Iterable[tuple[str, dict[str, float]]]) -> dict[str, dict[str, Any]]:
    """Check → number of records, their median, how many lie outside the bounds, and some of those."""
    by_check: dict[str, dict[str, float]] = {}
    for record, values in facts:
        for name, value in values.items():
            by_check.setdefault(name, {})[record] = value
    summary = {}
    for name in (name for name in CHECKS if name in by_check):
        check, values = CHECKS[name], by_check[name]
        outside = sorted(r for r, value in values.items() if not check.low <= value <= check.high)
        summary[name] = {
            "records": len(values),
            "median": round(float(np.median(list(values.values()))), 6),
            "bounds": [check.low, check.high],
            "outside": len(outside),
            "examples": outside[:5],
        }
    return summary


def failures_of(summary: dict[str, dict[str, Any]]) -> list[str]:
    """One line for every check whose median lies outside its bounds."""
    return [
        f"{CHECKS[name].what}: the median of {said['records']} records is {said['median']:.3g}, expected "
        f"{CHECKS[name].low:g} to {CHECKS[name].high:g} (likely: {CHECKS[name].cause})"
        for name, said in summary.items()
        if not CHECKS[name].low <= said["median"] <= CHECKS[name].high
    ]


def _missing(signals: Sequence[Signal]) -> float | None:
    """Share of missing samples of what is evenly sampled: an uneven series is as full as it is."""
    size = sum(signal.samples.size for signal in signals)
    if not size:
        return None
    missing = 0
    for signal in signals:
        digital = signal.samples.dtype == np.int16
        there = signal.samples != MISSING if digital else np.isfinite(signal.samples)
        missing += there.size - int(np.count_nonzero(there))
    return missing / size


def _sizes(signal: Signal) -> dict[str, float | None]:
    """Amplitude of the first minute, and the laws of twelve leads."""
    name = f"{signal.modality}_size"
    first_minute = signal.samples[:, : round(60 * signal.rate_hz)]
    samples = _part(signal, 0, first_minute.shape[1]).physical()
    found: dict[str, float | None] = {}
    if signal.modality == "ecg" and (laws := physiology(samples, signal.channels)) is not None:
        found |= {"einthoven": laws.einthoven, "goldberger": laws.goldberger}
    if name in CHECKS:
        there = [row[np.isfinite(row)] for row in samples]
        spans = [float(np.ptp(np.percentile(row, (0.1, 99.9)))) for row in there if row.size]
        moving = [span for span in spans if span > 0]
        found[name] = float(np.median(moving)) if moving else None
    return found


def _levels(recording: Recording) -> dict[str, float | None]:
    """Medians of what has a usual level."""
    found: dict[str, float | None] = {}
    for one in _all(recording):
        if one.modality == "acc":
            values = _values(one)
            axes = [one.channels.index(c) for c in ("x", "y", "z") if c in one.channels]
            if len(axes) == 3:
                found["acc_level"] = _median(np.sqrt((values[axes] ** 2).sum(axis=0)))
        elif f"{one.modality}_level" in CHECKS:
            found[f"{one.modality}_level"] = _median(_values(one))
    return found


def _heart_rates(recording: Recording) -> dict[str, float | None]:
    """Median differences between what ECG, PPG, the device and the labels say."""
    ecg, ppg = _wave(recording, "ecg"), _wave(recording, "ppg")
    labels = [a for a in recording.annotations if a.code == "hr" and a.value is not None]
    reported = [one for one in _all(recording) if one.modality == "hr"]
    if (ecg or ppg) is None or (None in (ecg, ppg) and not labels and not reported):
        return {}
    wave, kind = (ecg, "ecg") if ecg is not None else (ppg, "ppg")
    assert wave is not None
    onsets_s = np.array([a.onset_s for a in labels])
    gaps: dict[str, list[float]] = {"hr_ecg_ppg": [], "hr_reported": [], "hr_labelled": []}
    for at_s in _spread(wave):
        rate = _rate(wave, "ecg" if kind == "ecg" else "ppg", at_s)
        if rate is None:
            continue
        if kind == "ecg" and ppg is not None and (other := _rate(ppg, "ppg", at_s)) is not None:
            gaps["hr_ecg_ppg"].append(abs(rate - other))
        near = [
            r for one in reported if (r := _mean_between(one, at_s, at_s + WINDOW_S)) is not None
        ]
        if near:
            gaps["hr_reported"].append(min(abs(rate - r) for r in near))
        inside = np.flatnonzero((onsets_s >= at_s) & (onsets_s < at_s + WINDOW_S - 8))
        values = [value for i in inside.tolist() if (value := labels[i].value) is not None]
        if values:
            gaps["hr_labelled"].append(abs(rate - float(np.mean(values))))
    return {name: float(np.median(found)) if found else None for name, found in gaps.items()}


def _beat_lag(recording: Recording) -> float | None:
    """Median distance of annotated beats from the nearest R peak of the first minute."""
    wave = _wave(recording, "ecg")
    onsets_s = np.array([a.onset_s for a in recording.annotations if a.code.startswith("beat:")])
    if wave is None or len(onsets_s) < 10:
        return None
    stretch = _part(wave, 0, round(60 * wave.rate_hz))
    peaks_s = r_peaks_s(stretch.physical()[0], wave.rate_hz) + wave.start_s
    onsets_s = onsets_s[(onsets_s > wave.start_s) & (onsets_s < wave.start_s + stretch.duration_s)]
    if len(peaks_s) < 10 or not len(onsets_s):
        return None
    after = np.searchsorted(peaks_s, onsets_s).clip(1, len(peaks_s) - 1)
    lags = np.stack((onsets_s - peaks_s[after - 1], onsets_s - peaks_s[after]))
    nearest = np.abs(lags).argmin(axis=0)
    return float(np.median(lags[nearest, np.arange(len(onsets_s))]))


def _hr_label_lag(recording: Recording) -> float | None:
    """The shift at which heart rate labels fit the ECG best, over five minutes in the middle.

    0 where none fits clearly better than none; None where the labels are few or hardly change.
    """
    wave = _wave(recording, "ecg")
    labels = [a for a in recording.annotations if a.code == "hr" and a.value is not None]
    if wave is None or not labels:
        return None
    middle_s = labels[len(labels) // 2].onset_s
    middle = [a for a in labels if abs(a.onset_s - middle_s) <= LAG_WITHIN_S]
    if len(middle) < LAG_LABELS:
        return None
    onsets_s = np.array([a.onset_s for a in middle])
    values = np.array([a.value for a in middle], np.float64)
    if values.std() < 2:
        return None
    begin_s = max(wave.start_s, onsets_s[0] - LONGEST_LAG_S)
    first = round((begin_s - wave.start_s) * wave.rate_hz)
    length_s = onsets_s[-1] + middle[-1].duration_s + LONGEST_LAG_S - begin_s
    stretch = _part(wave, first, first + round(length_s * wave.rate_hz))
    peaks_s = r_peaks_s(stretch.physical()[0], wave.rate_hz)
    rates = heart_rate_windows(peaks_s, middle[0].duration_s, 1.0, stretch.duration_s)
    off_by: dict[int, float] = {}
    for shift in range(-LONGEST_LAG_S, LONGEST_LAG_S + 1):
        at = np.rint(onsets_s - begin_s - shift).astype(int)
        usable = (at >= 0) & (at < len(rates))
        gap = np.abs(rates[at[usable]] - values[usable])
        gap = gap[np.isfinite(gap)]
        if len(gap) > len(values) / 2:
            off_by[shift] = float(gap.mean())
    if not off_by:
        return None
    best = min(off_by, key=lambda shift: off_by[shift])
    stands = off_by[best] > CLEARER * off_by.get(0, np.inf)
    return 0.0 if stands else float(best)


def _lengths(recording: Recording) -> float | None:
    """How much longer the longest wave is than the shortest; None where there is only one."""
    lengths_s = [s.duration_s for s in recording.signals if s.modality in WAVES]
    lengths_s += [float(np.ptp(s.times_s)) for s in recording.series if s.modality in WAVES]
    return max(lengths_s) / max(min(lengths_s), 1e-3) if len(lengths_s) > 1 else None


def _labels_outside(recording: Recording) -> float | None:
    """Share of the annotations that begin before all signals or after them."""
    onsets_s = np.array([a.onset_s for a in recording.annotations])
    if not len(onsets_s):
        return None
    spans = [(s.start_s, s.start_s + s.duration_s) for s in recording.signals]
    spans += [(float(s.times_s[0]), float(s.times_s[-1])) for s in recording.series]
    begin_s, end_s = min(first for first, _ in spans), max(last for _, last in spans)
    return float(((onsets_s < begin_s - 1e-6) | (onsets_s > end_s)).mean())


def _all(recording: Recording) -> list[Signal | Series]:
    """Signals and series alike."""
    return [*recording.signals, *recording.series]


def _wave(recording: Recording, modality: str) -> Signal | None:
    """One channel with the heart in it, of the leads and colours where it shows best."""
    best = ("II", "I", "V5", "V2", "chest", "ppg", "green", "infrared", "red")
    for signal in recording.signals:
        if signal.modality == modality:
            ranked = sorted(
                signal.channels, key=lambda c: best.index(c) if c in best else len(best)
            )
            return signal.select((ranked[0],))
    return None


def _spread(wave: Signal) -> list[float]:
    """Where windows begin, spread over a signal; one where it is short."""
    last_s = wave.duration_s - WINDOW_S
    if last_s <= 0:
        return [wave.start_s]
    count = min(WINDOWS, int(last_s // WINDOW_S) + 1)
    return [wave.start_s + last_s * (i + 0.5) / count for i in range(count)]


def _rate(wave: Signal, kind: str, at_s: float) -> float | None:
    first = round((at_s - wave.start_s) * wave.rate_hz)
    if first < 0:
        return None
    samples = _part(wave, first, first + round(WINDOW_S * wave.rate_hz)).physical()[0]
    return heart_rate_bpm(samples, wave.rate_hz, "ecg" if kind == "ecg" else "ppg")


def _mean_between(one: Signal | Series, first_s: float, last_s: float) -> float | None:
    """Mean of a reported rate between two times."""
    if isinstance(one, Series):
        values = one.values[0, (one.times_s >= first_s) & (one.times_s < last_s)]
    else:
        first, last = (max(0, round((t - one.start_s) * one.rate_hz)) for t in (first_s, last_s))
        values = _part(one, first, last).physical()[0]
    values = values[np.isfinite(values)]
    return float(values.mean()) if values.size else None


def _part(signal: Signal, first: int, last: int) -> Signal:
    """Some samples of a signal."""
    return Signal(
        signal.modality,
        signal.samples[:, first:last],
        signal.rate_hz,
        signal.channels,
        signal.scale,
        signal.offset,
        signal.start_s + first / signal.rate_hz,
    )


def _values(one: Signal | Series) -> NDArray[np.float32]:
    """At most some ten thousand samples [C, T] of it, evenly taken."""
    if isinstance(one, Series):
        return one.values[:, :: max(1, one.values.shape[1] // 10_000)]
    step = max(1, one.samples.shape[1] // 10_000)
    return Signal(
        one.modality, one.samples[:, ::step], one.rate_hz, one.channels, one.scale, one.offset
    ).physical()


def _median(values: NDArray[np.float32]) -> float | None:
    there = values[np.isfinite(values)]
    return float(np.median(there)) if there.size else None
