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
from numpy.typing import NDArray
from scipy import fft, special
from scipy import signal as dsp

from .types import Signal

AT_ONCE = 1 << 22
"""Channels of larger signals (a night's) are processed one after another, to bound the memory."""


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
    longest_gap_s: float | None = None
    """Of unevenly sampled series: a longer gap stays missing; null for five median intervals."""

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
        if self.longest_gap_s is not None and not self.longest_gap_s > 0:
            raise ValueError(f"longest_gap_s must be above 0 s, or null, not {self.longest_gap_s}")


def preprocess(signal: Signal, how: Preprocessing) -> Signal:
    """`signal` resampled and filtered, as float32 in physical units; missing samples stay NaN.

    Gaps are bridged by a straight line while filtering and reopened afterwards; a channel with no
    sample stays all NaN. The result has `round(T · rate_hz / signal.rate_hz)` samples, at least
    one, and keeps `start_s`.
    """
    if len(signal.channels) > 1 and signal.samples.size > AT_ONCE:
        rows = [preprocess(signal.select((channel,)), how).samples for channel in signal.channels]
        return _done(signal, np.concatenate(rows), how)
    samples = signal.physical()
    missing = ~np.isfinite(samples)
    gaps = bool(missing.any())
    if gaps:
        samples = fill_gaps(samples, missing)
    samples = resample(samples, signal.rate_hz, how.rate_hz)
    samples = filter_both_ways(samples, how)
    if gaps:
        samples[resample_mask(missing, signal.rate_hz, how.rate_hz, samples.shape[1])] = np.nan
    return _done(signal, samples, how)


def _done(signal: Signal, samples: NDArray[np.floating], how: Preprocessing) -> Signal:
    return replace(
        signal,
        samples=np.ascontiguousarray(samples, np.float32),
        rate_hz=how.rate_hz,
        scale=None,
        offset=None,
    )


def filter_both_ways(samples: NDArray[np.float32], how: Preprocessing) -> NDArray[np.float32]:
    """`how`'s filters over [C, T] forwards and backwards, as `scipy.signal.sosfiltfilt` runs them.

    That function works out the filter's steady state at every call, which takes more than half of
    its time on a 10-s ECG; here it is worked out once.
    """
    designed = _sections(how)
    if designed is None or samples.shape[1] < 2:
        return samples
    sos, steady = designed
    # Two seconds of reflection outlast the transient of the slowest usual high-pass (0.5 Hz).
    pad = min(samples.shape[1] - 1, round(2 * how.rate_hz))
    out = np.pad(samples, ((0, 0), (pad, pad)), mode="reflect", reflect_type="odd").astype(
        np.float64
    )
    for _ in range(2):
        out = dsp.sosfilt(sos, out, axis=1, zi=steady * out[:, :1])[0][:, ::-1]
    return out[:, pad : out.shape[1] - pad].astype(np.float32)


@lru_cache
def _sections(how: Preprocessing) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """Second-order sections [S, 6] of the high- and low-pass in series, and the state [S, 1, 2]
    that each is in after an endless row of ones; None for no filter."""
    stages = []
    if how.highpass_hz is not None:
        stages.append(dsp.butter(how.order, how.highpass_hz, "high", fs=how.rate_hz, output="sos"))
    if how.lowpass_hz is not None:
        stages.append(dsp.butter(how.order, how.lowpass_hz, "low", fs=how.rate_hz, output="sos"))
    if not stages:
        return None
    sos = np.concatenate(stages)
    return sos, dsp.sosfilt_zi(sos)[:, None, :]


def resample(samples: NDArray[np.float32], rate_hz: float, to_hz: float) -> NDArray[np.float32]:
    """Band-limited resampling of [C, T] in one Fourier transform; the ends are extended.

    The response is that of soxr's HQ quality: 0.99 at 0.93 of the lower Nyquist frequency, half at
    0.957, 0.001 at 0.99. For 12 leads of 10 s from 500 to 100 Hz, soxr takes 1 ms and more, this
    0.25 ms (one core of a shared x86 machine).
    """
    if rate_hz == to_hz or samples.shape[1] == 0:
        return samples
    length = max(1, round(samples.shape[1] * to_hz / rate_hz))
    if samples.shape[1] == 1:
        return np.repeat(samples, length, axis=1)
    ratio = rational(to_hz / rate_hz)
    # The transform takes the signal for periodic. Half a second of reflection that fades to zero
    # joins its ends without a step, which would ring far into an ECG that is off its baseline.
    padded, before = extended(samples, round(rate_hz / 2), ratio.denominator)
    fade = np.sin(np.linspace(0, np.pi / 2, before, endpoint=False, dtype=np.float32)) ** 2
    padded[:, :before] *= fade
    last = before + samples.shape[1]
    padded[:, last : last + before] *= fade[::-1]
    padded[:, last + before :] = 0
    new = padded.shape[1] * ratio.numerator // ratio.denominator
    gain = _gain(padded.shape[1], new)
    spectrum = fft.rfft(padded, axis=1)[:, : len(gain)] * gain
    first = before * ratio.numerator // ratio.denominator
    return np.ascontiguousarray(fft.irfft(spectrum, new, axis=1)[:, first : first + length])


@lru_cache(maxsize=4)
def _gain(old: int, new: int) -> NDArray[np.float32]:
    """What each frequency of `old` samples is multiplied by, up to the lower Nyquist frequency."""
    bins = min(old, new) // 2 + 1
    # Fitted to soxr's response to tones: it follows that within 0.0013 from 500 to 250 Hz and within
    # 0.01, in the middle of the edge, from 500 to 100 Hz.
    edge = (np.arange(bins) / (min(old, new) / 2) - 0.95687) / 0.0168
    gain: NDArray[np.float64] = special.erfc(edge + 0.0195 * edge**3) * (new / old / 2)
    return gain.astype(np.float32)


@lru_cache
def rational(ratio: float) -> Fraction:
    """The ratio of two rates in whole numbers."""
    return Fraction(ratio).limit_denominator(10_000)


def extended(samples: NDArray[np.float32], pad: int, step: int) -> tuple[NDArray[np.float32], int]:
    """[C, T] with about `pad` samples of odd reflection at each end, and how many stand before it.

    That is a multiple of `step`, and so is the new length, which a Fourier transform is fast at.
    """
    before = step * max(1, round(pad / step))
    time = samples.shape[1]
    whole = step * fft.next_fast_len(-(-(time + 2 * before) // step), real=True)
    around = (before, whole - time - before)
    return np.pad(samples, ((0, 0), around), mode="reflect", reflect_type="odd"), before


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
    for row, gap in zip(filled, missing, strict=True):
        if gap.all():
            row[:] = 0.0
        elif gap.any():
            # The samples beside a gap are enough to bridge it, and a night has millions of others.
            beside = np.zeros_like(gap)
            beside[:-1] |= gap[1:]
            beside[1:] |= gap[:-1]
            known = np.flatnonzero(beside & ~gap)
            row[gap] = np.interp(np.flatnonzero(gap), known, row[known])
    return filled
