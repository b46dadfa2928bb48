"""The page stands alone, holds data as text, and can be read without eyes; the Markdown says the same."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from matplotlib.figure import Figure

from biofm.evaluation.report.markdown import escaped, markdown
from biofm.evaluation.report.page import page
from biofm.evaluation.report.pictures.drawing import INK, drawn
from biofm.evaluation.report.section import Picture, Section, Table
from biofm.evaluation.report.write import write_report

EVIL = "<script>alert('x')</script> & \"q\" {{ 7 * 7 }}"


@drawn
def drawing(word: str) -> Figure:
    figure = Figure()
    axis = figure.subplots()
    axis.plot([0, 1, 2], [0, 1, 0], "o", clip_on=True)
    axis.set_title(word)
    return figure


def sections(word: str = EVIL) -> list[Section]:
    table = Table(["row", "figure", "what"], [[word, "0.870 (0.846–0.890)", word]], note=word)
    pictures = [
        Picture(drawing(word), f"First {word}. Then more."),
        Picture(drawing("b"), "Other."),
    ]
    return [Section(word, [word], [table], pictures), Section("End", ["Nothing."], [], pictures)]


def parsed(text: str) -> ET.Element:
    """By a strict parser: whatever is not well-formed raises."""
    return ET.fromstring(text)


def test_data_stay_text_wherever_they_stand() -> None:
    root = parsed(page(EVIL, sections(), notices=[EVIL]))
    assert not list(root.iter("script"))
    # Title twice, notice, contents, headline, paragraph, two cells, note; and within the pictures.
    whole = [e for e in root.iter() if (e.text or "").strip() == EVIL]
    tags = [e.tag for e in whole]
    assert tags.count("td") == tags.count("th") == 1
    assert {"title", "h1", "h2", "a", "p", "text"} <= set(tags)
    assert "49" not in "".join(root.itertext())


def test_nothing_is_loaded_and_nothing_runs() -> None:
    root = parsed(page("Title", sections()))
    for element in root.iter():
        assert element.tag not in {"script", "link", "iframe", "img", "object", "embed", "base"}
        for key, value in element.attrib.items():
            assert not key.lower().startswith("on")
            assert key != "href" or value.startswith("#"), value
            assert "url(" not in value.replace("url(#", "")
    style = next(e.text or "" for e in root.iter("style"))
    assert "url(" not in style
    assert "@import" not in style
    policy = next(m for m in root.iter("meta") if m.get("http-equiv"))
    assert (policy.get("content") or "").startswith("default-src 'none'")


def test_every_link_leads_somewhere_and_every_id_is_one() -> None:
    root = parsed(page("Title", sections()))
    ids = [e.attrib["id"] for e in root.iter() if "id" in e.attrib]
    assert len(ids) == len(set(ids))
    text = page("Title", sections())
    targets = re.findall(r'href="#([^"]+)"', text) + re.findall(r"url\(#([^)]+)\)", text)
    labels = re.findall(r'aria-labelledby="([^"]+)"', text)
    assert len(targets) > 6
    assert set(targets + labels) <= set(ids)


def test_it_can_be_read_without_eyes() -> None:
    root = parsed(page("Title", sections()))
    assert root.get("lang") == "en"
    assert len(list(root.iter("h1"))) == 1
    assert all(cell.get("scope") in {"row", "col"} for cell in root.iter("th"))
    drawings = list(root.iter("svg"))
    assert len(drawings) == 4
    for one in drawings:
        assert one.get("role") == "img"
        assert one[0].tag == "title"
        assert one.get("aria-labelledby") == one[0].get("id")
        assert one[0].text
    assert drawings[0][0].text == f"First {EVIL}."
    assert [f.find("figcaption") is not None for f in root.iter("figure")] == [True] * 4
    for region in (e for e in root.iter() if e.get("class") == "scroll"):
        assert region.get("tabindex") == "0"  # the keyboard can scroll it
        assert region.get("aria-label")


def test_pictures_take_the_colours_of_the_page() -> None:
    assert INK in drawing("x")
    text = page("Title", sections())
    assert INK not in text.partition("</style>")[2]
    assert "var(--ink)" in text
    plain = Picture('<svg viewBox="0 0 4 4"><rect width="4" fill="#000000"/></svg>', "A.")
    (one,) = parsed(page("T", [Section("S", pictures=[plain])])).iter("svg")
    assert one.get("class") == "plain"  # on a white card


@pytest.mark.parametrize(
    ("inside", "told"),
    [
        ("<script>1</script>", "no place"),
        ('<image href="https://example.org/a.png"/>', "could run or load"),
        ('<rect style="fill: url(http://x.org/#a)"/>', "could run or load"),
        ('<rect onload="1"/>', "could run or load"),
        ("<foreignObject/>", "no place"),
        ("<rect>", "not well-formed"),
    ],
)
def test_a_picture_that_could_do_something_is_refused(inside: str, told: str) -> None:
    svg = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1 1">{inside}</svg>'
    with pytest.raises(ValueError, match=told):
        page("T", [Section("S", pictures=[Picture(svg, "Bad.")])])


def test_a_ragged_table_is_refused() -> None:
    ragged = [Section("Results", tables=[Table(["a", "b"], [["1", "2"], ["3"]])])]
    for make in (page, markdown):
        with pytest.raises(ValueError, match="'Results': row 2 of a table has 1 cells, its head 2"):
            make("T", ragged)


def test_characters_that_xml_cannot_hold_do_no_harm() -> None:
    text = page("T", [Section("a\x00b\x1b[31m\ud800", ["x"])])
    assert [h.text for h in parsed(text).iter("h2")] == ["a�b�[31m�"]


@settings(max_examples=60)
@given(st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), max_size=30))
@example("1. a")
@example("- a")
@example("a | b \\")
@example("<b>_x_ *y* `z` &amp; [l](m) ![i](j) ~~k~~ # #")
@example("---")
@example("===")
@example("-0.002 (−0.012 to +0.010)")
def test_text_reads_the_same_in_markdown(text: str) -> None:
    wanted = " ".join(text.split())
    reader = MarkdownIt("commonmark").enable(["table", "strikethrough"])
    kinds = ["paragraph_open", "inline", "paragraph_close"] if wanted else []
    tokens = reader.parse(escaped(text))
    assert [token.type for token in tokens] == kinds
    if wanted:
        shown = "".join(child.content for child in tokens[1].children or [])
        assert shown == wanted
        assert {child.type for child in tokens[1].children or []} <= {"text", "text_special"}
    table = markdown("T", [Section("S", tables=[Table(["a", "b"], [[text, "1"]])])])
    cells = [t.content for t in reader.parse(table) if t.type == "inline"]
    assert len(cells) == 6  # two headlines and four cells


def test_numbers_stay_plain_in_markdown() -> None:
    for text in ("0.870 (0.846–0.890)", "sleep_accel/12", "12 of 30", "-0.02"):
        assert escaped(text) == text


def test_a_report_is_written_whole_and_replaces_the_last_one(tmp_path: Path) -> None:
    write_report(tmp_path / "out", "First", sections())
    html, text = write_report(tmp_path / "out", "Second", sections("plain"), ["Simulated: all"])
    assert html.read_text() == page("Second", sections("plain"), ["Simulated: all"])
    links = re.findall(r"\]\(([^)]+)\)", text.read_text())
    found = {str(p.relative_to(tmp_path / "out")) for p in (tmp_path / "out").rglob("*.svg")}
    assert found == set(links)
    assert len(links) == 4
    assert {p.name for p in (tmp_path / "out").iterdir()} == {
        "report.html",
        "report.md",
        "pictures",
    }
    assert "> **Simulated: all**" in text.read_text()


def test_nothing_is_written_where_something_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not well-formed"):
        write_report(tmp_path / "out", "T", [Section("S", pictures=[Picture("<svg", "Bad.")])])
    assert not (tmp_path / "out").exists()
