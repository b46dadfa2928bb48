"""The repository is the package: what is installed, run by path, and kept apart."""

from __future__ import annotations

import importlib
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

import biofm
from biofm.configuration import CONFIGS, ConfigParser

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = sorted(p.name for p in (ROOT / "biofm").iterdir() if p.is_dir())
BIN = Path(sys.executable).parent


def run(*words: str | Path, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(word) for word in words],
        cwd=cwd,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of what git would hold, links and all, to build in or to plant faults in."""

    def not_ours(folder: str, names: list[str]) -> set[str]:
        top = Path(folder) == ROOT
        hidden = {n for n in names if top and n.startswith(".")}
        outputs = {n for n in names if top and n in {"data", "runs", "build", "dist"}}
        return hidden | outputs | {n for n in names if n.endswith((".egg-info", "__pycache__"))}

    return Path(shutil.copytree(ROOT, tmp_path / "tree", symlinks=True, ignore=not_ours))


def test_the_public_names_are_there() -> None:
    for name in biofm.__all__:
        assert getattr(biofm, name) is not None
    with pytest.raises(AttributeError, match="nonsense"):
        _ = biofm.nonsense


def test_the_version_is_said_once() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["version"] == biofm.__version__
    assert f"version: {biofm.__version__}" in (ROOT / "CITATION.cff").read_text()
    assert f"## [{biofm.__version__}]" in (ROOT / "CHANGELOG.md").read_text()


def test_every_link_leads_to_the_folder_of_its_name() -> None:
    links = list((ROOT / "biofm").iterdir())
    assert {"signals", "datasets", "shards", "models", "pretrain", "configs"} <= set(PACKAGES)
    for link in links:
        assert link.is_symlink(), f"{link} must be a link: the folder itself is at the top"
        assert Path(os.readlink(link)) == Path("..") / link.name
        assert link.exists(), f"{link} leads nowhere"


def test_the_wheel_holds_real_files_and_nothing_flat(tree: Path, tmp_path: Path) -> None:
    built = run(
        sys.executable,
        *("-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"),
        *("--wheel-dir", tmp_path / "wheel", tree),
        cwd=tmp_path,
    )
    assert built.returncode == 0, built.stderr
    (wheel,) = (tmp_path / "wheel").glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    found = {p.relative_to(tmp_path / "site") for p in (tmp_path / "site").rglob("*")}
    assert {p.parts[0] for p in found} == {"biofm", f"biofm-{biofm.__version__}.dist-info"}
    assert not any((tmp_path / "site" / p).is_symlink() for p in found)
    expected = {Path("biofm") / p for p in ("py.typed", "__init__.py", "cli.py")}
    for package in PACKAGES:
        for file in (tree / package).rglob("*"):
            if file.suffix in {".py", ".yaml", ".html", ".css"}:
                expected.add(Path("biofm") / file.relative_to(tree))
    assert expected <= found
    # It runs without the checkout.
    shown = run(
        sys.executable,
        *("-c", "import biofm.cli; print(biofm.__file__); biofm.cli.main(['datasets', 'list'])"),
        cwd=tmp_path,
        PYTHONPATH=str(tmp_path / "site"),
    )
    assert str(tmp_path / "site") in shown.stdout, shown.stderr
    assert "ptbxl" in shown.stdout


def test_hugging_faces_datasets_wins_over_our_folder(tmp_path: Path) -> None:
    site = tmp_path / "site"
    (site / "datasets").mkdir(parents=True)
    (site / "datasets" / "__init__.py").write_text("NAME = 'Hugging Face'\n")
    # The repository's root comes first on sys.path, as with `python -m` and pytest.
    program = (
        f"import sys; sys.path[:0] = [{str(ROOT)!r}]; sys.path.append({str(site)!r}); "
        "import datasets, biofm.datasets.registry; print(datasets.NAME)"
    )
    shown = run(sys.executable, "-c", program, cwd=ROOT)
    assert shown.stdout == "Hugging Face\n", shown.stderr


@pytest.mark.parametrize("script", ["pretrain/mae.py"])
def test_entry_scripts_run_by_path_from_another_folder(script: str, tmp_path: Path) -> None:
    shown = run(sys.executable, ROOT / script, "--help", cwd=tmp_path)
    assert shown.returncode == 0, shown.stderr
    assert "--optim.lr" in shown.stdout
    assert "--config NAME_OR_FILE" in shown.stdout
    assert list(tmp_path.iterdir()) == []  # --help does no work


def test_entry_scripts_refuse_a_wrong_key_before_any_work(tmp_path: Path) -> None:
    shown = run(sys.executable, ROOT / "pretrain/mae.py", "--optim.lrr", "1", cwd=tmp_path)
    assert shown.returncode == 2
    assert "did you mean optim.lr?" in shown.stderr
    assert list(tmp_path.iterdir()) == []


def shipped(folder: str) -> list[str]:
    return sorted(str(p.relative_to(CONFIGS)) for p in (CONFIGS / folder).rglob("*.yaml"))


@pytest.mark.parametrize("name", shipped("pretrain"))
def test_shipped_pretraining_configs_are_valid(name: str) -> None:
    objective = Path(name).name.replace("st_mem", "mae").partition("_")[0]
    Config = importlib.import_module(f"biofm.pretrain.{objective}_run").Config
    parser = ConfigParser()
    parser.add_config(Config)
    assert isinstance(parser.config(Config, parser.values(["--config", name])), Config)


@pytest.mark.parametrize("name", shipped("shards"))
def test_shipped_shard_configs_are_valid(name: str) -> None:
    from biofm.shards.configuration import BuildConfig

    parser = ConfigParser()
    parser.add_config(BuildConfig)
    parsed = parser.config(BuildConfig, parser.values(["--config", name]))
    assert isinstance(parsed, BuildConfig)


PLANTED = {
    "a lower layer imports a higher one": ("signals/types.py", "from ..shards import index\n"),
    "datasets imports models": ("datasets/ptbxl.py", "from ..models import encoder\n"),
    "models imports datasets": ("models/layers.py", "from ..datasets import registry\n"),
    "datasets imports shards in a function": (
        "datasets/registry.py",
        "def planted() -> None:\n    from ..shards import index\n",
    ),
    "a circle within a layer": ("signals/vocabulary.py", "from .preprocessing import preprocess\n"),
}


def layers(tree: Path) -> subprocess.CompletedProcess[str]:
    """`make layers` in `tree`, with this environment's tools."""
    (tree / ".venv").mkdir(exist_ok=True)
    for stamp in ("all", "core"):
        (tree / ".venv" / stamp).touch()
    if not (tree / ".venv" / "bin").exists():
        (tree / ".venv" / "bin").symlink_to(BIN)
    return run("make", "layers", cwd=tree)


def test_the_layer_check_passes_here_and_catches_every_planted_fault(tree: Path) -> None:
    clean = layers(tree)
    assert clean.returncode == 0, clean.stdout + clean.stderr
    for fault, (file, line) in PLANTED.items():
        before = (tree / file).read_text()
        (tree / file).write_text(f"{before}\n\n{line}")
        found = layers(tree)
        assert found.returncode != 0, fault
        assert "BROKEN" in found.stdout, fault
        (tree / file).write_text(before)


def test_flat_imports_are_refused(tree: Path) -> None:
    top = [p for p in PACKAGES if p != "configs"]
    for package in top:
        (tree / "tests" / "planted.py").write_text(f"from {package} import x\n\nx()\n")
        found = run(BIN / "ruff", "check", "--no-cache", "tests/planted.py", cwd=tree)
        assert "TID251" in found.stdout, package


def test_the_example_of_how_a_source_is_added_stays_short() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text()
    linked = re.findall(r"\[`(\S*cinc2017\S*)`\]\((\S+)\)", text)
    assert [shown for shown, _ in linked] == [path for _, path in linked]
    assert len(linked) == 4
    assert sum(len((ROOT / path).read_text().splitlines()) for _, path in linked) <= 150
