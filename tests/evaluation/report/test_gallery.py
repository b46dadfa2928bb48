"""Which rows a report draws curves of."""

from __future__ import annotations

from biofm.evaluation.comparison import Comparison, Row
from biofm.evaluation.report.gallery import shown_rows


def test_curves_are_of_the_shown_row_and_of_the_best_on_validation() -> None:
    reached = {"own": 0.7, "a": 0.5, "b": 0.9, "unknown": float("nan"), "c": 0.8, "d": 0.6}
    rows = [Row(name, 1, value, {}) for name, value in reached.items()]
    assert shown_rows(Comparison(rows, {}, {})) == ["own", "b", "c", "d"]
