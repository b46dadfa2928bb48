"""What a probe found, as a table to read and as figures to go on with."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from ..evaluation.comparison import Comparison
from ..evaluation.report.markdown import markdown
from ..evaluation.report.results import comparison_plain, results_section
from ..evaluation.tasks import Task
from ..files import write_aside


def table(task: Task, about: Sequence[str], notices: Sequence[str], found: Comparison) -> str:
    """The result as Markdown; `about` are the paragraphs above the table, `notices` stand before all."""
    return markdown(task.title, [results_section(task, found, about)], notices)


def write(out: Path, title: str, found: Comparison, text: str) -> None:
    """The table and every figure, each file at once or not at all."""
    said = {"task": title, **comparison_plain(found)}
    with write_aside(out / "probe.json") as aside:
        aside.write_text(json.dumps(said, indent=1, allow_nan=False) + "\n")
    with write_aside(out / "probe.md") as aside:
        aside.write_text(text)
