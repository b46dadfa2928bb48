"""A dozen steps of each objective on the twin: loss curves that only a change of training changes, and resuming.

Where a change is meant, write the new curves, and say so in the commit:

    pytest tests/pretrain/test_golden.py --update-golden [-k NAME]

A new objective is a function here that gives its small config and how it is made, and a row in `OBJECTIVES`.
"""

from __future__ import annotations

import itertools
import json
import os
import signal
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from biofm.models.decoder import DecoderConfig
from biofm.models.encoder import EncoderConfig
from biofm.models.fused import FusedConfig
from biofm.models.multimodal import MultimodalConfig
from biofm.models.tokenizer import PatchConfig
from biofm.pretrain import (
    byol_run,
    clocs_run,
    cpc_run,
    jepa_run,
    mae_run,
    multimodal_mae_run,
    multimodal_run,
    simclr_run,
)
from biofm.pretrain.checkpoint import checkpoints, stored_progress
from biofm.pretrain.configuration import OptimConfig, RunConfig
from biofm.pretrain.objectives.byol import BYOL, BYOLConfig
from biofm.pretrain.objectives.clocs import Clocs, ClocsConfig
from biofm.pretrain.objectives.cpc import CPC, CPCConfig
from biofm.pretrain.objectives.jepa import JEPA, JEPAConfig
from biofm.pretrain.objectives.mae import MAE, MAEConfig
from biofm.pretrain.objectives.multimodal import SharedPrivate, SharedPrivateConfig
from biofm.pretrain.objectives.multimodal_mae import MultimodalMAE, MultimodalMAEConfig
from biofm.pretrain.objectives.simclr import SimCLR, SimCLRConfig
from biofm.pretrain.run import run
from biofm.pretrain.tracking import read_metrics
from biofm.shards.reader import DataConfig

GOLDEN = Path(__file__).parents[1] / "golden"
STEPS = 12
MODEL = EncoderConfig(depth=1, patch=PatchConfig(samples=50))
OPTIM = OptimConfig(lr=1e-3, global_batch=8, epochs=2, warmup_epochs=1)
"""Two epochs of six steps."""
TOLERANCE = 1e-3
"""Of a loss. One thread or two, AVX-512, AVX2 or SSE differ by 5e-6 (the curves' own rounding); a learning rate that
is a tenth higher by 3.6e-3 and more."""

Made = tuple[Any, Callable[[Any, str], Any]]
"""A run's config, and what makes its objective of an encoder and a stream."""


def mae(data: DataConfig, where: RunConfig) -> Made:
    objective = MAEConfig(decoder=DecoderConfig(dim=32, depth=1, heads=2))
    config = mae_run.Config(data, MODEL, objective, OPTIM, where)
    return config, lambda encoder, stream: MAE(encoder, objective, stream)


def clocs(data: DataConfig, where: RunConfig) -> Made:
    objective = ClocsConfig()
    config = clocs_run.Config(replace(data, window_s=2.5), MODEL, objective, OPTIM, where)
    return config, lambda encoder, stream: Clocs(encoder, objective, stream)


def cpc(data: DataConfig, where: RunConfig) -> Made:
    objective = CPCConfig((3,), 32)
    model = EncoderConfig("s4_causal", depth=1, patch=PatchConfig(samples=20))
    config = cpc_run.Config(data, model, objective, OPTIM, where)
    return config, lambda encoder, stream: CPC(encoder, objective, stream)


def jepa(data: DataConfig, where: RunConfig) -> Made:
    objective = JEPAConfig(momentum=0.9, predictor=DecoderConfig(dim=32, depth=1, heads=2))
    config = jepa_run.Config(data, MODEL, objective, OPTIM, where)
    return config, lambda encoder, stream: JEPA(encoder, objective, stream)


def simclr(data: DataConfig, where: RunConfig) -> Made:
    objective = SimCLRConfig(hidden=32, dim=16)
    config = simclr_run.Config(data, MODEL, objective, OPTIM, where)
    return config, lambda encoder, stream: SimCLR(encoder, objective, stream)


def byol(data: DataConfig, where: RunConfig) -> Made:
    objective = BYOLConfig(momentum=0.9, hidden=32, dim=16)
    config = byol_run.Config(data, MODEL, objective, OPTIM, where)
    return config, lambda encoder, stream: BYOL(encoder, objective, stream)


def pressure(shards: Path) -> DataConfig:
    """ECG and PPG, one window of ten seconds a minute: five steps an epoch."""
    return DataConfig((str(shards),), channels={"ecg": ("II",), "ppg": ("ppg",)}, hop_s=60.0)


def multimodal(data: DataConfig, where: RunConfig) -> Made:
    patches = multimodal_mae_run.ECG_AND_PPG
    model = MultimodalConfig({m: EncoderConfig(depth=1, patch=p) for m, p in patches.items()}, 16)
    objective = SharedPrivateConfig(subject=0.1)
    config = multimodal_run.Config(data, model, objective, replace(OPTIM, epochs=3), where)
    return config, lambda encoder, stream: SharedPrivate(encoder, objective, stream)


def multimodal_mae(data: DataConfig, where: RunConfig) -> Made:
    model = FusedConfig(multimodal_mae_run.ECG_AND_PPG, depth=1)
    objective = MultimodalMAEConfig(decoder=DecoderConfig(dim=32, depth=1, heads=2))
    config = multimodal_mae_run.Config(data, model, objective, replace(OPTIM, epochs=3), where)
    return config, lambda encoder, stream: MultimodalMAE(encoder, objective, stream)


OBJECTIVES: dict[str, Callable[[DataConfig, RunConfig], Made]] = {
    "mae": mae,
    "clocs": clocs,
    "cpc": cpc,
    "jepa": jepa,
    "simclr": simclr,
    "byol": byol,
    "multimodal": multimodal,
    "multimodal_mae": multimodal_mae,
}


def data_of(name: str, request: pytest.FixtureRequest) -> DataConfig:
    """The shards that an objective can learn from."""
    if name.startswith("multimodal"):
        return pressure(request.getfixturevalue("pressure_shards"))
    return DataConfig((str(request.getfixturevalue("twin_shards")),))


def losses(out: Path) -> list[float]:
    """Of every step."""
    return [line["loss"] for line in read_metrics(out) if "loss" in line]


@pytest.mark.parametrize("name", OBJECTIVES)
def test_the_loss_curve_is_the_golden_one(
    name: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    where = RunConfig(out=tmp_path / name, tracking=None, watch_every=0)
    config, make = OBJECTIVES[name](data_of(name, request), where)
    run(config, make)
    found = losses(where.out)[:STEPS]
    assert len(found) == STEPS
    path = GOLDEN / f"{name}.json"
    if request.config.getoption("--update-golden", default=False):
        path.write_text(json.dumps([round(loss, 5) for loss in found], indent=1) + "\n")
        pytest.skip(f"{path} was written")
    assert found == pytest.approx(json.loads(path.read_text()), rel=TOLERANCE)


def test_every_golden_curve_is_of_an_objective_here() -> None:
    assert {path.stem for path in GOLDEN.glob("*.json")} - {"mae_small"} == set(OBJECTIVES)


# Masked autoencoding is stopped in test_run.py, and what has a slow copy in test_objective_runs.py.
@pytest.mark.parametrize("name", ["clocs", "cpc", "multimodal", "multimodal_mae"])
def test_stopped_and_resumed_it_is_the_run_that_was_not(
    name: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    data, found = data_of(name, request), {}
    for stop_at in (None, 7):
        where = RunConfig(
            out=tmp_path / str(stop_at), tracking=None, watch_every=0, validate_every=9, keep_last=1
        )
        config, make = OBJECTIVES[name](data, where)
        if stop_at is not None:
            run(config, partial(stopping, make, stop_at))
            assert 7 <= stored_progress(checkpoints(where.out)[-1]).step < STEPS
        run(config, make)
        weights = load_file(checkpoints(where.out)[-1] / "model" / "model.safetensors")
        found[stop_at] = losses(where.out), weights
    (whole, weights), (stopped, resumed) = found[None], found[7]
    assert whole == stopped
    for key, value in weights.items():
        assert torch.equal(value, resumed[key]), key


def stopping(make: Callable[[Any, str], Any], step: int, encoder: Any, stream: str) -> Any:
    """The objective; it sends the run a signal to stop after so many steps."""
    objective, steps = make(encoder, stream), itertools.count(1)
    follow = objective.after_step

    def after_step(done: float) -> None:
        follow(done)
        if next(steps) == step:
            os.kill(os.getpid(), signal.SIGTERM)

    objective.after_step = after_step
    return objective
