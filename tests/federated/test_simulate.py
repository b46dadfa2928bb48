"""`biofm federated simulate` as a user runs it: what it prints and leaves, twice the same; the default of no words."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from biofm import cli
from biofm.configuration import config_file, from_words
from biofm.federated.configuration import DivisionConfig, FederatedConfig
from biofm.federated.simulate import simulate
from biofm.federated.twin import ENCODER, PRETRAINING
from biofm.pretrain.mae_run import Config
from biofm.pretrain.twin import PRESSURE_TWIN


def test_it_reports_on_every_client_and_the_same_again(
    small_config: FederatedConfig, subjects: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    config = replace(small_config, strategies=("base", "fedavg", "fedper"))
    tables = []
    for folder in ("once", "again"):
        simulate(replace(config, out=config.out / folder))
        tables.append(pl.read_parquet(config.out / folder / "clients.parquet"))
    said = capsys.readouterr().out
    assert "clients    4" in said
    assert "fedavg: 2 rounds, 8 of 8 answers" in said
    assert str(config.out / "again" / "report.html") in said
    assert tables[0].equals(tables[1])
    assert sorted(tables[0]["subject"].unique()) == subjects[:4]
    page = (config.out / "once" / "report.html").read_text()
    assert all(subject in page for subject in subjects[:4])
    assert json.loads((config.out / "once" / "federated.json").read_text())


def test_what_earlier_runs_left_is_not_taken_for_this_one(small_config: FederatedConfig) -> None:
    config = replace(small_config, strategies=("base", "fedavg"))
    simulate(config)
    kept = sorted(config.out.glob("clients/*/fedavg.npz"))
    before = [file.read_bytes() for file in kept]
    simulate(replace(config, seed=1))
    assert len(kept) == 4
    assert [file.read_bytes() for file in kept] != before


def test_whoever_is_unseen_has_the_model_for_all(
    small_config: FederatedConfig, subjects: list[str]
) -> None:
    """The encoder saw the last two: they are those that are learned from."""
    config = replace(
        small_config,
        strategies=("fedavg",),
        division=DivisionConfig(kind="unseen"),
        excluded=(),
        models=(*small_config.models, _second(small_config, subjects)),
    )
    simulate(config)
    table = pl.read_parquet(config.out / "clients.parquet")
    assert sorted(table["subject"]) == subjects
    assert table["common accuracy"].is_not_null().all()
    assert not table["adopted"].any()


def _second(config: FederatedConfig, subjects: list[str]) -> str:
    """The same encoder, in a folder that says it learned from nobody of these."""
    folder = Path(config.models[0]).parents[1] / "other" / "best"
    if not folder.exists():
        shutil.copytree(config.models[0], folder)
        learned = pl.read_parquet(folder / "training.parquet")
        learned.clear().write_parquet(folder / "training.parquet")
    return str(folder)


def test_with_no_word_it_runs_the_twin() -> None:
    """The encoder that it makes is the one it reads, of the shards it reads, with others' people."""
    assert cli.shipped_config("federated simulate", []) == ["--config", "federated/twin"]
    assert cli.shipped_config("federated simulate", ["--rounds", "3"]) == []
    twin = from_words(FederatedConfig, ["--config", str(config_file("federated/twin"))])
    pretraining = from_words(Config, ["--config", str(config_file(PRETRAINING))])
    assert twin.models == (ENCODER,)
    assert Path(ENCODER) == pretraining.run.out / "best"
    assert twin.shards == pretraining.data.shards == (PRESSURE_TWIN,)
    assert "train" not in twin.splits


@pytest.mark.parametrize("name", ["sleep_watch", "mitdb"])
def test_shipped_configs_are_whole(name: str) -> None:
    config = from_words(FederatedConfig, ["--config", str(config_file(f"federated/{name}"))])
    assert len(config.strategies) == 8


def test_nothing_is_reported_to_flowers_makers() -> None:
    """In a new process, because Flower reads its switch when it is imported."""
    words = "import biofm.federated.simulate, flwr.supercore.telemetry as t; print(t.FLWR_TELEMETRY_ENABLED)"
    environment = {k: v for k, v in os.environ.items() if k != "FLWR_TELEMETRY_ENABLED"}
    said = subprocess.run(
        [sys.executable, "-c", words], env=environment, capture_output=True, text=True, check=True
    )
    assert said.stdout.strip() == "0"


def test_without_flower_it_says_what_to_install() -> None:
    words = (
        "import sys, importlib.util as u; found = u.find_spec\n"
        "u.find_spec = lambda name, *rest: None if name == 'flwr' else found(name, *rest)\n"
        "from biofm.cli import main; sys.exit(main(['federated', 'simulate', '--help']))"
    )
    said = subprocess.run([sys.executable, "-c", words], capture_output=True, text=True)
    assert said.returncode == 1
    assert "pip install 'biofm[federated]'" in said.stderr
    assert "Traceback" not in said.stderr
