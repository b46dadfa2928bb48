"""What the standards for blood pressure devices would say of a model's errors.

These are the standards' numbers applied to a data set, not a validation of a device: that also asks for
a protocol, a reference method and a spread of pressures. Say so beside the grade.

- BHS: O'Brien et al., J Hypertens 11 (suppl 2):S43, 1993: shares of absolute errors within 5, 10 and 15.
- AAMI: ANSI/AAMI SP10 and ISO 81060-2 (criterion 1): mean error within ±5, SD up to 8 mmHg, 85 subjects.
- IEEE Std 1708-2014: mean absolute difference up to 5, 6, 7 mmHg, 45 subjects.

The numbers are as in table 3 of Biomed Eng Lett 9:37 (2019), doi:10.1007/s13534-019-00096-x.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .arrays import Floats, Subjects, check_pairs

BHS_WITHIN_MMHG = (5.0, 10.0, 15.0)
BHS_SHARES = {"A": (0.60, 0.85, 0.95), "B": (0.50, 0.75, 0.90), "C": (0.40, 0.65, 0.85)}
AAMI_MEAN_MMHG, AAMI_SD_MMHG, AAMI_SUBJECTS = 5.0, 8.0, 85
IEEE_MAD_MMHG = {"A": 5.0, "B": 6.0, "C": 7.0}
IEEE_SUBJECTS = 45


@dataclass(frozen=True)
class PressureGrades:
    """Errors of one pressure (mmHg) against three standards; a grade says nothing of too few subjects.

    `within` are the shares of absolute errors up to 5, 10 and 15 mmHg; `aami` whether its two limits are
    kept.
    """

    mean_error: float
    sd_error: float
    mad: float
    within: tuple[float, float, float]
    bhs: str
    aami: bool
    ieee: str
    subjects: int
    records: int

    def __str__(self) -> str:
        few = [
            f"{name} asks for {least}"
            for name, least in (
                ("AAMI", AAMI_SUBJECTS),
                ("BHS", AAMI_SUBJECTS),
                ("IEEE", IEEE_SUBJECTS),
            )
            if self.subjects < least
        ]
        shares = " / ".join(f"{100 * share:.1f} %" for share in self.within)
        return (
            f"ME ± SD {self.mean_error:.2f} ± {self.sd_error:.2f} mmHg, MAD {self.mad:.2f} mmHg; within "
            f"5/10/15 mmHg {shares}: BHS {self.bhs}; AAMI limits {'kept' if self.aami else 'not kept'}; "
            f"IEEE 1708 {self.ieee}; {self.subjects} subjects, {self.records} records"
            + (f" (too few: {', '.join(few)})" if few else "")
        )


def pressure_grades(truth_N: Floats, output_N: Floats, subjects_N: Subjects) -> PressureGrades:
    """Grades of output − truth, in mmHg. Raises `ValueError` with fewer than two records."""
    check_pairs(truth_N, output_N, subjects_N)
    if len(truth_N) < 2:
        raise ValueError("a standard deviation needs at least 2 records, found 1")
    error_N = output_N - truth_N
    five, ten, fifteen = (float((np.abs(error_N) <= limit).mean()) for limit in BHS_WITHIN_MMHG)
    mean, sd = float(error_N.mean()), float(error_N.std(ddof=1))
    mad = float(np.abs(error_N).mean())
    return PressureGrades(
        mean_error=mean,
        sd_error=sd,
        mad=mad,
        within=(five, ten, fifteen),
        bhs=_bhs((five, ten, fifteen)),
        aami=abs(mean) <= AAMI_MEAN_MMHG and sd <= AAMI_SD_MMHG,
        ieee=_ieee(mad),
        subjects=len(np.unique(subjects_N)),
        records=len(error_N),
    )


def _bhs(within: tuple[float, float, float]) -> str:
    """The best grade all of whose three shares are reached, else D."""
    for grade, least in BHS_SHARES.items():
        if all(share >= limit for share, limit in zip(within, least, strict=True)):
            return grade
    return "D"


def _ieee(mad: float) -> str:
    """A and B include their limits; 7 mmHg itself is a D."""
    for grade, limit in IEEE_MAD_MMHG.items():
        if mad < limit or (mad == limit and grade != "C"):
            return grade
    return "D"
