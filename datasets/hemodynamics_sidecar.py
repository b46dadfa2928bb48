"""`dataset.yaml` beside `ppg.npy` and `cnap.npy`: what the two arrays do not say themselves.

name: ward7                                          # goes before record and subject ids
rate_hz: 125
labels: {SBP: mmHg, MAP: mmHg, DBP: mmHg, HR: bpm}   # the columns of cnap.npy in order, with units
subjects: subjects.txt                               # or a list: whose row each is
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
from numpy.lib.format import open_memmap
from numpy.typing import NDArray

from ..configuration import read_config
from ..signals.vocabulary import channel_id

SIDECAR = "dataset.yaml"

QUANTITIES: dict[str, dict[str, float]] = {
    "SBP": {"mmHg": 1.0, "kPa": 7.50062},
    "MAP": {"mmHg": 1.0, "kPa": 7.50062},
    "DBP": {"mmHg": 1.0, "kPa": 7.50062},
    "HR": {"bpm": 1.0, "Hz": 60.0},
    "CO": {"L/min": 1.0, "mL/min": 1e-3},
    "CI": {"L/min/m2": 1.0},
    "SV": {"mL": 1.0},
    "SI": {"mL/m2": 1.0},
    "SVR": {"dyn*s/cm5": 1.0, "mmHg*min/L": 79.9934},
    "SVRI": {"dyn*s*m2/cm5": 1.0, "mmHg*min*m2/L": 79.9934},
}
"""Quantity → the units that a sidecar may state, as factors to the first, which labels are in.

Systolic, mean and diastolic pressure, heart rate; cardiac output and index, stroke volume and index,
systemic vascular resistance and its index.
"""

MAX_SIDECAR_BYTES = 1 << 20
_AGAIN = "write it again with numpy.save"


@dataclass(frozen=True)
class Sidecar:
    """The fields of `dataset.yaml`."""

    name: str
    """One word that goes before record and subject ids: no two sets have the same people."""
    rate_hz: float
    """Sampling rate of the PPG, in Hz."""
    labels: dict[str, str]
    """Column of cnap.npy → its unit, in the order of the columns; 1 to 10 of the known quantities."""
    subjects: str | tuple[str | int, ...] | None = None
    """Whose row each is: a list, or a file beside this one (.txt: a line each; .npy: an array; .csv:
    its column `subject`). Left out where nobody knows: rows can then not be split by person."""
    channels: tuple[str, ...] = ("ppg",)
    """Channels of the PPG in order, in the vocabulary's names (ppg, red, infrared, green, blue)."""
    title: str = ""
    """What the set is."""
    licence: str = ""
    """Under which licence it may be used."""
    citation: str = ""
    """What to cite."""

    def __post_init__(self) -> None:
        if not 0 < self.rate_hz < math.inf:
            raise ValueError(f"rate_hz must be above 0 Hz, not {self.rate_hz}")
        if not self.labels:
            raise ValueError(f"labels must name 1 to 10 of {', '.join(QUANTITIES)}")
        for quantity, unit in self.labels.items():
            if unit not in QUANTITIES.get(quantity, {}):
                known = "; ".join(
                    f"{name} in {' or '.join(units)}" for name, units in QUANTITIES.items()
                )
                raise ValueError(f"labels: {quantity} in {unit!r} is not known; known are {known}")
        for channel in self.channels:
            try:
                channel_id("ppg", channel)
            except KeyError as error:
                raise ValueError(f"channels: {error.args[0]}") from None
        if not (self.name.isascii() and self.name.isidentifier()):
            raise ValueError(f"name must be a word of letters, digits and _, not {self.name!r}")


def read_sidecar(folder: Path) -> Sidecar:
    """The sidecar in a folder. Raises `FileNotFoundError` without one; `ValueError` where it is wrong."""
    path = folder / SIDECAR
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: no such file; write it, with name, rate_hz, labels and subjects: the arrays beside it "
            "do not say what they hold"
        )
    return read_config(Sidecar, path, MAX_SIDECAR_BYTES)


def open_array(path: Path, kinds: str = "fiu") -> NDArray[Any]:
    """The array in a `.npy` file, memory-mapped, of one of numpy's `kinds` of numbers or text.

    Raises `FileNotFoundError`, or `ValueError` where the file is anything else.
    """
    try:
        # numpy bounds the header, maps no pickle, and no more than the file holds.
        array: NDArray[Any] = open_memmap(path, mode="r")
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: no such file; it belongs beside {SIDECAR}") from None
    except Exception as error:  # numpy raises whatever a damaged header leads it to
        raise ValueError(f"{path}: cannot be read as a .npy array ({error!r}); {_AGAIN}") from error
    if array.dtype.kind not in kinds or not array.ndim:
        what = "numbers or text" if "U" in kinds else "real numbers"
        raise ValueError(
            f"{path}: expected a .npy array of {what}, found {array.dtype} {array.shape}; {_AGAIN}"
        )
    return array


def read_subjects(folder: Path, sidecar: Sidecar, rows: int) -> list[str] | None:
    """Whose row each is, or None where the sidecar does not say. Raises `ValueError`."""
    said = sidecar.subjects
    if said is None:
        return None
    path = folder / (said if isinstance(said, str) else SIDECAR)
    if not isinstance(said, str):
        found = [str(subject) for subject in said]
    elif path.parent.resolve() != folder.resolve():
        raise ValueError(f"{folder / SIDECAR}: subjects: expected a file beside it, found {said!r}")
    elif not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; {SIDECAR} names it for the subjects")
    elif path.suffix == ".npy":
        found = [str(subject) for subject in open_array(path, "iuU").ravel().tolist()]
    elif path.suffix == ".csv":
        try:
            found = pl.read_csv(path, columns=["subject"], infer_schema=False)["subject"].to_list()
        except pl.exceptions.PolarsError as error:
            raise ValueError(f"{path}: expected a CSV with a column subject: {error}") from error
    elif path.suffix == ".txt":
        try:
            found = path.read_text(encoding="utf-8-sig").splitlines()
        except UnicodeDecodeError as error:
            raise ValueError(f"{path}: expected text in UTF-8: {error}") from error
    else:
        raise ValueError(f"{path}: subjects: expected a .txt, .csv or .npy file")
    # "7" and "7 " are one person.
    found = [(subject or "").strip() for subject in found]
    if len(found) != rows or not all(found):
        raise ValueError(
            f"{path}: expected a subject for each of the {rows} rows, found {len(found)}, "
            f"of which {sum(not subject for subject in found)} are empty"
        )
    return found
