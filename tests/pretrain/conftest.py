"""Small shards of the synthetic twin, made once; the option to write golden curves."""

from __future__ import annotations

from pathlib import Path

import pytest

from biofm.datasets.simulate import simulate
from biofm.shards.build import build
from biofm.shards.configuration import BuildConfig, Folds


def pytest_addoption(parser: pytest.Parser) -> None:
    """Where tests/pretrain is named on the command line; the tests that ask have a default."""
    parser.addoption(
        "--update-golden", action="store_true", help="write tests/golden anew (test_golden.py)"
    )


@pytest.fixture(scope="session")
def twin_shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shards of 90 recordings: three uneven ones for training, one each for validation and test."""
    folder = tmp_path_factory.mktemp("twin")
    simulate("ptbxl", folder / "ptbxl", records=90, progress=False)
    folds = Folds(train=(1, 2, 3, 4, 5, 6), validation=(7, 8), test=(9, 10))
    build(
        "ptbxl",
        [folder / "ptbxl"],
        folder / "shards",
        BuildConfig(folds=folds, records_per_shard=25),
        workers=1,
    )
    return folder / "shards"


@pytest.fixture(scope="session")
def pressure_shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shards of ECG, PPG and arterial pressure of 12 people."""
    folder = tmp_path_factory.mktemp("pressure")
    simulate("continuous_pressure", folder / "tree", records=24, progress=False)
    build("continuous_pressure", [folder / "tree"], folder / "shards", workers=1, progress=False)
    return folder / "shards"
