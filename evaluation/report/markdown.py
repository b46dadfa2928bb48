"""The same report as Markdown, for a repository or a message; pictures are files that it links to."""

from __future__ import annotations

import re
from collections.abc import Sequence

from .plain import check_table, first_sentence, printable
from .section import Section, Table

_SPECIAL = re.compile(r"[\\`*\[\]<>|&~#]|(?<![^\W_])_|_(?![^\W_])")
_BEGINS_SOMETHING = re.compile(r"^(\d*)([-+](?=\s|$)|[-=](?=[-=\s]*$)|[.)](?=\s|$))")


def markdown(
    title: str,
    sections: Sequence[Section],
    notices: Sequence[str] = (),
    pictures: Sequence[Sequence[str]] | None = None,
) -> str:
    """The whole text. `pictures` names the file of each picture of each section; without, they are left out.

    Raises `ValueError` for a table whose rows are not as long as its head.
    """
    blocks = [f"# {escaped(title)}", *(f"> **{escaped(notice)}**" for notice in notices)]
    for number, section in enumerate(sections):
        blocks.append(f"## {escaped(section.title)}")
        blocks += [escaped(paragraph) for paragraph in section.paragraphs]
        for table in section.tables:
            check_table(table, section.title)
            blocks.append(_table(table))
            blocks += [escaped(table.note)] if table.note else []
        for place, picture in enumerate(section.pictures):
            if pictures is not None:
                alt = escaped(first_sentence(picture.caption))
                blocks.append(f"![{alt}]({pictures[number][place]})")
                blocks.append(escaped(picture.caption))
    return "\n\n".join(block for block in blocks if block) + "\n"


def escaped(text: str) -> str:
    """Text that reads the same in Markdown: on one line, with nothing that means something there."""
    line = " ".join(printable(text).split())
    line = _SPECIAL.sub(lambda mark: f"\\{mark[0]}", line)
    return _BEGINS_SOMETHING.sub(r"\1\\\2", line)


def _table(table: Table) -> str:

    lines = [
        f"| {' | '.join(escaped(cell) for cell in table.head)} |",
        f"|{'---|' * len(table.head)}",
    ]
    lines += [f"| {' | '.join(escaped(cell) for cell in row)} |" for row in table.rows]
    return "\n".join(lines)
