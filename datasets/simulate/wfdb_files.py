"""Writing WFDB format 16 and MATLAB files, byte for byte the same for the same samples.

`wfdb.wrsamp` writes some 24 twelve-lead records a second and scipy's `savemat` stamps the time into
the file; the formats are simple enough to write directly. Both are read back by `wfdb` and `scipy`
in tests.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.io import savemat

NOTICE = "biofm synthetic twin: simulated, not a recording of a person"

MATLAB_V4 = 24
"""Length in bytes of a MATLAB v4 header of a matrix called `val`: 20 and the name with its zero."""


def checksum(samples: NDArray[np.int16]) -> int:
    """WFDB's checksum of one signal: the sum of its samples in 16 bits."""
    return int(samples.sum(dtype=np.int64)) & 0xFFFF


def write_format_16(
    stem: Path, samples: NDArray[np.int16], rate_hz: int, leads: Sequence[str]
) -> None:
    """Write `stem.dat` and `stem.hea` as PTB-XL does, from samples [leads, T] in µV."""
    name = stem.name
    lines = [f"{name} {len(leads)} {rate_hz} {samples.shape[1]}"]
    lines += [
        f"{name}.dat 16 1000.0(0)/mV 16 0 {row[0]} {checksum(row)} 0 {lead}"
        for row, lead in zip(samples, leads, strict=True)
    ]
    lines.append(f"# {NOTICE}")
    stem.with_suffix(".dat").write_bytes(np.ascontiguousarray(samples.T, "<i2").tobytes())
    stem.with_suffix(".hea").write_text("\n".join(lines) + "\n", newline="\n")


def write_matlab_4(
    stem: Path,
    samples: NDArray[np.int16],
    rate_hz: int,
    leads: Sequence[str],
    comments: Sequence[str],
) -> None:
    """Write `stem.mat` (matrix `val`) and `stem.hea` as the PhysioNet Challenges do."""
    name = stem.name
    lines = [f"{name} {len(leads)} {rate_hz} {samples.shape[1]}"]
    for row, lead in zip(samples, leads, strict=True):
        # The Challenge writes checksums as signed numbers.
        signed = (checksum(row) + 0x8000) % 0x10000 - 0x8000
        lines.append(f"{name}.mat 16+{MATLAB_V4} 1000/mV 16 0 {row[0]} {signed} 0 {lead}")
    lines += [f"#{comment}" for comment in comments]
    # Type 30: little-endian, int16, full matrix; rows, columns, not complex, length of the name.
    header = np.array([30, *samples.shape, 0, 4], "<i4").tobytes() + b"val\0"
    body = np.ascontiguousarray(samples.T, "<i2").tobytes()
    stem.with_suffix(".mat").write_bytes(header + body)
    stem.with_suffix(".hea").write_text("\n".join(lines) + "\n", newline="\n")


def write_matlab_struct(path: Path, fields: dict[str, object]) -> None:
    """Write a MATLAB 5 file with one struct `ECG`; its text header names no date."""
    savemat(path, {"ECG": fields})
    with path.open("r+b") as file:
        file.write(f"MATLAB 5.0 MAT-file, {NOTICE}".encode().ljust(116)[:116])
