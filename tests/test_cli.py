"""The `biofm` command: help, words, and errors a user can act on."""

from __future__ import annotations

import inspect
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docstring_parser
import pytest

from biofm import cli


@dataclass(frozen=True)
class Config:
    """How."""

    rate_hz: float = 100.0
    """Rate in Hz."""
    leads: tuple[str, ...] = ("I",)
    """Leads."""


def compare(config: Config, *, tasks: Sequence[str] = ("a",)) -> None:
    """Compare something.

    Args:
        tasks: On what.
    """
    print(config.leads, list(tasks))


def build(
    source: str,
    roots: Sequence[Path],
    out: Path,
    config: Config = Config(),
    workers: int = 1,
    quick: bool = False,
) -> None:
    """Build something.

    Args:
        source: Its name.
        roots: Its folders.
        out: Where to.
        workers: Processes.
        quick: Do less.
    """
    print(source, [str(r) for r in roots], out, config.rate_hz, workers, quick)


def fail(kind: str) -> None:
    """Fail.

    Args:
        kind: How.
    """
    errors: dict[str, BaseException] = {
        "value": ValueError("rate is odd"),
        "key": KeyError("no lead 'VX'"),
        "file": FileNotFoundError("there is no such.hea"),
        "stop": KeyboardInterrupt(),
    }
    raise errors[kind]


@pytest.fixture
def verbs(monkeypatch: pytest.MonkeyPatch) -> None:
    """The verbs of this file in place of the real ones."""
    functions: dict[str, Any] = {"shards build": build, "fail": fail, "compare": compare}
    monkeypatch.setattr(cli, "SHIPPED", {})
    monkeypatch.setattr(cli, "VERBS", dict.fromkeys(functions, ("", "does it")))
    monkeypatch.setattr(cli, "function_of", functions.__getitem__)


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    try:
        status = cli.main(words)
    except SystemExit as stopped:
        status = int(stopped.code or 0)
    shown = capsys.readouterr()
    return status, shown.out, shown.err


@pytest.mark.usefixtures("verbs")
def test_words_become_typed_parameters(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("rate_hz: 250\n")
    words = ["shards", "build", "ptbxl", "a", "b", "--out", "o", "--quick", "--workers", "3"]
    assert run(capsys, *words)[:2] == (0, "ptbxl ['a', 'b'] o 100.0 3 True\n")
    words = ["shards", "build", "x", "a", "--out", "o", "--config", str(tmp_path / "c.yaml")]
    assert run(capsys, *words)[:2] == (0, "x ['a'] o 250.0 1 False\n")
    assert run(capsys, *words, "--rate_hz", "5")[:2] == (0, "x ['a'] o 5.0 1 False\n")


@pytest.mark.usefixtures("verbs")
def test_lists_are_words_wherever_they_come_from(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "compare")[:2] == (0, "('I',) ['a']\n")
    words = ["compare", "--leads", "II", "V1", "--tasks", "x", "y"]
    assert run(capsys, *words)[:2] == (0, "('II', 'V1') ['x', 'y']\n")
    words = ["compare", "--leads", "[II, V1]", "--tasks=[x, y]"]
    assert run(capsys, *words)[:2] == (0, "('II', 'V1') ['x', 'y']\n")
    # A list ends where the next option begins, and takes no word that stands before it.
    words = ["shards", "build", "x", "root", "--leads", "II", "V1", "--out", "o"]
    assert run(capsys, *words)[:2] == (0, "x ['root'] o 100.0 1 False\n")
    status, _, error = run(capsys, "compare", "--leads")
    assert (status, "--leads: expected one or more words" in error) == (2, True)


@pytest.mark.usefixtures("verbs")
def test_the_help_of_a_verb_is_its_docstring(capsys: pytest.CaptureFixture[str]) -> None:
    status, shown, _ = run(capsys, "shards", "build", "--help")
    assert status == 0
    assert "usage: biofm shards build SOURCE ROOTS ... --out OUT" in shown
    for text in ("Build something.", "Its folders.", "Rate in Hz.", "Processes."):
        assert text in shown


@pytest.mark.usefixtures("verbs")
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["shards", "build", "x", "a"], "required: out"),
        (["shards", "build", "x", "a", "--out", "o", "--rate", "2"], "did you mean rate_hz?"),
        (["shards", "build", "x", "a", "--out", "o", "--workers", "two"], "Expected a int"),
        (["shards", "biuld"], "did you mean `biofm shards build`?"),
        (["frobnicate"], "`biofm --help` lists them"),
    ],
)
def test_a_wrong_command_line_is_refused(
    capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    status, shown, error = run(capsys, *words)
    assert status == 2
    assert shown == ""
    assert message in error
    assert "Traceback" not in error


@pytest.mark.usefixtures("verbs")
def test_errors_are_one_line_and_the_traceback_is_there_when_asked_for(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("BIOFM_DEBUG", raising=False)
    assert run(capsys, "fail", "value") == (1, "", "error: rate is odd\n")
    assert run(capsys, "fail", "key") == (1, "", "error: no lead 'VX'\n")
    assert run(capsys, "fail", "file") == (1, "", "error: there is no such.hea\n")
    assert run(capsys, "fail", "stop") == (130, "", "stopped\n")
    monkeypatch.setenv("BIOFM_DEBUG", "1")
    assert "Traceback" in run(capsys, "fail", "value")[2]


@pytest.mark.parametrize("verb", cli.VERBS)
def test_every_verb_is_there_and_every_parameter_is_explained(
    verb: str, capsys: pytest.CaptureFixture[str]
) -> None:
    function = cli.function_of(verb)
    described = {p.arg_name for p in docstring_parser.parse(function.__doc__ or "").params}
    parameters = inspect.signature(function).parameters
    assert described >= parameters.keys() - {"config"}
    status, shown, _ = run(capsys, *verb.split(), "--help")
    assert status == 0
    assert f"usage: biofm {verb}" in shown


def test_help_lists_every_verb_without_waiting_for_torch(
    capsys: pytest.CaptureFixture[str],
) -> None:
    status, shown, _ = run(capsys, "--help")
    assert status == 0
    assert all(verb in shown for verb in cli.VERBS)
    program = (
        "import sys; from biofm import cli; cli.main(['--help']); "
        "sys.exit(' '.join({'torch', 'scipy', 'polars', 'mlflow'} & sys.modules.keys()) or 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_a_group_alone_lists_its_verbs(capsys: pytest.CaptureFixture[str]) -> None:
    status, shown, _ = run(capsys, "shards")
    assert status == 0
    assert "shards verify" in shown
    assert "datasets" not in shown


def test_output_may_be_cut_short() -> None:
    # `biofm datasets list | head -0`
    program = "from biofm import cli; import sys; sys.exit(cli.main(['datasets', 'list']))"
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    process.stdout.close()
    _, error = process.communicate()
    assert b"Traceback" not in error
    assert b"Broken" not in error


def test_a_build_takes_the_config_that_ships_for_its_source_unless_one_is_named() -> None:
    assert cli.shipped_config("shards build", ["ptbxl", "root"]) == ["--config", "shards/ptbxl"]
    assert cli.shipped_config("shards build", ["ptbxl", "--config=mine.yaml"]) == []
    assert cli.shipped_config("shards build", ["nope", "root"]) == []
    assert cli.shipped_config("shards verify", ["ptbxl"]) == []
