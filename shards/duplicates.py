"""Which recordings are copies of each other, by their fingerprints.

Candidates come from one blocked matrix product of the fingerprints' autocorrelations, which do not
change with a shift; each is then confirmed by the largest normalised cross-correlation over lags.

The thresholds, measured on the 2,068 records of PTB-XL in our development set (500 Hz, four leads):
copies under resampling to 100 Hz, gain 2, 0.67–40 Hz at 250 Hz, a crop of 1 s, crops of 0.613 and
0.37 s at the ends, all of these together, and PTB-XL's own 100-Hz files correlate at 0.9896 and
above (0.9893 on lead II alone). Of all 2.1 million pairs of different recordings, those of one
patient included, the highest reach 0.952, 0.926 and 0.925; of 2,000 synthetic ones, 0.953. The
candidates miss 1 of 400 crops.

Of compact fingerprints (lead II and V2, coarser) the highest different pair among the same 2.1 million
reaches 0.947; the same copies of 192 of the records correlate at 0.9877 and above, and all are found.

Shapes: N recordings, C leads, T time, L lags, P pairs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from .signature import LEADS, RATE_HZ, unpack

SAME = 0.985
"""Mean correlation over the common leads from which two recordings are one."""
SAME_ONE_LEAD = 0.99
"""The same where only one lead is common: regular rhythms of two people resemble each other."""
CANDIDATE = 0.92
"""Cosine of the autocorrelations from which a pair is looked at."""
OVERLAP = 0.85
"""A copy shows at least so much of the shorter of the two."""

_LAGS = round(2 * RATE_HZ)
# Lags finer than a sample: a crop rarely ends on the fingerprint's grid.
_FINER = 8
_BLOCK = 2048
_PAIRS = 2048


@dataclass(frozen=True)
class Duplicate:
    """Two recordings, by their place in the list, that show one signal."""

    first: int
    second: int
    correlation: float


def find_duplicates(fingerprints: Sequence[bytes]) -> list[Duplicate]:
    """All pairs that are copies, in order. Memory grows with N, time with N² (a product)."""
    found: list[Duplicate] = []
    groups = _by_leads(fingerprints)
    for i, (leads, members) in enumerate(groups):
        for other_leads, others in groups[i:]:
            common = [lead for lead in leads if lead in other_leads]
            if common:
                found += _between(fingerprints, members, others, common)
    return sorted(found, key=lambda pair: (pair.first, pair.second))


def find_copies(of: Sequence[bytes], among: Sequence[bytes]) -> list[Duplicate]:
    """All pairs of one fingerprint of `of` (`first`) and one of `among` (`second`) that are copies.

    Both compact, or neither.
    """
    both, split = [*of, *among], len(of)
    others = [(leads, members + split) for leads, members in _by_leads(among)]
    found: list[Duplicate] = []
    for leads, members in _by_leads(of):
        for other_leads, there in others:
            common = [lead for lead in leads if lead in other_leads]
            if common:
                found += _between(both, members, there, common)
    pairs = [replace(pair, second=pair.second - split) for pair in found]
    return sorted(pairs, key=lambda pair: (pair.first, pair.second))


def correlation(a_PCT: NDArray[np.float32], b_PCT: NDArray[np.float32]) -> NDArray[np.float64]:
    """Largest mean correlation over lags of each pair [P]; rows end in NaN where they are short."""
    length_a, length_b = (np.isfinite(x[:, 0]).sum(axis=1) for x in (a_PCT, b_PCT))
    a_PCT, b_PCT = np.nan_to_num(a_PCT), np.nan_to_num(b_PCT)
    shortest = np.minimum(length_a, length_b)
    needed = np.ceil(OVERLAP * shortest).astype(int)
    size = fft.next_fast_len(a_PCT.shape[2] + b_PCT.shape[2], real=True)
    product = fft.rfft(a_PCT, size) * fft.rfft(b_PCT, size).conj()
    cross_PCL = fft.irfft(product, size * _FINER) * _FINER
    energy_a, energy_b = (
        np.pad(np.cumsum(x**2, axis=2, dtype=np.float64), ((0, 0), (0, 0), (1, 0)))
        for x in (a_PCT, b_PCT)
    )
    best_P = np.full(len(a_PCT), -1.0)
    row = np.arange(len(a_PCT))
    for lag in range(-int((length_b - needed).max()), int((length_a - needed).max()) + 1):
        first = max(0, lag)
        last_P = np.maximum(np.minimum(length_a, length_b + lag), first)
        enough_P = last_P - first >= needed
        energy = energy_a[row, :, last_P] - energy_a[:, :, first]
        energy *= energy_b[row, :, np.maximum(last_P - lag, 0)] - energy_b[:, :, max(0, -lag)]
        norm_PC = np.sqrt(np.maximum(energy, 1.0))
        for finer in range(-_FINER // 2, _FINER // 2):
            at = (lag * _FINER + finer) % cross_PCL.shape[2]
            mean_P = (cross_PCL[:, :, at] / norm_PC).mean(axis=1)
            best_P = np.where(enough_P & (mean_P > best_P), mean_P, best_P)
    return best_P


def _by_leads(fingerprints: Sequence[bytes]) -> list[tuple[list[str], NDArray[np.int64]]]:
    """(leads, places of the recordings that show exactly these)."""
    masks = np.array([one[0] for one in fingerprints], np.int64)
    return [
        ([lead for bit, lead in enumerate(LEADS) if mask >> bit & 1], np.flatnonzero(masks == mask))
        for mask in np.unique(masks).tolist()
    ]


def _between(
    fingerprints: Sequence[bytes],
    members: NDArray[np.int64],
    others: NDArray[np.int64],
    leads: list[str],
) -> list[Duplicate]:
    """Copies with one recording in `members` and one in `others`, over the common leads."""
    same = members is others
    a = _descriptors(fingerprints, members, leads)
    b = a if same else _descriptors(fingerprints, others, leads)
    threshold = SAME if len(leads) > 1 else SAME_ONE_LEAD
    found = []
    for rows, columns in _candidates(a, b, same):
        for start in range(0, len(rows), _PAIRS):
            i = members[rows[start : start + _PAIRS]]
            j = others[columns[start : start + _PAIRS]]
            score_P = correlation(_waves(fingerprints, i, leads), _waves(fingerprints, j, leads))
            for p in np.flatnonzero(score_P >= threshold).tolist():
                first, second = sorted((int(i[p]), int(j[p])))
                found.append(Duplicate(first, second, float(min(score_P[p], 1.0))))
    return found


def _candidates(
    a: NDArray[np.float32], b: NDArray[np.float32], same: bool
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """(rows of a, rows of b) of pairs whose descriptors agree, block by block."""
    for top in range(0, len(a), _BLOCK):
        for left in range(top if same else 0, len(b), _BLOCK):
            cosine = a[top : top + _BLOCK] @ b[left : left + _BLOCK].T
            rows, columns = np.nonzero(cosine >= CANDIDATE)
            rows, columns = rows + top, columns + left
            kept = rows < columns if same else slice(None)
            yield rows[kept], columns[kept]


def _descriptors(
    fingerprints: Sequence[bytes], members: NDArray[np.int64], leads: list[str]
) -> NDArray[np.float32]:
    """Autocorrelation of each lead at lags up to 2 s, of unit length in all [N, C · L]."""
    out = np.empty((len(members), len(leads) * _LAGS), np.float32)
    for start in range(0, len(members), _PAIRS):
        wave = np.nan_to_num(_waves(fingerprints, members[start : start + _PAIRS], leads))
        size = fft.next_fast_len(wave.shape[2] + _LAGS, real=True)
        auto = fft.irfft(np.abs(fft.rfft(wave, size)) ** 2, size)[:, :, : _LAGS + 1]
        auto = auto[:, :, 1:] / np.maximum(auto[:, :, :1], 1e-9)
        out[start : start + _PAIRS] = auto.reshape(len(wave), -1)
    out /= np.maximum(np.linalg.norm(out, axis=1, keepdims=True), 1e-9)
    return out


def _waves(
    fingerprints: Sequence[bytes], members: NDArray[np.int64], leads: list[str]
) -> NDArray[np.float32]:
    """The leads [N, C, T] of some recordings, NaN after a shorter one's end."""
    waves = [[unpack(fingerprints[i])[lead] for lead in leads] for i in members.tolist()]
    out = np.full((len(waves), len(leads), max(len(w[0]) for w in waves)), np.nan, np.float32)
    for row, wave in zip(out, waves, strict=True):
        row[:, : len(wave[0])] = wave
    return out
