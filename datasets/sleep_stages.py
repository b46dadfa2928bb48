"""Sleep stages, as all sources of sleep name them: one annotation for each scored 30-s epoch."""

from __future__ import annotations

from ..signals import Annotation

EPOCH_S = 30.0

STAGES = {0: "W", 1: "N1", 2: "N2", 3: "N3", 4: "N3", 5: "R"}
"""The number that scorers' files use → stage. 4 is the deeper half of what is N3 today; other numbers
(6 movement, 9 and −1 unscored) are no stage, and such an epoch has no annotation."""

UNSCORED = (-1, 6, 9)

STAGE_SETS: dict[str, dict[str, list[str]]] = {
    "stages5": {
        "W": ["stage:W"],
        "N1": ["stage:N1"],
        "N2": ["stage:N2"],
        "N3": ["stage:N3"],
        "R": ["stage:R"],
    },
    "stages4": {
        "W": ["stage:W"],
        "light": ["stage:N1", "stage:N2"],
        "deep": ["stage:N3"],
        "R": ["stage:R"],
    },
    "stages3": {
        "W": ["stage:W"],
        "NREM": ["stage:N1", "stage:N2", "stage:N3"],
        "R": ["stage:R"],
    },
    "stages2": {"W": ["stage:W"], "sleep": ["stage:N1", "stage:N2", "stage:N3", "stage:R"]},
}
"""Label set → class → codes: the schemes of 5, 4, 3 and 2 classes that studies use."""


def epoch(onset_s: float, number: int) -> Annotation | None:
    """The annotation of one epoch; None where it is unscored. Raises `ValueError` on no known number."""
    if number in UNSCORED:
        return None
    if number not in STAGES:
        raise ValueError(
            f"expected a stage {sorted(STAGES)}, or {UNSCORED} for none, found {number}"
        )
    return Annotation(onset_s, EPOCH_S, f"stage:{STAGES[number]}")
