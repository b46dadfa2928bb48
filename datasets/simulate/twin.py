"""`simulate` writes a synthetic tree in a real data set's layout; `is_synthetic` recognises one."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import polars as pl
from tqdm import tqdm

from ...files import folder_aside
from .layouts import LAYOUTS

MARKER = "SYNTHETIC.md"
TRUTH = "truth.parquet"


def simulate(
    layout: str,
    out: Path,
    *,
    records: int | None = None,
    seed: int = 0,
    progress: bool = True,
) -> Path:
    """Write a synthetic data set, so that every stage can be tried with no download.

    The tree has the real one's files, names and formats, and beside them `truth.parquet` (what was
    planted in every record) and `SYNTHETIC.md`. The same arguments give the same bytes.

    Args:
        layout: whose layout: the name of a source, as `biofm datasets list` shows them.
        out: folder to write; it must not exist or be empty.
        records: number of recordings (ECGs, nights, people: what the layout counts); null for its
            usual number.
        seed: everything is drawn from it.
        progress: show a progress bar.

    Returns:
        The folder written.

    Raises:
        FileExistsError: `out` holds something already.
        ValueError: an unknown layout, or a number that it does not have.
    """
    if layout not in LAYOUTS:
        raise ValueError(f"unknown layout {layout!r}; known: {', '.join(sorted(LAYOUTS))}")
    made = LAYOUTS[layout]
    count = made.usual if records is None else records
    if not 1 <= count <= made.most:
        raise ValueError(f"records must be 1 to {made.most} for {layout}, not {count}")
    if seed < 0:
        raise ValueError(f"seed must be 0 or more, not {seed}")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise FileExistsError(
            f"{out} exists and is not an empty folder: the twin never writes over anything; "
            "name a new folder, or remove this one first"
        )

    def shown(items: Iterable[Any]) -> Iterable[Any]:
        return tqdm(items, desc=f"simulate {layout}", unit=made.unit, disable=not progress)

    with folder_aside(out, durable=False) as folder:
        (folder / MARKER).write_text(notice(layout, count, seed), encoding="utf-8", newline="\n")
        truth = made.writer()(folder, count, seed, shown)
        pl.DataFrame(truth, infer_schema_length=None).write_parquet(folder / TRUTH)
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
- recordings: {records}
- seed: {seed}
- planted in every one: `truth.parquet`
- how: ECG is a dipole of Gaussians in cardiac phase (McSharry 2003, Sameni 2007) seen through
  Dower's matrix; pulse waves, breathing, sleep and movement are drawn to fit the same heart beats
"""
