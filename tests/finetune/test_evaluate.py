"""`biofm evaluate` from shards and model folders to reports: rows, what is kept, marks, what it refuses."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator

from biofm.cli import main
from biofm.datasets.simulate import simulate
from biofm.evaluation.rounds import rounds_of
from biofm.evaluation.scores import save_scores
from biofm.evaluation.tasks import load_task
from biofm.finetune import as_trained, cells, frozen, rows
from biofm.finetune.encoders import Encoders
from biofm.models.encoder import EncoderConfig
from biofm.models.pretrained import save_model
from biofm.models.tokenizer import PatchConfig
from biofm.models.vit import ViTEncoder
from biofm.pretrain.configuration import RunConfig
from biofm.pretrain.distributed import make_accelerator
from biofm.shards.build import build
from biofm.shards.configuration import Folds, shipped
from biofm.shards.contents import contents
from biofm.shards.reader import DataConfig, WindowReader
from biofm.signals import Preprocessing

SUPER = """title: Twin, five superclasses
datasets: [ptbxl]
label_set: superdiagnostic
kind: multilabel
metrics: [auroc, f1]
loss: bce
threshold: max_f1
least_subjects: 4
"""
RHYTHM = SUPER.replace("five superclasses", "rhythms").replace("superdiagnostic", "rhythm")
SMALL = """zoo: {mina: {seeds: 1}}
seeds: 1
crop_s: 5
shares: [0.5]
optim: {epochs: 1, warmup_epochs: 0.5, global_batch: 16}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`shards`, two models that say what they learned from, and two tasks of the same windows."""
    root = tmp_path_factory.mktemp("evaluate")
    tree = simulate("ptbxl", root / "tree", records=160, seed=5, progress=False)
    config = replace(shipped("ptbxl"), folds=Folds((1, 2, 3, 4, 5), (6, 7), (8, 9, 10)))
    build("ptbxl", [tree], root / "shards", config, workers=1, progress=False)
    learned = contents(WindowReader(DataConfig((str(root / "shards"),)), "train", seed=0))
    for seed, name in enumerate(("one", "two")):
        torch.manual_seed(seed)
        encoder = ViTEncoder(EncoderConfig(depth=1, patch=PatchConfig(samples=50)))
        how = Preprocessing(100.0, 0.5, 40.0)
        save_model(root / name / "best", encoder, {"ecg": how}, 10.0, {}, "", training=learned)
    (root / "super.yaml").write_text(SUPER)
    (root / "rhythm.yaml").write_text(RHYTHM)
    (root / "small.yaml").write_text(SMALL)
    return root


def words(folder: Path, out: Path, *more: str) -> list[str]:
    """The command line on both tasks."""
    models = [str(folder / name / "best") for name in ("one", "two")]
    tasks = [str(folder / f"{name}.yaml") for name in ("super", "rhythm")]
    given = ["evaluate", *models, "--config", str(folder / "small.yaml")]
    given += ["--shards", str(folder / "shards"), "--tasks", *tasks]
    return [*given, "--out", str(out), "--cache", str(folder / "cache"), *more]


@pytest.fixture(scope="module")
def evaluated(folder: Path) -> Path:
    """The folder that one evaluation leaves."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(frozen, "KERNELS", 20)
        patch.setattr(rows, "KERNELS", 20)
        assert main(words(folder, folder / "out")) == 0
    return folder / "out"


def test_every_regime_and_reference_stands_in_every_report(evaluated: Path) -> None:
    for name in ("super", "rhythm"):
        found = json.loads((evaluated / name / "report.json").read_text())
        seeds = {row["name"]: row["seeds"] for row in found["rows"]}
        assert seeds == {
            "pretrained, linear": 2,
            "pretrained, attention": 2,
            "pretrained, fine-tuned": 2,
            "untrained, linear": 1,
            "untrained, attention": 1,
            "random kernels, ridge": 1,
            "same encoder, from scratch": 1,
            "mina, supervised": 1,
        }
        page = (evaluated / name / "report.html").read_text()
        assert "SYNTHETIC DATA" in page
        assert "saw nobody and nothing of test and validation" in page
        assert not re.search(r"(src|href)=.https?:", page)
    summary = (evaluated / "report.md").read_text()
    assert "Label efficiency" in (evaluated / "super" / "report.md").read_text()
    assert "mina, supervised" in summary
    assert "rhythm: " in summary
    assert not list(evaluated.glob("runs/*/*/checkpoints"))


def test_what_was_computed_is_kept_and_found_again(
    evaluated: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frozen, "KERNELS", 20)
    monkeypatch.setattr(rows, "KERNELS", 20)
    made: list[str] = []

    def remember(file: Path, *more: Any) -> None:
        made.append(file.stem)
        save_scores(file, *more)

    monkeypatch.setattr(cells, "save_scores", remember)
    (evaluated / "scores" / "super" / "mina-supervised-0.npz").unlink()
    shutil.rmtree(evaluated / "runs" / "mina-supervised-0")
    assert main(words(folder, evaluated)) == 0
    # Tasks that learn together are made again together; nothing else is.
    assert sorted(made) == ["mina-supervised-0", "mina-supervised-0"]


def test_an_encoder_that_saw_the_test_subjects_is_marked(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(folder / "one", tmp_path / "seen")
    test = WindowReader(DataConfig((str(folder / "shards"),)), "test", seed=0)
    contents(test).write_parquet(tmp_path / "seen" / "best" / "training.parquet")
    given = ["probe", str(tmp_path / "seen" / "best"), "--shards", str(folder / "shards")]
    given += ["--task", str(folder / "super.yaml"), "--seeds", "1", "--cache", str(tmp_path)]
    assert main(given) == 0
    shown = capsys.readouterr().out
    assert "pretrained, linear †" in shown
    assert "test subjects were in pretraining" in shown


def test_each_round_gets_an_encoder_that_never_saw_its_subjects(
    folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "task.yaml").write_text(SUPER + "cross_validation: 3\n")
    shards = str(folder / "shards")
    rounds = rounds_of(load_task(tmp_path / "task.yaml"), [shards])
    everybody = rounds[0].readers["train"].folders[0].index["subject"].unique()
    for number, one in enumerate(rounds):
        shutil.copytree(folder / "one" / "best", tmp_path / f"round-{number}")
        allowed = one.readers["train"].index["subject"]
        held_out = tuple(everybody.filter(~everybody.is_in(allowed.implode())).to_list())
        data = DataConfig((shards,), exclude_subjects=held_out)
        read = WindowReader(data, "train", seed=0)
        contents(read).write_parquet(tmp_path / f"round-{number}" / "training.parquet")
    found = Encoders.of([tmp_path / f"round-{number}" for number in (2, 0, 1)])
    (seed,) = found.seeds(rounds)
    assert [folder.name for folder in seed.folders] == ["round-0", "round-1", "round-2"]
    assert all(overlap.clean for overlap in found.overlaps([seed], rounds).values())
    alone = Encoders.of([tmp_path / "round-0"])
    (everywhere,) = alone.seeds(rounds)
    assert [folder.name for folder in everywhere.folders] == ["round-0"] * 3
    assert not all(overlap.clean for overlap in alone.overlaps([everywhere], rounds).values())


def test_a_task_model_is_judged_as_it_is(evaluated: Path, folder: Path, tmp_path: Path) -> None:
    model = evaluated / "runs" / "mina-supervised-0" / "round-0" / "best"
    given = ["evaluate", str(model), "--shards", str(folder / "shards"), "--zoo", "{}"]
    given += ["--tasks", str(folder / "super.yaml"), "--out", str(tmp_path), "--seeds", "1"]
    assert main([*given, "--cache", str(folder / "cache")]) == 0
    found = json.loads((tmp_path / "super" / "report.json").read_text())
    before = json.loads((evaluated / "super" / "report.json").read_text())
    rows = {row["name"]: row["figures"] for row in found["rows"]}
    assert list(rows) == ["round-0, as trained", "random kernels, ridge"]
    (supervised,) = (row for row in before["rows"] if row["name"] == "mina, supervised")
    assert rows["round-0, as trained"] == supervised["figures"]


def test_models_called_alike_keep_their_own_marks(
    evaluated: Path, folder: Path, tmp_path: Path
) -> None:
    # An encoder that saw the test subjects, and a task model of the same name that did not.
    shutil.copytree(folder / "one" / "best", tmp_path / "round-0")
    test = WindowReader(DataConfig((str(folder / "shards"),)), "test", seed=0)
    contents(test).write_parquet(tmp_path / "round-0" / "training.parquet")
    models = [str(tmp_path / "round-0")]
    models += [str(evaluated / "runs" / "mina-supervised-0" / "round-0" / "best")]
    given = ["evaluate", *models, "--config", str(folder / "small.yaml"), "--zoo", "{}"]
    given += ["--shards", str(folder / "shards"), "--tasks", str(folder / "super.yaml")]
    given += ["--regimes", "finetune", "--precision", "fp32", "--out", str(tmp_path / "out")]
    precisions: list[str] = []

    def remember(run: RunConfig) -> Accelerator:
        precisions.append(run.precision)
        return make_accelerator(run)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(frozen, "KERNELS", 20)
        patch.setattr(rows, "KERNELS", 20)
        patch.setattr(as_trained, "make_accelerator", remember)
        assert main([*given, "--cache", str(folder / "cache")]) == 0
    assert precisions == ["fp32"]  # that of the models trained beside it: accelerate allows no two
    text = (tmp_path / "out" / "super" / "report.md").read_text()
    found = json.loads((tmp_path / "out" / "super" / "report.json").read_text())
    names = {row["name"] for row in found["rows"]}
    assert {"pretrained, fine-tuned †", "round-0, as trained"} <= names
    assert "Label efficiency" in text
    verdicts = text.partition("## What the models had seen before")[2].partition("##")[0]
    assert "round-0: † " in verdicts
    assert "round-0, as trained: † 22 of 22 validation subjects" in verdicts


def test_a_task_model_that_answers_something_else_is_refused(
    evaluated: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "form.yaml").write_text(SUPER.replace("superdiagnostic", "form"))
    model = evaluated / "runs" / "mina-supervised-0" / "round-0" / "best"
    given = ["evaluate", str(model), "--shards", str(folder / "shards"), "--zoo", "{}"]
    assert main([*given, "--tasks", str(tmp_path / "form.yaml"), "--out", str(tmp_path)]) == 1
    assert "answers none of form: its heads are super (CD, HYP" in capsys.readouterr().err
