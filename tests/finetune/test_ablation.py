"""`biofm ablate` end to end on small twins: budget, kill and resume, failures, and the table's numbers."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import runpy
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from sklearn.metrics import roc_auc_score

from biofm.cli import main
from biofm.configuration import CONFIGS, read_config
from biofm.datasets.simulate import simulate
from biofm.evaluation import attention_probe
from biofm.evaluation.comparison import counted_columns
from biofm.evaluation.rounds import rounds_of, truth_of
from biofm.evaluation.tasks import load_task
from biofm.finetune import frozen, rows
from biofm.finetune.ablation import ablate, judging, training
from biofm.finetune.ablation.configuration import AblationConfig
from biofm.finetune.ablation.pairs import pairs_in
from biofm.finetune.ablation.processes import Processes, each, locked
from biofm.pretrain import mae_run
from biofm.pretrain.checkpoint import checkpoints
from biofm.pretrain.cost import Cost, read_cost, write_cost
from biofm.shards import writing
from biofm.shards.build import build
from biofm.shards.configuration import Folds, shipped

TASK = """title: Twin, five superclasses
datasets: [ptbxl]
label_set: superdiagnostic
kind: multilabel
metrics: [auroc]
loss: bce
least_subjects: 4
"""
MAE = """model: {depth: 1, patch: {samples: 50}}
objective: {decoder: {dim: 32, depth: 1, heads: 1}}
optim: {global_batch: 8, warmup_epochs: 0}
run: {watch_every: 0, checkpoint_every: 2, keep_last: 1, log_every: 1}
"""
CONFIG = """signal_s: 1600
seeds: 1
zoo: {}
threads: 1
jobs: 1
"""
START = Processes.run


def here(_: Processes, words: Sequence[str], folder: Path) -> None:
    """In place of a process of its own, which takes seconds to begin."""
    said = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stderr(said):
        try:
            if words[1].endswith(".py"):
                patch.setattr(sys, "argv", list(words[1:]))
                runpy.run_path(words[1], run_name="__main__")
            else:
                patch.setattr(sys, "argv", ["", *words[4:]])
                judging.main()
        except SystemExit as end:
            raise RuntimeError(f"{said.getvalue()} (exit status {end.code})") from end


def one_by_one(_: Processes, jobs: int, work: Mapping[str, Callable[[], None]]) -> dict[str, str]:
    """In place of threads, in which no training can listen for signals."""
    errors = {}
    for name, do in work.items():
        try:
            do()
        except RuntimeError as error:
            errors[name] = str(error)
    return errors


def killed(processes: Processes, words: Sequence[str], folder: Path) -> None:
    """A plan is made here; a training begins in a process of its own, and we are killed after its first checkpoint."""
    if "--run.dry" in words or words[1] == "-P":
        here(processes, words, folder)
        return

    def kill() -> None:
        while not checkpoints(folder):
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=kill).start()
    START(processes, words, folder)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`shards`, a task, and `pairs`: one that learns 10-s windows, one of 5 s, one that cannot be trained."""
    root = tmp_path_factory.mktemp("ablation")
    tree = simulate("ptbxl", root / "tree", records=160, seed=5, progress=False)
    config = replace(shipped("ptbxl"), folds=Folds((1, 2, 3, 4, 5), (6, 7), (8, 9, 10)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(writing, "PER_SHARD", 0)
        build("ptbxl", [tree], root / "shards", config, workers=1, progress=False)
    (root / "super.yaml").write_text(TASK)
    (root / "ablation.yaml").write_text(CONFIG)
    (root / "pairs").mkdir()
    (root / "pairs" / "mae_vit.yaml").write_text(MAE)
    (root / "pairs" / "mae_short.yaml").write_text("data: {window_s: 4}\n" + MAE)
    (root / "pairs" / "mae_lstm.yaml").write_text("model: {backbone: lstm}\n")
    return root


def words(folder: Path, *more: str) -> list[str]:
    """The command line."""
    given = ["ablate", "--config", str(folder / "ablation.yaml"), "--pairs", str(folder / "pairs")]
    given += ["--shards", str(folder / "shards"), "--tasks", str(folder / "super.yaml")]
    return [*given, "--out", str(folder / "out"), "--cache", str(folder / "cache"), *more]


@pytest.fixture(scope="module")
def quick() -> Iterator[None]:
    """Fewer kernels, one setting of a head in place of six, and no pictures while training: seconds for minutes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(frozen, "KERNELS", 20)
        patch.setattr(rows, "KERNELS", 20)
        patch.setattr(attention_probe, "SETTINGS", attention_probe.SETTINGS[:1])
        patch.setattr(mae_run, "reconstructions", lambda *_: [])
        yield


@pytest.fixture(scope="module")
def ablated(folder: Path, quick: None) -> Path:
    """What an ablation leaves in which one pair was killed while it was trained, and one fails."""
    run = folder / "out" / "runs" / "mae_vit" / "seed-0"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Processes, "run", killed)
        assert main(words(folder, "--only", "mae_vit")) == 130
        assert checkpoints(run)  # the process that trained was asked to save, and did
        assert not (run / "trained.json").exists()
        assert not (folder / "out" / "report.md").exists()
        patch.setattr(Processes, "run", here)
        patch.setattr(ablate, "each", one_by_one)
        assert main(words(folder)) == 1
    return folder / "out"


@pytest.fixture(scope="module")
def found(ablated: Path) -> dict[str, Any]:
    """The report as plain values."""
    told: dict[str, Any] = json.loads((ablated / "ablation.json").read_text())
    return told


def test_a_killed_pair_went_on_where_it_was(ablated: Path) -> None:
    lines = (ablated / "runs" / "mae_vit" / "seed-0" / "metrics.jsonl").read_text().splitlines()
    steps = [line["step"] for line in map(json.loads, lines) if "loss" in line]
    assert steps == list(range(1, 19))
    log = (ablated / "runs" / "mae_vit" / "seed-0" / "log.txt").read_text()
    assert "stopped by a signal" in log


def test_a_plan_trains_nothing(ablated: Path) -> None:
    plan = ablated / "plans" / "mae_vit"
    assert {path.name for path in plan.iterdir()} == {"cost.json", "terms.json"}
    assert read_cost(plan) == read_cost(ablated / "runs" / "mae_vit" / "seed-0")


def test_every_pair_reads_the_same_amount_of_signal(found: dict[str, Any], ablated: Path) -> None:
    took = {f"{p['objective']}_{p['backbone']}": p["took"][0] for p in found["pairs"]}
    # 78 recordings: one window of 10 s of each, or two of 4 s; batches of 8.
    assert took["mae_vit"]["signal_s"] == 2 * 9 * 8 * 10
    assert took["mae_short"]["signal_s"] == 3 * 19 * 8 * 4
    for name, run in took.items():
        cost = read_cost(ablated / "runs" / name / "seed-0")
        assert run["flops"] == run["epochs"] * cost.steps * cost.batch * cost.flops
        assert run["training_s"] > 0


def test_figures_are_those_of_the_scores_that_were_kept(
    found: dict[str, Any], ablated: Path, folder: Path
) -> None:
    task = load_task(str(folder / "super.yaml"))
    rounds = rounds_of(task, [str(folder / "shards")])
    train, test = truth_of(rounds, "train"), truth_of(rounds, "test")
    columns = counted_columns(task, train, test)[0]

    def macro(file: Path) -> float:
        with np.load(file) as kept:
            said = kept["test"][:, columns]
        return float(roc_auc_score(test.values[:, columns], said, average="macro"))

    scores = ablated / "scores"
    assert len(found["pairs"]) == 2
    for pair in found["pairs"]:
        name = f"{pair['objective']}_{pair['backbone']}"
        for head in ("linear", "attention"):
            told = pair["tasks"]["super"][head]
            trained = macro(scores / name / "super" / f"pretrained-{head}-0.npz")
            assert told["trained"]["test"]["value"] == pytest.approx(trained, abs=1e-9)
            untrained = [macro(file) for file in scores.glob(f"untrained-*/super/*-{head}-0.npz")]
            assert len(untrained) == 2  # the two read windows of other lengths
            differences = [trained - one for one in untrained]
            assert np.isclose(differences, told["difference"]["value"], atol=1e-9).any()
            assert (
                told["difference"]["low"] < told["difference"]["value"] < told["difference"]["high"]
            )
    (kernels,) = found["references"]["super"].values()
    kept = macro(scores / "references" / "super" / "random-kernels-ridge-0.npz")
    assert kernels["test"]["value"] == pytest.approx(kept, abs=1e-9)


def test_the_report_has_every_pair_in_order_and_says_which_is_missing(
    found: dict[str, Any], ablated: Path
) -> None:
    text = (ablated / "report.md").read_text()
    table = re.findall(r"^\| mae \| (\w+) \|(.*)$", text, re.MULTILINE)
    best = {
        p["backbone"]: p["tasks"]["super"][p["tasks"]["super"]["best"]]["trained"]["test"]["value"]
        for p in found["pairs"]
    }
    assert [name for name, _ in table] == sorted(best, key=lambda name: -best[name])
    for name, cells in table:
        assert f"{best[name]:.3f} (" in cells
    assert "SYNTHETIC DATA" in text
    assert "mae takes s4, vit, xresnet, not lstm" in text.partition("## Not in the tables")[2]
    assert "/tmp" not in text
    assert str(ablated) not in text
    assert (ablated / "report.html").is_file()


def test_what_is_done_is_not_done_again(ablated: Path, folder: Path) -> None:
    def refuse(_: Processes, words: Sequence[str], out: Path) -> None:
        if words[1].endswith(".py"):
            raise AssertionError(f"trained again: {words}")
        here(_, words, out)

    before = (ablated / "ablation.json").read_text()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Processes, "run", refuse)
        patch.setattr(ablate, "each", one_by_one)
        assert main(words(folder, "--only", "mae_vit", "mae_short")) == 0
    after = json.loads((ablated / "ablation.json").read_text())
    assert after.pop("absent") == {"mae_lstm": "not trained yet"}
    assert after == {k: v for k, v in json.loads(before).items() if k != "absent"}


def test_a_budget_is_met_to_the_nearest_epoch_and_a_limit_kept() -> None:
    config = AblationConfig("p", ("s",), ("t",), signal_s=1000.0, most_flops=1e6)
    cost = Cost(parameters=1, flops=100.0, signal_s=5.0, batch=8, steps=10)
    assert training.epochs_of(config, cost) == 2  # 400 s each: 2.5 of them
    assert training.epochs_of(config, replace(cost, steps=100)) == 1
    assert training.too_costly(config, cost) is None
    assert "1.6e+06 FLOPs" in str(training.too_costly(config, replace(cost, flops=1e4)))


def test_training_time_is_that_of_the_steps(tmp_path: Path) -> None:
    lines: list[dict[str, float]] = [
        {"step": 1, "loss": 1.0},
        {"step": 2, "loss": 1.0, "samples_per_s": 8.0},
        {"step": 3, "loss": 1.0, "samples_per_s": 2.0},
        {"step": 3, "validation_loss": 1.0},
    ]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert training.training_s(tmp_path, batch=4) == 2 * 4 / 8 + 4 / 2


def test_a_run_of_other_shards_is_not_gone_on_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mae_vit.yaml").write_text(MAE)
    config = AblationConfig(str(tmp_path), ("a",), ("ptbxl_all",), 80.0, out=tmp_path / "out")
    (pair,) = pairs_in(str(tmp_path))
    write_cost(pair.plan(config), Cost(1, 1.0, 10.0, 8, 1))
    found: list[bool] = []

    def stopped(_: Processes, words: Sequence[str], folder: Path) -> None:
        found.append((folder / "begun").is_file())
        (folder / "begun").touch()
        raise RuntimeError("stopped")

    monkeypatch.setattr(Processes, "run", stopped)
    for data in ("one", "one", "other"):
        with pytest.raises(RuntimeError, match="stopped"):
            training.train(config, pair, data, 0, Processes(1))
    assert found == [False, True, False]


def test_a_failing_process_is_told_and_the_others_go_on(tmp_path: Path) -> None:
    processes = Processes(3)
    commands = {
        "bad": "echo first; echo the reason >&2; exit 3",
        "good": "echo $OMP_NUM_THREADS",
    }
    work = {
        name: partial(processes.run, ["/bin/sh", "-c", command], tmp_path / name)
        for name, command in commands.items()
    }
    errors = each(processes, 1, work)
    assert list(errors) == ["bad"]
    assert re.search(r"first / the reason \(exit status 3; .*log.txt\)", errors["bad"])
    assert (tmp_path / "good" / "log.txt").read_text() == "3\n"


def test_a_folder_in_which_something_is_at_work_is_left_alone(tmp_path: Path) -> None:
    with locked(tmp_path), pytest.raises(RuntimeError, match="still at work"):
        Processes(1).run(["/bin/true"], tmp_path)
    Processes(1).run(["/bin/true"], tmp_path)


def test_names_that_mean_nothing_are_refused(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words(folder, "--only", "mae_vitt")) == 1
    assert "did you mean mae_vit?" in capsys.readouterr().err
    (tmp_path / "nonsense_vit.yaml").write_text("{}")
    with pytest.raises(ValueError, match=r"expected a name OBJECTIVE_BACKBONE\.yaml"):
        pairs_in(str(tmp_path))
    with pytest.raises(FileNotFoundError, match="pairs: no folder"):
        pairs_in("nowhere")


@pytest.mark.parametrize("name", sorted(p.stem for p in (CONFIGS / "ablation").glob("*.yaml")))
def test_shipped_configs_are_valid(name: str) -> None:
    config = read_config(AblationConfig, CONFIGS / "ablation" / f"{name}.yaml")
    pairs = pairs_in(config.pairs)
    assert len(pairs) > 10
    for pair in pairs:
        said = yaml.safe_load(pair.file.read_text())
        # The command gives these: a pair that said its own would have another budget.
        assert not {"shards"} & said.get("data", {}).keys()
        assert not {"epochs"} & said["optim"].keys()
        assert not {"out", "seed"} & said["run"].keys()
        module = __import__(f"biofm.pretrain.{pair.objective}_run", fromlist=["Config"])
        read = read_config(module.Config, pair.file)
        assert read.model.backbone in pair.name or pair.backbone == read.model.backbone
