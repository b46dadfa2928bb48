"""PPG segments with hemodynamic parameters: `ppg.npy`, `cnap.npy`, and a `dataset.yaml` that says what
they are.

The two arrays are those of LSM2oE (Liu et al., IEEE IoT-J 2025) and its like: `ppg.npy` [N, T] (or
[N, C, T]) and `cnap.npy` [N, P], one row a segment. Nothing in them tells rate, columns or people, and the
order of the columns differs between sets, so the sidecar must (`hemodynamics_sidecar.py`).

A row is a record (`ward7-00000017`), read from the memory-mapped array when it is asked for. Labels are
recording-level numbers in the units of `QUANTITIES`; NaN is no label.

**Without `subjects` every row counts as its own person**: a build then refuses to split, unless its
config says `unknown_subjects: may_leak`, and every figure made of it says so. Segments of one person on
both sides of a split make pressure look easy: a model need only recognise the person.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..signals import Recording, Signal
from .hemodynamics_sidecar import (
    QUANTITIES,
    SIDECAR,
    Sidecar,
    open_array,
    read_sidecar,
    read_subjects,
)
from .registry import About, RecordError, RecordRef
from .tree import find_folders

SIGNALS, LABELS = "ppg.npy", "cnap.npy"

MAX_ROWS = 10**8


class Hemodynamics:
    """Segments of PPG with 1 to 10 hemodynamic parameters each."""

    name = "hemodynamics"

    def about(self, roots: Sequence[Path] = ()) -> About:
        """What the sets in the roots say of themselves, or what the source reads."""
        sidecars = [read_sidecar(folder) for root in roots for folder in _folders(root)]

        def said(field: str, otherwise: str) -> str:
            values = [value for sidecar in sidecars if (value := getattr(sidecar, field))]
            return "; ".join(dict.fromkeys(values)) or otherwise

        return About(
            title=said("title", "PPG segments with hemodynamic parameters (ppg.npy, cnap.npy)"),
            licence=said("licence", "as dataset.yaml states; not stated"),
            access="one's own files, or those of LSM2oE's authors",
            signals="PPG segments of one length and rate",
            labels="1 to 10 of SBP, MAP, DBP, HR, CO, CI, SV, SI, SVR, SVRI per segment",
            subjects="as dataset.yaml states; unknown where it does not, and rows may then leak",
            citation=said(
                "citation", "layout: Liu et al., LSM2oE, IEEE Internet of Things J (2025)"
            ),
        )

    def find(self, roots: Sequence[Path]) -> list[RecordRef]:
        """Every row of every set, sorted; only the headers of the arrays are read.

        Raises `FileNotFoundError` naming what a root lacks; `ValueError` where sidecar and arrays do not
        fit each other, or two sets have the same name.
        """
        refs: list[RecordRef] = []
        named: dict[str, Path] = {}
        for folder in dict.fromkeys(folder for root in roots for folder in _folders(root)):
            sidecar = read_sidecar(folder)
            if (other := named.setdefault(sidecar.name, folder)) != folder:
                raise ValueError(
                    f"{other / SIDECAR} and {folder / SIDECAR}: both sets are called "
                    f"{sidecar.name!r}, so that their rows would be mixed up; give each its own `name`"
                )
            refs += self._rows(folder, sidecar)
        return sorted(refs, key=lambda ref: ref.record)

    def read(self, ref: RecordRef) -> Recording:
        """One row. Raises `RecordError`."""
        sidecar: Sidecar = ref.facts["sidecar"]
        row = int(ref.record.rpartition("-")[2])
        try:
            segment = open_array(ref.path / SIGNALS)[row]
            values = open_array(ref.path / LABELS)[row]
        except (ValueError, IndexError) as error:
            raise RecordError(f"{ref.path}, row {row}: {error}; find the rows again") from error
        samples = np.atleast_2d(segment).astype(np.float32)
        samples[~np.isfinite(samples)] = np.nan
        if np.isnan(samples).all():
            raise RecordError(
                f"{ref.path / SIGNALS}, row {row}: every sample is missing (NaN); leave it out"
            )
        labels = zip(sidecar.labels.items(), values.tolist(), strict=True)
        return Recording(
            dataset=sidecar.name,
            record=ref.record,
            subject=ref.subject,
            signals=(Signal("ppg", samples, sidecar.rate_hz, sidecar.channels),),
            labels={
                quantity: value * QUANTITIES[quantity][unit]
                for (quantity, unit), value in labels
                if math.isfinite(value)
            },
        )

    def label_sets(self, roots: Sequence[Path]) -> dict[str, dict[str, list[str]]]:
        """Every quantity of the sets as `hemodynamics`, and what is pressure among them as `pressure`."""
        sidecars = [read_sidecar(folder) for root in roots for folder in _folders(root)]
        there = [name for name in QUANTITIES if any(name in sidecar.labels for sidecar in sidecars)]
        pressures = [name for name in there if name in ("SBP", "MAP", "DBP")]
        sets = {"hemodynamics": there, "pressure": pressures}
        return {name: {code: [code] for code in codes} for name, codes in sets.items() if codes}

    def _rows(self, folder: Path, sidecar: Sidecar) -> list[RecordRef]:
        """The rows of one set, after its arrays were held against its sidecar."""
        signals, labels = open_array(folder / SIGNALS), open_array(folder / LABELS)
        _check(folder, sidecar, signals, labels)
        subjects = read_subjects(folder, sidecar, len(signals))
        known = subjects is not None
        before = f"{sidecar.name}-"
        person = before if known else f"{before}row-"
        # There may be a million rows: all share their facts, which leave out the list of subjects.
        facts = {"sidecar": replace(sidecar, subjects=None)}
        rows = [f"{row:08d}" for row in range(len(signals))]
        return [
            RecordRef(before + row, person + subject, folder, None, facts, known)
            for row, subject in zip(rows, subjects or rows, strict=True)
        ]


def _check(folder: Path, sidecar: Sidecar, signals: NDArray[Any], labels: NDArray[Any]) -> None:
    """Hold the arrays of a set against its sidecar. Raises `ValueError`."""
    rows, channels, quantities = len(signals), len(sidecar.channels), len(sidecar.labels)
    wanted = (rows, signals.shape[-1]) if channels == 1 else (rows, channels, signals.shape[-1])
    if signals.shape not in (wanted, (rows, channels, signals.shape[-1])) or not signals.size:
        raise ValueError(
            f"{folder / SIGNALS}: expected [rows, {'' if channels == 1 else f'{channels}, '}samples] for "
            f"the channels {list(sidecar.channels)}, found {signals.shape}; correct `channels` or the array"
        )
    if rows > MAX_ROWS:
        raise ValueError(
            f"{folder / SIGNALS}: {rows} rows, expected at most {MAX_ROWS}; split the set"
        )
    if labels.shape != (rows, quantities):
        raise ValueError(
            f"{folder / LABELS}: expected {rows} rows as {SIGNALS} has, of {quantities} columns "
            f"({', '.join(sidecar.labels)}), found {labels.shape}; correct `labels` or the array"
        )
    mmhg: dict[str, float] = {}
    for name in ("SBP", "MAP", "DBP"):
        if name in sidecar.labels:
            column = labels[:, list(sidecar.labels).index(name)]
            stated = column[np.isfinite(column)] * QUANTITIES[name][sidecar.labels[name]]
            mmhg |= {name: float(np.median(stated))} if stated.size else {}
    if list(mmhg.values()) != sorted(mmhg.values(), reverse=True):
        found = ", ".join(f"{name} {value:.0f}" for name, value in mmhg.items())
        raise ValueError(
            f"{folder / LABELS}: the medians of its columns are {found} mmHg, but systole must be above "
            f"mean above diastole: correct the order or the units of `labels` in {SIDECAR}"
        )


def _folders(root: Path) -> list[Path]:
    folders = find_folders(root, lambda files: SIGNALS in files)
    if not folders:
        raise FileNotFoundError(
            f"{root}: no {SIGNALS} (with {LABELS} and {SIDECAR} beside it) in it or below; give the folder "
            "that holds the three"
        )
    return folders
