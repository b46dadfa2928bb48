"""Grades of blood pressure errors at and beside every limit of the three standards."""

from __future__ import annotations

import numpy as np
import pytest

from biofm.evaluation.blood_pressure import PressureGrades, pressure_grades


def grades(errors: list[float], subjects: int = 100) -> PressureGrades:
    error = np.array(errors)
    return pressure_grades(np.zeros(len(error)), error, np.arange(len(error)) % subjects)


def shares(five: int, ten: int, fifteen: int) -> list[float]:
    """100 errors, so many of them exactly at 5, at 10 and at 15 mmHg or below."""
    counts = (five, ten - five, fifteen - ten, 100 - fifteen)
    sizes = np.repeat([5.0, 10.0, 15.0, 15.1], counts)
    return list(sizes * np.where(np.arange(100) % 2, 1, -1))


@pytest.mark.parametrize(
    ("within", "grade"),
    [
        ((60, 85, 95), "A"),
        ((59, 85, 95), "B"),
        ((60, 84, 95), "B"),
        ((60, 85, 94), "B"),
        ((50, 75, 90), "B"),
        ((49, 75, 90), "C"),
        ((50, 74, 90), "C"),
        ((50, 75, 89), "C"),
        ((40, 65, 85), "C"),
        ((39, 65, 85), "D"),
        ((40, 64, 85), "D"),
        ((40, 65, 84), "D"),
        ((100, 100, 100), "A"),
    ],
)
def test_bhs_takes_the_worst_of_three_shares(within: tuple[int, int, int], grade: str) -> None:
    found = grades(shares(*within))
    assert found.within == tuple(share / 100 for share in within)
    assert found.bhs == grade


@pytest.mark.parametrize(
    ("mad", "grade"),
    [
        (4.0, "A"),
        (5.0, "A"),
        (5.01, "B"),
        (6.0, "B"),
        (6.5, "C"),
        (6.99, "C"),
        (7.0, "D"),
        (9.0, "D"),
    ],
)
def test_ieee_1708_by_mean_absolute_difference(mad: float, grade: str) -> None:
    found = grades([mad, -mad] * 20)
    assert found.mad == pytest.approx(mad)
    assert found.ieee == grade


def test_aami_asks_for_both_limits() -> None:
    spread = np.array([-1.0, 1.0] * 50)
    spread /= spread.std(ddof=1)
    assert grades(list(5 + 7.99 * spread)).aami
    assert not grades(list(5.01 + 1 * spread)).aami
    assert grades(list(-4.9 + 1 * spread)).aami
    assert not grades(list(8.01 * spread)).aami
    found = grades(list(3 + 6 * spread))
    assert (found.mean_error, found.sd_error) == pytest.approx((3.0, 6.0))


def test_too_few_subjects_are_said_and_not_hidden_in_the_grade() -> None:
    few, enough = grades(shares(60, 85, 95), subjects=15), grades(shares(60, 85, 95), subjects=85)
    assert few.bhs == enough.bhs == "A"
    assert (
        "15 subjects, 100 records (too few: AAMI asks for 85, BHS asks for 85, IEEE asks for 45)"
        in str(few)
    )
    assert "too few" not in str(enough)
    assert "within 5/10/15 mmHg 60.0 % / 85.0 % / 95.0 %: BHS A" in str(enough)


def test_one_record_has_no_standard_deviation() -> None:
    with pytest.raises(ValueError, match="at least 2 records"):
        grades([1.0])
