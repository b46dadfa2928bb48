"""Whole supervised runs on small twins: what they learn, leave behind and say; killed, resumed, on two processes.

Runs that are killed or of several processes are processes of their own, forked from a server that has only
imported things: polars' threads do not survive a fork.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import polars as pl
import pytest
import torch
from accelerate import Accelerator
from numpy.typing import NDArray
from safetensors.torch import load_file
from sklearn.metrics import roc_auc_score

import biofm
from biofm.evaluation.probes import goodness
from biofm.evaluation.rounds import truth_of
from biofm.evaluation.scores import Scores, load_scores
from biofm.evaluation.tasks import load_task
from biofm.finetune.configuration import FinetuneConfig
from biofm.finetune.finetune_run import finetune
from biofm.finetune.learning import answers, learn
from biofm.finetune.objective import Supervised
from biofm.finetune.rounds import rounds_together
from biofm.models.task_model import load_task_model
from biofm.pretrain.checkpoint import checkpoints
from biofm.pretrain.configuration import OptimConfig, RunConfig
from biofm.pretrain.tracking import read_metrics
from biofm.signals.augmentations import ST_MEM, AugmentConfig

ROOT = Path(biofm.__file__).resolve().parent
LAUNCH = [sys.executable, "-m", "accelerate.commands.launch"]
TIMEOUT_S = 240
TASK = "ptbxl_superdiagnostic"
SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["biofm.finetune.learning"])
# The server's children import this file by name. pytest's name for it begins with `tests.`, and an
# installed library may have a package of that name.
sys.path.insert(0, str(Path(__file__).parent))
sys.modules["test_learning"] = sys.modules[__name__]
__name__ = "test_learning"


def small(material: Path, out: Path, model: str = "encoder", **changes: Any) -> FinetuneConfig:
    """Five steps an epoch."""
    config = FinetuneConfig(
        shards=(str(material / "ptbxl"),),
        tasks=(TASK,),
        model=str(material / model) if (material / model).is_dir() else model,
        optim=OptimConfig(lr=2e-3, global_batch=8, epochs=3, warmup_epochs=1),
        run=RunConfig(out=out, tracking=None, log_every=1, checkpoint_every=3),
    )
    return replace(config, **changes)


def train(config: FinetuneConfig) -> None:
    torch.set_num_threads(1)
    learn(config)


def forked(config: FinetuneConfig) -> Any:
    process = SERVER.Process(target=train, args=(config,))
    process.start()
    return process


def curve(out: Path) -> dict[int, float]:
    """Every step's training loss."""
    return {line["step"]: line["loss"] for line in read_metrics(out) if "loss" in line}


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def same(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor]) -> bool:
    return one.keys() == two.keys() and all(torch.equal(one[k], two[k]) for k in one)


def on_train(config: FinetuneConfig) -> float:
    """What the best model reaches on the windows it learned from."""
    (one,) = rounds_together(config, [load_task(TASK)])
    model = load_task_model(config.run.out / "best")
    (said_WK,) = answers(Accelerator(cpu=True), model, one.readers["train"])
    truth = one.truth["train"]
    return goodness("multilabel", truth.values, said_WK[truth.windows])


@pytest.mark.parametrize(
    ("model", "epochs", "crop_s"), [("encoder", 10, None), ("resnet18", 5, 2.5)]
)
def test_a_few_recordings_are_learned_by_heart(
    material: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    model: str,
    epochs: int,
    crop_s: float | None,
) -> None:
    config = small(material, tmp_path / "run", model, crop_s=crop_s, drop_path=0.0, layer_decay=1.0)
    optim = replace(config.optim, epochs=epochs, weight_decay=0.0, lr=1e-3 if crop_s else 2e-3)
    config = replace(config, optim=optim, run=replace(config.run, validate_every=epochs))
    finetune(config)
    assert on_train(config) > 0.97
    shown = capsys.readouterr().out
    assert "SYNTHETIC" in shown
    begun = "pretrained" if model == "encoder" else "new weights"
    assert re.search(rf"model      .*{model} \({begun}\)", shown)
    check_scores(config, shown)
    card = (config.run.out / "best" / "README.md").read_text()
    assert "SYNTHETIC" in card
    assert "PTB-XL: 5 diagnostic superclasses | CD, HYP" in card


def check_scores(config: FinetuneConfig, shown: str) -> None:
    """The file has what the best model says of each split, in the order of the truth."""
    scores = load_scores(config.run.out / "scores" / f"{TASK}.npz", {})
    assert scores is not None
    rounds = rounds_together(config, [load_task(TASK)])
    validation = truth_of(rounds, "validation")
    assert scores.test.shape == truth_of(rounds, "test").values.shape
    assert scores.validation.shape == validation.values.shape
    assert goodness("multilabel", validation.values, scores.validation) == scores.chosen
    assert f"{TASK}: {scores.chosen:.4f} on validation" in shown
    model = load_task_model(config.run.out / "best")
    assert model.facts[f"validation_{TASK}"] == scores.chosen
    reader, truth = rounds[0].readers["test"], truth_of(rounds, "test")
    place = {record: n for n, record in enumerate(truth.records)}
    seen = set()
    for batch in reader.evaluation_batches(micro_batch=4, rank=0, ranks=1):
        (said_BK,) = model.answers(batch.streams)
        names = reader.index[batch.rows.numpy()].select(pl.format("{}/{}", "dataset", "record"))
        for said_K, name in zip(said_BK.numpy(), names.to_series(), strict=True):
            if name in place:
                np.testing.assert_allclose(said_K, scores.test[place[name]], rtol=1e-4, atol=1e-6)
                seen.add(name)
    assert seen == place.keys()


def test_beats_of_a_cross_validation_are_learned_at_their_annotations(
    material: Path, tmp_path: Path
) -> None:
    run = RunConfig(out=tmp_path / "beats", tracking=None)
    optim = OptimConfig(lr=2e-3, global_batch=16, epochs=6, warmup_epochs=1)
    config = FinetuneConfig(
        (str(material / "mitdb"),),
        (str(material / "beats.yaml"),),
        str(material / "of_beats"),
        round=1,
        optim=optim,
        run=run,
    )
    scores = learn(config)
    assert scores is not None
    (one,) = rounds_together(config, [load_task(material / "beats.yaml")])
    truth = one.truth["test"]
    said = scores["beats"].test
    assert said.shape == (len(truth), len(truth.classes))
    np.testing.assert_allclose(said.sum(axis=1), 1, rtol=1e-5)
    anchors = one.readers["test"].anchors
    assert anchors is not None
    assert len(truth) > 100
    ventricular = truth.values == truth.classes.index("V")
    score = said[:, truth.classes.index("V")]
    assert auroc(ventricular, score) > 0.9
    # A truth that is one beat late is seen; not by chance only, because windows show the beat before as well.
    assert auroc(np.roll(ventricular, 1), score) < auroc(ventricular, score) - 0.1


def auroc(present_N: NDArray[np.bool_], score_N: NDArray[np.float64]) -> float:
    return float(roc_auc_score(present_N, score_N))


@pytest.fixture(scope="module")
def by_path(material: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two tasks by `python finetune/finetune.py`."""
    return script([sys.executable], material, tmp_path_factory.mktemp("script") / "one")


def script(launcher: Sequence[str], material: Path, out: Path, *more: str) -> Path:
    """The run folder of the entry script, run as its users do, from another folder."""
    words = ["--shards", str(material / "ptbxl"), "--tasks", TASK, "ptbxl_rhythm"]
    words += ["--model", str(material / "encoder"), "--crop_s", "5", "--drop_path", "0.3"]
    words += ["--optim.global_batch", "8", "--optim.epochs", "2", "--optim.warmup_epochs", "1"]
    words += ["--augment.ops", "[cutout, flip, wander, lead_dropout]"]
    words += ["--run.out", str(out), "--run.tracking", "null", *more]
    done = subprocess.run(
        [*launcher, str(ROOT / "finetune" / "finetune.py"), *words],
        cwd=out.parent,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
    )
    assert done.returncode == 0, done.stderr
    assert (
        len(re.findall("^ptbxl_rhythm: ", done.stdout, re.MULTILINE)) == 1
    )  # by the main process alone
    return out


def kept_scores(out: Path) -> dict[str, Scores]:
    found = {}
    for name in (TASK, "ptbxl_rhythm"):
        scores = load_scores(out / "scores" / f"{name}.npz", {})
        assert scores is not None
        found[name] = scores
    return found


def test_one_process_by_accelerate_launch_is_the_run_by_path(
    material: Path, by_path: Path, tmp_path: Path
) -> None:
    out = script([*LAUNCH, "--cpu", "--num_processes", "1"], material, tmp_path / "launched")
    assert same(weights(out / "best"), weights(by_path / "best"))
    one, two = kept_scores(by_path), kept_scores(out)
    assert all(np.array_equal(one[name].test, two[name].test) for name in one)


def test_two_processes_by_accelerate_launch_train_as_one(
    material: Path, by_path: Path, tmp_path: Path
) -> None:
    """The same crops, augmentations, skipped branches and losses; answers agree to 1e-3."""
    two_processes = str(ROOT / "configs" / "accelerate" / "cpu2.yaml")
    launcher = [*LAUNCH, "--config_file", two_processes]
    out = script(launcher, material, tmp_path / "two", "--run.processes", "2")
    one, two = curve(by_path), curve(out)
    assert one.keys() == two.keys()
    assert max(abs(one[s] - two[s]) / one[s] for s in one) < 1e-3
    for name, scores in kept_scores(by_path).items():
        other = kept_scores(out)[name]
        np.testing.assert_allclose(other.validation, scores.validation, atol=1e-3)
        np.testing.assert_allclose(other.test, scores.test, atol=1e-3)
        assert other.chosen == pytest.approx(scores.chosen, abs=0.01)


def weights_after_an_epoch(config: FinetuneConfig, folder: Path) -> None:
    """Every rank leaves its weights, running statistics included, and its scores behind."""
    kept: list[Supervised] = []

    class Kept(Supervised):
        def __init__(self, *parts: Any) -> None:
            super().__init__(*parts)
            kept.append(self)

    torch.set_num_threads(1)
    with mock.patch("biofm.finetune.learning.Supervised", Kept):
        scores = learn(config)
    assert scores is not None
    found = {"weights": kept[0].state_dict(), "chosen": scores[TASK].chosen}
    torch.save(found, folder / f"rank{os.environ['RANK']}.pt")


def as_rank(rank: int, port: int, target: Callable[..., None], args: tuple[Any, ...]) -> None:
    os.environ.update(
        RANK=str(rank),
        LOCAL_RANK=str(rank),
        WORLD_SIZE="2",
        LOCAL_WORLD_SIZE="2",
        MASTER_ADDR="127.0.0.1",
        MASTER_PORT=str(port),
    )
    target(*args)


@pytest.mark.parametrize("model", ["encoder", "resnet18"])
def test_ranks_keep_the_same_weights_bit_for_bit(
    material: Path, tmp_path: Path, model: str
) -> None:
    config = small(material, tmp_path / "ranks", model, crop_s=2.5)
    config = replace(config, optim=replace(config.optim, epochs=1))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    work = (weights_after_an_epoch, (config, tmp_path))
    processes = [SERVER.Process(target=as_rank, args=(rank, port, *work)) for rank in (0, 1)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(TIMEOUT_S)
        assert process.exitcode == 0
    one, two = (torch.load(tmp_path / f"rank{rank}.pt", weights_only=True) for rank in (0, 1))
    assert same(one["weights"], two["weights"])
    assert one["chosen"] == two["chosen"]


@pytest.mark.parametrize("model", ["encoder", "mobilenet_v2"])
def test_killed_and_resumed_it_is_the_run_that_was_not(
    material: Path, tmp_path: Path, model: str
) -> None:
    """Augmentations and skipped branches follow from the position; the checkpoint has the rest."""
    changes: dict[str, Any] = {
        "crop_s": 2.5,
        "drop_path": 0.3,
        "augment": AugmentConfig((*ST_MEM, "wander", "electrode_motion", "lead_dropout", "scale")),
        "optim": OptimConfig(lr=2e-3, global_batch=8, epochs=2, warmup_epochs=1),
    }
    config, other = (small(material, tmp_path / n, model, **changes) for n in ("whole", "killed"))
    train(config)
    steps = max(curve(config.run.out))
    process = forked(other)
    step = random.Random(len(model)).randint(4, steps - 2)
    while process.is_alive() and max(curve(other.run.out), default=0) < step:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert checkpoints(other.run.out)
    train(other)
    assert curve(other.run.out) == curve(config.run.out)
    assert same(weights(other.run.out / "best"), weights(config.run.out / "best"))
    states = [weights(checkpoints(c.run.out)[-1] / "state") for c in (config, other)]
    assert same(*states)


def test_a_run_goes_on_only_with_its_own_settings_and_a_finished_one_only_tells(
    material: Path, tmp_path: Path
) -> None:
    config = small(material, tmp_path / "run", optim=OptimConfig(global_batch=32, epochs=1))
    first = learn(config)
    before = read_metrics(config.run.out)
    again = learn(config)
    assert first is not None
    assert again is not None
    assert np.array_equal(first[TASK].test, again[TASK].test)
    assert read_metrics(config.run.out) == before
    for change, said in (
        ({"crop_s": 5.0}, "crop_s was None, is 5.0"),
        ({"tasks": ("ptbxl_rhythm",)}, "tasks was"),
    ):
        with pytest.raises(ValueError, match=f"another config.*{said}"):
            learn(replace(config, **change))


def test_several_folders_of_other_preprocessing_are_refused(material: Path, tmp_path: Path) -> None:
    from biofm.shards.build import build
    from biofm.shards.configuration import shipped

    how = shipped("ptbxl")
    other = replace(
        how,
        preprocessing=replace(how.preprocessing, ecg=replace(how.preprocessing.ecg, order=2)),  # type: ignore[type-var]
    )
    build(
        "ptbxl",
        [material / "trees" / "ptbxl"],
        tmp_path / "other",
        other,
        workers=1,
        progress=False,
    )
    shards = (str(material / "ptbxl"), str(tmp_path / "other"))
    with pytest.raises(
        ValueError, match=r"other was preprocessed as .*order=2.*one model needs one way"
    ):
        learn(small(material, tmp_path / "run", "resnet18", shards=shards))
    assert not (tmp_path / "run").exists()
