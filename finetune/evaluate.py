"""`biofm evaluate`: an encoder in every regime, beside references, on the same recordings; one report a task."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from ..configuration import write_config
from ..evaluation.challenge import WHERE
from ..evaluation.comparison import counted_columns
from ..evaluation.judging import draws_for
from ..evaluation.label_shift import label_shift
from ..evaluation.label_shift import section as shift_section
from ..evaluation.leakage import Overlap, leakage_section, overlap
from ..evaluation.report.gallery import gallery
from ..evaluation.report.numbers import Found, find, found_json, numbers
from ..evaluation.report.provenance import provenance
from ..evaluation.report.section import Section
from ..evaluation.report.write import write_report
from ..evaluation.rounds import Truth, notices, rounds_of, truth_of
from ..evaluation.scores import Scores
from ..evaluation.tasks import Task, load_task
from ..files import write_aside
from ..models.pretrained import PretrainedModel, training_contents
from ..models.task_model import TaskModel, is_task_model, load_task_model
from .as_trained import as_trained_cells
from .cells import Cell, fill
from .efficiency import efficiency_section
from .encoders import OWN, Encoders, Seed, as_trained, marked, names_of
from .evaluation_configuration import EvaluationConfig
from .rows import Judged, frozen_cells, groups, share_cells, trained_cells
from .summary import write_summary


def evaluate(models: list[Path], *, config: EvaluationConfig) -> None:
    """Judge models on tasks, beside references on the same recordings: encoders in three regimes, task models.

    For each task a report (HTML, Markdown, JSON) with intervals over subjects, calibration, subgroups and
    pictures. Every choice is made on validation. What was computed is kept: the same command goes on.

    Args:
        models: folders of pretrained encoders (RUN/best): seeds of one configuration. In a cross-validation
            also one for each round, pretrained without that round's subjects. And of task models that
            `biofm finetune` made: these are judged as they are, on whatever shards.
    """
    fixed = [folder for folder in models if is_task_model(folder)]
    named = dict(zip(map(as_trained, names_of(fixed)), fixed, strict=True))
    encoders = Encoders.of([folder for folder in models if folder not in fixed])
    judged = [
        Judged(asked, task, rounds_of(task, config.shards))
        for asked, task in ((asked, task_of(asked, config)) for asked in config.tasks)
    ]
    for one in judged:
        check_judged(one)
    write_config(config, config.out / "config.yaml")
    cells: list[Cell] = []
    seeds: dict[str, list[Seed]] = {}
    beside: dict[str, list[Judged]] = {}
    for together in groups(judged):
        of_group = encoders.seeds(together[0].rounds)
        seeds |= {one.name: of_group for one in together}
        beside |= {one.name: together for one in together}
        for one in together:
            cells += as_trained_cells(named, one, config.precision)
        cells += [cell for one in together for cell in frozen_cells(config, one, of_group)]
        cells += trained_cells(config, together, of_group)
        for share in config.shares:
            cells += share_cells(config, together, of_group, share)
    check_answers(named, judged, cells)
    every = encoders.named() | {row: load_task_model(folder) for row, folder in named.items()}
    scores = fill(cells, config.out / "scores")
    found = []
    for one in judged:
        seen = encoders.overlaps(seeds[one.name], one.rounds)
        fixed_seen = {
            row: overlap(training_contents(folder), one.rounds)
            for row, folder in named.items()
            if row in scores[one.name][1.0]
        }
        by_share = {
            share: marked(rows, seen, fixed_seen) for share, rows in scores[one.name].items()
        }
        found.append(report(config, one, beside[one.name], by_share, seen | fixed_seen, every))
    page = write_summary(config.out, judged, found)
    print(f"all tasks: {page}")


def check_answers(
    named: Mapping[str, Path], judged: Sequence[Judged], cells: Sequence[Cell]
) -> None:
    """Raises `ValueError` for a task model that answers none of the tasks."""
    for row, folder in named.items():
        if not any(cell.row == row for cell in cells):
            heads = "; ".join(
                f"{h.task} ({', '.join(h.classes)})" for h in load_task_model(folder).heads
            )
            raise ValueError(
                f"{folder} answers none of {', '.join(one.name for one in judged)}: its heads are {heads}"
            )


def check_judged(one: Judged) -> None:
    """Raises `ValueError`, before anything is trained, where a task cannot be judged on these subjects."""
    train, test = (truth_of(one.rounds, split) for split in ("train", "test"))
    try:
        draws_for(one.task, test, counted_columns(one.task, train, test)[0])
    except ValueError as error:
        raise ValueError(f"{one.task.title!r}: {error}") from error


def task_of(asked: str, config: EvaluationConfig) -> Task:
    """The task, with the window and the Challenge's weights that the evaluation asks for.

    Raises `FileNotFoundError` where that file is not there.
    """
    task = load_task(asked, config.window_s)
    if config.challenge_weights is None or "challenge_score" not in task.metrics:
        return task
    if not config.challenge_weights.is_file():
        raise FileNotFoundError(f"challenge_weights: no file {config.challenge_weights}; {WHERE}")
    return replace(task, challenge_weights=str(config.challenge_weights))


def report(
    config: EvaluationConfig,
    judged: Judged,
    together: Sequence[Judged],
    by_share: Mapping[float, Mapping[str, Sequence[Scores]]],
    seen: Mapping[str, Overlap],
    models: Mapping[str, PretrainedModel | TaskModel],
) -> Found:
    """Write a task's report, and every number in it as JSON. `together` are the tasks it was learned with."""
    task, rounds, out = judged.task, judged.rounds, config.out / judged.name
    test, validation, train = (truth_of(rounds, s) for s in ("test", "validation", "train"))
    rows = by_share[1.0]
    main = shown_row(rows)
    found = find(task, test, validation, train, rows, main)
    columns = found.case.columns
    taught = {share: judged.taught(together, share) for share in by_share}
    sections = [
        *numbers(found),
        *(
            [efficiency_section(task, test, validation, taught, by_share, columns)]
            if len(by_share) > 1
            else []
        ),
        leakage_section(seen),
        *gallery(
            task, rounds, test, {main: rows[main], **rows}, found.case.columns, found.comparison
        ),
        *shifts(task, test, rows[main]),
        provenance(
            ["biofm", *sys.argv[1:]],
            task,
            [one.readers["test"] for one in rounds],
            models,
        ),
    ]
    page, _ = write_report(out, task.title, sections, notices(rounds))
    with write_aside(out / "report.json") as aside:
        aside.write_text(json.dumps(found_json(found), indent=1) + "\n")
    print(f"{task.title}: {page}")
    return found


def shown_row(rows: Mapping[str, Sequence[Scores]]) -> str:
    """The row that a report shows in detail: of those of the pretrained encoder the best on validation."""
    own = [row for row in rows if row.startswith(OWN) or ", as trained" in row] or list(rows)

    def reached(name: str) -> float:
        mean = float(np.mean([seed.chosen for seed in rows[name]]))
        # What validation cannot tell of a model that was never chosen by it says nothing for it.
        return mean if np.isfinite(mean) else -np.inf

    return max(own, key=reached)


def shifts(task: Task, test: Truth, scores: Sequence[Scores]) -> list[Section]:
    """Whether labels stand a step early or late, where they follow one another in time."""
    if task.head != "sequence":
        return []
    return [shift_section(label_shift(test, scores[0].test))]
