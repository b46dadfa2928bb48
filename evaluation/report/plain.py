"""What both forms of a report do with text and tables before they write them."""

from __future__ import annotations

import re

from .section import Table

# XML has no way to write these, not even escaped.
_UNPRINTABLE = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def printable(text: str) -> str:
    """The text with � for characters that no page can hold."""
    return _UNPRINTABLE.sub("\ufffd", text)


def first_sentence(text: str) -> str:
    """What a picture is called where its whole caption would be too long."""
    return re.split(r"(?<=[.!?])\s", printable(text).strip(), maxsplit=1)[0]


def check_table(table: Table, where: str) -> None:
    """Raises `ValueError` where a row is not as long as the head."""
    for number, row in enumerate(table.rows, start=1):
        if len(row) != len(table.head):
            raise ValueError(
                f"section {where!r}: row {number} of a table has {len(row)} cells, its head "
                f"{len(table.head)} ({', '.join(table.head)}): give both the same length"
            )
