"""Two signatures of a recording, taken from the source's samples before any filter.

- `signature`: an exact hash of the samples, equal for copies of one recording in other containers
  (PTB-XL's `.dat` and the Challenge's `.mat`).
- `fingerprint`: a small picture of a few leads that survives resampling, gain, filtering and a
  small crop; `duplicates` compares them.

Shapes: C channels, T time.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from ..signals import Series, Signal, channel_id
from ..signals.preprocessing import AT_ONCE, extended, fill_gaps, rational

LEADS = ("I", "II", "V2", "V5")
"""The leads a fingerprint shows, of those that the recording has."""
RATE_HZ = 40.0
LONGEST_S = 30.0
"""A fingerprint shows the first half minute."""
SHORTEST_S = 4.0
"""Less is too little to tell two hearts apart: such recordings have none."""

COMPACT_LEADS = ("II", "V2")
COARSER = 4
"""A compact fingerprint has these leads alone, in steps so many times as large."""

# The band that diagnostic filters (0.05 to 0.67 Hz, 40 Hz) leave alone.
_BAND_HZ = (2.0, 15.0)
# A crop through a beat makes a transient of the filter: both ends are left away.
_EDGE_S = 0.5
_GAP = np.iinfo(np.int32).min


def signature(signals: Sequence[Signal], series: Sequence[Series] = ()) -> str:
    """SHA-256 of the samples rounded to a thousandth of their unit (1 µV), channels in order."""
    digest = hashlib.sha256()
    for signal in sorted(signals, key=lambda s: (s.modality, s.rate_hz, s.channels)):
        ordered = in_vocabulary_order(signal)
        head = f"{signal.modality} {signal.rate_hz:g} {','.join(ordered.channels)} "
        digest.update(head.encode())
        # A night is hashed channel by channel, which gives the same bytes and takes less memory.
        long = signal.samples.size > AT_ONCE
        parts = [ordered.select((c,)) for c in ordered.channels] if long else [ordered]
        for part in parts:
            digest.update(_thousandths(part.physical()).data)
    for uneven in sorted(series, key=lambda s: (s.modality, s.channels)):
        digest.update(f"{uneven.modality} {','.join(uneven.channels)} ".encode())
        digest.update(np.rint(uneven.times_s * 1000).astype("<i8").data)
        digest.update(_thousandths(uneven.values.copy()).data)
    return digest.hexdigest()


def _thousandths(samples: NDArray[np.float32]) -> NDArray[np.int32]:
    """Whole thousandths of `samples`, with a value of its own for missing ones."""
    samples = samples * np.float32(1000)
    missing = ~np.isfinite(samples)
    gaps = bool(missing.any())
    if gaps:
        samples[missing] = 0
    # What does not fit (a unit far from its usual size) stands at the edge, and still counts.
    np.clip(np.rint(samples, out=samples), -2.0e9, 2.0e9, out=samples)
    whole = samples.astype("<i4", order="C")
    if gaps:
        whole[missing] = _GAP
    return whole


def in_vocabulary_order(signal: Signal) -> Signal:
    """The same channels, in the vocabulary's order."""
    order = sorted(signal.channels, key=lambda channel: channel_id(signal.modality, channel))
    return signal if tuple(order) == signal.channels else signal.select(tuple(order))


def fingerprint(signals: Sequence[Signal]) -> bytes | None:
    """A byte that says which of `LEADS` follow, then int8 [C, T] at 40 Hz, 2–15 Hz.

    None for a recording without an ECG of at least 5 s that moves in one of these leads.
    """
    signal = next((s for s in signals if s.modality == "ecg"), None)
    leads = tuple(lead for lead in LEADS if signal and lead in signal.channels)
    if signal is None or not leads:
        return None
    longest = round((LONGEST_S + 2 * _EDGE_S) * signal.rate_hz)
    samples_CT = signal.select(leads).physical()[:, :longest]
    edge = round(_EDGE_S * RATE_HZ)
    wave_CT = band_passed(samples_CT, signal.rate_hz)[:, edge:-edge]
    if wave_CT.shape[1] < SHORTEST_S * RATE_HZ:
        return None
    size_C = np.sqrt((wave_CT**2).mean(axis=1, keepdims=True))
    moves_C = size_C[:, 0] > 1e-4
    if not moves_C.any():
        return None
    small: NDArray[np.int8] = np.clip(
        np.rint(24 * wave_CT[moves_C] / size_C[moves_C]), -127, 127
    ).astype(np.int8)
    mask = sum(1 << LEADS.index(lead) for lead, moves in zip(leads, moves_C, strict=True) if moves)
    return bytes([mask]) + small.tobytes()


def band_passed(samples_CT: NDArray[np.float32], rate_hz: float) -> NDArray[np.float32]:
    """Samples at `RATE_HZ`, 2–15 Hz, without phase: resampled and filtered in one transform.

    The response is that of a third-order Butterworth band-pass run both ways. It takes a tenth of
    the time of `preprocess`, which no model needs here.
    """
    missing = ~np.isfinite(samples_CT)
    if missing.any():
        samples_CT = fill_gaps(samples_CT, missing)
    samples_CT = samples_CT - samples_CT.mean(axis=1, keepdims=True)
    ratio = rational(RATE_HZ / rate_hz)
    # Odd reflection ends the signal softly.
    padded, before = extended(samples_CT, round(rate_hz), ratio.denominator)
    new = padded.shape[1] * ratio.numerator // ratio.denominator
    gain = _gain(padded.shape[1], new, rate_hz)
    wave_CT = fft.irfft(fft.rfft(padded, axis=1)[:, : len(gain)] * gain, new, axis=1)
    first = before * ratio.numerator // ratio.denominator
    return wave_CT[:, first : first + round(samples_CT.shape[1] * RATE_HZ / rate_hz)]


@lru_cache(maxsize=4)
def _gain(old: int, new: int, rate_hz: float) -> NDArray[np.float32]:
    """What each frequency of `old` samples at `rate_hz` is multiplied by to give `new` samples."""
    with np.errstate(divide="ignore"):
        frequency = np.arange(min(old, new) // 2 + 1, dtype=np.float32) * np.float32(rate_hz / old)
        low, high = ((edge_hz / frequency) ** 6 for edge_hz in _BAND_HZ)
        gain: NDArray[np.floating] = new / old / (1 + low) / (1 + 1 / high)
    return gain.astype(np.float32)


def compact(fingerprint: bytes) -> bytes:
    """A third of the bytes (330 for 10 s, in a compressed Parquet file), to be kept in numbers.

    A recording with none of `COMPACT_LEADS` keeps the first it has.
    """
    waves = unpack(fingerprint)
    leads = [lead for lead in COMPACT_LEADS if lead in waves] or [next(iter(waves))]
    small = [np.rint(waves[lead] / COARSER).astype(np.int8).tobytes() for lead in leads]
    return bytes([sum(1 << LEADS.index(lead) for lead in leads)]) + b"".join(small)


def unpack(fingerprint: bytes) -> dict[str, NDArray[np.int8]]:
    """Lead → int8 [T] of a fingerprint."""
    leads = [lead for bit, lead in enumerate(LEADS) if fingerprint[0] >> bit & 1]
    wave_CT = np.frombuffer(fingerprint, np.int8, offset=1).reshape(len(leads), -1)
    return dict(zip(leads, wave_CT, strict=True))
