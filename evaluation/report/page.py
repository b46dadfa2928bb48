"""A report as one HTML file that needs nothing else: no network, no script, everything inside.

It is well-formed XML too, so that what was escaped can be proved by a strict parser. Whatever comes from
data (names of records, classes, subjects) is text: the template escapes all but our own drawings.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from markupsafe import Markup

from ... import __version__
from .plain import check_table, first_sentence, printable
from .section import Section
from .svg import inline

_HERE = Path(__file__).parent
_NUMBER = re.compile(r"[+−-]?\d[\d.,]*( ?%|\b)")


def page(title: str, sections: Sequence[Section], notices: Sequence[str] = ()) -> str:
    """The whole page. `notices` stand at its head: what must be known beside every figure.

    Raises `ValueError` for a picture that is no plain drawing, and a table whose rows are not as long
    as its head.
    """
    shown = [_section(section, number) for number, section in enumerate(sections, start=1)]
    return _template().render(
        title=printable(title),
        sections=shown,
        notices=[printable(notice) for notice in notices],
        css=Markup((_HERE / "page.css").read_text(encoding="utf-8").strip()),
        version=__version__,
    )


@lru_cache(maxsize=1)
def _template() -> Template:
    environment = Environment(
        loader=FileSystemLoader(_HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
    )
    environment.tests["number_like"] = lambda cell: bool(_NUMBER.match(cell))
    return environment.get_template("page.html")


def _section(section: Section, number: int) -> dict[str, Any]:
    """What the template shows of a section."""
    for table in section.tables:
        check_table(table, section.title)
    return {
        "anchor": f"section-{number}",
        "title": printable(section.title),
        "paragraphs": [printable(paragraph) for paragraph in section.paragraphs],
        "tables": [
            {
                "head": [printable(cell) for cell in table.head],
                "rows": [[printable(cell) for cell in row] for row in table.rows],
                "note": printable(table.note),
            }
            for table in section.tables
        ],
        "pictures": [
            {
                "svg": Markup(
                    inline(picture.svg, f"p{number}-{place}", first_sentence(picture.caption))
                ),
                "caption": printable(picture.caption),
            }
            for place, picture in enumerate(section.pictures, start=1)
        ],
    }
