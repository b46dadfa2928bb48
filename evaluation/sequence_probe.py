"""A head that reads the frozen embeddings of a recording in order of time: for sleep, where epochs explain one another.

- A small recurrent network in both directions (GRU, Cho et al., EMNLP 2014), and a linear layer on its states
  and on the embedding itself, so that it can be no less than the linear probe.
- Windows of a recording are put in order of onset. Where more time passes than between neighbours, the
  sequence is cut: what lies beyond a gap is not a neighbour.
- Train is read in stretches, dealt anew in each epoch; what is judged, in whole sequences.
- Because it sees neighbours, it learns away a shift that all labels share; one of some recordings, or between
  splits, shows in its figures. The linear probe is the one that a shared shift shows in.
- AdamW; dropout and the moment to stop are chosen on validation.

Shape suffixes: C heads trained together, N windows, B sequences, T windows of a sequence, F features, K classes
or quantities.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence, pad_sequence

from .arrays import Floats
from .candidates import Setting, train_candidates
from .losses import Goal
from .probes import goodness
from .targets import Targets
from .tasks import Kind, Loss

HIDDEN = 64
"""States of the network in each direction."""
STRETCH = 32
"""Windows of a stretch: 16 minutes of 30-second epochs."""
BATCH = 32
SETTINGS = (Setting(3e-3, 0.1, 0.2), Setting(3e-3, 0.1, 0.5))
"""Few, because a recurrent network is slow."""
GAP = 1.5
"""A sequence ends where the next window begins later than so many usual steps."""
AT_ONCE = 32
"""Sequences that are scored together: a bound on memory."""


@dataclass(frozen=True)
class Series:
    """Features [N, F] of windows with the recording and the time in it that each stands at [N]."""

    features: NDArray[np.floating[Any]]
    records: NDArray[np.str_]
    onset_s: Floats

    @classmethod
    def of(cls, features_N: NDArray[np.floating[Any]], truth: Targets) -> Series:
        """Of the windows of a truth at annotations, their features in its order."""
        return cls(features_N, truth.records, truth.facts["onset_s"].to_numpy())


@dataclass(frozen=True)
class SeriesPart:
    """Series of one split, and what is true of its windows (`targets.Targets.values`)."""

    series: Series
    values: NDArray[Any]


@dataclass(frozen=True)
class SequenceProbe:
    """A chosen head: `setting` and `step` were best on validation, where it reached `validation`.

    `predict` takes the series of a split and gives the scores [N, K] of its windows in their order.
    """

    predict: Callable[[Series], Floats]
    setting: Setting
    step: int
    validation: float


class Recurrent(nn.Module):
    """Sequences [B, T, F] of these lengths → outputs [B, T, K]."""

    def __init__(self, features: int, outputs: int, dropout: float) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.gru = nn.GRU(features, HIDDEN, batch_first=True, bidirectional=True)
        self.linear = nn.Linear(2 * HIDDEN + features, outputs)

    def forward(self, x_BTF: Tensor, lengths_B: Tensor) -> Tensor:
        """What lies beyond a sequence's length reaches nothing within it."""
        x_BTF = self.dropout(x_BTF)
        packed = pack_padded_sequence(x_BTF, lengths_B, batch_first=True, enforce_sorted=False)
        states, _ = pad_packed_sequence(self.gru(packed)[0], batch_first=True)
        both = torch.cat([self.dropout(states), x_BTF], dim=2)
        out_BTK: Tensor = self.linear(both)
        return out_BTK


def fit_sequence_probe(
    kind: Kind,
    classes: int,
    loss: Loss,
    train: SeriesPart,
    validation: SeriesPart,
    *,
    seed: int = 0,
) -> SequenceProbe:
    """The head whose setting and moment are best on validation, as `fit_probe` judges it.

    `seed` decides the first weights and the order of stretches. Raises `ValueError` where validation cannot
    tell, for it has no class on both sides; for a quantity that train never states; and for two windows
    of a recording at one time.
    """
    goal = Goal.of(kind, classes, loss, train.values)
    truth = goal.truth(train.values)
    x_NF = torch.from_numpy(np.asarray(train.series.features, dtype=np.float32))
    mean_F, deviation_F = x_NF.mean(dim=0), x_NF.std(dim=0, correction=0)
    deviation_F = torch.where(deviation_F > 0, deviation_F, 1.0)

    def scaled(series: Series) -> Tensor:
        features = torch.from_numpy(np.asarray(series.features, dtype=np.float32))
        return (features - mean_F) / deviation_F

    x_NF = scaled(train.series)
    z_NF, z_runs = scaled(validation.series), runs(validation.series)
    train_runs = runs(train.series)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        heads = [Recurrent(x_NF.shape[1], classes, setting.dropout) for setting in SETTINGS]

        def loss_of(stretches_BT: Tensor) -> Tensor:
            lengths_B = (stretches_BT >= 0).sum(dim=1)
            there_BT = stretches_BT >= 0
            batch_BTF = x_NF[stretches_BT.clamp_min(0)] * there_BT[..., None]
            said = torch.stack([head(batch_BTF, lengths_B)[there_BT] for head in heads])
            return goal.loss(said, truth[stretches_BT[there_BT]])

        def judge() -> list[float]:
            said = [_said(head, z_NF, z_runs) for head in heads]
            return [goodness(kind, validation.values, goal.scores(of_head)) for of_head in said]

        best = train_candidates(heads, SETTINGS, lambda: stretches(train_runs), loss_of, judge)
    head = best.head
    assert isinstance(head, Recurrent)

    def predict(series: Series) -> Floats:
        return goal.scores(_said(head, scaled(series), runs(series)))

    return SequenceProbe(predict, best.setting, best.step, best.validation)


def runs(series: Series) -> list[Tensor]:
    """Places in the series of windows that follow one another, for each unbroken sequence.

    The usual step is the median between neighbours of all recordings. Raises `ValueError` for times that
    are not finite, and for two windows of a recording at one time.
    """
    if not np.isfinite(series.onset_s).all():
        raise ValueError("expected an onset of every window: a sequence is of annotations in time")
    order = np.lexsort((series.onset_s, series.records))
    records, onset_s = series.records[order], series.onset_s[order]
    same, step_s = records[1:] == records[:-1], np.diff(onset_s)
    if (step_s[same] <= 0).any():
        at = int(np.flatnonzero(same & (step_s <= 0))[0])
        raise ValueError(
            f"{records[at]}: two windows at {onset_s[at]:g} s: a sequence has one window at a time"
        )
    usual_s = np.median(step_s[same]) if same.any() else np.inf
    cuts = np.flatnonzero(~same | (step_s > GAP * usual_s)) + 1
    return [torch.from_numpy(part) for part in np.split(order, cuts)]


def stretches(of: Sequence[Tensor]) -> list[Tensor]:
    """An epoch of batches [B, T]: places in stretches of runs, −1 beyond their end.

    The first stretch of a run has a random length, so that stretches end elsewhere in each epoch.
    """
    parts: list[Tensor] = []
    for run in of:
        first = int(torch.randint(1, STRETCH + 1, ())) if len(run) > STRETCH else len(run)
        parts.append(run[:first])
        parts += [run[at : at + STRETCH] for at in range(first, len(run), STRETCH)]
    shuffled = [parts[at] for at in torch.randperm(len(parts)).tolist()]
    return [
        pad_sequence(shuffled[at : at + BATCH], batch_first=True, padding_value=-1)
        for at in range(0, len(shuffled), BATCH)
    ]


@torch.no_grad()
def _said(head: Recurrent, x_NF: Tensor, of: Sequence[Tensor]) -> Tensor:
    """What a head says of all windows [N, K]."""
    said_NK = torch.empty(len(x_NF), head.linear.out_features)
    longest_first = sorted(of, key=len, reverse=True)
    for at in range(0, len(of), AT_ONCE):
        some = longest_first[at : at + AT_ONCE]
        lengths_B = torch.tensor([len(run) for run in some])
        outputs_BTK = head(pad_sequence([x_NF[run] for run in some], batch_first=True), lengths_B)
        for run, outputs_TK in zip(some, outputs_BTK, strict=True):
            said_NK[run] = outputs_TK[: len(run)]
    return said_NK
