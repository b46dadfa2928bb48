"""`biofm datasets list`, and the page that is made from it."""

from __future__ import annotations

from pathlib import Path

import pytest

import biofm
from biofm.datasets.commands import list_sources, markdown_page
from biofm.datasets.registry import SOURCES

PAGE = Path(biofm.__file__).resolve().parent / "docs" / "datasets.md"


def test_the_list_has_a_line_for_every_source(capsys: pytest.CaptureFixture[str]) -> None:
    list_sources()
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == sorted(SOURCES)


def test_the_page_is_what_the_readers_say() -> None:
    assert PAGE.read_text() == markdown_page(), (
        "docs/datasets.md is old: biofm datasets list --markdown > docs/datasets.md"
    )
