"""A recording → its segments: filtered and quantised whole, then cut.

Shapes: C channels, T time.
"""

from __future__ import annotations

import base64
import io
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..datasets.registry import RecordError
from ..signals import MISSING, Preprocessing, Recording, Signal, preprocess, quantize
from .configuration import BuildConfig
from .index import sample_key, stream_name
from .quality import SourceQuality, source_quality
from .signature import fingerprint, in_vocabulary_order, signature


@dataclass(frozen=True)
class Segment:
    """A sample of a shard: its index row, which still lacks the place in a tar, and its members.

    `members` is the sample as webdataset writes it: extension → bytes.
    """

    row: dict[str, Any]
    members: dict[str, bytes] = field(repr=False)


@dataclass(frozen=True)
class Prepared:
    """One signal of a recording, ready to be cut: quantised, `quality` that of its source."""

    name: str
    signal: Signal
    quality: SourceQuality

    def cut(self, first_s: float, last_s: float) -> Signal | None:
        """Between two times of the recording; missing before the signal begins, None outside it."""
        rate_hz = self.signal.rate_hz
        begin = round(self.signal.start_s * rate_hz)
        first, last = round(first_s * rate_hz) - begin, round(last_s * rate_hz) - begin
        samples = self.signal.samples[:, max(0, first) : max(0, last)]
        if not samples.shape[1]:
            return None
        if first < 0:
            before = np.full((len(samples), -first), MISSING, np.int16)
            samples = np.concatenate((before, samples), axis=1, dtype=np.int16)
        return replace(self.signal, samples=samples, start_s=first_s)


def segments(recording: Recording, split: str, config: BuildConfig) -> Iterator[Segment]:
    """The recording's segments, in their order.

    Raises `RecordError` where the config wants nothing of it, where a wanted signal is missing
    altogether, or where two signals would have one name.
    """
    # Readers yield interleaved views; everything below passes over whole channels, many times.
    recording = replace(recording, signals=tuple(map(_by_channel, recording.signals)))
    signals = prepare(recording, config)
    exact, similar = signature(recording.signals), fingerprint(recording.signals)
    begin_s = min(one.signal.start_s for one in signals)
    end_s = max(one.signal.start_s + one.signal.duration_s for one in signals)
    # A millionth of a segment is rounding, not signal.
    count = max(1, math.ceil((end_s - begin_s) / config.segment_s - 1e-6))
    for number in range(count):
        first_s = begin_s + number * config.segment_s
        last_s = end_s if number == count - 1 else first_s + config.segment_s
        pieces = {one.name: piece for one in signals if (piece := one.cut(first_s, last_s))}
        if not pieces:
            continue
        shares = [one.quality.shares(first_s, last_s) for one in signals if one.name in pieces]
        arrays = [piece.samples for piece in pieces.values()]
        row = {
            "key": sample_key(recording.dataset, recording.record, number),
            "dataset": recording.dataset,
            "record": recording.record,
            "subject": recording.subject,
            "split": split,
            "fold": recording.fold,
            "segment": number,
            "start_s": first_s,
            "duration_s": max(piece.duration_s for piece in pieces.values()),
            "age": recording.age,
            "sex": recording.sex,
            "labels": [{"code": c, "value": float(v)} for c, v in sorted(recording.labels.items())],
            "missing": sum(int((a == MISSING).sum()) for a in arrays) / sum(a.size for a in arrays),
            "flat": float(np.mean([flat for flat, _ in shares])),
            "clipped": float(np.mean([clipped for _, clipped in shares])),
            "signature": exact,
            # Once a recording is enough, and keeps the index of long nights small.
            "fingerprint": similar if number == 0 else None,
            "streams": [_stream(name, piece) for name, piece in pieces.items()],
        }
        members = {f"{name}.npy": npy_bytes(piece.samples) for name, piece in pieces.items()}
        members["json"] = _json_member(row, recording)
        yield Segment(row, members)


def prepare(recording: Recording, config: BuildConfig) -> list[Prepared]:
    """Every wanted signal, resampled, filtered and quantised whole, in the vocabulary's order."""
    who = f"{recording.dataset} {recording.record}"
    found: dict[str, Prepared] = {}
    for signal in recording.signals:
        how: Preprocessing | None = getattr(config.preprocessing, signal.modality, None)
        if how is None:
            continue
        name = stream_name(signal.modality, how.rate_hz)
        if name in found:
            raise RecordError(f"{who}: two signals would be called {name}; expected one")
        ready = quantize(preprocess(in_vocabulary_order(signal), how))
        if not (ready.samples != MISSING).any():
            raise RecordError(f"{who}: every sample of its {signal.modality} is missing (NaN)")
        found[name] = Prepared(name, ready, source_quality(signal))
    if not found:
        raise RecordError(
            f"{who}: has {sorted({s.modality for s in recording.signals})}, none of which the "
            "config's `preprocessing` names"
        )
    return list(found.values())


def _by_channel(signal: Signal) -> Signal:
    """The same samples in C order."""
    return replace(signal, samples=signal.samples.copy(order="C"))


def npy_bytes(samples: NDArray[Any]) -> bytes:
    """The samples as a `.npy` file: little-endian int16 in C order."""
    buffer = io.BytesIO()
    array = np.ascontiguousarray(samples, "<i2")
    np.lib.format.write_array(buffer, array, version=(1, 0), allow_pickle=False)
    return buffer.getvalue()


def _stream(name: str, piece: Signal) -> dict[str, Any]:
    assert piece.scale is not None
    assert piece.offset is not None
    return {
        "name": name,
        "modality": piece.modality,
        "rate_hz": piece.rate_hz,
        "channels": list(piece.channels),
        "samples": piece.samples.shape[1],
        "scale": piece.scale.tolist(),
        "offset": piece.offset.tolist(),
    }


def _json_member(row: dict[str, Any], recording: Recording) -> bytes:
    """What the index says, the units, and the annotations that reach into the segment."""
    last_s = row["start_s"] + row["duration_s"]
    similar: bytes | None = row["fingerprint"]
    units = {signal.modality: signal.unit for signal in recording.signals}
    said = {
        **row,
        "labels": {label["code"]: label["value"] for label in row["labels"]},
        "annotations": [
            {"onset_s": a.onset_s, "duration_s": a.duration_s, "code": a.code}
            for a in recording.annotations
            if a.onset_s < last_s and a.onset_s + a.duration_s >= row["start_s"]
        ],
        "fingerprint": None if similar is None else base64.b64encode(similar).decode(),
        "streams": [{**s, "unit": units[s["modality"]]} for s in row["streams"]],
    }
    return json.dumps(said, sort_keys=True, ensure_ascii=False, allow_nan=False).encode()
