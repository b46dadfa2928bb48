"""Judges trained pairs, their untrained encoders and the references by `biofm evaluate`'s cells, and keeps the scores.

An encoder reads windows of the length it was pretrained on; a recording's score is the mean of theirs. Pairs of the
same encoder share its untrained ones. `command` is one process's part of the work.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from ...configuration import USER_ERRORS, read_config, tell
from ...evaluation.rounds import rounds_of
from ...evaluation.scores import Scores
from ...evaluation.tasks import load_task
from ...models.pretrained import PretrainedModel, load_model
from ...pretrain.checkpoint import checkpoints
from ..cells import Cell, fill
from ..encoders import Encoders
from ..evaluate import check_judged
from ..rows import Judged, frozen_cells, groups, trained_cells
from .configuration import AblationConfig
from .pairs import Pair, pairs_in

Rows = Mapping[str, Mapping[str, Sequence[Scores]]]
"""Task → row (`pretrained, linear`) → scores of each seed."""
REFERENCES = "references"
UNTRAINED = "untrained"


@dataclass(frozen=True)
class Subject:
    """The runs of a pair as encoders; `clean` says whether they are known to have seen nobody they are judged on."""

    encoders: Encoders
    judged: Sequence[Judged]
    clean: bool

    @property
    def model(self) -> PretrainedModel:
        """That of the first run."""
        return next(iter(self.encoders.models.values()))

    @property
    def untrained(self) -> str:
        """What the folder is called of the scores of the same encoders untrained."""
        said = f"{self.model.encoder.config!r} {self.model.window_s} {self.model.preprocessing!r}"
        return f"{UNTRAINED}-{hashlib.sha256(said.encode()).hexdigest()[:12]}"


def tasks_of(config: AblationConfig, window_s: float | None = None) -> list[Judged]:
    """The tasks with their truth, in windows of so many seconds. Raises `ValueError` where one cannot be judged."""
    return _tasks_of(config.shards, config.tasks, window_s)


@lru_cache
def _tasks_of(
    shards: tuple[str, ...], tasks: tuple[str, ...], window_s: float | None
) -> list[Judged]:
    loaded = [(asked, load_task(asked, window_s)) for asked in tasks]
    judged = [Judged(asked, task, rounds_of(task, shards)) for asked, task in loaded]
    for one in judged:
        check_judged(one)
    return judged


def subject_of(config: AblationConfig, pair: Pair) -> Subject:
    """A pair's runs. Raises `OSError`, `ValueError` where a model cannot be read, or reads other recordings."""
    # Not the best by validation loss: of objectives with a moving target that says nothing.
    folders = [checkpoints(pair.folder(config, seed))[-1] / "model" for seed in range(config.runs)]
    window_s = load_model(folders[0]).window_s
    own = tasks_of(config)
    longer = any(one.task.window_s != window_s for one in own)
    judged = tasks_of(config, window_s) if longer else own
    encoders = Encoders.of(folders)
    seen = encoders.overlaps(encoders.seeds(judged[0].rounds), judged[0].rounds)
    return Subject(encoders, judged, all(one.clean for one in seen.values()))


def pair_scores(config: AblationConfig, subject: Subject, name: str) -> Rows:
    """Frozen linear and attention heads on a pair's encoders."""
    cells = [cell for cell in _cells(config, subject) if cell.row.startswith("pretrained")]
    return _rows(cells, config.out / "scores" / name)


def untrained_scores(config: AblationConfig, subject: Subject) -> Rows:
    """The same heads on the same encoders as training would begin with them."""
    cells = [cell for cell in _cells(config, subject) if cell.row.startswith(UNTRAINED)]
    return _rows(cells, config.out / "scores" / subject.untrained)


def reference_scores(config: AblationConfig) -> Rows:
    """Random kernels with ridge, and supervised models."""
    evaluation, judged = config.evaluation(), tasks_of(config)
    cells = [cell for one in judged for cell in frozen_cells(evaluation, one, [])]
    for together in groups(judged):
        cells += trained_cells(evaluation, together, [])
    return _rows(cells, config.out / "scores" / REFERENCES)


def _cells(config: AblationConfig, subject: Subject) -> list[Cell]:
    evaluation = config.evaluation(subject.model.window_s)
    return [
        cell
        for one in subject.judged
        for cell in frozen_cells(evaluation, one, subject.encoders.seeds(one.rounds))
    ]


def _rows(cells: Sequence[Cell], folder: Path) -> Rows:
    return {task: by_share[1.0] for task, by_share in fill(cells, folder).items()}


def command(config: AblationConfig, what: str) -> list[str]:
    """What judges a pair, the untrained encoders of one (`untrained:NAME`), or the references."""
    # -P: a folder of the user's must not be taken for a module.
    begin = [sys.executable, "-P", "-c", f"from {__name__} import main; main()"]
    return [*begin, str(config.out / "config.yaml"), what]


def main() -> None:
    """Do the part of the work that the command line names."""
    try:
        config, (kind, _, name) = (
            read_config(AblationConfig, Path(sys.argv[1])),
            sys.argv[2].rpartition(":"),
        )
        if name == REFERENCES:
            reference_scores(config)
            return
        (pair,) = (pair for pair in pairs_in(config.pairs) if pair.name == name)
        subject = subject_of(config, pair)
        if kind == UNTRAINED:
            untrained_scores(config, subject)
        else:
            pair_scores(config, subject, name)
    except USER_ERRORS as error:
        tell(error)
        raise SystemExit(1) from None
