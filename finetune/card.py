"""The card of a task model: what it answers, what it learned from, what it is not for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .. import __version__
from ..evaluation.report.provenance import commit
from ..evaluation.tasks import Task
from ..models.task_model import TaskModel
from ..pretrain.provenance import Provenance
from .configuration import FinetuneConfig


def task_card(
    config: FinetuneConfig,
    model: TaskModel,
    tasks: Mapping[str, Task],
    origin: Provenance,
    facts: Mapping[str, Any],
) -> str:
    """The card as Markdown."""
    warning = "".join(f"> **{notice}**\n\n" for notice in origin.notices)
    answers = "\n".join(
        f"| {task.title} | {', '.join(head.classes)} | {told(facts.get(f'validation_{head.task}'))} |"
        for task, head in zip(tasks.values(), model.heads, strict=True)
    )
    crop_s = model.inputs.crop_s
    crops = "" if crop_s is None else f", answered by the mean over stretches of {crop_s:g} s"
    parameters = sum(p.numel() for p in model.parameters())
    labels = "" if config.labelled == 1 else f", labels of {config.labelled:.0%} of the subjects"
    return f"""---
library_name: biofm
tags: [biosignals, {", ".join(model.inputs.channels)}]
---
# {config.run.out.name}

{warning}{config.model} ({parameters / 1e6:.2f} M parameters), trained for what stands below. For research; not a \
medical device.

| task | answers | on validation |
|---|---|---|
{answers}

| data | {origin.title}{labels} |
|---|---|
| licence of the data | {", ".join(origin.licences)} |
| window | {model.inputs.window_s:g} s{crops} |
| optimizer step | {facts["step"]} |
| biofm | {__version__}, commit {commit()} |
"""


def told(figure: float | None) -> str:
    """A checkpoint between two validations has not been measured."""
    return "not measured" if figure is None else f"{figure:.4f}"
