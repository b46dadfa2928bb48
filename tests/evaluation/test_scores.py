"""Scores on disk: found again on the same terms, and made again where they are damaged."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from biofm.evaluation.scores import Scores, load_scores, save_scores

TERMS = {"model": "abc", "seed": 1}


def test_scores_are_found_on_their_terms_alone(tmp_path: Path) -> None:
    kept = Scores(np.eye(3), np.ones((2, 3)), 0.5)
    save_scores(tmp_path / "a.npz", kept, TERMS)
    found = load_scores(tmp_path / "a.npz", {"seed": 1, "model": "abc"})
    assert found is not None
    np.testing.assert_array_equal(found.test, kept.test)
    np.testing.assert_array_equal(found.validation, kept.validation)
    assert found.chosen == 0.5
    assert load_scores(tmp_path / "a.npz", {**TERMS, "seed": 2}) is None
    assert load_scores(tmp_path / "b.npz", TERMS) is None


@pytest.mark.parametrize("left", [0, 1, 100, -1])
def test_a_damaged_file_is_as_none(tmp_path: Path, left: int) -> None:
    file = tmp_path / "a.npz"
    save_scores(file, Scores(np.eye(3), np.ones((2, 3)), 0.5), TERMS)
    file.write_bytes(file.read_bytes()[:left])
    assert load_scores(file, TERMS) is None
