"""A figure with its interval: what every report prints."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """A value with the interval that holds it: `0.870 (0.846–0.890)`.

    `level` is the nominal coverage of the interval. `subjects` are those the value was computed from
    and `records` the rows (records, epochs, windows) they have in it. `bias` is by how much the draws
    of the bootstrap lie above the value on average, and `stretched` says that the interval had to be
    widened to hold the value (see `intervals`): then the value itself is biased, and the bias says
    which way. Raises `ValueError` where the value is not finite or not inside its interval.
    """

    value: float
    low: float
    high: float
    level: float = 0.95
    subjects: int = 0
    records: int = 0
    bias: float = 0.0
    stretched: bool = False

    def __post_init__(self) -> None:
        if not all(math.isfinite(v) for v in (self.value, self.low, self.high)):
            raise ValueError(
                f"expected finite numbers, found {self.value}, {self.low}, {self.high}"
            )
        if not self.low <= self.value <= self.high:
            raise ValueError(
                f"expected low ≤ value ≤ high, found {self.low}, {self.value}, {self.high}"
            )
        if not 0 < self.level < 1:
            raise ValueError(f"level must lie between 0 and 1, not {self.level}")

    def __str__(self) -> str:
        return self.text()

    def text(self, digits: int = 3) -> str:
        """The same with another number of decimals; a negative bound is set off by ` to `."""
        value, low, high = (f"{v:.{digits}f}" for v in (self.value, self.low, self.high))
        # With a minus sign beside it, a dash could be read as one.
        dash = " to " if low.startswith("-") or high.startswith("-") else "–"
        mark = "*" if self.stretched else ""
        return f"{value} ({low}{dash}{high}){mark}"

    def excludes(self, value: float) -> bool:
        """Whether the interval leaves `value` out: of a difference, 0."""
        return not self.low <= value <= self.high
