"""Sleep from hand-made features on planted nights, read through shards: what is told by heart rate is found, the
epochs are those of the task, and labels that are off are noticed in its scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from numpy.typing import NDArray

from biofm.datasets.registry import About, RecordRef
from biofm.datasets.sleep_stages import EPOCH_S, STAGE_SETS
from biofm.evaluation import boosting, candidates, sequence_probe
from biofm.evaluation import handmade as handmade_module
from biofm.evaluation.handmade import (
    handmade,
    handmade_scores,
    handmade_sequence_scores,
    wider,
)
from biofm.evaluation.label_shift import label_shift
from biofm.evaluation.probes import goodness
from biofm.evaluation.rounds import Round, rounds_of, truth_of
from biofm.evaluation.stretches import MAKERS
from biofm.evaluation.tasks import Task, load_task
from biofm.shards import build as build_module
from biofm.shards import writing
from biofm.shards.build import build
from biofm.shards.configuration import BuildConfig, Fractions, Modalities
from biofm.shards.reader import DataConfig, WindowReader
from biofm.signals import Annotation, Preprocessing, Recording, Signal

EPOCHS = 150
FIRST = 20
"""The first epoch with a stage: what was recorded before it is context."""
OFF = ("night3", "night7")
"""Nights whose labels stand an epoch early."""
STAGES = ("W", "N2", "N3", "R")


class Planted:
    """Eight nights whose heart rate is 50 bpm and 8 more a stage, noisy, and whose counts are those of wake."""

    name = "planted"

    def about(self, roots: Sequence[Path] = ()) -> About:
        return About("planted", "-", "-", "-", "-", "-", "-")

    def find(self, roots: Sequence[Path]) -> list[RecordRef]:
        return [RecordRef(f"night{i}", f"planted-{i}", roots[0]) for i in range(8)]

    def read(self, ref: RecordRef) -> Recording:
        rng = np.random.default_rng(int(ref.record[-1]))
        stages: NDArray[np.int64] = np.repeat(
            rng.integers(0, 4, EPOCHS), rng.integers(2, 9, EPOCHS)
        )
        stages = stages[:EPOCHS]
        bpm = np.repeat(50 + 8.0 * stages, 30) + rng.normal(0, 4, 30 * EPOCHS)
        counts = np.where(stages == 0, rng.poisson(2, EPOCHS), 0)
        off = ref.record in OFF
        shown = np.roll(stages, -1) if off else stages
        return Recording(
            dataset=self.name,
            record=ref.record,
            subject=ref.subject,
            signals=(
                Signal("hr", bpm[None].astype(np.float32), 1.0, ("hr",)),
                Signal("counts", counts[None].astype(np.float32), 1 / 30, ("counts",)),
            ),
            annotations=tuple(
                Annotation(EPOCH_S * e, EPOCH_S, f"stage:{STAGES[shown[e]]}")
                for e in range(FIRST, EPOCHS - 1)
            ),
        )

    def label_sets(self, roots: Sequence[Path]) -> dict[str, dict[str, list[str]]]:
        return STAGE_SETS


def task_of(name: str) -> Task:
    with mock.patch.object(Task, "__post_init__"):
        return replace(load_task(name), datasets=("planted",))


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("planted")
    config = BuildConfig(
        preprocessing=Modalities(hr=Preprocessing(1.0), counts=Preprocessing(1 / 30)),
        segment_s=300,
        fractions=Fractions(1.0, 0.0, 0.0),
    )
    with (
        mock.patch.object(build_module, "source", return_value=Planted()),
        mock.patch.object(writing, "source", return_value=Planted()),
        mock.patch.object(build_module, "check_physiology"),
    ):
        build("planted", [folder], folder / "shards", config, workers=1, progress=False)
    return folder / "shards"


@pytest.fixture(scope="module")
def rounds(shards: Path) -> list[Round]:
    return rounds_of(task_of("sleep_watch_hr_counts_4"), [str(shards)])


def test_features_are_of_the_tasks_own_epochs(rounds: list[Round]) -> None:
    one = rounds[0]
    x, names = handmade(one, "test")
    truth = one.truth["test"]
    assert x.shape == (len(truth), len(names))
    assert len(set(names)) == len(names)
    column = dict(zip(names, x.T, strict=True))
    hours = (truth.facts["onset_s"].to_numpy() - EPOCH_S * FIRST) / 3600
    np.testing.assert_allclose(column["hours since the first epoch"], hours)
    right = ~np.isin(truth.records, [f"planted/{night}" for night in OFF])
    # N2 and N3 are the task's classes light and deep, in the order of STAGES.
    np.testing.assert_allclose(column["hr"][right], 50 + 8 * truth.values[right], atol=5)
    assert ((column["counts"] > 0)[right] <= (truth.values == 0)[right]).all()
    for night in np.unique(truth.records):
        of_night = column["hr, of the night"][truth.records == night]
        assert np.median(of_night) == pytest.approx(0, abs=1e-9)
        assert np.subtract(*np.percentile(of_night, (75, 25))) == pytest.approx(1)


def test_wider_windows_stand_at_the_same_epochs(rounds: list[Round]) -> None:
    reader = rounds[1].readers["train"]
    wide = wider(reader, 600, 900)
    assert wide.anchors is not None
    assert reader.anchors is not None
    assert wide.anchors.equals(reader.anchors)
    assert wide.window_samples == 1500
    narrow_bpm, wide_bpm = (
        next(r.evaluation_batches(micro_batch=50, rank=0, ranks=1)).streams["hr-1hz"].physical()[0]
        for r in (reader, wide)
    )
    # The task's windows begin 285 s before their epoch.
    np.testing.assert_array_equal(narrow_bpm, wide_bpm[:, :, 315:915])


def test_planted_stages_are_found_and_nights_that_are_off_named(
    rounds: list[Round], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(boosting, "TREES", 30)
    task = task_of("sleep_watch_hr_counts_4")
    scores = handmade_scores(task, rounds)
    truth = truth_of(rounds, "test")
    assert scores.test.shape == (len(truth), 4)
    assert goodness("multiclass", truth.values, scores.test) > 0.6
    found = label_shift(truth, scores.test)
    assert found.best == 0
    assert {f"planted-{night[-1]}": 1 for night in OFF} == found.subjects


def test_a_sequence_head_reads_the_same_features(
    rounds: list[Round], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sequence_probe, "SETTINGS", sequence_probe.SETTINGS[-1:])
    monkeypatch.setattr(candidates, "LEAST_STEPS", 80)
    scores = handmade_sequence_scores(task_of("sleep_watch_hr_counts_4"), rounds[:1])
    truth = truth_of(rounds[:1], "test")
    np.testing.assert_allclose(scores.test.sum(axis=1), 1, atol=1e-5)
    assert goodness("multiclass", truth.values, scores.test) > 0.6


def test_other_modalities_and_windows_without_epochs_are_refused(
    rounds: list[Round], shards: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = WindowReader(DataConfig((str(shards),), channels={"hr": ("hr",)}), "train", seed=0)
    with pytest.raises(ValueError, match="expected a task with an `anchor`"):
        wider(plain, 60, 60)
    monkeypatch.setattr(handmade_module, "MAKERS", {"hr": MAKERS["hr"]})
    with pytest.raises(ValueError, match="are of hr, not of counts"):
        handmade(rounds[0], "test")
