"""How a figure reads, and what it refuses."""

from __future__ import annotations

import pytest

from biofm.evaluation.figure import Figure


def test_it_reads_as_papers_print_it() -> None:
    assert str(Figure(0.87, 0.846, 0.89)) == "0.870 (0.846–0.890)"
    assert Figure(4.4951, 3.9, 5.25).text(2) == "4.50 (3.90–5.25)"


def test_a_negative_bound_is_not_mistaken_for_a_dash() -> None:
    assert str(Figure(0.01, -0.004, 0.02)) == "0.010 (-0.004 to 0.020)"


def test_a_stretched_interval_is_marked() -> None:
    assert str(Figure(0.02, 0.02, 0.05, stretched=True)) == "0.020 (0.020–0.050)*"


def test_whether_a_difference_is_one() -> None:
    assert Figure(0.02, 0.001, 0.04).excludes(0.0)
    assert not Figure(0.02, -0.001, 0.04).excludes(0.0)


@pytest.mark.parametrize(
    ("value", "low", "high"), [(0.9, 0.91, 0.95), (0.9, 0.8, 0.89), (float("nan"), 0.0, 1.0)]
)
def test_a_value_outside_its_interval_is_refused(value: float, low: float, high: float) -> None:
    with pytest.raises(ValueError, match="expected"):
        Figure(value, low, high)


def test_a_level_is_a_share() -> None:
    with pytest.raises(ValueError, match="level"):
        Figure(0.5, 0.4, 0.6, level=95)
