"""The Challenge of 2017: its classes, its lead, and what is wrong in its table."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from biofm.datasets.cinc2017 import REFERENCE, CinC2017
from biofm.datasets.registry import RecordError
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


def test_an_unknown_class_is_a_bad_record(root: Path) -> None:
    table = root / REFERENCE
    table.write_text(table.read_text().replace("A00002,A", "A00002,X"))
    with pytest.raises(RecordError, match=r"A00002: class 'X'.*expected one of"):
        CinC2017().read(CinC2017().find([root])[1])


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (b"", "expected lines of record, class"),
        (b"A00001\n", "expected lines of record, class"),
        (b"A00001,N,N\n", "expected lines of record, class"),
        (b"A00001,\xff\n", "expected lines of record, class"),
        (b"A00001,N\n,N\n", "expected names of records, such as A00001, found ''"),
        (b"12345,N\n", "expected names of records, such as A00001, found '12345'"),
        (b"../../secret,N\n", "expected names of records, such as A00001, found '../../secret'"),
        (b"/etc/passwd,N\n", "expected names of records, such as A00001, found '/etc/passwd'"),
    ],
)
def test_a_table_of_anything_else_is_refused(root: Path, table: bytes, message: str) -> None:
    (root / REFERENCE).write_bytes(table)
    with pytest.raises(ValueError, match=message):
        CinC2017().find([root])
