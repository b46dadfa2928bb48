"""What is said of code, command, models and data identifies them, and gives no place away."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest
import torch

import biofm
from biofm.datasets.simulate import simulate
from biofm.evaluation.embeddings import model_digest
from biofm.evaluation.report import provenance as module
from biofm.evaluation.report.page import page
from biofm.evaluation.report.provenance import commit, provenance, shard_digest, without_places
from biofm.evaluation.report.section import Section
from biofm.evaluation.splits import task_reader
from biofm.evaluation.tasks import Task, load_task
from biofm.models.encoder import EncoderConfig
from biofm.models.pretrained import PretrainedModel
from biofm.models.tokenizer import PatchConfig
from biofm.models.vit import ViTEncoder
from biofm.shards.build import build
from biofm.shards.configuration import Folds, shipped
from biofm.shards.reader import WindowReader
from biofm.signals import Preprocessing


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> WindowReader:
    root = tmp_path_factory.mktemp("secret-place")
    tree = simulate("ptbxl", root / "tree", records=20, seed=5, progress=False)
    config = replace(shipped("ptbxl"), folds=Folds((1, 2, 3, 4, 5), (6, 7), (8, 9, 10)))
    build("ptbxl", [tree], root / "twin-shards", config, workers=1, progress=False)
    return task_reader(task(), [str(root / "twin-shards")], "test")


def task() -> Task:
    return load_task("ptbxl_superdiagnostic")


def encoder(seed: int = 0) -> PretrainedModel:
    torch.manual_seed(seed)
    small = ViTEncoder(EncoderConfig(depth=1, patch=PatchConfig(samples=50)))
    return PretrainedModel(small, {"ecg": Preprocessing(100.0, 0.5, 40.0)}, 10.0, {})


def made(reader: WindowReader, words: list[str] | None = None) -> Section:
    typed = words or ["/opt/venv/bin/biofm", "evaluate", "runs/a/best", "--out=/home/me/out"]
    models = {"/home/me/runs/a": encoder()}
    return provenance(typed, task(), [reader, reader], models, date(2031, 2, 3))


def facts(section: Section) -> dict[str, str]:
    return {row[0]: row[1] for table in section.tables for row in table.rows}


def test_everything_that_decides_the_figures_is_named(reader: WindowReader) -> None:
    section = made(reader)
    told = facts(section)
    assert told["date"] == "2031-02-03"
    assert told["command"] == "biofm evaluate runs/a/best --out=out"
    assert told["biofm"] == f"{biofm.__version__}, commit {commit()}"
    assert told["torch"] == torch.__version__
    assert told["label_set"] == "superdiagnostic"
    assert told["metrics"] == "[auroc, average_precision, f1]"
    _, models, shards, _ = section.tables
    assert models.rows[0][0] == "a"
    assert models.rows[0][-1] == model_digest(encoder()) != model_digest(encoder(1))
    (row,) = shards.rows  # once, though two readers read it
    manifest = reader.manifests[0]
    assert row[:3] == ("twin-shards", manifest["title"], manifest["licence"])
    assert row[4] == "20"
    assert row[5] == shard_digest(manifest)


def test_no_place_of_this_machine_is_in_it(reader: WindowReader) -> None:
    text = json.dumps([[table.head, table.rows, table.note] for table in made(reader).tables])
    text += page("T", [made(reader)])
    where = Path(reader.config.shards[0])
    for place in (str(where.parent), "secret-place", str(Path.home()), "/home", "/opt"):
        assert place not in text
    assert not re.search(r'(?<![<\w/"])/(home|tmp|opt|usr|root|work)\b', text)


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("runs/a/best", "runs/a/best"),
        ("../shards", "../shards"),
        ("--task=ptbxl_all", "--task=ptbxl_all"),
        ("1/2", "1/2"),
        ("/home/me/my runs/a/", "a"),
        ("--out=/home/me/run", "--out=run"),
        ("~/runs/a", "a"),
        ("/", "root"),
        ("C:\\Users\\me\\shards", "shards"),
        ("[/data/a, /data/b]", "[a, b]"),
        ('{"shards": "/data/a"}', '{"shards": "a"}'),
        ("https://me:pw@host.org/set/a?token=s", "https://host.org/set/a"),
        ("--shards=s3://bucket/set", "--shards=s3://bucket/set"),
    ],
)
def test_words_lose_places_and_secrets(word: str, told: str) -> None:
    assert without_places(word) == told


def test_a_changed_shard_changes_the_digest(reader: WindowReader) -> None:
    manifest = json.loads(json.dumps(reader.manifests[0]))
    before = shard_digest(manifest)
    manifest["title"] = "another"
    assert shard_digest(manifest) == before
    manifest["shards"][0]["sha256"] = "0" * 64
    assert shard_digest(manifest) != before


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
def test_the_commit_says_when_files_differ_from_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def git(*words: str) -> str:
        who = ("-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false")
        done = subprocess.run(
            ["git", "-C", str(tmp_path), *who, *words], check=True, capture_output=True, text=True
        )
        return done.stdout.strip()

    monkeypatch.setattr(module, "_ROOT", tmp_path.resolve())
    assert commit() == "unknown"
    git("init", "-q")
    (tmp_path / "file").write_text("1")
    git("add", "file")
    git("commit", "-qm", "One")
    assert commit() == git("rev-parse", "--short", "HEAD")
    (tmp_path / "file").write_text("2")
    assert commit() == git("rev-parse", "--short", "HEAD") + " with changes"
    # Code inside somebody else's repository is not at that repository's commit.
    monkeypatch.setattr(module, "_ROOT", tmp_path.resolve() / "inside")
    (tmp_path / "inside").mkdir()
    assert commit() == "unknown"
