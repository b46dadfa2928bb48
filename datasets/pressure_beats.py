"""Systole, diastole, mean and rate of every beat of an arterial pressure wave, where it can be trusted.

**A beat** runs from one foot to the next. Systoles are the peaks that stand at least 20 mmHg above the
wave on both sides and 0.3 s apart (`scipy.signal.find_peaks`; NeuroKit2's detectors are made for PPG,
whose size says nothing, and cannot be told what a pulse is in mmHg). A foot is the lowest sample between
two systoles, the last of equals. Then systole is the pressure at the peak, diastole at the foot before
it, mean the average of all samples of the beat (not a third of the way), and rate 60 s over its length.
In time a foot is where the line through a quarter and three quarters of the upstroke meets diastole,
because the lowest sample of a slow runoff moves with every bit of noise.

**It is kept** where the signal abnormality index of Sun, Reisner & Mark (Computers in Cardiology 33:13,
2006; limits as in the authors' code of 2006) finds nothing:

- systole at most 300, diastole at least 20, mean 30 to 200, pulse at least 20 mmHg, rate 20 to 200 bpm;
- systole, diastole and length within 20 mmHg, 20 mmHg and 0.5 s of the beat before, and the foot that
  ends it within 20 mmHg of its own;
- falling parts that fall by 3 mmHg or less in 8 ms on average: steeper ones are noise.

Ours are more rules: no missing sample; no value that stays the same for 0.3 s (a flat line) or, at the
peak, for 0.12 s (clipping, or the plateau of a flush); and the next beat, whose foot ends this one, passes
too.

A pulse below 20 mmHg is no beat, so a damped stretch is one long beat that fails by its rate.

Shapes: T time, B beats, F = B + 1 feet.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.signal import find_peaks

SYSTOLE_MOST_MMHG = 300.0
DIASTOLE_LEAST_MMHG = 20.0
MEAN_MMHG = (30.0, 200.0)
PULSE_LEAST_MMHG = 20.0
RATE_BPM = (20.0, 200.0)
CHANGE_MOST_MMHG = 20.0
CHANGE_MOST_S = 0.5
FALL_MOST_MMHG = 3.0
FALL_S = 0.008
UPSTROKE = (0.25, 0.75)
FLAT_S = 0.3
PLATEAU_S = 0.12

Values = NDArray[np.float64]


@dataclass(frozen=True)
class PressureBeats:
    """The beats that are kept, [B] each; `onset_s` is the foot, in seconds from the first sample."""

    onset_s: Values
    duration_s: Values
    sbp_mmhg: Values
    dbp_mmhg: Values
    map_mmhg: Values

    @property
    def hr_bpm(self) -> Values:
        """Rate [B]."""
        return 60 / self.duration_s


def pressure_beats(mmhg: NDArray[np.float32], rate_hz: float) -> PressureBeats:
    """The trustworthy beats of a pressure wave [T] in mmHg, NaN where a sample is missing."""
    there = np.isfinite(mmhg)
    known = np.flatnonzero(there)
    if len(known) < rate_hz:
        return _chosen(np.zeros((5, 0)), np.zeros(0, bool))
    wave = np.interp(np.arange(len(mmhg)), known, mmhg[known])
    peaks = _systoles(wave, rate_hz)
    if len(peaks) < 3:
        return _chosen(np.zeros((5, 0)), np.zeros(0, bool))
    feet = _feet(wave, peaks)
    onsets_s = _onsets_s(wave, feet, peaks[1:], rate_hz)
    # What comes before the first foot is no whole beat; the last foot only ends one.
    peaks = peaks[1:-1]
    mean = np.add.reduceat(wave, feet)[:-1] / np.diff(feet)
    beats = np.stack((onsets_s[:-1], np.diff(onsets_s), wave[peaks], wave[feet[:-1]], mean))
    keep = _plausible(beats, wave[feet]) & ~_abnormal(wave, there, feet, peaks, rate_hz)
    return _chosen(beats, keep & np.append(keep[1:], True))


def _chosen(beats: Values, keep: NDArray[np.bool_]) -> PressureBeats:
    return PressureBeats(*beats[:, keep])


def _systoles(wave: Values, rate_hz: float) -> NDArray[np.intp]:
    """Samples of the peaks [F + 1]."""
    # Prominence looks so far to either side: the longest beat. Without a limit a slow fall of pressure
    # would make it look at the whole record again and again.
    reach = 2 * round(rate_hz * 60 / RATE_BPM[0]) + 1
    with warnings.catch_warnings():
        # A plateau longer than that has no prominence, and is no peak.
        warnings.simplefilter("ignore", RuntimeWarning)
        peaks, _ = find_peaks(
            wave,
            distance=max(1, round(rate_hz * 60 / RATE_BPM[1])),
            prominence=PULSE_LEAST_MMHG,
            wlen=reach,
        )
    return np.asarray(peaks)


def _feet(wave: Values, peaks: NDArray[np.intp]) -> NDArray[np.intp]:
    """The last lowest sample between each two peaks [F]."""
    return np.array([
        last - int(np.argmin(wave[first:last][::-1])) - 1
        for first, last in zip(peaks[:-1].tolist(), peaks[1:].tolist(), strict=True)
    ])  # fmt: skip


def _onsets_s(
    wave: Values, feet: NDArray[np.intp], peaks: NDArray[np.intp], rate_hz: float
) -> Values:
    """When each upstroke begins [F], in seconds: its middle half, drawn out to the level of the foot."""
    low, high = UPSTROKE
    onsets = np.empty(len(feet))
    for place, (foot, peak) in enumerate(zip(feet.tolist(), peaks.tolist(), strict=True)):
        rising = np.maximum.accumulate(wave[foot : peak + 1])
        levels = rising[0] + np.array(UPSTROKE) * (rising[-1] - rising[0])
        first, last = np.interp(levels, rising, np.arange(len(rising)))
        # No earlier than the sample before the foot, or a slow rise to the peak would lead far back.
        onsets[place] = foot + max(-1.0, first - (last - first) * low / (high - low))
    return onsets / rate_hz


def _plausible(beats: Values, feet_mmhg: Values) -> NDArray[np.bool_]:
    """Which beats [B] have plausible values, and changes from beat to beat."""
    _, duration_s, sbp, dbp, mean = beats
    rate_bpm = 60 / duration_s
    good = (sbp <= SYSTOLE_MOST_MMHG) & (dbp >= DIASTOLE_LEAST_MMHG)
    good &= (sbp - dbp >= PULSE_LEAST_MMHG) & (np.abs(np.diff(feet_mmhg)) <= CHANGE_MOST_MMHG)
    for value, (low, high) in ((mean, MEAN_MMHG), (rate_bpm, RATE_BPM)):
        good &= (value >= low) & (value <= high)
    for value, most in (
        (sbp, CHANGE_MOST_MMHG),
        (dbp, CHANGE_MOST_MMHG),
        (duration_s, CHANGE_MOST_S),
    ):
        good[1:] &= np.abs(np.diff(value)) <= most
    return np.asarray(good)


def _abnormal(
    wave: Values,
    there: NDArray[np.bool_],
    feet: NDArray[np.intp],
    peaks: NDArray[np.intp],
    rate_hz: float,
) -> NDArray[np.bool_]:
    """Which beats [B] have missing samples, noise, or a value that stands still."""
    missing = np.add.reduceat(~there, feet)[:-1] > 0
    step = max(1, round(FALL_S * rate_hz))
    change = np.append(wave[step:] - wave[:-step], np.zeros(step)) * (FALL_S * rate_hz / step)
    falls = np.add.reduceat(np.minimum(change, 0), feet)[:-1]
    steepness = -falls / np.maximum(np.add.reduceat(change < 0, feet)[:-1], 1)
    # Every sample → the length of the run of equal values that it is in.
    starts = np.flatnonzero(np.append(True, np.diff(wave) != 0))
    runs = np.diff(np.append(starts, len(wave)))
    still_s = np.repeat(runs, runs) / rate_hz
    flat = np.maximum.reduceat(still_s, feet)[:-1] >= FLAT_S
    return np.asarray(missing | (steepness > FALL_MOST_MMHG) | flat | (still_s[peaks] >= PLATEAU_S))
