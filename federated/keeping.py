"""What a client keeps of a strategy: a file of its own, from which its report is made. It never travels."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from ..evaluation.arrays import Floats
from ..files import write_aside
from .cohort import Cohort
from .configuration import StrategyName
from .participants import JUDGED, Answers


@dataclass(frozen=True)
class Kept:
    """One client's answers by one strategy, and what is true, by part (validation, test).

    `common` is what the model for all says (None where a strategy has none), `own` the client's: probabilities [n, K]
    or quantities. `truth` is int64 [n] or float64 [n, K]; `onset_s` are NaN where labels are of whole recordings.
    """

    subject: str
    strategy: StrategyName
    common: dict[str, Floats] | None
    own: dict[str, Floats] | None
    truth: dict[str, NDArray[np.generic]]
    onset_s: dict[str, Floats]
    records: dict[str, NDArray[np.str_]]
    learned: int
    step: int


def path_of(out: Path, subject: str, strategy: StrategyName) -> Path:
    """Where a client keeps what a strategy came to."""
    # A subject's name is somebody's data: whatever it holds, it is one folder, and inside this one.
    folder = quote(subject, safe="").replace(".", "%2E")
    return out / "clients" / folder / f"{strategy}.npz"


def keep(out: Path, cohort: Cohort, strategy: StrategyName, subject: str, answers: Answers) -> None:
    """Write it at once, or not at all."""
    client, truth = cohort.clients[subject], cohort.truth
    arrays: dict[str, NDArray[np.generic]] = {}
    for split, role in JUDGED.items():
        rows = client.of(role)
        arrays |= {
            f"{split}.truth": truth.values[rows],
            f"{split}.onset_s": truth.facts["onset_s"].to_numpy()[rows].astype(np.float64),
            f"{split}.records": truth.records[rows],
        }
        for name, said in (("common", answers.common), ("own", answers.own)):
            if said is not None:
                arrays[f"{split}.{name}"] = said[split]
    with write_aside(path_of(out, subject, strategy)) as aside, aside.open("wb") as file:
        np.savez(
            file,
            learned=np.int64(len(client.learned)),
            step=np.int64(answers.step),
            **arrays,  # type: ignore[arg-type] # names of arrays, none of which is an option of savez
        )


def kept(out: Path, subject: str, strategy: StrategyName) -> Kept:
    """The same back. Raises `FileNotFoundError` where a client has not got there."""
    with np.load(path_of(out, subject, strategy), allow_pickle=False) as file:
        arrays = dict(file)

    def parts(name: str) -> dict[str, NDArray[np.generic]]:
        return {split: arrays[f"{split}.{name}"] for split in JUDGED if f"{split}.{name}" in arrays}

    return Kept(
        subject,
        strategy,
        parts("common") or None,  # type: ignore[arg-type] # as `keep` wrote them
        parts("own") or None,  # type: ignore[arg-type] # likewise
        parts("truth"),
        parts("onset_s"),  # type: ignore[arg-type] # likewise
        parts("records"),  # type: ignore[arg-type] # likewise
        int(arrays["learned"]),
        int(arrays["step"]),
    )
