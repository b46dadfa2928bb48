"""WFDB annotation files (`.atr`): beats, and the rhythms between their changes.

`wfdb` decodes the files: half an hour with 2,300 annotations takes it 20 ms, which is less than the
signal beside them takes. Symbols: PhysioBank annotations, https://archive.physionet.org/physiobank/annotations.shtml.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from ..signals import Annotation
from .registry import RecordError

BEATS = "NLRBAaJSVrFejnE/fQ?"
"""The symbols that stand for a beat; flutter waves (`!`) and blocked P waves (`x`) do not."""
RHYTHM_CHANGE = "+"
# A beat takes 2 bytes: enough for a month.
MAX_BYTES = 1 << 24
END = b"\0\0"


class WfdbAnnotation(NamedTuple):
    """One annotation: its sample, PhysioBank's symbol, and its text (`(AFIB` at a rhythm change)."""

    sample: int
    symbol: str
    text: str


def read_annotations(path: Path, samples: int) -> list[WfdbAnnotation]:
    """All annotations of a file, in their order, of a record of so many samples.

    Raises `RecordError` where the file is missing, cut short or no annotation file, or reaches beyond the
    record.
    """
    again = "get the record's files again from the source"
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - 2))
            end = file.read()
    except OSError as error:
        raise RecordError(
            f"{path}: the annotations cannot be read ({error.strerror}); {again}"
        ) from error
    if size > MAX_BYTES:
        raise RecordError(
            f"{path}: {size} bytes, expected at most {MAX_BYTES} of annotations; {again}"
        )
    if end != END:
        raise RecordError(
            f"{path}: its {size} bytes do not end with the end mark of annotations: the file is cut "
            f"short or is something else; {again}"
        )
    import wfdb  # here, because it takes most of a second

    try:
        found = wfdb.rdann(str(path.with_suffix("").resolve()), path.suffix.removeprefix("."))
        rows = zip(found.sample.tolist(), found.symbol, found.aux_note, strict=True)
        annotations = [WfdbAnnotation(at, symbol, text.rstrip("\0")) for at, symbol, text in rows]
        if not all(isinstance(one.symbol, str) for one in annotations):
            raise ValueError("an annotation of a code that stands for nothing")
    except Exception as error:  # wfdb raises whatever its parts raise
        raise RecordError(
            f"{path}: expected WFDB annotations, which wfdb cannot read here ({error!r}); {again}"
        ) from error
    outside = [one.sample for one in annotations if not 0 <= one.sample < samples]
    if outside:
        raise RecordError(
            f"{path}: an annotation at sample {outside[0]}, expected 0 to {samples - 1}: this file "
            f"and the signal do not belong together; {again}"
        )
    return annotations


def beats(found: Sequence[WfdbAnnotation], rate_hz: float) -> list[Annotation]:
    """`beat:<symbol>` at each beat, of no duration."""
    return [Annotation(a.sample / rate_hz, 0.0, f"beat:{a.symbol}")
            for a in found if a.symbol in BEATS]  # fmt: skip


def rhythms(found: Sequence[WfdbAnnotation], rate_hz: float, end_s: float) -> list[Annotation]:
    """`rhythm:<name>` from each change of rhythm to the next, the last to the end."""
    changes = [a for a in found if a.symbol == RHYTHM_CHANGE and a.text.startswith("(")]
    bounds_s = [*(a.sample / rate_hz for a in changes), end_s]
    return [Annotation(first_s, last_s - first_s, f"rhythm:{change.text[1:].strip()}")
            for change, (first_s, last_s) in zip(changes, pairwise(bounds_s), strict=True)]  # fmt: skip
