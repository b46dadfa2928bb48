"""A task: what is to be told from which windows, on whom, and how it is judged. One YAML each.

A task names classes by a label set of its shards (`label_sets` in `shards.json`), so that the same task
reads every form of its data set.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from ..configuration import CONFIGS, read_config
from ..datasets.registry import SOURCES
from ..shards.configuration import Folds
from ..shards.reader import DataConfig
from ..signals import LEADS_12
from .multilabel import LEAST_SUBJECTS, ThresholdRule

TASKS = CONFIGS / "tasks"

Kind = Literal["multilabel", "multiclass", "regression"]

Loss = Literal["bce", "cross_entropy", "balanced_cross_entropy", "mae"]

LOSSES: dict[Kind, tuple[Loss, ...]] = {
    "multilabel": ("bce",),
    "multiclass": ("cross_entropy", "balanced_cross_entropy"),
    "regression": ("mae",),
}

METRICS: dict[Kind, dict[str, str]] = {
    "multilabel": {
        "auroc": "ranking",
        "average_precision": "ranking",
        "f1": "multilabel",
        "f2_g2": "multilabel",
        "challenge_score": "challenge",
    },
    "multiclass": {
        "auroc": "ranking",
        "average_precision": "ranking",
        "accuracy": "sleep",
        "kappa": "sleep",
        "macro_f1": "sleep",
        "f1_by_stage": "sleep",
        "sensitivity": "sleep",
        "specificity": "sleep",
        "night_errors": "nights",
    },
    "regression": {
        "mae": "regression",
        "rmse": "regression",
        "mean_error": "regression",
        "sd_error": "regression",
        "correlation": "regression",
        "bland_altman": "agreement",
        "pressure_grades": "blood_pressure",
    },
}
"""Kind → metric → the module of this folder whose function of that name it is. AUROC and average
precision of exclusive classes are those of each class against the rest."""

NEED_THRESHOLDS = ("f1", "f2_g2", "challenge_score")


@dataclass(frozen=True)
class Task:
    """What is to be told from windows, and how it is judged."""

    title: str
    """What reports call it."""
    datasets: tuple[str, ...]
    """Sources it is meant for, as `biofm datasets list` names them."""
    label_set: str
    """Name in the shards' `label_sets`: its classes, or the quantities to estimate."""
    kind: Kind
    """`multilabel`: a recording may have several classes. `multiclass`: one class of several, of an
    annotation, or of a recording where `anchor` is null. `regression`: the value of an annotation, or of
    a recording where `anchor` is null."""
    metrics: tuple[str, ...]
    """Names of metrics for this kind, the one that summaries and subgroups show first. Choices on validation
    follow the kind (`probes.goodness`): AUROC, kappa, or absolute error."""
    loss: Loss
    """What trained models minimise: `bce` (multilabel), `cross_entropy` or `balanced_cross_entropy`, whose
    classes weigh the same however rare (multiclass), `mae` in units of each quantity's spread (regression)."""
    head: Literal["linear", "sequence"] = "linear"
    """`sequence`: windows follow one another in time, and heads see those around them as well (sleep)."""
    classes: tuple[str, ...] | None = None
    """Which of the label set and in which order; null for all of them."""
    window_s: float = 10.0
    """Length of a window in seconds."""
    before_s: float = 0.0
    """How long before its annotation a window begins, in seconds: the context before it."""
    anchor: str | None = None
    """A kind of annotation (stage, beat, hr): one window for each; null for windows that follow one
    another over the whole recording."""
    channels: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: {"ecg": LEADS_12})
    """Modality → its channels by name. Recordings without the modality named first are left out."""
    folds: Folds | None = None
    """Splits by official fold; null for those that the shards were built with."""
    cross_validation: int = 0
    """Deal the subjects of all splits into so many groups by a hash: in each round one is tested on, and
    the next one is for choices. 0 for one split."""
    exclude_subjects: tuple[str, ...] = ()
    """Subjects left out of every split."""
    threshold: ThresholdRule | None = None
    """What a class's threshold maximises on validation: max_f1, or max_g2 (Gβ with β = 2); null where no
    metric needs one."""
    challenge_weights: str | None = None
    """For `challenge_score`: path of the Challenge's official `weights.csv`, which is not shipped
    (github.com/physionetchallenges/evaluation-2021). Null: that figure alone is refused."""
    least_subjects: int = LEAST_SUBJECTS
    """A class enters a macro figure with so many subjects who have it in train and in test, and as many
    who lack it."""

    def __post_init__(self) -> None:
        for source in self.datasets:
            if source not in SOURCES:
                raise ValueError(f"datasets: unknown {source!r}; known: {', '.join(SOURCES)}")
        if not self.datasets:
            raise ValueError("datasets: name at least one source")
        if self.kind == "multilabel" and self.anchor is not None:
            raise ValueError(
                "anchor: an annotation has one class, so kind must be multiclass or regression"
            )
        self._check_judgement()
        if self.cross_validation and (self.cross_validation < 3 or self.folds is not None):
            raise ValueError(
                "cross_validation: at least 3 groups (train, validation, test), and no folds beside "
                f"them, not {self.cross_validation}"
            )
        if self.loss not in LOSSES[self.kind]:
            raise ValueError(
                f"loss: expected {' or '.join(LOSSES[self.kind])} for {self.kind}, found {self.loss}"
            )
        if self.head == "sequence" and self.anchor is None:
            raise ValueError(
                "head: a sequence is of annotations in time: name their kind in `anchor`"
            )
        if self.classes is not None and len(set(self.classes)) != max(1, len(self.classes)):
            raise ValueError(f"classes: name at least one, and each once, not {self.classes}")
        self.data(("checked",))

    def _check_judgement(self) -> None:
        """Raises `ValueError` where metrics, threshold and least number of subjects do not fit."""
        offered = METRICS[self.kind]
        unknown = [name for name in self.metrics if name not in offered]
        if unknown or not self.metrics or len(set(self.metrics)) != len(self.metrics):
            raise ValueError(
                f"metrics: expected some of {', '.join(offered)} for {self.kind}, each once, "
                f"found {', '.join(unknown or self.metrics) or 'none'}"
            )
        needing = [name for name in self.metrics if name in NEED_THRESHOLDS]
        if bool(needing) != (self.threshold is not None):
            raise ValueError(
                f"threshold: expected {'a rule for ' + ', '.join(needing) if needing else 'null'}, "
                f"found {self.threshold}: only {', '.join(NEED_THRESHOLDS)} need thresholds"
            )
        if self.challenge_weights is not None and "challenge_score" not in self.metrics:
            raise ValueError(
                "challenge_weights: expected null without challenge_score among the metrics, found "
                f"{self.challenge_weights}"
            )
        if self.least_subjects < 1:
            raise ValueError(f"least_subjects must be 1 or more, not {self.least_subjects}")

    def data(self, shards: Sequence[str]) -> DataConfig:
        """The windows of the task in these shard folders. Raises `ValueError` on impossible ones."""
        return DataConfig(
            shards=tuple(shards),
            channels=self.channels,
            window_s=self.window_s,
            before_s=self.before_s,
            anchor=self.anchor,
        )


def task_names() -> list[str]:
    """The tasks that ship with biofm."""
    return sorted(path.stem for path in TASKS.glob("*.yaml"))


def load_task(name_or_file: str | Path, window_s: float | None = None) -> Task:
    """A task that ships with biofm by its name (`ptbxl_all`), or one's own YAML file.

    `window_s` takes the place of its windows' length, for models that read others.

    Raises `FileNotFoundError` that lists the known names; `ValueError` naming the file and the key.
    """
    path = Path(name_or_file)
    if not path.is_file():
        name = str(name_or_file).removeprefix("tasks/").removesuffix(".yaml")
        if name not in (known := task_names()):
            near = difflib.get_close_matches(name, known, n=1)
            raise FileNotFoundError(
                f"no task {str(name_or_file)!r}{f'; did you mean {near[0]}?' if near else ''} Give a YAML "
                f"file or one of {', '.join(known)}"
            )
        path = TASKS / f"{name}.yaml"
    task = read_config(Task, path)
    return task if window_s is None else replace(task, window_s=window_s)
