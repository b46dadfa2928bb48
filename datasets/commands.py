"""`biofm datasets …`."""

from __future__ import annotations

from .registry import SOURCES, source


def list_sources(markdown: bool = False) -> None:
    """The sources that `biofm shards build` reads, with their licences.

    Args:
        markdown: print all that is known of them, as docs/datasets.md has it.
    """
    if markdown:
        print(markdown_page(), end="")
        return
    for name in sorted(SOURCES):
        about = source(name).about()
        print(f"{name:20}{about.title} ({about.licence})")


def markdown_page() -> str:
    """`docs/datasets.md`: what every source says of itself."""
    lines = [
        "# Data sets",
        "",
        "Written by `biofm datasets list --markdown` from what the readers say of themselves. "
        "`biofm shards build NAME FOLDER --out SHARDS` reads each; `biofm datasets simulate NAME OUT` "
        "writes a synthetic twin in the same layout. Your own data need a YAML and no code: "
        "[your-data.md](your-data.md).",
        "",
        "| name | data set | licence | access | signals | labels | subjects | cite |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name in sorted(SOURCES):
        cells = [f"`{name}`", *vars(source(name).about()).values()]
        lines.append(f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |")
    return "\n".join(lines) + "\n"
