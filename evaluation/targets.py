"""What is true of each window of a task: from the labels and annotations in the index of its shards.

Windows that the task says nothing about are left out and counted: recordings without any label of the
set, as the PTB-XL benchmark does (Strodthoff et al., IEEE JBHI 25:1519, 2021), annotations of no class.
A label counts as stated whatever its likelihood: PTB-XL's 0 means "stated, likelihood unknown".

Shape suffixes: W windows of a reader in the order of evaluation, N of them with a truth, R rows of the
index, K classes or quantities, B rows of a batch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ..shards.index import annotations_of
from ..shards.reader import WindowReader
from ..signals.windows import Batch
from .arrays import Bools, Floats, Ints
from .tasks import Task

Classes = Mapping[str, Sequence[str]]
"""Class or quantity → the codes that stand for it."""


@dataclass(frozen=True)
class Targets:
    """N windows of a task with what is true of them.

    `values` are bool [N, K] (multilabel), int64 [N] (multiclass: places in `classes`) or float64 [N, K]
    (regression; NaN is not stated). `windows` are their numbers in the reader's order of evaluation, so
    that `embeddings[windows]` are theirs, and for annotations the rows of `reader.anchors`. `rows` are
    rows of `reader.index`. A recording of several windows has several rows here: `records` says which
    belong together (`<dataset>/<record>`). `facts` has dataset, age (years), sex, device, site and
    onset_s (of the annotation; null without). `place` says for each row of the index (for annotations, of the anchors)
    where in `values` its truth is, −1 without one. `left_out` counts the windows without a truth.
    """

    values: NDArray[Any]
    classes: tuple[str, ...]
    windows: NDArray[np.int64]
    rows: NDArray[np.int64]
    subjects: NDArray[np.str_]
    records: NDArray[np.str_]
    facts: pl.DataFrame
    left_out: int
    place: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.windows)

    def __str__(self) -> str:
        return (
            f"{len(self)} windows of {len(np.unique(self.records))} recordings of "
            f"{len(np.unique(self.subjects))} subjects; {self.left_out} windows without a label left out"
        )

    def places(self, batch: Batch) -> NDArray[np.int64]:
        """For each row of a batch of the same reader, its place in `values` [B]; −1 without a truth.

        Also for training, where windows over whole recordings stand elsewhere in each epoch.
        """
        key = batch.rows if batch.anchors is None else batch.anchors
        places_B: NDArray[np.int64] = self.place[key.cpu().numpy()]
        return places_B


def targets(task: Task, reader: WindowReader) -> Targets:
    """The truth of every window of a reader that `task_reader` made for the task.

    Raises `ValueError` where the shards lack the label set or a class of it, or no window has a truth.
    """
    if reader.config.anchor != task.anchor:
        raise ValueError(
            f"the windows stand at {reader.config.anchor!r}, those of the task {task.title!r} at "
            f"{task.anchor!r}: make the reader with task_reader"
        )
    classes = classes_of(task, reader.manifests)
    rows_W = reader.rows_in_order()
    if task.anchor is None:
        values_R, known_R = _of_recordings(task, reader.index, classes)
        values_W, known_W = values_R[rows_W], known_R[rows_W]
    else:
        values_W, known_W = _of_annotations(task, reader, classes)
    windows_N = np.flatnonzero(known_W)
    if not windows_N.size:
        raise ValueError(
            f"no window of split {reader.split!r} has a label of {task.label_set!r} "
            f"({', '.join(classes)}): look at its labels with `biofm shards inspect`"
        )
    index, rows_N = reader.index, rows_W[windows_N]
    place = np.full(index.height if task.anchor is None else reader.windows, -1, np.int64)
    if task.anchor is None:
        place = _first_of_recording(index, rows_N)
    else:
        place[windows_N] = np.arange(len(windows_N))
    of_N = index[rows_N]
    onsets = None if reader.anchors is None else reader.anchors["onset_s"][windows_N]
    return Targets(
        values=values_W[windows_N],
        classes=tuple(classes),
        windows=windows_N,
        rows=rows_N,
        subjects=of_N["subject"].to_numpy().astype(np.str_),
        records=of_N.select(_recording())["recording"].to_numpy().astype(np.str_),
        facts=of_N.select(
            "dataset", "age", "sex", "device", "site", onset_s=pl.lit(onsets, pl.Float64)
        ),
        left_out=len(rows_W) - len(windows_N),
        place=place,
    )


def classes_of(task: Task, manifests: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
    """Class → codes of a task's label set, which all shard folders must agree on. Raises `ValueError`."""
    sets = [manifest["label_sets"].get(task.label_set) for manifest in manifests]
    if None in sets:
        there = sorted({name for manifest in manifests for name in manifest["label_sets"]})
        raise ValueError(
            f"the shards have no label set {task.label_set!r}; they have {', '.join(there) or 'none'}"
        )
    first: dict[str, list[str]] = sets[0]
    if any(other != first for other in sets):
        raise ValueError(
            f"the shard folders differ in what {task.label_set!r} means: build them from one version of "
            "the data set, or judge them apart"
        )
    unknown = [name for name in task.classes or () if name not in first]
    if unknown:
        raise ValueError(
            f"classes: {', '.join(unknown)} not in label set {task.label_set!r}; it has {', '.join(first)}"
        )
    classes = {name: first[name] for name in task.classes or first}
    codes = [code for some in classes.values() for code in some]
    if task.kind == "multiclass" and len(set(codes)) != len(codes):
        raise ValueError(
            f"label set {task.label_set!r}: a code of two classes cannot be told apart"
        )
    return classes


def _of_recordings(
    task: Task, index: pl.DataFrame, classes: Classes
) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """(values, whether there are any [R]) from the labels of whole recordings."""
    if task.kind == "regression":
        stated = (
            index.select("labels")
            .with_row_index("row")
            .explode("labels", empty_as_null=False)
            .unnest("labels")
        )
        values_RK = np.full((index.height, len(classes)), np.nan)
        for k, codes in enumerate(classes.values()):
            found = stated.filter(pl.col("code").is_in(list(codes)))
            values_RK[found["row"].to_numpy(), k] = found["value"].to_numpy()
        return values_RK, _any(np.isfinite(values_RK))
    code = pl.element().struct.field("code")
    has_RK: Bools = index.select(
        pl.col("labels").list.eval(code.is_in(list(codes))).list.any().fill_null(False).alias(name)
        for name, codes in classes.items()
    ).to_numpy()
    if task.kind == "multilabel":
        return has_RK, _any(has_RK)
    return has_RK.argmax(axis=1), has_RK.sum(axis=1) == 1


def _of_annotations(
    task: Task, reader: WindowReader, classes: Classes
) -> tuple[Ints | Floats, NDArray[np.bool_]]:
    """(values, whether there are any [W]) from the annotations that windows stand at.

    Of several quantities, each is the value of the annotation with the same onset.
    """
    assert reader.anchors is not None  # the reader's config names an anchor
    if task.kind == "multiclass":
        place = {code: k for k, codes in enumerate(classes.values()) for code in codes}
        codes_W = reader.anchors["code"]
        class_W = codes_W.replace_strict(place, default=-1, return_dtype=pl.Int64).to_numpy()
        return class_W, class_W >= 0
    stated = annotations_of(reader.index)
    columns = []
    for codes in classes.values():
        of_kind = (
            stated.filter(pl.col("code").is_in(list(codes)))
            .unique(["row", "onset_s"], keep="first", maintain_order=True)
            .select("row", "onset_s", found="value")
        )
        joined = reader.anchors.join(
            of_kind, on=["row", "onset_s"], how="left", maintain_order="left"
        )
        columns.append(joined["found"].fill_null(np.nan).to_numpy())
    values_WK: Floats = np.stack(columns, axis=1)
    return values_WK, _any(np.isfinite(values_WK))


def _any(stated: Bools) -> Bools:
    found: Bools = np.any(stated, axis=1)
    return found


def _recording() -> pl.Expr:
    return pl.format("{}/{}", "dataset", "record").alias("recording")


def _first_of_recording(index: pl.DataFrame, rows_N: NDArray[np.int64]) -> NDArray[np.int64]:
    """For each row of the index, the first of the N windows that is of the same recording [R], or −1."""
    ids_R = index.select(pl.struct("shard", _recording()).rank("dense")).to_series().to_numpy() - 1
    first = np.full(int(ids_R.max()) + 1, -1, np.int64)
    # Written backwards, so that the first one stays.
    first[ids_R[rows_N[::-1]]] = np.arange(len(rows_N))[::-1]
    places_R: NDArray[np.int64] = first[ids_R]
    return places_R
