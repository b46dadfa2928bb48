"""What a recording may say about its subject, in one form for all sources."""

from __future__ import annotations

import math
import re

OLDEST = 90.0
"""Stands for every age above 89 years, which privacy rules do not let one tell apart."""

_SEXES = {"male": "male", "m": "male", "female": "female", "f": "female"}
_UNKNOWN = {"", "nan", "unknown", "none"}
_WHEN = re.compile(r"\d+([:/.-])\d+\1[\d.]+(?:T\d+[:.\d]*)?")


def undated(text: str) -> str:
    """The text with … for every date and time: an error quotes it, and may come to stand in `shards.json`."""
    return _WHEN.sub("…", text)


def age_years(text: str) -> float | None:
    """Age in years; None where it is empty, NaN or unknown; `OLDEST` above 89 (PTB-XL writes 300).

    Raises `ValueError` where it is no age.
    """
    if text.strip().lower() in _UNKNOWN:
        return None
    try:
        age = float(text)
    except ValueError:
        raise ValueError(f"expected an age in years, found {undated(text[:80])!r}") from None
    if not 0 <= age < math.inf:
        raise ValueError(f"expected an age in years, found {text!r}")
    return age if age <= 89 else OLDEST


def sex_named(text: str) -> str | None:
    """ "male", "female", or None where it is unknown. Raises `ValueError` on anything else."""
    word = text.strip().lower()
    if word in _UNKNOWN:
        return None
    if word not in _SEXES:
        raise ValueError(f"expected male, female or unknown, found {text!r}")
    return _SEXES[word]
