"""Features of heart rate and activity around an epoch of sleep, made by hand: what learned ones must surpass.

- Heart rate and activity within half an hour of the epoch: `stretches`.
- Time: hours since the recording's first epoch, and the cosine of 24 hours that Walch et al. take for the clock.
- Heart rate and filtered heart rate also against their whole night: all of it is there when a night is staged.

Tasks have shorter windows than these reach. So the same epochs are read once more with a longer context; whose
they are, and which, stays what the task's readers say.

Shape suffixes: N epochs with a truth, F features.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ..shards.index import SPLITS
from ..shards.reader import WindowReader
from .arrays import Floats
from .boosting import fit_boosting
from .probes import Part
from .rounds import Round
from .scores import Scores, joined
from .sequence_probe import Series, SeriesPart, fit_sequence_probe
from .stretches import EPOCH_S, MAKERS, REACH_S, Columns, Stretches
from .tasks import Task


def handmade(one: Round, split: str) -> tuple[Floats, list[str]]:
    """(features [N, F] of a split's epochs, NaN where nothing was measured; their names).

    Raises `ValueError` for windows that stand at no annotations, and for modalities other than heart rate
    and counts.
    """
    reader, truth = one.readers[split], one.truth[split]
    columns = _around(reader, truth.windows)
    onset_s = truth.facts["onset_s"].to_numpy().astype(np.float64)
    first_s = _by_night(truth.records, onset_s, np.min)
    columns["hours since the first epoch"] = (onset_s - first_s) / 3600
    columns["clock"] = -np.cos((onset_s - first_s - 5 * 3600) * 2 * np.pi / 86400)
    for name in [name for name in columns if name in NIGHTLY]:
        columns |= _of_night(name, columns[name], truth.records)
    return np.stack(list(columns.values()), axis=1), list(columns)


def handmade_scores(task: Task, rounds: Sequence[Round], seed: int = 0) -> Scores:
    """What gradient boosting on these features says, fitted on train and chosen on validation in each round.

    Raises `ValueError` as `handmade` and `fit_boosting` do.
    """

    def of_round(one: Round) -> Scores:
        x = {split: handmade(one, split)[0] for split in SPLITS}
        train, held = (Part(x[split], one.truth[split].values) for split in ("train", "validation"))
        classes = len(one.truth["train"].classes)
        fitted = fit_boosting(task.kind, task.loss, classes, train, held, seed)
        test, validation = (one.of(s, fitted.predict(x[s])) for s in ("test", "validation"))
        return Scores(test, validation, fitted.validation)

    return joined([of_round(one) for one in rounds])


def handmade_sequence_scores(task: Task, rounds: Sequence[Round], seed: int = 0) -> Scores:
    """What a recurrent head says that reads these features along each night; missing ones are train's mean.

    Raises `ValueError` as `handmade` and `fit_sequence_probe` do.
    """

    def of_round(one: Round) -> Scores:
        x = {split: handmade(one, split)[0] for split in SPLITS}
        usual_F = np.nan_to_num(np.nanmean(x["train"], axis=0))
        series = {
            split: Series.of(np.where(np.isfinite(of), of, usual_F), one.truth[split])
            for split, of in x.items()
        }
        train, held = (
            SeriesPart(series[split], one.truth[split].values) for split in ("train", "validation")
        )
        classes = len(one.truth["train"].classes)
        fitted = fit_sequence_probe(task.kind, classes, task.loss, train, held, seed=seed)
        test, validation = (one.of(s, fitted.predict(series[s])) for s in ("test", "validation"))
        return Scores(test, validation, fitted.validation)

    return joined([of_round(one) for one in rounds])


def wider(reader: WindowReader, before_s: float, after_s: float) -> WindowReader:
    """The same annotations with so much context before their onset and after it.

    Raises `ValueError` where windows stand at no annotations.
    """
    if reader.anchors is None:
        raise ValueError("hand-made features are of epochs: expected a task with an `anchor`")
    config = replace(reader.config, before_s=before_s, window_s=before_s + after_s)
    rows = pl.struct("dataset", "key").is_in(
        reader.index.select(pl.struct("dataset", "key")).to_series().implode()
    )
    found = WindowReader(config, reader.split, seed=reader.seed, rows=rows)
    if found.anchors is None or not found.anchors.equals(reader.anchors):
        raise ValueError("expected the same annotations with more context, found others")
    return found


def _around(reader: WindowReader, windows: NDArray[np.int64]) -> Columns:
    """The features of windows alone, by name; of the windows with these numbers."""
    unknown = set(reader.config.channels) - set(MAKERS)
    if unknown:
        raise ValueError(
            f"hand-made features are of {' and '.join(MAKERS)}, not of {', '.join(sorted(unknown))}"
        )
    wide = wider(reader, REACH_S, EPOCH_S + REACH_S)
    parts: list[Columns] = []
    for batch in wide.evaluation_batches(micro_batch=512, rank=0, ranks=1):
        columns: Columns = {}
        for stream in batch.streams.values():
            columns |= MAKERS[stream.modality](Stretches.of(stream))
        parts.append(columns)
    return {name: np.concatenate([part[name] for part in parts])[windows] for name in parts[0]}


NIGHTLY = ("hr", "hr 5 min around", "hr sd 5 min around", "filtered hr sd")
"""Features that are also told against their night."""


def _of_night(name: str, values_N: Floats, records_N: NDArray[np.str_]) -> Columns:
    """The feature against the median of its night, in units of the night's middle half."""
    middle = _by_night(records_N, values_N, np.nanmedian)
    half = _by_night(records_N, values_N, lambda v: np.subtract(*np.nanpercentile(v, (75, 25))))
    return {f"{name}, of the night": (values_N - middle) / np.maximum(half, 1e-6)}


def _by_night(
    records_N: NDArray[np.str_], values_N: Floats, of: Callable[[Floats], float]
) -> Floats:
    """For each epoch a number of its whole night [N]; NaN for a night without values."""
    nights, night_N = np.unique(records_N, return_inverse=True)
    parts = [values_N[night_N == night] for night in range(len(nights))]
    each = [of(part) if np.isfinite(part).any() else np.nan for part in parts]
    return np.array(each, dtype=np.float64)[night_N]
