"""Each subject is judged with an encoder that never saw it."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from biofm.evaluation.tasks import load_task
from biofm.federated.configuration import DivisionConfig, FederatedConfig
from biofm.federated.division import TEST, TRAIN
from biofm.federated.encoders import assigned
from biofm.models.pretrained import CHOSEN, TRAINING
from biofm.shards.contents import contents
from biofm.shards.reader import WindowReader


@pytest.fixture
def unsaid(tiny_encoder: Path, tmp_path: Path) -> str:
    """The same encoder, whose folder does not say what it learned from."""
    folder = tmp_path / "runs" / "unsaid" / "best"
    shutil.copytree(tiny_encoder, folder)
    (folder / TRAINING).unlink()
    return str(folder)


def test_whom_an_encoder_saw_is_marked(small_config: FederatedConfig, subjects: list[str]) -> None:
    found = assigned(replace(small_config, excluded=()))
    assert len(found) == 1
    assert list(found[0].judged) == subjects
    assert found[0].seen == set(subjects[4:])


def test_an_encoder_that_says_nothing_may_have_seen_all(
    small_config: FederatedConfig, unsaid: str
) -> None:
    found = assigned(replace(small_config, models=(unsaid,)))[0]
    assert found.seen == set(found.judged)


def test_of_several_encoders_each_judges_whom_it_never_saw(
    small_config: FederatedConfig,
    subjects: list[str],
    sleep_shards: Path,
    tmp_path: Path,
    tiny_encoder: Path,
) -> None:
    other = tmp_path / "runs" / "other" / "best"
    shutil.copytree(tiny_encoder, other)
    seen = pl.col("subject").is_in(subjects[:2])
    task = load_task(small_config.task)
    reader = WindowReader(task.data((str(sleep_shards),)), "seen", seed=0, rows=seen)
    contents(reader).write_parquet(other / TRAINING)
    models = (str(tiny_encoder), str(other))
    found = assigned(replace(small_config, models=models, excluded=()))
    assert [one.folder for one in found] == [tiny_encoder, other]
    judged = [set(one.judged) for one in found]
    assert judged[0] | judged[1] == set(subjects)
    assert not judged[0] & judged[1]
    assert set(subjects[:2]) <= judged[0]
    assert set(subjects[4:]) <= judged[1]
    assert len(judged[0]) == len(judged[1]) == 3
    assert not found[0].seen
    assert not found[1].seen
    # In a federation of its own each encoder serves all of them.
    assert all(list(one.cohort.clients) == subjects for one in found)


def test_the_unseen_are_tested_on_all_their_windows(
    small_config: FederatedConfig, subjects: list[str], tiny_encoder: Path, tmp_path: Path
) -> None:
    other = tmp_path / "runs" / "other" / "best"
    shutil.copytree(tiny_encoder, other)
    config = replace(
        small_config,
        models=(str(tiny_encoder), str(other)),
        division=DivisionConfig("unseen"),
        strategies=("fedavg",),
    )
    for one in assigned(config):
        assert len(one.judged) == 2
        for subject, client in one.cohort.clients.items():
            assert (client.roles == (TEST if subject in one.judged else TRAIN)).all()


def test_whom_an_encoder_was_chosen_on_is_seen_too(
    small_config: FederatedConfig,
    subjects: list[str],
    sleep_shards: Path,
    tmp_path: Path,
    tiny_encoder: Path,
) -> None:
    """Its best weights are those that were best for these people."""
    other = tmp_path / "runs" / "other" / "best"
    shutil.copytree(tiny_encoder, other)
    task = load_task(small_config.task)
    first = pl.col("subject") == subjects[0]
    reader = WindowReader(task.data((str(sleep_shards),)), "chosen", seed=0, rows=first)
    contents(reader).write_parquet(other / CHOSEN)
    found = assigned(replace(small_config, models=(str(other),)))[0]
    assert found.seen == {subjects[0]}
