"""What a report is made of. Whatever computes something for it hands over sections; rendering is apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Table:
    """Cells as they are to be read. `note` stands below it; HTML in a cell is text, not markup."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""


@dataclass(frozen=True)
class Picture:
    """A drawing as SVG text, with the sentence below it, which also says what a blind reader needs."""

    svg: str
    caption: str


@dataclass(frozen=True)
class Section:
    """A headline and what stands below it, in this order: paragraphs, tables, pictures."""

    title: str
    paragraphs: Sequence[str] = ()
    tables: Sequence[Table] = ()
    pictures: Sequence[Picture] = ()
