"""The report of a federation: one page, every number as JSON, and the table of clients as Parquet and CSV."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..configuration import to_dict
from ..evaluation.report.case import cell, plain
from ..evaluation.report.section import Section
from ..evaluation.report.write import write_report
from ..files import write_aside
from .outcome import Outcome, encoder_names
from .report_about import about_section, notices
from .report_clients import client_sections
from .report_strategies import cost_section, digits, heading, rule_section, strategies_section

_PLACES = ("out", "cache", "shards", "models")
"""Of the config, what says where things lie on a machine: reports and their numbers are for others."""


def federated_report(
    out: Path, found: Outcome, further: Sequence[Section] = ()
) -> tuple[Path, Path]:
    """Write `report.html`, `report.md`, `federated.json`, `clients.parquet` and `clients.csv` into the folder `out`.

    `further` sections, such as where everything came from, stand at the end. Returns (page, Markdown), as
    `write_report` does.
    """
    sections = [
        about_section(found),
        strategies_section(found),
        rule_section(found),
        cost_section(found),
        *client_sections(found),
        *further,
    ]
    title = f"{found.task.title}: a federation of {found.clients['subject'].n_unique()} people"
    written = write_report(out, title, sections, notices(found))
    with write_aside(out / "federated.json") as aside:
        aside.write_text(
            json.dumps(as_json(found), indent=1, ensure_ascii=False, allow_nan=False) + "\n",
            encoding="utf-8",
        )
    with write_aside(out / "clients.parquet") as aside:
        found.clients.write_parquet(aside)
    with write_aside(out / "clients.csv") as aside:
        found.clients.write_csv(aside)
    return written


def overview(found: Outcome) -> str:
    """A few lines for a terminal: each strategy's first figure, who adopted, who was harmed."""
    name = found.figure_names[0]
    lines = [f"{heading(found, name)}, the mean over clients of what each uses (95 % interval)"]
    for summary in found.summary:
        told = cell(summary.figures[f"used {name}"], digits(found))
        if summary.adopted is not None:
            told += f"   {summary.adopted} of {summary.clients} adopted, {summary.harmed} harmed"
        lines.append(f"{summary.strategy:10} {told}")
    return "\n".join(lines)


def as_json(found: Outcome) -> dict[str, Any]:
    """Everything as plain values in full precision; null where there is no number."""
    called = encoder_names([one.folder for one in found.federations])
    config = {k: v for k, v in to_dict(found.config).items() if k not in _PLACES}
    whole: dict[str, Any] = plain(
        {
            "task": found.task.title,
            "classes": found.classes,
            "piece_s": found.piece_s,
            "config": config,
            "encoders": [
                {
                    "encoder": called[one.folder],
                    "judges": one.judged,
                    "seen": sorted(one.seen),
                    "clients": sorted(one.cohort.clients),
                    "left_out": one.cohort.left_out,
                }
                for one in found.federations
            ],
            "strategies": [
                {**plain(summary), "harmed_share": summary.harmed_share}
                for summary in found.summary
            ],
            "runs": [
                {
                    "encoder": called.get(folder, folder.name),
                    "strategy": run.strategy,
                    "loss": run.loss,
                    "epsilon": run.epsilon,
                    "refused": run.refused,
                    "traffic": run.traffic,
                }
                for folder, run in found.runs
            ],
            "clients": found.clients.to_dicts(),
        }
    )
    return whole
