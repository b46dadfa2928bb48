"""The layouts that the twin is written in: one module each, one row here."""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeAlias

Truth: TypeAlias = dict[str, Any]
"""A row of `truth.parquet`: what was planted in a recording."""


class Shown(Protocol):
    """Hands on what it is given, and shows how far one is: a progress bar."""

    def __call__(self, items: Iterable[Any], /) -> Iterable[Any]: ...


class Writer(Protocol):
    """A layout's `write`: the tree of so many recordings into `folder`; the rows of the truth.

    The same arguments must give the same bytes. It passes what it loops over through `shown`.
    """

    def __call__(self, folder: Path, records: int, seed: int, shown: Shown, /) -> list[Truth]: ...


class Layout(NamedTuple):
    """`module` of this folder has the `Writer`; what one `unit` is, how many by default and at most."""

    module: str
    unit: str
    usual: int
    most: int

    def writer(self) -> Writer:
        """The layout's writer."""
        found: Writer = importlib.import_module(f"{__package__}.{self.module}").write
        return found


LAYOUTS: dict[str, Layout] = {
    "apple_health": Layout("apple_health_tree", "person", 10, 9_999),
    # I0001 to I0075 without I0036, and seven more tranches of as many.
    "challenge": Layout("challenge_tree", "record", 160, 592),
    "chapman": Layout("chapman_tree", "record", 200, 10_000),
    "cinc2017": Layout("cinc2017_tree", "record", 1000, 99_999),
    "continuous_pressure": Layout("continuous_pressure_tree", "record", 40, 10_000),
    # A0001 to A9999.
    "cpsc2018": Layout("cpsc_tree", "record", 1000, 9_999),
    "hemodynamics": Layout("hemodynamics_tree", "segment", 1000, 1_000_000),
    "mesa": Layout("mesa_tree", "night", 8, 9_999),
    "mitdb": Layout("mitdb_tree", "record", 48, 48),
    "ppg_dalia": Layout("ppg_dalia_tree", "subject", 15, 99),
    # Ids of five digits with gaps.
    "ptbxl": Layout("ptbxl_tree", "record", 1000, 90_000),
    "sleep_accel": Layout("sleep_accel_tree", "night", 31, 9_999),
    "table": Layout("table_tree", "recording", 60, 9_999),
    "wesad": Layout("wesad_tree", "subject", 15, 98),
}
"""Source → its twin."""
