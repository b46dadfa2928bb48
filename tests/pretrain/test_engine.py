"""What every run does around the loop: where it goes on, what it refuses, which model it keeps."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from accelerate import Accelerator
from torch import Tensor, nn

from biofm.configuration import write_config
from biofm.pretrain.checkpoint import Progress, checkpoints
from biofm.pretrain.configuration import OptimConfig, RunConfig
from biofm.pretrain.engine import Parts, finished, resume_point, train
from biofm.pretrain.objectives.base import Outcome
from biofm.pretrain.tracking import Tracker, read_metrics
from biofm.shards.reader import DataConfig, WindowReader
from biofm.signals.windows import Batch


@dataclass(frozen=True)
class Config:
    """What `train` asks of a config."""

    run: RunConfig
    optim: OptimConfig = OptimConfig(lr=1e-2, global_batch=16, epochs=3, warmup_epochs=0)
    width: int = 1
    shards: tuple[str, ...] = field(default=("a",))
    resume: Literal["auto", "never"] = "auto"


class Level(nn.Module):
    """Learns the mean of lead I."""

    def __init__(self) -> None:
        super().__init__()
        self.level = nn.Parameter(torch.ones(()))

    def forward(self, batch: Batch) -> Outcome:
        """Squared error of every window's mean."""
        x_BCT, _ = next(iter(batch.streams.values())).physical()
        return Outcome((x_BCT[:, 0].mean(dim=1) - self.level).square().sum(), self.count(batch))

    def count(self, batch: Batch) -> Tensor:
        """Windows."""
        return torch.tensor(float(len(batch)))


@dataclass
class Seen:
    """What a run called."""

    models: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    begun: int = 0
    drawn: int = 0


def parts_of(
    shards: Path, seen: Seen, judge: Callable[[], tuple[dict[str, float], float]] | None = None
) -> Parts:
    training, validation = (
        WindowReader(DataConfig((str(shards),)), split, seed=0) for split in ("train", "validation")
    )

    def write_model(folder: Path, facts: dict[str, Any]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        seen.models.append((folder.name, facts))

    def draw(progress: Progress) -> list[Path]:
        seen.drawn += 1
        return []

    def begin(tracker: Tracker) -> None:
        seen.begun += 1

    about, tags = ["a line"], {"stage": "test"}
    return Parts(
        Level(), training, validation, about, tags, 2.0, write_model, draw, judge=judge, begin=begin
    )


def config_of(out: Path, **changes: Any) -> Config:
    run = RunConfig(out=out, tracking=None, log_every=1, checkpoint_every=2)
    return dataclasses.replace(Config(run), **changes)


def best(seen: Seen) -> list[dict[str, Any]]:
    return [facts for name, facts in seen.models if name == "best"]


def test_a_judge_decides_which_model_is_kept_and_its_figures_go_with_it(
    twin_shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    seen, said = Seen(), iter([0.5, 0.2, 0.3])

    def judge() -> tuple[dict[str, float], float]:
        value = next(said)
        return {"error": value}, value

    config = config_of(tmp_path / "run")
    progress = train(config, Accelerator(cpu=True), None, parts_of(twin_shards, seen, judge))
    assert finished(config, progress)
    per_epoch = progress.step // 3
    assert [(facts["error"], facts["step"]) for facts in best(seen)] == [
        (0.5, per_epoch),
        (0.2, 2 * per_epoch),
    ]
    assert (progress.best, progress.best_step) == (0.2, 2 * per_epoch)
    lines = [line for line in read_metrics(config.run.out) if "error" in line]
    assert [line["error"] for line in lines] == [0.5, 0.2, 0.3]
    assert all(line["validation_loss"] > 0 for line in lines)
    shown = capsys.readouterr().out
    assert "a line" in shown
    assert f"3 epochs of {per_epoch} steps, 16 windows each" in shown


def test_without_a_judge_the_validation_loss_decides(twin_shards: Path, tmp_path: Path) -> None:
    seen = Seen()
    config = config_of(tmp_path / "run")
    progress = train(config, Accelerator(cpu=True), None, parts_of(twin_shards, seen))
    losses = [
        m["validation_loss"] for m in read_metrics(tmp_path / "run") if "validation_loss" in m
    ]
    assert losses == sorted(losses, reverse=True)  # a level that is learned gets better
    assert len(best(seen)) == 3
    assert progress.best == losses[-1] == best(seen)[-1]["validation_loss"]
    assert (seen.begun, seen.drawn) == (1, 2)


def test_where_losses_cannot_be_compared_the_last_model_is_kept(
    twin_shards: Path, tmp_path: Path
) -> None:
    seen, said = Seen(), iter([0.2, 0.5, 0.3])
    parts = parts_of(twin_shards, seen, lambda: ({}, next(said)))
    parts.objective.comparable = False  # type: ignore[assignment] # of objectives, no tensor
    progress = train(config_of(tmp_path / "run"), Accelerator(cpu=True), None, parts)
    assert len(best(seen)) == 3
    assert (progress.best, progress.best_step) == (0.3, progress.step)


def test_a_run_that_goes_on_does_not_begin_again(twin_shards: Path, tmp_path: Path) -> None:
    seen, out = Seen(), tmp_path / "run"
    short = config_of(out, optim=OptimConfig(lr=1e-2, global_batch=16, epochs=1, warmup_epochs=0))
    assert resume_point(short) is None
    first = train(short, Accelerator(cpu=True), None, parts_of(twin_shards, seen))
    longer = config_of(out)
    assert finished(short, first)
    assert not finished(longer, first)
    point = checkpoints(out)[-1]
    progress = train(longer, Accelerator(cpu=True), point, parts_of(twin_shards, seen))
    assert progress.step == 3 * first.step
    assert seen.begun == 1
    steps = [line["step"] for line in read_metrics(out) if "loss" in line]
    assert steps == list(range(1, progress.step + 1))


@pytest.fixture
def stopped(tmp_path: Path) -> Config:
    """A run with one checkpoint."""
    config = config_of(tmp_path / "run")
    point = tmp_path / "run" / "checkpoints" / "step-0000002"
    point.mkdir(parents=True)
    (point / "progress.json").write_text("{}")
    write_config(config, tmp_path / "run" / "config.yaml")
    return config


def test_a_run_goes_on_with_what_decides_nothing_changed(stopped: Config) -> None:
    point = checkpoints(stopped.run.out)[-1]
    assert resume_point(stopped) == point
    free = dataclasses.replace(
        stopped,
        optim=dataclasses.replace(stopped.optim, micro_batch=4),
        run=dataclasses.replace(stopped.run, log_every=7, checkpoint_every=9, keep_last=1),
    )
    assert resume_point(free) == point


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"width": 2}, r"another config \(width was 1, is 2\)"),
        ({"shards": ("a", "b")}, r"shards was \['a'\], is \['a', 'b'\]"),
        (
            {"optim": OptimConfig(lr=2e-2)},
            r"optim.epochs was 3, is 14; .*optim.lr was 0.01, is 0.02",
        ),
        (
            {"resume": "never"},
            "already holds checkpoints: choose another run.out, or --resume auto",
        ),
    ],
)
def test_another_config_is_refused_with_what_differs(
    stopped: Config, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        resume_point(dataclasses.replace(stopped, **change))


def test_a_batch_that_does_not_fit_stops_before_anything_is_written(
    twin_shards: Path, tmp_path: Path
) -> None:
    config = config_of(tmp_path / "run", optim=OptimConfig(global_batch=1000, epochs=1))
    with pytest.raises(ValueError, match="a global batch of 1000 does not fit"):
        train(config, Accelerator(cpu=True), None, parts_of(twin_shards, Seen()))
    assert not config.run.out.exists()


def test_labels_to_watch_are_refused_where_nothing_watches(
    twin_shards: Path, tmp_path: Path
) -> None:
    config = config_of(tmp_path / "run")
    asked = dataclasses.replace(config, run=dataclasses.replace(config.run, watch_labels="form"))
    with pytest.raises(ValueError, match=r"run.watch_labels is 'form', but only pretraining"):
        train(asked, Accelerator(cpu=True), None, parts_of(twin_shards, Seen()))
    assert not config.run.out.exists()
