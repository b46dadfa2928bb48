"""The report of an ablation: tables and a picture for readers, all numbers as plain values for programs."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...evaluation.report.case import plain
from ...evaluation.report.results import signed
from ...evaluation.report.section import Section, Table
from ...evaluation.report.words import BRACKETS, name_of
from .configuration import AblationConfig
from .found import HEADS, KERNELS, Bench, Found, Reached, best_supervised
from .picture import cost_and_figure, short

MARK = "† may have seen subjects that it is judged on."
NONE = "–"


@dataclass(frozen=True)
class Result:
    """All that was found; `absent` says of pairs that are in no table why."""

    config: AblationConfig
    benches: Mapping[str, Bench]
    found: Sequence[Found]
    references: Mapping[str, Mapping[str, Reached]]
    absent: Mapping[str, str]

    def ranked(self, task: str) -> list[Found]:
        """The pairs, best first: by the figure on test of the head that is best on validation."""
        return sorted(self.found, key=lambda one: -one.best(task)[1].figure.value)


def sections(result: Result) -> list[Section]:
    """The main table, of the first task; the others; and what is not there."""
    first, *others = result.benches
    parts = [_task(result, first, main=True), *(_task(result, task, main=False) for task in others)]
    if result.absent:
        lines = [f"{name}: {why}" for name, why in sorted(result.absent.items())]
        parts.append(Section("Not in the tables", lines))
    return parts


def as_json(result: Result) -> dict[str, Any]:
    """Everything in full precision; figures as mappings."""
    return {
        "signal_s": result.config.signal_s,
        "runs": result.config.runs,
        "pairs": [_pair_json(result, one) for one in result.found],
        "references": {
            task: {row: _reached_json(reached) for row, reached in rows.items()}
            for task, rows in result.references.items()
        },
        "classes": {task: bench.told for task, bench in result.benches.items()},
        "absent": dict(result.absent),
    }


def _task(result: Result, task: str, *, main: bool) -> Section:
    bench, references = result.benches[task], result.references[task]
    ranked, supervised = result.ranked(task), best_supervised(references)
    figure = name_of(bench.figure)
    head = ["objective", "backbone", *(_COST_HEAD if main else ())]
    head += [f"{name} {figure}" for name in HEADS] + [f"{name} − untrained" for name in HEADS]
    head += [f"best − {row}" for row in _beside(supervised)]
    rows = [
        [
            f"{one.objective}{'' if one.clean else ' †'}",
            one.backbone,
            *(_cost(one) if main else ()),
            *(str(one.heads[task][name][0].figure) for name in HEADS),
            *(signed(one.heads[task][name][0].less(one.heads[task][name][1])) for name in HEADS),
            *(signed(one.best(task)[1].less(references[row])) for row in _beside(supervised)),
        ]
        for one in ranked
    ]
    tables = [Table(head, rows, " ".join([BRACKETS, *(_NOTES if main else ()), *_marked(ranked)]))]
    tables.append(_reference_table(figure, references))
    about = [*(_about(result) if main else ()), f"{bench.told}."]
    lines = {row: references[row] for row in _beside(supervised)}
    pictures = [cost_and_figure(figure, task, ranked, lines)] if main and ranked else []
    return Section(bench.judged.task.title, about, tables, pictures)


def _beside(supervised: str | None) -> list[str]:
    """The references that the best head is held against."""
    return [KERNELS, *([supervised] if supervised else [])]


def _reference_table(figure: str, references: Mapping[str, Reached]) -> Table:
    ordered = sorted(references.items(), key=lambda row: -row[1].figure.value)
    rows = [[name, str(of.seeds), str(of.figure)] for name, of in ordered]
    return Table(("reference", "seeds", figure), rows)


_COST_HEAD = ("steps × batch", "M parameters", "GFLOP for 10 s", "TFLOP in all", "hours")
_NOTES = (
    "steps × batch: optimizer steps, and windows (or rows of several) in each; objectives that contrast rows have the "
    "larger batches, and so fewer steps of the same signal.",
    "M parameters: of the encoder, and in brackets of all that was trained.",
    "GFLOP for 10 s: of a training step, forward and backward, for 10 s of signal; products of matrices, convolutions, "
    "recurrent layers and Fourier transforms are counted, element-wise work is not.",
    "TFLOP in all, hours: of the whole training, validation apart; hours are those of its steps by the clock, without "
    "validation, checkpoints and stops.",
    "− untrained: the paired difference from the same encoder as training begins with it, under the same head.",
    "best: the head that is best on validation, which also decides the order; the supervised row is the one that is "
    "best on validation. Differences are on the same recordings in the same draws of subjects: where an interval "
    "leaves out 0, chance in who was tested does not explain them.",
)


def _about(result: Result) -> list[str]:
    """Budget, seeds, and where hours were measured."""
    config, took = result.config, [run for one in result.found for run in one.took]
    told = [
        f"Every pair was trained on {config.signal_s:,.0f} s of signal ({config.signal_s / 3600:,.1f} h), to the "
        "nearest epoch"
        + (
            f": {_range([t.signal_s for t in took])} s in {_range([t.epochs for t in took])} epochs."
            if took
            else "."
        ),
        f"Seeds: {config.runs} for each pair, {config.seeds} for its untrained encoder and for random kernels; rows of "
        "several are their mean. Where a pair has one, chance in its training is in no interval.",
        "Frozen encoders read windows of the length they were pretrained on, and a recording's score is the mean of "
        "its windows'. They are judged as the budget leaves them, after the last step; every other choice was made on "
        "validation, or is the objective's default: rates were not tuned for each pair. Batch norms, of untrained "
        "encoders too, have the statistics of whole training windows.",
    ]
    if machines := sorted({t.machine for t in took}):
        told.append(f"Hours were measured on: {'; '.join(machines)}.")
    return told


def _range(values: Sequence[float]) -> str:
    low, high = f"{min(values):,.0f}", f"{max(values):,.0f}"
    return low if low == high else f"{low} to {high}"


def _cost(one: Found) -> list[str]:
    took = one.took
    hours = np.mean([t.training_s for t in took]) / 3600
    return [
        f"{took[0].steps:,} × {took[0].batch}",
        f"{one.encoder_parameters / 1e6:.2f} ({took[0].parameters / 1e6:.2f})",
        f"{took[0].flops_per_10s / 1e9:.3g}",
        short(took[0].flops / 1e12),
        f"{hours:.2g}",
    ]


def _marked(found: Sequence[Found]) -> list[str]:
    return [] if all(one.clean for one in found) else [MARK]


def _pair_json(result: Result, one: Found) -> dict[str, Any]:
    tasks = {}
    for task, heads in one.heads.items():
        references, (best, reached) = result.references[task], one.best(task)
        tasks[task] = {
            **{
                name: {
                    "trained": _reached_json(trained),
                    "untrained": _reached_json(untrained),
                    "difference": plain(trained.less(untrained)),
                }
                for name, (trained, untrained) in heads.items()
            },
            "best": best,
            "less": {row: plain(reached.less(of)) for row, of in references.items()},
        }
    return {
        "objective": one.objective,
        "backbone": one.backbone,
        "clean": one.clean,
        "encoder_parameters": one.encoder_parameters,
        "took": [dataclasses.asdict(run) for run in one.took],
        "tasks": tasks,
    }


def _reached_json(reached: Reached) -> dict[str, Any]:
    return {
        "seeds": reached.seeds,
        "validation": reached.validation,
        "test": plain(reached.figure),
    }
