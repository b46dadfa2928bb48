"""What federations learn from in these tests, made once: six nights of a twin, and a small encoder of heart rate."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from unittest import mock

import numpy as np
import polars as pl
import pytest
import torch

from biofm.datasets.simulate import simulate
from biofm.evaluation.tasks import load_task
from biofm.federated.cohort import Cohort, cohort_of
from biofm.federated.configuration import (
    BaseConfig,
    DivisionConfig,
    FederatedConfig,
    LocalConfig,
    PersonalConfig,
)
from biofm.federated.grids import InProcessGrid
from biofm.federated.keeping import keep
from biofm.federated.participants import Participants
from biofm.federated.server import Run, serve
from biofm.models.encoder import EncoderConfig
from biofm.models.pretrained import load_model, save_model
from biofm.models.tokenizer import PatchConfig
from biofm.models.vit import ViTEncoder
from biofm.shards import writing
from biofm.shards.build import build
from biofm.shards.configuration import shipped
from biofm.shards.contents import contents
from biofm.shards.reader import WindowReader
from biofm.signals import Preprocessing

TASK = "sleep_watch_hr_4"


@pytest.fixture(scope="session")
def sleep_shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shards of heart rate and counts of six subjects of the twin of sleep_accel, 45 minutes each."""
    root = tmp_path_factory.mktemp("sleep")
    tree = simulate("sleep_accel", root / "tree", records=6, seed=5, progress=False)
    shipped_one = shipped("sleep_accel")
    heart_alone = replace(shipped_one.preprocessing, acc=None)
    config = replace(shipped_one, preprocessing=heart_alone)
    # Whether signals are plausible is no matter here, and costs more than the rest.
    with mock.patch.object(writing, "PER_SHARD", 0):
        build("sleep_accel", [tree], root / "shards", config, workers=1, progress=False)
    return root / "shards"


@pytest.fixture(scope="session")
def subjects(sleep_shards: Path) -> list[str]:
    """The six, in order."""
    return sorted(pl.read_parquet(sleep_shards / "index.parquet")["subject"].unique())


@pytest.fixture(scope="session")
def tiny_encoder(
    sleep_shards: Path, subjects: list[str], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """An encoder of heart rate, never trained; its folder says that it saw the last two of the six."""
    task = load_task(TASK)
    seen = pl.col("subject").is_in(subjects[4:])
    reader = WindowReader(task.data((str(sleep_shards),)), "seen", seed=0, rows=seen)
    torch.manual_seed(0)
    patch = PatchConfig(
        modality="hr", channels=("hr",), rate_hz=1.0, samples=30, scale="unit", unit=10.0, centre=60.0
    )  # fmt: skip
    encoder = ViTEncoder(EncoderConfig(depth=1, patch=patch))
    folder = tmp_path_factory.mktemp("runs") / "tiny" / "best"
    prepared = {"hr": Preprocessing(1.0, longest_gap_s=60.0)}
    save_model(folder, encoder, prepared, 600.0, {}, "", contents(reader))
    return folder


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where embeddings are kept for all tests."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def small_config(
    sleep_shards: Path, tiny_encoder: Path, subjects: list[str], cache: Path, tmp_path: Path
) -> FederatedConfig:
    """Four clients whom the encoder never saw, two rounds of two steps, blocks of six minutes."""
    return FederatedConfig(
        models=(str(tiny_encoder),),
        shards=(str(sleep_shards),),
        task=TASK,
        division=DivisionConfig(block_s=360, guard_s=30),
        rounds=2,
        hidden=8,
        local=LocalConfig(steps=2, batch=8),
        personal=PersonalConfig(steps=4, every=2),
        base=BaseConfig(steps=4, every=2),
        excluded=tuple(subjects[4:]),
        out=tmp_path / "out",
        cache=cache,
    )


@pytest.fixture
def small_cohort(small_config: FederatedConfig) -> Cohort:
    """The clients of `small_config`."""
    return cohort_of(small_config, load_model(small_config.models[0]))


Federate = Callable[..., list[Run]]
"""(config, cohort, or the config's own): every strategy in this process, files in `config.out`."""


@pytest.fixture(scope="session")
def federate() -> Federate:
    """Runs a config as `Federate` says."""

    def run(config: FederatedConfig, cohort: Cohort | None = None) -> list[Run]:
        there = cohort or cohort_of(config, load_model(config.models[0]))
        partition = {subject: place for place, subject in enumerate(there.clients)}
        grid = InProcessGrid(
            Participants(there, partition),
            lambda name, subject, answers: keep(config.out, there, name, subject, answers),
        )
        return list(serve(grid, config))

    return run


@pytest.fixture
def easy() -> Callable[[FederatedConfig], Cohort]:
    """A config's cohort with embeddings that tell the classes well: features around a centre for each."""

    def make(config: FederatedConfig) -> Cohort:
        cohort = cohort_of(config, load_model(config.models[0]))
        random = np.random.default_rng(0)
        centre_KD = random.normal(size=(len(cohort.truth.classes), cohort.model.dim))
        noise_ND = random.normal(size=(len(cohort.truth.values), cohort.model.dim))
        # Where `Cohort.embeddings` would be kept once they are made.
        cohort.__dict__["embeddings"] = (centre_KD[cohort.truth.values] + 2 * noise_ND).astype(
            np.float32
        )
        return cohort

    return make
