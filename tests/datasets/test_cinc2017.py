"""The Challenge of 2017: its classes, its lead, and what is wrong in its table."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from biofm.datasets.cinc2017 import REFERENCE, CinC2017
from biofm.datasets.simulate import TRUTH, simulate


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return simulate("cinc2017", tmp_path / "twin", records=8, seed=1, progress=False)


def test_the_twin_is_read_for_what_was_planted(root: Path) -> None:
    reader = CinC2017()
    refs = reader.find([root])
    for ref, planted in zip(refs, pl.read_parquet(root / TRUTH).iter_rows(named=True), strict=True):
        recording = reader.read(ref)
        assert recording.labels == {planted["code"]: 100.0}
        assert recording.signal("ecg").channels == ("I",)
        assert 9 <= recording.signal("ecg").duration_s <= 61
        assert not ref.subject_known


@pytest.mark.parametrize("table", ["A00001\n", "A00001,X\n", "../secret,N\n"])
def test_a_table_of_anything_else_is_refused(root: Path, table: str) -> None:
    (root / REFERENCE).write_text(table)
    with pytest.raises(ValueError, match=r"expected (lines of|rows such as A00001,N)"):
        CinC2017().find([root])
