"""What a client keeps comes back, and says what is true of its own windows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from biofm.federated.cohort import Cohort
from biofm.federated.division import TEST, VALIDATION
from biofm.federated.keeping import keep, kept, path_of
from biofm.federated.participants import Answers


@pytest.mark.parametrize("which", ["both", "own", "common"])
def test_what_is_kept_comes_back(which: str, small_cohort: Cohort, tmp_path: Path) -> None:
    subject, client = list(small_cohort.clients.items())[1]
    random = np.random.default_rng(0)

    def said() -> dict[str, np.ndarray]:
        return {
            split: random.random((len(client.of(role)), 4))
            for split, role in (("validation", VALIDATION), ("test", TEST))
        }

    common = said() if which != "own" else None
    own = said() if which != "common" else None
    keep(tmp_path, small_cohort, "fedavg", subject, Answers(common, own, 30))
    found = kept(tmp_path, subject, "fedavg")
    assert (found.subject, found.strategy, found.step) == (subject, "fedavg", 30)
    assert found.learned == len(client.learned)
    for mine, back in ((common, found.common), (own, found.own)):
        assert (mine is None) == (back is None)
        if mine is not None and back is not None:
            assert {k: v.tolist() for k, v in mine.items()} == {
                k: v.tolist() for k, v in back.items()
            }
    onset_s = small_cohort.truth.facts["onset_s"].to_numpy()
    for split, role in (("validation", VALIDATION), ("test", TEST)):
        rows = client.of(role)
        assert np.array_equal(found.truth[split], small_cohort.truth.values[rows])
        assert np.array_equal(found.onset_s[split], onset_s[rows])
        assert np.array_equal(found.records[split], small_cohort.truth.records[rows])
    assert [p.name for p in path_of(tmp_path, subject, "fedavg").parent.iterdir()] == ["fedavg.npz"]


def test_who_has_not_got_there_has_kept_nothing(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"s1.ditto\.npz"):
        kept(tmp_path, "s1", "ditto")
