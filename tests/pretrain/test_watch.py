"""Looking at a representation while it learns: a collapse is caught, a sound run is not accused."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from matplotlib.image import imread
from torch import Tensor

import biofm
from biofm.evaluation.targets import targets
from biofm.models.decoder import DecoderConfig
from biofm.models.encoder import Encoder, EncoderConfig
from biofm.models.pretrained import load_model
from biofm.models.tokenizer import PatchConfig
from biofm.models.vit import ViTEncoder
from biofm.pretrain import watch as watching
from biofm.pretrain.checkpoint import Progress, checkpoints
from biofm.pretrain.configuration import OptimConfig, RunConfig
from biofm.pretrain.figures import draw_embeddings
from biofm.pretrain.objectives.base import Objective, Outcome
from biofm.pretrain.objectives.mae import MAE, MAEConfig
from biofm.pretrain.run import run
from biofm.pretrain.tracking import read_metrics
from biofm.pretrain.watch import Watch, collapse, fixed_batches, spread
from biofm.shards.reader import DataConfig, WindowReader
from biofm.signals.windows import Batch

ROOT = Path(biofm.__file__).resolve().parent
FIGURES = {"effective_rank", "embedding_deviation", "uniformity", "collapsed"}


@dataclass(frozen=True)
class Config:
    """A small run."""

    data: DataConfig
    run: RunConfig
    model: EncoderConfig = EncoderConfig(depth=1, patch=PatchConfig(samples=50))
    optim: OptimConfig = OptimConfig(lr=1e-3, global_batch=8, epochs=3, warmup_epochs=1)
    resume: Literal["auto", "never"] = "auto"


class Flat(Objective):
    """Rewards the same embedding for all windows."""

    method = "flattening"
    loss_of = "embeddings"

    def forward(self, batch: Batch) -> Outcome:
        """Squared distance to the batch's mean, in units of its length."""
        z_BD = self.encoder(batch.streams[self.stream])
        middle = z_BD.mean(dim=0).detach()
        far = ((z_BD - middle) / middle.norm()).square().sum()
        return Outcome(far, self.count(batch))

    def count(self, batch: Batch) -> Tensor:
        """Windows."""
        return torch.tensor(float(len(batch)))


class Pairs(Flat):
    """Reads two windows side by side."""

    views = 2


def mae(encoder: Encoder, stream: str) -> MAE:
    return MAE(encoder, MAEConfig(decoder=DecoderConfig(dim=32, depth=1, heads=2)), stream)


def small(shards: Path, out: Path, **changes: Any) -> Config:
    fields = {"out": out, "tracking": None, "checkpoint_every": 4, "log_every": 1, **changes}
    return Config(DataConfig((str(shards),)), RunConfig(**fields))


def looks(out: Path) -> list[dict[str, Any]]:
    """The figures of each look, with their steps."""
    return [
        {k: v for k, v in line.items() if k in FIGURES | {"step", "knn_auroc"}}
        for line in read_metrics(out)
        if "effective_rank" in line
    ]


@pytest.fixture(scope="module")
def sound(twin_shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A masked autoencoder that learns, watched by superclasses."""
    out = tmp_path_factory.mktemp("runs") / "sound"
    run(small(twin_shards, out, watch_labels="superdiagnostic"), mae)
    return out


def test_a_sound_run_is_not_accused_and_leaves_figures_and_a_picture(sound: Path) -> None:
    lines = looks(sound)
    assert [line["step"] for line in lines] == [0, 6, 12, 18]
    assert all(line.keys() == FIGURES | {"step", "knn_auroc"} for line in lines)
    assert all(line["collapsed"] == 0 for line in lines)
    assert all(10 < line["effective_rank"] < 192 for line in lines)
    assert all(0 <= line["knn_auroc"] <= 1 for line in lines)
    losses = [line["validation_loss"] for line in read_metrics(sound) if "validation_loss" in line]
    assert len(losses) == 3
    height, width, _ = imread(sound / "figures" / "embeddings.png").shape
    assert width > height > 300
    facts = load_model(sound / "best").facts
    assert facts["validation_loss"] == min(losses)
    assert not FIGURES & facts.keys()


def test_a_provoked_collapse_is_caught_and_reported_and_does_not_choose_the_model(
    twin_shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = small(twin_shards, tmp_path / "flat")
    config = replace(config, optim=OptimConfig(lr=0.05, global_batch=8, epochs=3, warmup_epochs=0))
    run(config, Flat)
    lines = looks(config.run.out)
    assert [line["collapsed"] for line in lines] == [0, 1, 1, 1]
    assert lines[-1]["embedding_deviation"] < lines[0]["embedding_deviation"]
    said = capsys.readouterr().out
    assert f"COLLAPSE   step {lines[-1]['step']}: " in said
    assert "What to do: lower optim.lr or lengthen optim.warmup_epochs" in said
    losses = {
        m["step"]: m["validation_loss"]
        for m in read_metrics(config.run.out)
        if "validation_loss" in m
    }
    # The loss alone looks like success, and still it alone decides.
    best = min(losses, key=lambda step: losses[step])
    assert load_model(config.run.out / "best").facts["step"] == best
    assert {line["step"]: line["collapsed"] for line in lines}[best] == 1


def figures(rank: float, apart: float) -> dict[str, float]:
    return {"effective_rank": rank, "embedding_deviation": apart}


@pytest.mark.parametrize(
    ("found", "first", "words"),
    [
        (figures(60, 0.1), figures(60, 0.1), None),
        (figures(60, 0.009), figures(60, 0.009), "nearly one embedding .* 0.0090 of 1/√192"),
        (figures(1.4, 0.1), figures(1.4, 0.1), "lie on a line .* 1.40 of 192, below 1.5"),
        (figures(11, 0.1), figures(60, 0.1), "effective_rank fell to 11.000, below 0.2 of the 60"),
        (figures(13, 0.1), figures(60, 0.1), None),
        (figures(60, 0.05), figures(60, 0.3), "embedding_deviation fell to 0.050, below 0.2"),
    ],
)
def test_what_counts_as_a_collapse(
    found: dict[str, float], first: dict[str, float], words: str | None
) -> None:
    why = collapse(found, first, (210, 192))
    if words is None:
        assert why is None
    else:
        with pytest.raises(ValueError, match=words):
            raise ValueError(why)
    assert collapse(found, first, (9, 192)) is None


def test_one_direction_left_is_a_collapse_and_many_are_none() -> None:
    chance = np.random.default_rng(0)
    subjects, places = np.arange(200), np.full(200, -1)
    line = chance.normal(size=(200, 1)) * chance.normal(size=(1, 64))
    for x_ND, fallen in ((line + 5, True), (chance.normal(size=(200, 64)) + 5, False)):
        found = spread(watching.Seen(x_ND, subjects, places))
        assert "alignment" not in found
        assert ("on a line" in str(collapse(found, found, x_ND.shape))) is fallen
    twice = spread(watching.Seen(x_ND, subjects // 2, places))
    assert twice["alignment"] > 0


def watch_of(shards: Path, out: Path, objective: type[Flat] = Flat, **changes: Any) -> Watch:
    config = small(shards, out, **changes)
    torch.manual_seed(0)
    readers = [
        WindowReader(config.data, split, seed=0, views=objective.views)
        if objective.views == 1
        else WindowReader(replace(config.data, window_s=5.0), split, seed=0, views=2)
        for split in ("train", "validation")
    ]
    if objective.views == 2:
        config = replace(config, data=replace(config.data, window_s=5.0))
    made = objective(ViTEncoder(config.model), "ecg-100hz")
    return Watch(config, Accelerator(cpu=True), made, *readers)


def test_embeddings_are_those_of_the_model_and_leave_it_as_it_was(
    twin_shards: Path, tmp_path: Path
) -> None:
    watch = watch_of(twin_shards, tmp_path)
    watch.objective.train()
    seen = watch.embed(watch.validation, None)
    assert watch.objective.encoder.training
    assert set(seen.places) == {-1}
    with torch.no_grad():
        (batch,) = watch.validation.evaluation_batches(micro_batch=500, rank=0, ranks=1)
        expected = watch.objective.encoder.eval()(batch.streams["ecg-100hz"])
    np.testing.assert_allclose(seen.embeddings, expected.numpy(), atol=1e-5)
    assert seen.subjects.tolist() == batch.subjects.tolist()


def test_of_objectives_with_several_views_single_windows_are_looked_at(
    twin_shards: Path, tmp_path: Path
) -> None:
    watch = watch_of(twin_shards, tmp_path, Pairs)
    seen = watch.embed(watch.validation, None)
    one = watch_of(twin_shards, tmp_path).validation
    assert len(seen.embeddings) == 2 * one.windows
    found, _ = watch(Progress(epoch=1))
    assert found["alignment"] < 4  # both halves of a recording are one subject's


def test_of_many_windows_the_same_sample_is_taken_each_time(
    twin_shards: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = WindowReader(DataConfig((str(twin_shards),)), "train", seed=0)
    everything = torch.cat([batch.rows for batch in fixed_batches(reader)])
    assert sorted(everything.tolist()) == list(range(reader.windows))
    monkeypatch.setattr(watching, "MOST", 20)
    monkeypatch.setattr(watching, "BATCH", 5)
    one, two = (torch.cat([batch.rows for batch in fixed_batches(reader)]) for _ in range(2))
    assert torch.equal(one, two)
    assert len(set(one.tolist())) == 20
    assert max(one.tolist()) > 25  # not the first ones


def test_embeddings_that_are_not_finite_are_reported_and_not_drawn(
    twin_shards: Path, tmp_path: Path
) -> None:
    watch = watch_of(twin_shards, tmp_path, watch_labels="superdiagnostic")
    with torch.no_grad():
        for weight in watch.objective.encoder.parameters():
            weight.fill_(float("nan"))
    found, lines = watch(Progress(epoch=1, step=7))
    assert found == {"collapsed": 1.0}
    assert "COLLAPSE   step 7: the encoder's embeddings are not finite" in lines[0]
    assert watch.draw(tmp_path, "") == []


@pytest.mark.parametrize(
    ("every", "validate_every", "expected"),
    [(1, 1, [1, 2, 3, 4, 5, 6, 7]), (3, 1, [1, 4, 7]), (2, 2, [2, 6, 7]), (0, 1, [])],
)
def test_how_often_it_looks(
    twin_shards: Path, tmp_path: Path, every: int, validate_every: int, expected: list[int]
) -> None:
    watch = watch_of(twin_shards, tmp_path, watch_every=every, validate_every=validate_every)
    watch.epochs = 7
    validated = [e for e in range(1, 8) if e % validate_every == 0 or e == 7]
    assert [e for e in validated if watch.due(Progress(epoch=e))] == expected


def test_the_first_look_of_a_run_is_remembered_after_a_restart(
    twin_shards: Path, tmp_path: Path
) -> None:
    (tmp_path / "metrics.jsonl").write_text(
        '{"step": 1, "effective_rank": 1000.0, "embedding_deviation": 0.1}\n'
    )
    found, lines = watch_of(twin_shards, tmp_path)(Progress(epoch=2))
    assert found["collapsed"] == 1
    assert "below 0.2 of the 1000.000 of the untrained encoder" in lines[1]


def test_stopped_and_resumed_no_look_is_repeated_or_lost(
    twin_shards: Path, sound: Path, tmp_path: Path
) -> None:
    """Killed before its first checkpoint, stopped within the second epoch, and again at its last step."""
    config = small(twin_shards, tmp_path / "stopped", watch_labels="superdiagnostic")
    config.run.out.mkdir()
    (config.run.out / "metrics.jsonl").write_text('{"step": 0, "effective_rank": 9.0}\n')
    steps = looks(sound)[1]["step"]
    for stop_at in (steps + 2, 2 * steps):
        run(config, partial(stopping, config, stop_at))
        assert checkpoints(config.run.out)[-1].name == f"step-{stop_at:07d}"
    run(config, mae)
    assert looks(config.run.out) == looks(sound)


def stopping(config: Config, step: int, encoder: Encoder, stream: str) -> MAE:
    """A masked autoencoder in whose run a stop signal comes, so that it ends after so many steps in all."""
    objective, found = mae(encoder, stream), checkpoints(config.run.out)
    # The loop counts targets once a step, and leaves in the step after the signal.
    count, steps = objective.count, [int(found[-1].name[-7:]) if found else 0]

    def counted(batch: Batch) -> Tensor:
        steps[0] += 1
        if steps[0] == step - 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return count(batch)

    objective.count = counted  # type: ignore[method-assign]
    return objective


def failure(action: Callable[[], Any]) -> str:
    with pytest.raises(ValueError, match=r"watch_") as caught:
        action()
    return str(caught.value)


def test_labels_that_are_not_there_stop_before_any_work(twin_shards: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    message = failure(lambda: run(small(twin_shards, out, watch_labels="diagnoses"), mae))
    assert "run.watch_labels: the shards have no label set 'diagnoses'; they have all, " in message
    assert not out.exists()
    staged = small(twin_shards, out, watch_labels="superdiagnostic")
    beats = replace(staged, data=replace(staged.data, anchor="beat"))
    with pytest.raises(ValueError, match="beat"):
        run(beats, mae)
    message = failure(lambda: small(twin_shards, out, watch_labels="form", watch_every=0))
    assert "run.watch_every is 0, and so nothing is looked at" in message
    assert "at least 0, not -1" in failure(lambda: small(twin_shards, out, watch_every=-1))


def test_labels_that_nothing_can_be_told_by_stop_before_any_work(
    twin_shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:

    def same_for_all(task: Any, reader: WindowReader) -> Any:
        found = targets(task, reader)
        return replace(found, values=np.ones_like(found.values))

    monkeypatch.setattr(watching, "targets", same_for_all)
    message = failure(lambda: watch_of(twin_shards, tmp_path, watch_labels="superdiagnostic"))
    assert "every window of split 'train' with a label of 'superdiagnostic' has the same" in message


def test_two_ranks_log_what_one_logs(twin_shards: Path, tmp_path: Path) -> None:
    """Weights differ by rounding, and so do the figures; who embeds which window changes nothing else."""
    one, two = tmp_path / "one", tmp_path / "two"
    alone = small(twin_shards, one, watch_labels="superdiagnostic")
    run(replace(alone, optim=replace(alone.optim, epochs=1)), mae)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        where = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1])}
    ranks = [
        script(
            twin_shards,
            two,
            {**where, "RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"},
        )
        for rank in ("0", "1")
    ]
    for process in ranks:
        _, errors = process.communicate(timeout=240)
        assert process.returncode == 0, errors
    assert [line["step"] for line in looks(two)] == [0, 6]
    for a, b in zip(looks(one), looks(two), strict=True):
        assert a == pytest.approx(b, rel=1e-4)


def script(shards: Path, out: Path, environment: dict[str, str]) -> subprocess.Popen[str]:
    options = {
        "data.shards": f"[{shards}]",
        "model.depth": "1",
        "model.patch.samples": "50",
        "objective.decoder.dim": "32",
        "objective.decoder.depth": "1",
        "objective.decoder.heads": "2",
        "optim.global_batch": "8",
        "optim.epochs": "1",
        "run.out": str(out),
        "run.tracking": "null",
        "run.watch_labels": "superdiagnostic",
    }
    words = [word for key, value in options.items() for word in (f"--{key}", value)]
    return subprocess.Popen(
        [sys.executable, str(ROOT / "pretrain" / "mae.py"), *words],
        env={**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize(("N", "D", "classes"), [(30, 5, 0), (30, 5, 9), (3, 1, 2), (2, 40, 1)])
def test_a_picture_of_few_windows_few_dimensions_or_many_classes(
    tmp_path: Path, N: int, D: int, classes: int
) -> None:
    chance = np.random.default_rng(0)
    x_ND = chance.normal(size=(N, D))
    has = {f"class {k}": chance.random(N) < 0.5 for k in range(classes)}
    draw_embeddings(x_ND, has, tmp_path / "embeddings.png", "a note")
    assert imread(tmp_path / "embeddings.png").std() > 0.01
    draw_embeddings(np.ones((N, D)), has, tmp_path / "flat.png", "all alike")
    assert (tmp_path / "flat.png").is_file()
