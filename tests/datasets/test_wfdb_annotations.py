"""Annotation files as `wfdb` writes them, and damaged ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import wfdb

from biofm.datasets.registry import RecordError
from biofm.datasets.wfdb_annotations import BEATS, beats, read_annotations, rhythms


def write(folder: Path, rows: list[tuple[int, str, str]]) -> Path:
    samples, symbols, texts = zip(*rows, strict=True)
    wfdb.wrann("100", "atr", np.array(samples), symbol=list(symbols), aux_note=list(texts),
               write_dir=str(folder))  # fmt: skip
    return folder / "100.atr"


def test_every_beat_and_nothing_else_is_a_beat(tmp_path: Path) -> None:
    marks = [*BEATS, "!", "x", "~", "|", '"', "["]
    path = write(tmp_path, [(100 * i + 7, mark, "") for i, mark in enumerate(marks)])
    found = read_annotations(path, samples=10_000)
    assert [annotation.symbol for annotation in found] == marks
    labelled = beats(found, rate_hz=200.0)
    assert [annotation.code for annotation in labelled] == [f"beat:{symbol}" for symbol in BEATS]
    assert [annotation.onset_s for annotation in labelled] == [
        (100 * i + 7) / 200 for i in range(len(BEATS))
    ]
    assert {annotation.duration_s for annotation in labelled} == {0.0}


def test_long_gaps_between_annotations_are_kept(tmp_path: Path) -> None:
    # An interval above 1023 samples is stored in another way.
    rows = [(5, "N", ""), (1023 + 5, "N", ""), (900_000, "V", ""), (900_001, "N", "")]
    found = read_annotations(write(tmp_path, rows), samples=900_002)
    assert [annotation.sample for annotation in found] == [5, 1028, 900_000, 900_001]


def test_rhythms_last_until_the_next_and_the_last_to_the_end(tmp_path: Path) -> None:
    rows = [(18, "+", "(N\0"), (50, "N", ""), (720, "+", "(AFIB"), (900, "+", "MISSB"),
            (1000, "+", "(N")]  # fmt: skip
    found = rhythms(read_annotations(write(tmp_path, rows), samples=3600), 360.0, end_s=10.0)
    assert [annotation.code for annotation in found] == ["rhythm:N", "rhythm:AFIB", "rhythm:N"]
    assert [annotation.onset_s for annotation in found] == [0.05, 2.0, 1000 / 360]
    ends = [annotation.onset_s + annotation.duration_s for annotation in found]
    np.testing.assert_allclose(ends, [2.0, 1000 / 360, 10.0])


def test_no_rhythm_is_no_span(tmp_path: Path) -> None:
    assert rhythms(read_annotations(write(tmp_path, [(3, "N", "")]), 10), 360.0, 1.0) == []


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match=r"100\.atr: the annotations cannot be read .*get the"):
        read_annotations(tmp_path / "100.atr", 1000)


def test_annotations_beyond_the_signal_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path, [(10, "N", ""), (999, "N", "")])
    assert len(read_annotations(path, samples=1000)) == 2
    with pytest.raises(RecordError, match="an annotation at sample 999, expected 0 to 998"):
        read_annotations(path, samples=999)


@pytest.mark.parametrize("content", [b"", b"\x12", b"no annotations at all\0\0"])
def test_a_damaged_file_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "100.atr"
    path.write_bytes(content)
    with pytest.raises(RecordError, match=r"100\.atr: .*get the record's files again"):
        read_annotations(path, 1000)


def test_a_file_that_is_cut_short_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, [(100 * i, "N", "") for i in range(1, 50)])
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(RecordError, match="its 60 bytes do not end with the end mark"):
        read_annotations(path, 10_000)


def test_a_huge_file_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "100.atr"
    with path.open("wb") as file:
        file.truncate((1 << 24) + 2)
    with pytest.raises(RecordError, match="expected at most 16777216 of annotations"):
        read_annotations(path, 1000)


def test_a_code_that_stands_for_nothing_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "100.atr"
    # Type 45 of 6 bits, 5 samples on; then a normal beat and the end.
    path.write_bytes(
        (45 << 10 | 5).to_bytes(2, "little") + (1 << 10 | 5).to_bytes(2, "little") + b"\0\0"
    )
    with pytest.raises(RecordError, match="a code that stands for nothing"):
        read_annotations(path, 1000)
