"""A recording → its segments: filtered and quantised whole, then cut.

Shapes: C channels, T time.
"""

from __future__ import annotations

import base64
import io
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..datasets.registry import RecordError
from ..signals import MISSING, Annotation, Recording, Signal
from ..signals.vocabulary import unit
from .configuration import BuildConfig
from .index import sample_key
from .prepare import prepare
from .signature import fingerprint, signature


@dataclass(frozen=True)
class Segment:
    """A sample of a shard: its index row, which still lacks the place in a tar, and its members.

    `members` is the sample as webdataset writes it: extension → bytes.
    """

    row: dict[str, Any]
    members: dict[str, bytes] = field(repr=False)


def segments(recording: Recording, split: str, config: BuildConfig) -> Iterator[Segment]:
    """The recording's segments, in their order.

    A time in which no sample is there makes none, so that numbers may be left out. Raises
    `RecordError` where the config wants nothing of it, where every wanted sample is missing, or where
    a channel occurs twice, or where a label or an annotation is no number.
    """
    check_numbers(recording)
    # Readers yield interleaved views; everything below passes over whole channels, many times.
    recording = replace(recording, signals=tuple(map(_by_channel, recording.signals)))
    signals = prepare(recording, config)
    exact = signature(recording.signals, recording.series)
    similar = fingerprint(recording.signals)
    noted = Annotations(recording.annotations)
    edges = edges_s(
        min(one.signal.start_s for one in signals),
        max(one.signal.start_s + one.signal.duration_s for one in signals),
        config.segment_s,
    )
    for number, (first_s, last_s) in enumerate(pairwise(edges)):
        pieces = {one.name: piece for one in signals if (piece := one.cut(first_s, last_s))}
        if not pieces:
            continue
        here = [one for one in signals if one.name in pieces]
        shares = [one.shares(first_s, last_s) for one in here]
        # Not from the pieces: edges are rounded to each stream's samples, and rows must not overlap.
        until_s = min(last_s, max(one.signal.start_s + one.signal.duration_s for one in here))
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
            "duration_s": until_s - first_s,
            "age": recording.age,
            "sex": recording.sex,
            "device": recording.device,
            "site": recording.site,
            "labels": [{"code": c, "value": float(v)} for c, v in sorted(recording.labels.items())],
            "annotations": noted.between(first_s, last_s),
            "missing": sum(int((a == MISSING).sum()) for a in arrays) / sum(a.size for a in arrays),
            "flat": float(np.mean([flat for flat, _ in shares])),
            "clipped": float(np.mean([clipped for _, clipped in shares])),
            "signature": exact,
            # Once a recording is enough, and keeps the index of long nights small.
            "fingerprint": similar,
            "streams": [_stream(name, piece) for name, piece in pieces.items()],
        }
        members = {f"{name}.npy": npy_bytes(piece.samples) for name, piece in pieces.items()}
        members["json"] = _json_member(row)
        yield Segment(row, members)
        similar = None


def check_numbers(recording: Recording) -> None:
    """Raises `RecordError` where a label's or annotation's number is not finite."""
    told: list[tuple[str, tuple[float, ...]]] = [
        (code, (value,)) for code, value in recording.labels.items()
    ]
    told += [(a.code, (a.onset_s, a.duration_s, a.value or 0.0)) for a in recording.annotations]
    for code, numbers in told:
        if not all(map(math.isfinite, numbers)):
            raise RecordError(
                f"{recording.dataset} {recording.record}: {code} says {numbers}, which is no number; "
                "leave it out of the source's table"
            )


def edges_s(begin_s: float, end_s: float, segment_s: float) -> list[float]:
    """Where a recording is cut: its ends, and the multiples of a segment between them.

    Labels count from second 0, so that an epoch of sleep lies in one segment. A millionth of a
    segment is rounding, not signal.
    """
    first = math.floor(begin_s / segment_s + 1e-6) + 1
    last = math.ceil(end_s / segment_s - 1e-6) - 1
    return [begin_s, *(number * segment_s for number in range(first, last + 1)), end_s]


class Annotations:
    """A recording's annotations, by the time they cover."""

    def __init__(self, annotations: Sequence[Annotation]) -> None:
        self._rows = [vars(annotation) for annotation in annotations]
        self._onset_s = np.array([a.onset_s for a in annotations])
        self._end_s = self._onset_s + [a.duration_s for a in annotations]

    def between(self, first_s: float, last_s: float) -> list[dict[str, Any]]:
        """Those that begin in, or reach into, the time from `first_s` up to `last_s`."""
        reach = (self._end_s > first_s) | (self._onset_s >= first_s)
        return [self._rows[i] for i in np.flatnonzero(reach & (self._onset_s < last_s)).tolist()]


def _by_channel(signal: Signal) -> Signal:
    """The same samples in C order; no copy where they are."""
    if signal.samples.flags.c_contiguous:
        return signal
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


def _json_member(row: dict[str, Any]) -> bytes:
    """What the index says, and the units."""
    similar: bytes | None = row["fingerprint"]
    said = {
        **row,
        "labels": {label["code"]: label["value"] for label in row["labels"]},
        "fingerprint": None if similar is None else base64.b64encode(similar).decode(),
        "streams": [{**s, "unit": unit(s["modality"])} for s in row["streams"]],
    }
    return json.dumps(said, sort_keys=True, ensure_ascii=False, allow_nan=False).encode()
