"""What `biofm shards inspect` shows."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from biofm.datasets.simulate import simulate
from biofm.shards.build import build
from biofm.shards.configuration import BuildConfig
from biofm.shards.index import MANIFEST
from biofm.shards.inspect import describe


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """CPSC2018's twin: no folds, records of 6 to 60 s cut into segments of 20 s."""
    folder = tmp_path_factory.mktemp("inspect")
    tree = simulate("cpsc2018", folder / "tree", records=40, progress=False)
    config = BuildConfig(segment_s=20.0)
    build("cpsc2018", [tree], folder / "out", config, workers=1, progress=False)
    return folder / "out"


def test_shows_counts_signals_labels_and_provenance(shards: Path) -> None:
    shown = describe(shards)
    splits = json.loads((shards / MANIFEST).read_text())["splits"]
    assert sum(split["records"] for split in splits.values()) == 40
    for name, split in splits.items():
        line = next(line.split() for line in shown.splitlines() if line.strip().startswith(name))
        counts = [str(split[key]) for key in ("records", "subjects", "segments")]
        assert line[:4] == [name, *counts]
    assert splits["train"]["segments"] > splits["train"]["records"]
    for words in (
        "*** SYNTHETIC DATA",
        "split by hash of the subject, seed 0",
        "segments of up to 20 s at 100 Hz, channels I II III aVR aVL aVF V1 V2 V3 V4 V5 V6",
        "high-pass 0.5 Hz, low-pass 40 Hz",
        "40 subjects",
        "I-AVB",
        "every record could be used",
        "first sample: cpsc2018_A",
    ):
        assert words in shown


def test_shows_bad_records(shards: Path) -> None:
    manifest = json.loads((shards / MANIFEST).read_text())
    bad = {"record": "A0007", "reason": "A0007.mat: cut short"}
    (shards / MANIFEST).write_text(json.dumps(manifest | {"bad": [bad]}))
    shown = describe(shards)
    (shards / MANIFEST).write_text(json.dumps(manifest))
    assert "1 records could not be used" in shown
    assert "A0007.mat: cut short" in shown


def test_an_unfinished_folder_says_how_to_go_on(shards: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="run the interrupted build again"):
        describe(tmp_path)
