"""Task models judged as they are, on shards that they may never have met: nothing is fitted, nothing chosen.

Shape suffixes: W windows of a split, K classes or quantities.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from ..evaluation.embeddings import model_digest
from ..evaluation.rounds import Round
from ..evaluation.scores import Scores, joined
from ..models.task_model import HeadConfig, TaskModel, load_task_model
from ..pretrain.configuration import RunConfig
from ..pretrain.distributed import make_accelerator
from ..shards.reader import WindowReader
from ..signals import Preprocessing
from .cells import Cell
from .evaluation_configuration import Precision
from .learning import answers
from .rounds import reached_on_validation
from .rows import Judged


def as_trained_cells(
    folders: Mapping[str, Path], judged: Judged, precision: Precision
) -> Iterator[Cell]:
    """A row for each task model (by the row's name) that answers this task.

    Raises `ValueError` where a model reads other windows than the task's.
    """
    for row, folder in folders.items():
        model = load_task_model(folder)
        head = answering(model.heads, judged)
        if head is None:
            continue
        for one in judged.rounds:
            for reader in one.readers.values():
                check_inputs(folder, model, reader)
        yield Cell(
            row,
            0,
            (judged.name,),
            {
                **judged.terms(),
                "model": model_digest(model),
                "inputs": repr(model.inputs),
                "head": head.task,
            },
            partial(said, folder, head, judged, precision),
        )


def answering(heads: Sequence[HeadConfig], judged: Judged) -> HeadConfig | None:
    """The head that answers a task: of its kind, with all its classes; the one of its name first."""
    classes = set(judged.rounds[0].truth["test"].classes)
    able = [h for h in heads if h.kind == judged.task.kind and classes <= set(h.classes)]
    return min(able, key=lambda head: head.task != judged.name) if able else None


def check_inputs(folder: Path, model: TaskModel, reader: WindowReader) -> None:
    """Raises `ValueError` where windows are not those that the model reads."""
    inputs, data = model.inputs, reader.config
    made = {
        modality: Preprocessing(**manifest["config"]["preprocessing"][modality])
        for manifest, held in zip(reader.manifests, reader.held, strict=True)
        for modality in inputs.channels
        if modality in held
    }
    for what, expected, found in (
        ("channels", dict(inputs.channels), dict(data.channels)),
        ("window_s", inputs.window_s, data.window_s),
        ("preprocessing", dict(inputs.preprocessing), made),
    ):
        if expected != found:
            raise ValueError(
                f"{folder} was trained with {what} {expected}, but the windows have {found}: build shards as "
                "the model's were, or choose a task of the same windows"
            )


def said(folder: Path, head: HeadConfig, judged: Judged, precision: Precision) -> dict[str, Scores]:
    """What the model says of the test and validation of all rounds."""
    # That of the models trained beside it: a process has one precision.
    accelerator = make_accelerator(RunConfig(tracking=None, precision=precision))
    model = load_task_model(folder).to(accelerator.device)
    number = model.heads.index(head)

    def of(one: Round) -> Scores:
        columns = [head.classes.index(name) for name in one.truth["test"].classes]
        scores = {
            split: answers(accelerator, model, one.readers[split])[number][:, columns]
            for split in ("test", "validation")
        }
        test, validation = (
            one.of(split, scores[split][one.truth[split].windows]) for split in scores
        )
        reached = reached_on_validation(judged.task, one, scores["validation"])
        return Scores(test, validation, float(np.float64(reached)))

    return {judged.name: joined([of(one) for one in judged.rounds])}
