"""The page in a real browser: it paints, fits a phone, follows dark mode, prints, and logs no error.

Needs a Chromium: `chromium`, `chromium-browser`, `google-chrome`, or whatever `$CHROME` names.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread

from biofm.evaluation.report.pictures.drawing import drawn
from biofm.evaluation.report.section import Picture, Section, Table
from biofm.evaluation.report.write import write_report

NAMES = ("chromium", "chromium-browser", "google-chrome")


@pytest.fixture(scope="module")
def browser() -> str:
    """The program. Skips, with the reason, where there is none."""
    asked = os.environ.get("CHROME")
    found = next(
        (path for name in ([asked] if asked else NAMES) if (path := shutil.which(name))), None
    )
    if found is None:
        pytest.skip(
            f"no browser: {asked or ', '.join(NAMES)} not found; name a Chromium in $CHROME"
        )
    return found


@drawn
def curve() -> Figure:
    figure = Figure(figsize=(8.6, 4))
    figure.subplots().plot([0, 1, 2], [0, 2, 1])
    return figure


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    table = Table(
        ["row", *(f"figure {i}" for i in range(9))], [["a", *["0.870 (0.846–0.890)"] * 9]]
    )
    sections = [
        Section(f"Section {i}", ["A paragraph. " * 30], [table], [Picture(curve(), "A curve.")])
        for i in range(3)
    ]
    page, _ = write_report(
        tmp_path_factory.mktemp("page"), "A report", sections, ["Simulated: all"]
    )
    return page


def run(browser: str, report: Path, profile: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """One visit of a browser without a window, which says on its error stream what the console says."""
    command = [
        browser,
        "--headless=new",
        "--no-sandbox",  # a container has none to offer; the page is our own
        "--disable-gpu",
        "--no-first-run",
        "--hide-scrollbars",
        "--enable-logging=stderr",
        f"--user-data-dir={profile}",
        *words,
        report.resolve().as_uri(),
    ]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def shot(browser: str, report: Path, folder: Path, width: int, *words: str) -> np.ndarray:
    """The window as grey values [height, width] from 0 to 1, after a look at what was logged."""
    picture = folder / "page.png"
    done = run(
        browser,
        report,
        folder / "profile",
        f"--window-size={width},1600",
        f"--screenshot={picture}",
        *words,
    )
    assert picture.is_file(), done.stderr[-2000:]
    # Chromium's own troubles with buses and graphics are logged too, without CONSOLE.
    assert not re.search(r"CONSOLE|Refused to|Content Security Policy", done.stderr), done.stderr[
        -2000:
    ]
    grey: np.ndarray = imread(picture)[..., :3].mean(axis=2)
    return grey


@pytest.mark.parametrize("width", [500, 1400])
def test_it_paints(browser: str, report: Path, tmp_path: Path, width: int) -> None:
    grey = shot(browser, report, tmp_path, width)
    assert grey.shape[1] == width
    assert np.median(grey) > 0.95  # light ground
    assert (grey < 0.4).mean() > 0.005  # text
    # Not only at the top, and up to the right-hand side.
    assert all(part.std() > 0.01 for part in np.array_split(grey[:1200], 6))
    assert grey[:, width // 2 :].std() > 0.01


def test_it_follows_dark_mode(browser: str, report: Path, tmp_path: Path) -> None:
    dark = shot(browser, report, tmp_path, 1400, "--force-dark-mode")
    assert np.median(dark) < 0.2
    assert (dark > 0.7).mean() > 0.005


def test_nothing_is_wider_than_a_phone(browser: str, report: Path, tmp_path: Path) -> None:
    """Tables and pictures scroll in frames of their own: the page itself has no more than its width."""
    probe = tmp_path / "probe.html"
    frame = f'<iframe src="{report.resolve().as_uri()}" width="500" height="900"></iframe>'
    told = "document.title = d.scrollWidth + ' of ' + d.clientWidth"
    script = f"onload = () => {{ const d = frames[0].document.documentElement; {told} }}"
    probe.write_text(f"<title>untouched</title>{frame}<script>{script}</script>")
    words = ("--allow-file-access-from-files", "--virtual-time-budget=5000", "--dump-dom")
    done = run(browser, probe, tmp_path / "profile", *words)
    assert re.search(r"<title>(\d+) of \1</title>", done.stdout), (
        done.stdout[:300] + done.stderr[-1000:]
    )


def test_it_prints(browser: str, report: Path, tmp_path: Path) -> None:
    pdf = tmp_path / "page.pdf"
    done = run(browser, report, tmp_path / "profile", f"--print-to-pdf={pdf}")
    assert pdf.is_file(), done.stderr[-2000:]
    assert pdf.read_bytes().startswith(b"%PDF")
    assert pdf.stat().st_size > 10_000
