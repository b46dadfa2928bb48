"""Whose a record of the PhysioNet/CinC Challenges is: the data set it came from, and the person.

A recording keeps the name of where it first came from, so that the same one has one name in every
collection that holds it. The Challenges ship no patient ids; where several records are one
patient's, splits by subject need them from elsewhere:

- **PTB-XL** (`HR`): from `ptbxl_database.csv` where the user has it; else all records are one
  subject, `ptbxl-patients-unknown`, and so are those whose row version 1.0.3 dropped.
- **INCART** (`I`): the published list of 32 patients is here.
- **PTB** (`S`): 290 patients; which record is whose was published for PTB's own record names, and
  nothing published ties those to the Challenge's numbers. All records are one subject,
  `ptb-patients-unknown`.
- In the others a record counts as a person: so say Chapman-Shaoxing and Ningbo; CPSC2018, its extra
  set and Georgia published no patient key.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import accumulate

_NAME = re.compile(r"([AQISE])(\d{4,5})|(HR|JS)(\d{5})", re.ASCII)
_LETTERS = {"A": "cpsc2018", "Q": "cpsc_extra", "I": "incart", "S": "ptb", "E": "georgia"}
_DIGITS = {"A": 4, "Q": 4, "I": 4, "S": 4, "E": 5}
LAST_CHAPMAN = 10_646
"""JS00001 to this one are Chapman-Shaoxing's; those above are Ningbo's."""

_INCART_RECORDS = (2, 3, 2, 1, 3, 3, 1, 2, 2, 3, 2, 2, 2, 4, 2, 3,
                   2, 2, 2, 3, 2, 2, 3, 3, 2, 3, 3, 3, 2, 2, 2, 2)  # fmt: skip
"""How many of I01 … I75 are patient 1's, 2's, … 32's: `files-patients-diagnoses.txt` of incartdb
1.0.0, and the headers' `patient` comments. I0001 in the Challenge is I01 there; I36 is left out."""


def dataset_of(name: str) -> str | None:
    """The data set that a record's name belongs to; None where it is no Challenge name."""
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    letter, digits, long_letters, long_digits = match.groups()
    if letter:
        return _LETTERS[letter] if len(digits) == _DIGITS[letter] else None
    if long_letters == "HR":
        return "ptbxl"
    return "chapman" if int(long_digits) <= LAST_CHAPMAN else "ningbo"


def record_of(name: str) -> str:
    """The record's id in its own data set: HR00008 is PTB-XL's 00008, all others keep theirs."""
    return name.removeprefix("HR")


def subject_of(name: str, ptbxl_patients: Mapping[int, int]) -> str:
    """Whose record it is, as the data set's own reader says; `ptbxl_patients`: ecg_id → patient_id.

    Raises `ValueError` on a name that is no Challenge name.
    """
    dataset = dataset_of(name)
    if dataset is None:
        raise ValueError(f"{name!r} is not the name of a Challenge record")
    if dataset == "ptbxl":
        return f"ptbxl-{ptbxl_patients.get(int(record_of(name)), 'patients-unknown')}"
    if dataset == "ptb":
        return "ptb-patients-unknown"
    if dataset == "incart":
        number = int(name[1:])
        # Numbers beyond the list would be another release's: nothing says whose they are.
        patient = 1 + sum(number > last for last in accumulate(_INCART_RECORDS))
        known = number >= 1 and patient <= len(_INCART_RECORDS)
        return f"incart-{patient:02d}" if known else "incart-patients-unknown"
    return f"{dataset}-{name}"
