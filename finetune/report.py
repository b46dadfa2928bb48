"""What a probe found, as a table to read and as figures to go on with."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from ..evaluation.comparison import Comparison
from ..evaluation.figure import Figure
from ..files import write_aside


def table(
    title: str,
    about: Sequence[str],
    found: Comparison,
) -> str:
    """The result as Markdown; `about` are the lines above the table."""
    rows, differences = found.rows, found.differences
    names = list(rows[0].figures)
    lines = [f"## {title}", "", *about, "- intervals: 95 %, bootstrap over test subjects", ""]
    lines.append(f"| features | seeds | validation | {' | '.join(names)} |")
    lines.append("|---" * (3 + len(names)) + "|")
    lines += [
        f"| {row.name} | {row.seeds} | {row.validation:.3f} | "
        f"{' | '.join(str(row.figures[name]) for name in names)} |"
        for row in rows
    ]
    for other, figures in differences.items():
        cells = " | ".join(signed(figures[name]) for name in names)
        lines.append(f"| {rows[0].name} − {other} | | | {cells} |")
    return "\n".join(lines)


def signed(difference: Figure) -> str:
    """A difference with its interval: `+0.035 (+0.021 to +0.052)`."""
    d = difference
    return f"{d.value:+.3f} ({d.low:+.3f} to {d.high:+.3f})"


def write(
    out: Path,
    title: str,
    found: Comparison,
    text: str,
) -> None:
    """The table and every figure, each file at once or not at all."""
    said = {
        "task": title,
        "rows": [
            {
                "name": row.name,
                "seeds": row.seeds,
                "validation": row.validation,
                "figures": {name: vars(figure) for name, figure in row.figures.items()},
            }
            for row in found.rows
        ],
        "differences": {
            other: {name: vars(figure) for name, figure in figures.items()}
            for other, figures in found.differences.items()
        },
    }
    with write_aside(out / "probe.json") as aside:
        aside.write_text(json.dumps(said, indent=1) + "\n")
    with write_aside(out / "probe.md") as aside:
        aside.write_text(text + "\n")
