"""Filtering and resampling of whole recordings: done once, when shards are built, never in the
loop.

A recording is processed whole, channel by channel, before it is cut, so that no segment edge
carries a filter's transient. A trained model carries the same `Preprocessing`, so that `embed` on a
raw recording does what training did.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache

import numpy as np
import soxr
from numpy.typing import NDArray
from scipy import signal as dsp

from .types import Signal


@dataclass(frozen=True)
class Preprocessing:
    """How a signal is brought to the rate and band that models read."""

    rate_hz: float
    """Sampling rate after resampling, in Hz."""
    highpass_hz: float | None = None
    """Cut-off of the Butterworth high-pass in Hz, run both ways (zero phase); null for none."""
    lowpass_hz: float | None = None
    """Cut-off of the Butterworth low-pass in Hz, below half the rate; null for none."""
    order: int = 5
    """Order of each Butterworth filter, in one direction."""

    def __post_init__(self) -> None:
        if not self.rate_hz > 0:
            raise ValueError(f"rate_hz must be above 0, not {self.rate_hz}")
        for name, cut in (("highpass_hz", self.highpass_hz), ("lowpass_hz", self.lowpass_hz)):
            if cut is not None and not 0 < cut < self.rate_hz / 2:
                raise ValueError(
                    f"{name} must lie between 0 and half the rate ({self.rate_hz / 2:g} Hz), "
                    f"not {cut:g}; use null for no filter"
                )
        if self.order < 1:
            raise ValueError(f"order must be at least 1, not {self.order}")


def preprocess(signal: Signal, how: Preprocessing) -> Signal:
    """`signal` resampled and filtered, as float32 in physical units; missing samples stay NaN.

    Gaps are bridged by a straight line while filtering and reopened afterwards; a channel with no
    sample stays all NaN. The result has `round(T · rate_hz / signal.rate_hz)` samples, at least
    one, and keeps `start_s`.
    """
    samples = signal.physical()
    missing = ~np.isfinite(samples)
    gaps = bool(missing.any())
    if gaps:
        samples = fill_gaps(samples, missing)
    samples = resample(samples, signal.rate_hz, how.rate_hz)
    sos = _filter(how)
    if sos is not None and samples.shape[1] > 1:
        # Two seconds of reflection outlast the transient of the slowest usual high-pass (0.5 Hz).
        pad = min(samples.shape[1] - 1, round(2 * how.rate_hz))
        samples = dsp.sosfiltfilt(sos, samples, axis=1, padlen=pad).astype(np.float32)
    if gaps:
        samples[resample_mask(missing, signal.rate_hz, how.rate_hz, samples.shape[1])] = np.nan
    return replace(
        signal,
        samples=np.ascontiguousarray(samples, np.float32),
        rate_hz=how.rate_hz,
        scale=None,
        offset=None,
    )


@lru_cache
def _filter(how: Preprocessing) -> NDArray[np.float64] | None:
    """Second-order sections of the high- and low-pass in series, or None."""
    stages = []
    if how.highpass_hz is not None:
        stages.append(dsp.butter(how.order, how.highpass_hz, "high", fs=how.rate_hz, output="sos"))
    if how.lowpass_hz is not None:
        stages.append(dsp.butter(how.order, how.lowpass_hz, "low", fs=how.rate_hz, output="sos"))
    return np.concatenate(stages) if stages else None


def resample(samples: NDArray[np.float32], rate_hz: float, to_hz: float) -> NDArray[np.float32]:
    """Band-limited resampling of [C, T] with soxr; the ends are extended by odd reflection.

    soxr takes what lies outside a signal for zero: the step to it would ring far into an ECG that
    is off its baseline there. Half a second of reflection that fades to zero leaves no step.
    """
    if rate_hz == to_hz or samples.shape[1] == 0:
        return samples
    length = max(1, round(samples.shape[1] * to_hz / rate_hz))
    if samples.shape[1] == 1:
        return np.repeat(samples, length, axis=1)
    ratio = Fraction(to_hz / rate_hz).limit_denominator(10_000)
    step = ratio.denominator
    pad = min(step * max(1, round(rate_hz / 2 / step)), (samples.shape[1] - 1) // step * step)
    if pad:
        samples = np.pad(samples, ((0, 0), (pad, pad)), mode="reflect", reflect_type="odd")
        fade = np.sin(np.linspace(0, np.pi / 2, pad, endpoint=False, dtype=np.float32)) ** 2
        samples[:, :pad] *= fade
        samples[:, -pad:] *= fade[::-1]
    out = soxr.resample(np.ascontiguousarray(samples.T), rate_hz, to_hz, quality="HQ").T
    first = pad * ratio.numerator // step
    return np.ascontiguousarray(out[:, first : first + length], np.float32)


def resample_mask(
    missing: NDArray[np.bool_], rate_hz: float, to_hz: float, length: int
) -> NDArray[np.bool_]:
    """[C, T] missing flags on the new grid: a new sample is missing when its nearest old one is.

    When the rate falls, so is the new sample nearest to any old missing one: a gap shorter than the
    new step must not slip between two new samples.
    """
    if to_hz < rate_hz:
        flags = np.zeros((missing.shape[0], length), bool)
        channel, old = np.nonzero(missing)
        flags[channel, np.minimum(np.rint(old * to_hz / rate_hz).astype(int), length - 1)] = True
        return flags
    nearest = np.rint(np.arange(length) * rate_hz / to_hz).astype(int)
    return missing[:, np.minimum(nearest, missing.shape[1] - 1)]


def fill_gaps(samples: NDArray[np.float32], missing: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Bridge missing samples of [C, T] by straight lines; a channel with no sample becomes 0."""
    filled = samples.copy()
    time = np.arange(samples.shape[1])
    for row, gap in zip(filled, missing, strict=True):
        if gap.all():
            row[:] = 0.0
        elif gap.any():
            row[gap] = np.interp(time[gap], time[~gap], row[~gap])
    return filled
