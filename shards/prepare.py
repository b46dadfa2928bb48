"""A recording's signals and series → one quantised stream for each modality.

Shapes: C channels, T time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..datasets.registry import RecordError
from ..signals import (
    CHANNELS,
    MISSING,
    Preprocessing,
    Recording,
    Signal,
    on_grid,
    preprocess,
    quantize,
)
from .configuration import BuildConfig
from .index import stream_name
from .quality import SourceQuality, source_quality
from .signature import in_vocabulary_order

MODALITIES = tuple(dict.fromkeys(modality for modality, _ in CHANNELS))


@dataclass(frozen=True)
class Prepared:
    """One modality of a recording, ready to be cut; `quality` is that of its source signals."""

    name: str
    signal: Signal
    quality: tuple[SourceQuality, ...]

    def cut(self, first_s: float, last_s: float) -> Signal | None:
        """Between two times of the recording; missing before the signal begins.

        None where it has no sample between them.
        """
        rate_hz = self.signal.rate_hz
        begin = round(self.signal.start_s * rate_hz)
        first, last = round(first_s * rate_hz) - begin, round(last_s * rate_hz) - begin
        samples = self.signal.samples[:, max(0, first) : max(0, last)]
        if not (samples != MISSING).any():
            return None
        if first < 0:
            before = np.full((len(samples), -first), MISSING, np.int16)
            samples = np.concatenate((before, samples), axis=1, dtype=np.int16)
        return replace(self.signal, samples=samples, start_s=first_s)

    def shares(self, first_s: float, last_s: float) -> tuple[float, float]:
        """(share of channels that never move, share of clipped samples) between two times."""
        each = np.array([one.shares(first_s, last_s) for one in self.quality])
        weights = [len(one.still) for one in self.quality]
        flat, clipped = np.average(each, axis=0, weights=weights)
        return float(flat), float(clipped)


def prepare(recording: Recording, config: BuildConfig) -> list[Prepared]:
    """Every wanted modality, resampled, filtered and quantised whole, in the vocabulary's order.

    A modality without any sample is left out. Raises `RecordError` where nothing remains, or where a
    channel occurs twice.
    """
    who = f"{recording.dataset} {recording.record}"
    found, missing = [], []
    for modality in MODALITIES:
        how: Preprocessing | None = getattr(config.preprocessing, modality)
        sources = [signal for signal in recording.signals if signal.modality == modality]
        if how is not None:
            try:
                sources += [on_grid(s, how) for s in recording.series if s.modality == modality]
            except ValueError as error:
                raise RecordError(f"{who}: {error}") from error
        if how is None or not sources:
            continue
        merged = merge([preprocess(signal, how) for signal in sources], who)
        ready = quantize(merged)
        if (ready.samples != MISSING).any():
            quality = tuple(source_quality(signal) for signal in sources)
            found.append(Prepared(stream_name(modality, how.rate_hz), ready, quality))
        else:
            missing.append(modality)
    if missing and not found:
        raise RecordError(f"{who}: every sample of its {', '.join(missing)} is missing (NaN)")
    if not found:
        have = {s.modality for s in recording.signals} | {s.modality for s in recording.series}
        raise RecordError(
            f"{who}: has {sorted(have)}, none of which the config's `preprocessing` wants"
        )
    return found


def merge(signals: Sequence[Signal], who: str) -> Signal:
    """Signals of one modality and rate as one, its channels in the vocabulary's order.

    Their grids are shifted by up to half a sample, to whole multiples of the sampling interval; where
    one begins later or ends earlier than another it is missing. Raises `RecordError` where a channel
    occurs twice.
    """
    names = [channel for signal in signals for channel in signal.channels]
    if len(set(names)) < len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        raise RecordError(
            f"{who}: two of its {signals[0].modality} signals hold the channel {', '.join(twice)}; "
            "a channel must occur once"
        )
    rate_hz = signals[0].rate_hz
    if len(signals) == 1:
        start_s = round(signals[0].start_s * rate_hz) / rate_hz
        return in_vocabulary_order(replace(signals[0], start_s=start_s))
    begins = [round(signal.start_s * rate_hz) for signal in signals]
    lengths = [signal.samples.shape[1] for signal in signals]
    begin, end = min(begins), max(map(sum, zip(begins, lengths, strict=True)))
    samples = np.full((len(names), end - begin), np.nan, np.float32)
    row = 0
    for signal, first, length in zip(signals, begins, lengths, strict=True):
        rows = slice(row, row + len(signal.channels))
        samples[rows, first - begin : first - begin + length] = signal.samples
        row = rows.stop
    whole = Signal(signals[0].modality, samples, rate_hz, tuple(names), start_s=begin / rate_hz)
    return in_vocabulary_order(whole)
