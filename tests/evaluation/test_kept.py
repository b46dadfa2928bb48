"""Arrays that are kept: written piece by piece, handed out mapped, refused where they do not fit."""

from __future__ import annotations

import shutil
from collections import namedtuple
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from biofm.datasets.simulate import simulate
from biofm.evaluation import kept
from biofm.evaluation.kept import kept_array
from biofm.shards.build import build
from biofm.shards.configuration import shipped
from biofm.shards.reader import DataConfig, WindowReader

Disk = namedtuple("Disk", ["total", "used", "free"])
VALUES = np.arange(6 * 3 * 2, dtype=np.float16).reshape(6, 3, 2)


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> WindowReader:
    root = tmp_path_factory.mktemp("ptbxl")
    tree = simulate("ptbxl", root / "twin", records=10, progress=False)
    build("ptbxl", [tree], root / "shards", shipped("ptbxl"), workers=1, progress=False)
    return WindowReader(DataConfig((str(root / "shards"),)), "train", seed=0)


def pieces() -> Iterator[NDArray[Any]]:
    yield VALUES[:4]
    yield VALUES[4:]


def keep(reader: WindowReader, cache: Path, parts: Any = pieces, **changed: Any) -> NDArray[Any]:
    given: dict[str, Any] = {"source": {"made": "here"}, "shape": (6, 3, 2), "dtype": np.float16}
    given |= changed
    return kept_array("numbers", parts=parts, reader=reader, cache=cache, **given)


def test_pieces_become_one_mapped_array_that_is_not_made_twice(
    reader: WindowReader, tmp_path: Path
) -> None:
    first = keep(reader, tmp_path)
    again = keep(reader, tmp_path, parts=None)
    for found in (first, again):
        np.testing.assert_array_equal(found, VALUES)
        assert isinstance(found, np.memmap)
        assert found.dtype == np.float16
        assert not found.flags.writeable
    # What numpy itself would have written.
    np.testing.assert_array_equal(np.load(next(tmp_path.glob("*.npy"))), VALUES)


@pytest.mark.parametrize(
    ("parts", "told"),
    [
        (lambda: iter([VALUES[:4]]), "expected 6 windows, found 4"),
        (lambda: iter([VALUES, VALUES]), "expected 6 windows, found 12"),
        (lambda: iter([VALUES[:, :2]]), r"expected pieces of \(3, 2\), found \(2, 2\)"),
    ],
)
def test_what_is_not_what_was_announced_is_not_kept(
    parts: Any, told: str, reader: WindowReader, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=told):
        keep(reader, tmp_path, parts=parts)
    assert not list(tmp_path.iterdir())


def test_a_disk_without_the_room_is_told_of_before_anything_is_computed(
    reader: WindowReader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Disk(10**9, 10**9 - 71, 71))
    with pytest.raises(OSError, match=r"numbers \[6, 3, 2\] takes 0.0 GB in .*choose another"):
        keep(reader, tmp_path, parts=None)


def test_a_large_array_is_announced(
    reader: WindowReader,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    keep(reader, tmp_path)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(kept, "LARGE_BYTES", 72)
    keep(reader, tmp_path, source={"made": "elsewhere"})
    assert "note: numbers [6, 3, 2] takes 0.0 GB" in capsys.readouterr().err
