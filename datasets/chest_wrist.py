"""What PPG-DaLiA and WESAD share: a RespiBAN on the chest and an Empatica E4 on the wrist.

Both come from one laboratory, with one pickle a subject, `S2/S2.pkl`: the arrays of both devices, brought
to one time, under `signal` → `chest` or `wrist` → name.

Shapes: T time, C channels.
"""

from __future__ import annotations

import filecmp
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..signals import Annotation, Signal
from .registry import RecordError, RecordRef
from .safe_pickle import load_pickle
from .tree import find_folders

CHEST_HZ = 700.0
WINDOW_S, HOP_S = 8.0, 2.0
"""Heart rate is labelled in windows of 8 s, one every 2 s."""

AGAIN = "get the file again from the source"
_PICKLE = re.compile(r"S\d{1,3}\.pkl", re.ASCII)


class Array(NamedTuple):
    """An array [T, C] of one device; times `factor` it is in the unit of its modality."""

    name: str
    modality: str
    rate_hz: float
    channels: tuple[str, ...]
    factor: float = 1.0


WRIST = (
    Array("ACC", "acc", 32.0, ("x", "y", "z")),
    Array("BVP", "ppg", 64.0, ("ppg",)),
    Array("EDA", "eda", 4.0, ("wrist",)),
    Array("TEMP", "temp", 4.0, ("wrist",)),
)
CHEST = (
    Array("ACC", "acc", CHEST_HZ, ("chest_x", "chest_y", "chest_z")),
    Array("ECG", "ecg", CHEST_HZ, ("chest",)),
    Array("Resp", "resp", CHEST_HZ, ("thorax",)),
)


def find_subjects(
    dataset: str, roots: Sequence[Path], *, folder: str, other: str
) -> list[RecordRef]:
    """Every `S2.pkl` at or below the roots, sorted by name; those below a folder `other` are not ours.

    Raises `FileNotFoundError` for a root without any, `ValueError` where a subject has two different
    files.
    """
    refs: dict[str, RecordRef] = {}
    for root in roots:
        folders = [
            path for path in find_folders(root, _holds) if other not in path.relative_to(root).parts
        ]
        if not folders:
            raise FileNotFoundError(
                f"{root}: no S2.pkl (one for each subject, as in {folder}/S2/) in it or below; give the "
                f"folder that {dataset} was unpacked to"
            )
        for path in sorted(p for at in folders for p in at.iterdir() if _PICKLE.fullmatch(p.name)):
            ref = RecordRef(path.stem, f"{dataset}-{path.stem}", path)
            first = refs.setdefault(ref.record, ref)
            if first is not ref and not filecmp.cmp(first.path, path, shallow=False):
                raise ValueError(
                    f"subject {ref.record} differs between {first.path} and {path}; give one copy of "
                    f"{dataset}, without another data set whose files have the same names"
                )
    return [refs[record] for record in sorted(refs)]


def load_subject(ref: RecordRef, needed: Sequence[str]) -> dict[str, Any]:
    """The content of a subject's pickle, which must have these keys. Raises `RecordError`."""
    content = load_pickle(ref.path)
    keys = ("subject", "signal", *needed)
    if not isinstance(content, dict) or any(key not in content for key in keys):
        have = sorted(map(str, content)) if isinstance(content, dict) else type(content).__name__
        raise RecordError(
            f"{ref.path}: expected a dict with {', '.join(keys)}, found {str(have)[:200]}; "
            "is it a file of another data set?"
        )
    said = content["subject"]
    if said != ref.record:
        # Lists within lists may stand for more text than any memory holds.
        found = repr(said[:20]) if isinstance(said, str) else f"a {type(said).__name__}"
        raise RecordError(f"{ref.path}: expected the subject {ref.record}, found {found}; {AGAIN}")
    return content


def read_signals(
    path: Path, content: Mapping[str, Any], chest: Sequence[Array], wrist: Sequence[Array] = WRIST
) -> tuple[Signal, ...]:
    """The arrays of both devices as signals; absent ones and placeholders are left out.

    A placeholder is an array in which no channel ever changes: a sensor that was not there. The wrist's
    acceleration is in 1/64 g in WESAD and in g in PPG-DaLiA; gravity tells which. Raises
    `RecordError`.
    """
    devices = content["signal"]
    signals = []
    for device, arrays in (("chest", chest), ("wrist", wrist)):
        held = devices.get(device) if isinstance(devices, dict) else None
        if not isinstance(held, dict):
            raise RecordError(f"{path}: expected signal → {device} → arrays by name; {AGAIN}")
        for array in arrays:
            samples = _samples(path, f"{device} {array.name}", held.get(array.name), array)
            if samples is None:
                continue
            if array.modality == "acc":
                samples *= _unit_g(path, device, samples)
            signals.append(Signal(array.modality, samples, array.rate_hz, array.channels))
    if not signals:
        raise RecordError(f"{path}: every array is missing or a placeholder; leave the record out")
    return tuple(signals)


def vector(path: Path, content: Mapping[str, Any], name: str) -> NDArray[np.float64]:
    """A label array [T] of the pickle, from [T] or [T, 1]. Raises `RecordError`."""
    array = content[name]
    if not isinstance(array, np.ndarray) or array.size != len(np.atleast_1d(array)):
        raise RecordError(f"{path}: expected one column of numbers in {name}; {AGAIN}")
    return array.astype(np.float64).ravel()


def spans(
    path: Path,
    codes_T: NDArray[np.float64],
    rate_hz: float,
    kind: str,
    names: Mapping[int, str | None],
    end_s: float,
) -> Iterator[Annotation]:
    """One annotation for each run of a code that has a name, up to `end_s`.

    Raises `RecordError` on a code that is not in `names`.
    """
    unknown = sorted(set(np.unique(codes_T).tolist()) - set(names))
    if unknown:
        raise RecordError(
            f"{path}: expected the codes {sorted(names)} for {kind}, found {unknown[:5]}; {AGAIN}"
        )
    edges = np.flatnonzero(np.diff(codes_T, prepend=np.nan, append=np.nan) != 0)
    for start, stop in pairwise(edges.tolist()):
        name = names[int(codes_T[start])]
        onset_s = start / rate_hz
        duration_s = min(stop / rate_hz, end_s) - onset_s
        if name is not None and duration_s > 0:
            yield Annotation(onset_s, duration_s, f"{kind}:{name}")


def rate_labels(rates_W: NDArray[np.float64], end_s: float) -> Iterator[Annotation]:
    """Heart rates in windows as annotations; none for what is
    not finite, nor for a window that reaches past `end_s`."""
    for number, rate in enumerate(rates_W.tolist()):
        onset_s = number * HOP_S
        if 0 < rate < math.inf and onset_s + WINDOW_S <= end_s + 1e-6:
            yield Annotation(onset_s, WINDOW_S, "hr", rate)


def _holds(files: Sequence[str]) -> bool:
    return any(_PICKLE.fullmatch(file) for file in files)


def _samples(path: Path, name: str, found: Any, array: Array) -> NDArray[np.float32] | None:
    """The array as samples [C, T] in the modality's unit; None where it is missing or never changes."""
    if found is None:
        return None
    columns = len(array.channels)
    if not isinstance(found, np.ndarray) or found.ndim not in (1, 2):
        raise RecordError(f"{path}: {name}: expected an array of time by {columns}; {AGAIN}")
    table = found if found.ndim == 2 else found[:, None]
    if table.shape[1] != columns:
        raise RecordError(
            f"{path}: {name}: expected an array of time by {columns}, found {found.shape}; {AGAIN}"
        )
    samples = np.empty(table.shape[::-1], np.float32)
    np.multiply(table.T, array.factor, out=samples, casting="unsafe")
    samples[~np.isfinite(samples)] = np.nan
    lowest = np.fmin.reduce(samples, axis=1, initial=np.inf)
    highest = np.fmax.reduce(samples, axis=1, initial=-np.inf)
    return samples if (highest > lowest).any() else None


def _unit_g(path: Path, device: str, acc: NDArray[np.float32]) -> float:
    """1 where the acceleration is in g, 1/64 where it is in the E4's own unit."""
    pull = float(np.nanmedian(np.linalg.norm(acc, axis=0)))
    if 0.5 < pull < 2:
        return 1.0
    if 32 < pull < 128:
        return 1 / 64
    raise RecordError(
        f"{path}: {device} ACC: expected about 1 (g) or 64 (1/64 g) as its median size, found {pull:.3g}; "
        f"{AGAIN}"
    )
