"""`simulate` writes a synthetic tree in a real data set's layout; `is_synthetic` recognises one."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import polars as pl
from tqdm import tqdm

from ...files import folder_aside
from . import cpsc_tree, ptbxl_tree

MARKER = "SYNTHETIC.md"
TRUTH = "truth.parquet"
MAX_RECORDS = {"ptbxl": 90_000, "cpsc2018": 9_999}
"""More would not fit the ids: five digits with gaps, and A0001 to A9999."""


def simulate(
    layout: Literal["ptbxl", "cpsc2018"],
    out: Path,
    *,
    records: int = 1000,
    seed: int = 0,
    challenge_copy: bool = False,
    progress: bool = True,
) -> Path:
    """Write a synthetic data set, so that every stage can be tried with no download.

    The tree has the real one's files, names and formats, and beside them `truth.parquet` (what was
    planted in every record) and `SYNTHETIC.md`. The same arguments give the same bytes.

    Args:
        layout: whose layout: ptbxl (10-s records at 100 and 500 Hz) or cpsc2018 (6–60 s at 500 Hz).
        out: folder to write; it must not exist or be empty.
        records: number of recordings.
        seed: everything is drawn from it.
        challenge_copy: write cpsc2018 as the PhysioNet Challenges distribute it (WFDB header and
            MATLAB v4) and not as the original MATLAB structs.
        progress: show a progress bar.

    Returns:
        The folder written.

    Raises:
        FileExistsError: `out` holds something already.
        ValueError: an unknown layout, or a number or option that it does not have.
    """
    if layout not in MAX_RECORDS:
        raise ValueError(f"unknown layout {layout!r}; known: {', '.join(MAX_RECORDS)}")
    if not 1 <= records <= MAX_RECORDS[layout]:
        raise ValueError(f"records must be 1 to {MAX_RECORDS[layout]} for {layout}, not {records}")
    if seed < 0:
        raise ValueError(f"seed must be 0 or more, not {seed}")
    if challenge_copy and layout != "cpsc2018":
        raise ValueError(f"challenge_copy is a form of cpsc2018; {layout} has only one")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise FileExistsError(
            f"{out} exists and is not an empty folder: the twin never writes over anything; "
            "name a new folder, or remove this one first"
        )
    plans = (ptbxl_tree if layout == "ptbxl" else cpsc_tree).plan(records, seed)
    with folder_aside(out, durable=False) as folder:
        (folder / MARKER).write_text(notice(layout, records, seed), encoding="utf-8", newline="\n")
        bar = tqdm(plans, desc=f"simulate {layout}", unit="record", disable=not progress)
        if layout == "ptbxl":
            truth = ptbxl_tree.write(folder, bar, ptbxl_tree.ecg_ids(records, seed), seed)
        else:
            truth = cpsc_tree.write(folder, bar, records, seed, challenge_copy=challenge_copy)
        pl.DataFrame(truth).write_parquet(folder / TRUTH)
    return out


def is_synthetic(root: Path) -> bool:
    """Whether `root` is, or lies inside, a tree that `simulate` wrote."""
    root = root.resolve()
    return any((folder / MARKER).is_file() for folder in (root, *root.parents))


def notice(layout: str, records: int, seed: int) -> str:
    """The text of `SYNTHETIC.md`."""
    return f"""# SYNTHETIC DATA: nobody's heart

Every signal, age, sex, date and diagnosis in this folder was computed by biofm's synthetic twin.
None was recorded from a person. The files only borrow the layout of {layout}; they are not a copy,
a sample or an anonymised version of it.

Use it to try the software. Do not report figures on it as results on {layout}, and do not train a
model for people on it alone.

- layout: {layout}
- records: {records}
- seed: {seed}
- planted in every record: `truth.parquet`
- how: a dipole of Gaussians in cardiac phase (McSharry 2003, Sameni 2007) seen through Dower's
  matrix
"""
