"""What a federation came to: figures of every client by every strategy, and their means over clients.

All of it is made of what clients kept (`keeping`), the bytes and ε of the runs, and the rule of no harm (`adoption`).

- Four models are told apart: `base` (the client's own small model of the raw signal), `common` (the model for all),
  `own` (the personalised one) and `used` (what the rule chose; of somebody who is to be unseen the model for all).
- **Two kinds of interval.** A client's gain has one over pieces of time within its test windows: it says how well that
  one person's gain is known. A mean over clients has one over clients: it says what holds for others like them.

Shape suffixes: N windows, K classes or quantities.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ..evaluation import regression, sleep
from ..evaluation.arrays import Floats
from ..evaluation.draws import Draws, draw_subjects
from ..evaluation.figure import Figure
from ..evaluation.intervals import figures, mean_of, sampled, share_of
from ..evaluation.tasks import Task
from .adoption import Verdict, goodness_N, pieces, verdict
from .configuration import FederatedConfig, StrategyName
from .encoders import Assigned
from .grids import Traffic
from .keeping import Kept, kept
from .messages import TRAIN
from .server import Run

Model = Literal["base", "common", "own", "used"]
MODELS: tuple[Model, ...] = ("base", "common", "own", "used")
DIFFERENCES: tuple[tuple[Model, Model], ...] = (
    ("own", "base"),
    ("own", "common"),
    ("used", "base"),
    ("used", "common"),
)
"""Which model is held against which, client by client."""

CLASS_FIGURES = {
    "accuracy": sleep.accuracy,
    "macro_f1": sleep.macro_f1,
    "kappa": sleep.kappa,
}

_COLUMNS: dict[str, Any] = {
    "subject": pl.String,
    "strategy": pl.String,
    "encoder": pl.String,
    "seen": pl.Boolean,
    "learned": pl.Int64,
    "tested": pl.Int64,
    "step": pl.Int64,
    "fallback": pl.String,
    "adopted": pl.Boolean,
    "harmed": pl.Boolean,
}


@dataclass(frozen=True)
class Told:
    """One client's test windows by one strategy: what is true and what each model said, where there is one."""

    kept: Kept
    base: Kept | None
    verdict: Verdict | None
    """None where there is nothing to adopt: Base itself, and somebody who is to be unseen."""

    def said(self, model: Model) -> dict[str, Floats] | None:
        """What a model says, by part; None where there is no such model."""
        base = None if self.base is None else self.base.own
        if model == "base":
            return base
        if model == "common":
            return self.kept.common
        if model == "own":
            return self.kept.own
        if self.verdict is None:
            return self.kept.common if self.kept.own is None else self.kept.own
        if self.verdict.adopted:
            return self.kept.own
        return self.kept.common if self.verdict.fallback == "common" else base


@dataclass(frozen=True)
class Summary:
    """A strategy over all clients.

    `figures` have an interval over clients, None where fewer than two have the figure: `own kappa`, `own - base kappa`
    (means of the differences client by client), and `gain`, of what is used over the fallback on test. `adopted` and
    `harmed` are None where nothing can be adopted. Bytes are of arrays, a client and a round; `loss` is by round, the
    mean over the encoders' runs.
    """

    strategy: StrategyName
    clients: int
    figures: dict[str, Figure | None]
    adopted: int | None
    harmed: int | None
    rounds: int
    asked: int
    answered: int
    down_kb: float | None
    up_kb: float | None
    epsilon: float | None
    loss: dict[int, float]
    refused: tuple[str, ...]
    absent: tuple[str, ...]

    @property
    def harmed_share(self) -> float | None:
        """Share of the clients that the rule let come to harm on test."""
        return None if self.harmed is None or not self.clients else self.harmed / self.clients


@dataclass(frozen=True)
class Outcome:
    """All there is to report. `clients` has one row a (subject, strategy), `summary` one a strategy."""

    task: Task
    classes: tuple[str, ...]
    config: FederatedConfig
    federations: tuple[Assigned, ...]
    runs: tuple[tuple[Path, Run], ...]
    told: dict[tuple[str, str], Told]
    clients: pl.DataFrame
    summary: tuple[Summary, ...]

    @property
    def piece_s(self) -> float:
        """Length of the pieces of time that windows are alike within, in seconds: half a block of the division."""
        return self.config.division.piece_s

    @property
    def figure_names(self) -> list[str]:
        """The figures of a model."""
        return figure_names(self.task, self.classes)

    @property
    def seen(self) -> set[str]:
        """Subjects whose encoder saw them in pretraining, or may have."""
        return {subject for one in self.federations for subject in one.seen}


def outcome(
    out: Path,
    task: Task,
    classes: Sequence[str],
    federations: Sequence[Assigned],
    runs: Sequence[tuple[Path, Run]],
    config: FederatedConfig,
) -> Outcome:
    """From what the judged clients kept below `out`, and the runs of each encoder (by its folder).

    A client whose file is not there is in the strategy's `absent`. Raises `ValueError` where nobody kept anything.
    """
    told: dict[tuple[str, str], Told] = {}
    called = encoder_names([one.folder for one in federations])
    rows: list[dict[str, Any]] = []
    absent: dict[str, list[str]] = {}
    for one in federations:
        for subject in one.judged:
            base = _kept(out, subject, "base") if "base" in config.strategies else None
            for name in config.strategies:
                found = base if name == "base" else _kept(out, subject, name)
                if found is None:
                    absent.setdefault(name, []).append(subject)
                    continue
                of = Told(found, base, _verdict(found, base, config))
                told[subject, name] = of
                rows.append(
                    {
                        "subject": subject,
                        "strategy": name,
                        "encoder": called[one.folder],
                        "seen": subject in one.seen,
                        **client_row(of, classes, config.division.piece_s),
                    }
                )
    if not rows:
        raise ValueError(f"no judged client kept an answer below {out / 'clients'}")
    clients = _table(rows, task, classes)
    summary = tuple(
        _summary(name, clients, [run for _, run in runs if run.strategy == name], task, classes, a)
        for name, a in ((name, absent.get(name, [])) for name in config.strategies)
    )
    return Outcome(
        task, tuple(classes), config, tuple(federations), tuple(runs), told, clients, summary
    )


def encoder_names(folders: Sequence[Path]) -> dict[Path, str]:
    """What reports call each encoder: the end of its folder's path, as much as tells it from the others."""
    for parts in range(2, max((len(folder.parts) for folder in folders), default=2) + 1):
        names = {folder: "/".join(folder.parts[-parts:]) for folder in folders}
        if len(set(names.values())) == len(names):
            break
    return names


def figure_names(task: Task, classes: Sequence[str]) -> list[str]:
    """Names of a model's figures: of classes, or the mean absolute error of each quantity."""
    if task.kind == "regression":
        return [f"mae {quantity}" for quantity in classes]
    return list(CLASS_FIGURES)


def figures_of(
    truth_N: NDArray[np.generic], said_NK: Floats, classes: Sequence[str]
) -> dict[str, float]:
    """A model's figures on some windows; NaN where one is not defined."""
    if truth_N.ndim == 1:
        one = np.zeros(len(truth_N), np.intp)
        _, counts = sleep.confusions(
            np.asarray(truth_N, np.intp), said_NK.argmax(axis=1), one, len(classes)
        )
        return {name: float(metric(counts[0])) for name, metric in CLASS_FIGURES.items()}
    found = {}
    truth_NK = np.asarray(truth_N, np.float64)
    for k, quantity in enumerate(classes):
        stated = np.isfinite(truth_NK[:, k])
        found[f"mae {quantity}"] = (
            regression.summary(truth_NK[stated, k], said_NK[stated, k])["mae"]
            if stated.any()
            else float("nan")
        )
    return found


def client_row(of: Told, classes: Sequence[str], piece_s: float) -> dict[str, Any]:
    """What the table says of one client by one strategy; windows are alike within pieces of `piece_s` seconds."""
    truth_N = of.kept.truth["test"]
    row: dict[str, Any] = {
        "learned": of.kept.learned,
        "tested": len(truth_N),
        "step": of.kept.step,
    }
    if of.verdict is not None and of.verdict.fallback is not None:
        found = of.verdict
        low, high = _gain_interval(of, piece_s)
        row |= {
            "fallback": found.fallback,
            "adopted": found.adopted,
            "harmed": found.harmed,
            "gain": found.gain,
            "gain error": found.error,
            "test gain": found.test_gain,
            "test gain low": low,
            "test gain high": high,
        }
    for model in MODELS:
        said = of.said(model)
        if said is not None:
            each = figures_of(truth_N, said["test"], classes)
            row |= {f"{model} {name}": value for name, value in each.items()}
    return row


def _kept(out: Path, subject: str, name: StrategyName) -> Kept | None:
    try:
        return kept(out, subject, name)
    except FileNotFoundError:
        return None


def _verdict(found: Kept, base: Kept | None, config: FederatedConfig) -> Verdict | None:
    if found.own is None or found.strategy == "base":
        return None
    return verdict(found, base, config.personal.confidence, config.division.piece_s)


def _gain_interval(of: Told, piece_s: float) -> tuple[float | None, float | None]:
    """Limits of the gain of what is used over the fallback, on test; None within a single piece of time."""
    assert of.verdict is not None
    if not of.verdict.adopted:
        return 0.0, 0.0
    fallback = of.said("common" if of.verdict.fallback == "common" else "base")
    own = of.said("own")
    assert own is not None
    assert fallback is not None
    truth, records = of.kept.truth, of.kept.records["test"]
    ahead_N = goodness_N(truth["test"], own["test"], truth["validation"]) - goodness_N(
        truth["test"], fallback["test"], truth["validation"]
    )
    piece_N = pieces(records, of.kept.onset_s["test"], piece_s)
    if piece_N.max() == 0:
        return None, None
    mean = share_of(ahead_N, np.ones_like(ahead_N), piece_N)
    draws = draw_subjects(piece_N, 0, "pieces of time")
    found = sampled(mean, draws, per_subject=True).figures()[0]
    return found.low, found.high


def _table(rows: Sequence[Mapping[str, Any]], task: Task, classes: Sequence[str]) -> pl.DataFrame:
    """The rows with every column, null where there is no number."""
    numbers = ["gain", "gain error", "test gain", "test gain low", "test gain high"]
    numbers += [f"{model} {name}" for model in MODELS for name in figure_names(task, classes)]
    schema = {**_COLUMNS, **dict.fromkeys(numbers, pl.Float64)}
    full = [{name: _finite(row.get(name)) for name in schema} for row in rows]
    return pl.DataFrame(full, schema=schema)


def _finite(value: object) -> object:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _summary(
    name: StrategyName,
    clients: pl.DataFrame,
    runs: Sequence[Run],
    task: Task,
    classes: Sequence[str],
    absent: Sequence[str],
) -> Summary:
    rows = clients.filter(pl.col("strategy") == name)
    found: dict[str, Figure | None] = {}
    for figure in figure_names(task, classes):
        for model in MODELS:
            found[f"{model} {figure}"] = mean_over_clients(rows, pl.col(f"{model} {figure}"))
        for one, other in DIFFERENCES:
            ahead = pl.col(f"{one} {figure}") - pl.col(f"{other} {figure}")
            found[f"{one} - {other} {figure}"] = mean_over_clients(rows, ahead)
    found["gain"] = mean_over_clients(rows, pl.col("test gain"))
    ruled = rows["adopted"].drop_nulls()
    exchanges = [one for run in runs for one in run.traffic if one.kind == TRAIN]
    asked, answered = sum(e.asked for e in exchanges), sum(e.answered for e in exchanges)
    spent = [run.epsilon for run in runs if run.epsilon is not None]
    return Summary(
        strategy=name,
        clients=len(rows),
        figures=found,
        adopted=int(ruled.sum()) if len(ruled) else None,
        harmed=int(rows["harmed"].sum()) if len(ruled) else None,
        rounds=max((_rounds(run.traffic) for run in runs), default=0),
        asked=asked,
        answered=answered,
        down_kb=sum(e.down for e in exchanges) / asked / 1e3 if asked else None,
        up_kb=sum(e.up for e in exchanges) / answered / 1e3 if answered else None,
        epsilon=max(spent) if spent else None,
        loss=_loss(runs),
        refused=tuple(why for run in runs for why in run.refused),
        absent=tuple(absent),
    )


def mean_over_clients(rows: pl.DataFrame, value: pl.Expr) -> Figure | None:
    """The mean over the clients who have the value; None where fewer than two do."""
    found = rows.select("subject", value=value).drop_nulls().sort("subject")
    if len(found) < 2:
        return None
    draws = _draws_of(tuple(found["subject"].to_list()))
    return figures(mean_of(found["value"].to_numpy()), draws)[0]


@lru_cache(maxsize=8)
def _draws_of(subjects: tuple[str, ...]) -> Draws:
    """The same clients are drawn alike for every figure and strategy."""
    return draw_subjects(np.array(subjects), 0, "clients")


def _rounds(traffic: Sequence[Traffic]) -> int:
    return sum(one.kind == TRAIN for one in traffic)


def _loss(runs: Sequence[Run]) -> dict[int, float]:
    """By round, the mean over the runs that have it."""
    rounds = sorted({number for run in runs for number in run.loss})
    return {r: float(np.mean([run.loss[r] for run in runs if r in run.loss])) for r in rounds}
