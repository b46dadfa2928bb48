"""Bland–Altman limits, against the published examples and by simulation."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from biofm.evaluation.agreement import Agreement, bland_altman
from biofm.evaluation.arrays import Floats

# Bland & Altman 1999 and 2007, table 1: cardiac output of 12 subjects by radionuclide ventriculography
# and by impedance cardiography.
CARDIAC = {
    1: [(7.83, 6.57), (7.42, 5.62), (7.89, 6.90), (7.12, 6.57), (7.88, 6.35)],
    2: [(6.16, 4.06), (7.26, 4.29), (6.71, 4.26), (6.54, 4.09)],
    3: [(4.75, 4.71), (5.24, 5.50), (4.86, 5.08), (4.78, 5.02), (6.05, 6.01), (5.42, 5.67)],
    4: [(4.21, 4.14), (3.61, 4.20), (3.72, 4.61), (3.87, 4.68), (3.92, 5.04)],
    5: [(3.13, 3.03), (2.98, 2.86), (2.85, 2.77), (3.17, 2.46), (3.09, 2.32), (3.12, 2.43)],
    6: [(5.92, 5.90), (6.42, 5.81), (5.92, 5.70), (6.27, 5.76)],
    7: [(7.13, 5.09), (6.62, 4.63), (6.58, 4.61), (6.93, 5.09)],
    8: [(4.54, 4.72), (4.81, 4.61), (5.11, 4.36), (5.29, 4.20), (5.39, 4.36), (5.57, 4.20)],
    9: [(4.48, 3.17), (4.92, 3.12), (3.97, 2.96)],
    10: [(4.22, 4.35), (4.65, 4.62), (4.74, 3.16), (4.44, 3.53), (4.50, 3.53)],
    11: [(6.78, 7.20), (6.07, 6.09), (6.52, 7.00), (6.42, 7.10), (6.41, 7.40), (5.76, 6.80)],
    12: [(5.06, 4.50), (4.72, 4.20), (4.90, 3.80), (4.80, 3.80), (4.90, 4.20), (5.10, 4.50)],
}
# Bland & Altman, Lancet 1986: first peak flow of 17 subjects by two meters, l/min.
WRIGHT = [494, 395, 516, 434, 476, 557, 413, 442, 650, 433, 417, 656, 267, 478, 178, 423, 427]
MINI = [512, 430, 520, 428, 500, 600, 364, 380, 658, 445, 432, 626, 260, 477, 259, 350, 451]


def cardiac(subjects: int = 12) -> tuple[Floats, Floats, Floats]:
    rows = [(ic, rv, s) for s, pairs in CARDIAC.items() for rv, ic in pairs if s <= subjects]
    truth, output, ids = np.array(rows, dtype=np.float64).T
    return truth, output, ids


def test_the_published_example_with_several_records_a_subject() -> None:
    found = bland_altman(*cardiac())
    assert found.bias.value == pytest.approx(0.6021667, abs=1e-7)
    assert found.sd == pytest.approx(0.99062408, abs=1e-7)
    assert found.within_sd**2 == pytest.approx(0.170714, abs=1e-6)
    # The paper multiplies rounded numbers.
    assert found.lower.value == pytest.approx(-1.3394565, abs=2e-7)
    assert found.upper.value == pytest.approx(2.5437899, abs=2e-7)
    # Records taken as independent give 0.961.
    truth, output, _ = cardiac()
    assert bland_altman(truth, output, np.arange(60)).sd == pytest.approx(0.9610571, abs=1e-7)


def test_the_published_example_with_one_record_a_subject() -> None:
    found = bland_altman(np.array(MINI, dtype=float), np.array(WRIGHT, dtype=float), np.arange(17))
    assert found.bias.value == pytest.approx(-2.1, abs=0.05)
    assert found.sd == pytest.approx(38.8, abs=0.05)
    assert (found.bias.low, found.bias.high) == pytest.approx((-22.0, 17.8), abs=0.06)
    assert np.isnan(found.within_sd)
    assert found.between_sd == found.sd


def zou(errors: list[Floats], quantile: float) -> tuple[Floats, Floats, Floats]:
    """Zou (2013), from means and variances of the subjects: (limits, low, high).

    `quantile` is that of the mean's interval: 1.96 as published.
    """
    counts = np.array([len(e) for e in errors])
    means = np.array([e.mean() for e in errors])
    n, records = len(errors), counts.sum()
    within = sum(((e - e.mean()) ** 2).sum() for e in errors) / (records - n)
    parts = [
        (means.var(ddof=1), n - 1),
        ((1 - (1 / counts).mean()) * within, records - n),
    ]
    total = sum(part for part, _ in parts)
    tail = np.array([0.975, 0.025])
    moved = sum((part * (df / stats.chi2.ppf(tail, df) - 1)) ** 2 for part, df in parts)
    low, high = total - np.sqrt(moved[0]), total + np.sqrt(moved[1])
    z = 1.96
    mean_part = quantile**2 * means.var(ddof=1) / n
    limits = means.mean() + np.array([-z, z]) * np.sqrt(total)
    near = np.sqrt(mean_part + z**2 * (np.sqrt(total) - np.sqrt(low)) ** 2)
    far = np.sqrt(mean_part + z**2 * (np.sqrt(high) - np.sqrt(total)) ** 2)
    return limits, limits - np.array([far, near]), limits + np.array([near, far])


def test_intervals_of_the_limits_are_zous() -> None:
    truth, output, ids = cardiac(4)
    limits, low, high = zou([(output - truth)[ids == s] for s in range(1, 5)], 1.96)
    # Zou's own example is the first four subjects.
    assert limits == pytest.approx([-2.14, 3.59], abs=0.005)
    assert low == pytest.approx([-9.83, 1.77], abs=0.01)
    assert high == pytest.approx([-0.33, 11.27], abs=0.01)
    # With equally many records a subject, and Student's t for the mean, his and ours are the same.
    random = np.random.default_rng(0)
    errors = [random.normal() + random.normal(size=5) for _ in range(9)]
    limits, low, high = zou(errors, float(stats.t.ppf(0.975, 8)))
    found = bland_altman(np.zeros(45), np.concatenate(errors), np.repeat(np.arange(9), 5))
    for i, figure in enumerate((found.lower, found.upper)):
        assert (figure.value, figure.low, figure.high) == pytest.approx(
            (limits[i], low[i], high[i])
        )


def test_the_intervals_cover() -> None:
    random = np.random.default_rng(1)
    bias, between, within = 2.0, 4.0, 3.0
    upper = bias + 1.96 * np.hypot(between, within)
    covered = []
    for _ in range(400):
        counts = random.integers(1, 8, size=20)
        ids = np.repeat(np.arange(20), counts)
        error = bias + between * random.normal(size=20)[ids] + within * random.normal(size=len(ids))
        found: Agreement = bland_altman(np.zeros(len(ids)), error, ids)
        covered.append([not found.bias.excludes(bias), not found.upper.excludes(upper)])
    assert np.all((np.mean(covered, axis=0) > 0.91) & (np.mean(covered, axis=0) < 0.985))


def test_subjects_who_differ_less_than_chance_have_no_spread_of_their_own() -> None:
    # Every subject has the same two errors: all variance is within.
    error = np.tile([-1.0, 1.0], 6)
    found = bland_altman(np.zeros(12), error, np.repeat(np.arange(6), 2))
    assert found.between_sd == 0.0
    assert found.bias.low <= 0.0 <= found.bias.high
    assert found.lower.high < found.bias.value < found.upper.low


def test_too_few_subjects_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 3 subjects, found 2"):
        bland_altman(np.zeros(8), np.arange(8.0), np.arange(8) % 2)


def test_it_reads_well() -> None:
    assert str(bland_altman(*cardiac())).startswith(
        "bias 0.60 (0.01–1.20), limits of agreement -1.34"
    )
