"""A report on disk: `report.html`, which stands alone, and `report.md` with its pictures beside it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from ...files import folder_aside, write_aside
from .markdown import markdown
from .page import page
from .section import Section

PICTURES = "pictures"


def write_report(
    out: Path, title: str, sections: Sequence[Section], notices: Sequence[str] = ()
) -> tuple[Path, Path]:
    """Write both into the folder `out`, each at once or not at all; returns (page, Markdown).

    `notices` stand at the head of both. Raises what `page` and `markdown` raise, before anything is
    written.
    """
    names = [
        [
            f"{number:02d}-{_slug(section.title)}-{place}.svg"
            for place in range(1, len(section.pictures) + 1)
        ]
        for number, section in enumerate(sections, start=1)
    ]
    as_html = page(title, sections, notices)
    links = [[f"{PICTURES}/{name}" for name in of] for of in names]
    as_markdown = markdown(title, sections, notices, links)
    # As a whole, so that no picture of an earlier report stays behind.
    with folder_aside(out / PICTURES) as aside:
        for section, of in zip(sections, names, strict=True):
            for picture, name in zip(section.pictures, of, strict=True):
                (aside / name).write_text(picture.svg, encoding="utf-8")
    found = out / "report.html", out / "report.md"
    for path, text in zip(found, (as_html, as_markdown), strict=True):
        with write_aside(path) as aside:
            aside.write_text(text, encoding="utf-8")
    return found


def _slug(title: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")[:40] or "section"
