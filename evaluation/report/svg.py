"""SVG that may stand in a page among others: nothing in it runs, loads, or has another's name.

matplotlib numbers and names the parts of each figure alike, so that ids of several in one page would
collide, and writes sizes in points, where a page wants what fits.
"""

from __future__ import annotations

import re
from xml.etree import ElementTree as ET

import defusedxml.ElementTree as safe

from .pictures.drawing import INK, LINE, SOFT, WIDTH

_THEME = {INK: "var(--ink)", SOFT: "var(--soft)", LINE: "var(--line)"}
_REFERENCE = re.compile(r"url\(#([^)]+)\)")
_FULL_REM = 60
"""Width on the page, in rem, of a figure of `WIDTH` inches."""
# `<style>` is matplotlib's rule for line ends, which the page has for all pictures.
_LEFT_OUT = {"metadata", "style", "title", "desc"}
_REFUSED = {"script", "foreignObject", "iframe", "a", "animate", "set", "audio", "video"}


def inline(svg: str, name: str, title: str) -> str:
    """The `<svg>` element for a page; `name` begins all its ids, `title` is what it is called.

    Raises `ValueError` where it is not well-formed, or holds what could run or load something.
    """
    try:
        root = safe.fromstring(svg)
    except ET.ParseError as error:
        raise ValueError(f"picture {title!r} is not well-formed SVG: {error}") from None
    if _local(root.tag) != "svg" or "viewBox" not in root.attrib:
        raise ValueError(f"picture {title!r}: expected <svg viewBox=…>, found <{_local(root.tag)}>")
    width = float(root.attrib["viewBox"].replace(",", " ").split()[2])
    themed = INK in svg
    _clean(root, title, themed=themed)
    _rename(root, name)
    rem = min(_FULL_REM, width / (72 * WIDTH) * _FULL_REM)
    root.attrib = {
        "viewBox": root.attrib["viewBox"],
        "role": "img",
        "aria-labelledby": f"{name}-title",
        "class": "themed" if themed else "plain",
        "style": f"--wide: {rem:.1f}rem",
    }
    called = ET.Element("title", {"id": f"{name}-title"})
    called.text = title
    root.insert(0, called)
    return ET.tostring(root, encoding="unicode")


def _local(tag: object) -> str:
    return str(tag).rpartition("}")[2]


def _clean(parent: ET.Element, title: str, *, themed: bool) -> None:
    """Plain names in place of namespaces, no extras, colours of the page; refuse what is not a drawing."""
    parent.tag = _local(parent.tag)
    parent.attrib = {_local(key): value for key, value in parent.attrib.items()}
    for key, value in parent.attrib.items():
        target = value.strip().lower()
        loads = key in ("href", "src") and not target.startswith(("#", "data:image/png;base64,"))
        if key.lower().startswith("on") or loads or "url(" in target.replace("url(#", ""):
            raise ValueError(f"picture {title!r}: {key}={value[:60]!r} could run or load something")
        if themed:
            for colour, variable in _THEME.items():
                value = value.replace(colour, variable)
            parent.attrib[key] = value
    for child in list(parent):
        if _local(child.tag) in _REFUSED:
            raise ValueError(f"picture {title!r}: <{_local(child.tag)}> has no place in a drawing")
        if _local(child.tag) in _LEFT_OUT:
            parent.remove(child)
        else:
            _clean(child, title, themed=themed)


def _rename(root: ET.Element, name: str) -> None:
    """Ids that something refers to get names of their own; the others go."""
    used: dict[str, str] = {}
    for element in root.iter():
        for key, value in element.attrib.items():
            found = (
                [value[1:]]
                if key == "href" and value.startswith("#")
                else _REFERENCE.findall(value)
            )
            for one in found:
                used.setdefault(one, f"{name}-{len(used)}")
    for element in root.iter():
        if (own := element.attrib.pop("id", None)) in used:
            element.attrib["id"] = used[own]
        for key, value in element.attrib.items():
            if key == "href" and value.startswith("#"):
                element.attrib[key] = f"#{used[value[1:]]}"
            else:
                element.attrib[key] = _REFERENCE.sub(lambda m: f"url(#{used[m[1]]})", value)
