"""Configuration: wrong keys and values stop before any work, and say what would be right."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest
import yaml

from biofm import configuration
from biofm.configuration import config_file, parse, to_dict, write_config


@dataclass(frozen=True)
class Optim:
    """The optimizer."""

    lr: float = 1e-3
    """Learning rate, in laps per fortnight."""
    kind: Literal["adam", "sgd"] = "adam"
    """Which."""
    betas: tuple[float, float] = (0.9, 0.99)
    """Moments."""

    def __post_init__(self) -> None:
        if self.lr <= 0:
            raise ValueError(f"optim.lr must be above 0, not {self.lr}")


@dataclass(frozen=True)
class Config:
    """A run."""

    steps: int = 10
    """Number of steps."""
    optim: Optim = Optim()
    """How it learns."""
    out: Path | None = None
    """Folder."""
    weights: dict[str, float] = field(default_factory=dict)
    """By source."""
    names: tuple[str, ...] = ("nobody",)
    """Whose."""
    kinds: tuple[Literal["ecg", "ppg"], ...] | None = None
    """What of, or null."""

    def __post_init__(self) -> None:
        if self.steps > 1000:
            raise ValueError(f"steps must be at most 1000, not {self.steps}")


def refusal(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """What the user reads when `words` are refused."""
    with pytest.raises(SystemExit) as stopped:
        parse(Config, words)
    assert stopped.value.code == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "Traceback" not in shown.err
    return shown.err


def test_later_words_override_earlier_ones_and_the_file(tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text("steps: 20\noptim: {lr: 0.5, kind: sgd}\nweights: {a: 1}\n")
    words = ["--config", str(file), "--optim.lr", "0.25", "--out", "here"]
    assert parse(Config, words) == Config(20, Optim(0.25, "sgd"), Path("here"), {"a": 1.0})
    assert parse(Config, [f"--config={file}"]).steps == 20
    assert parse(Config, []) == Config()


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (["a"], ("a",)),
        (["a", "b c", "--steps", "3"], ("a", "b c")),
        (["[a, 'b']"], ("a", "b")),
        (["007", "true", "null", "-1"], ("007", "true", "null", "-1")),
        (["null"], ("null",)),
        (["[]"], ()),
    ],
)
def test_lists_are_words_or_written_as_in_yaml(words: list[str], names: tuple[str, ...]) -> None:
    assert parse(Config, ["--names", *words]).names == names
    assert parse(Config, [f"--names={words[0]}"]).names == (names if len(words) == 1 else names[:1])


def test_words_of_a_list_have_the_types_of_its_items(tmp_path: Path) -> None:
    words = ["--optim.betas", "-0.5", ".25", "--kinds", "ecg", "ppg", "--names", "x"]
    config = parse(Config, words)
    assert (config.optim.betas, config.kinds, config.names) == (
        (-0.5, 0.25),
        ("ecg", "ppg"),
        ("x",),
    )
    assert parse(Config, ["--kinds", "null"]).kinds is None
    # A later list replaces an earlier one, and one in a file.
    (tmp_path / "run.yaml").write_text("names: [a, b]\n")
    file = ["--config", str(tmp_path / "run.yaml")]
    assert parse(Config, file).names == ("a", "b")
    assert parse(Config, [*file, "--names", "c", "--names", "d", "e"]).names == ("d", "e")
    # An option that holds a mapping is none of these, even where lists are in it.
    assert parse(Config, ["--weights", "{a: 2}"]).weights == {"a": 2.0}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--stepps", "3"], "unrecognized arguments: --stepps 3; did you mean steps?"),
        (["--optim.lrr", "3"], "--optim.lrr 3; did you mean optim.lr?"),
        (["--steps", "1.5"], '"steps": Expected a int. Got value: 1.5'),
        (["--steps", "2000"], "steps must be at most 1000, not 2000"),
        (["--optim.lr", "-1"], "optim.lr must be above 0, not -1.0"),
        (["--optim.kind", "lion"], "Expected a Literal['adam', 'sgd']. Got value: lion"),
        (["--names"], "--names: expected one or more words after it, found none"),
        (["--names", "--steps", "3"], "--names: expected one or more words after it, found none"),
        (["--names", "[a"], '"names": Expected a tuple. Got value: [a'),
        (["--names", "a", "--steps", "3", "b"], "unrecognized arguments: b"),
        (["--namess", "a", "b"], "did you mean names?"),
        (["--kinds", "ecg", "eeg"], "Got value: eeg"),
        (["--optim.betas", "0.5"], "Expected a tuple with 2 elements"),
        (["--optim.betas", "0.5", "high"], "Expected a float. Got value: high"),
        (["--config", "nowhere/at_all"], "no config file 'nowhere/at_all', and no shipped config"),
    ],
)
def test_wrong_words_are_refused(
    capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    assert message in refusal(capsys, *words)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("stepps: 3", "'stepps' is not accepted; did you mean steps?"),
        ("optim: {lrr: 3}", "does not accept option 'lrr'; did you mean optim.lr?"),
        ("optim: {lr: 0}", "optim.lr must be above 0, not 0.0"),
        ("optim: {lr: high}", '"optim.lr": Expected a float. Got value: high'),
        ("optim: {", "Problems parsing config"),
    ],
)
def test_a_wrong_file_is_refused_and_named(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, text: str, message: str
) -> None:
    file = tmp_path / "run.yaml"
    file.write_text(text)
    shown = refusal(capsys, "--config", str(file))
    assert message in shown
    assert str(file) in shown


def test_help_gives_every_field_its_docstring(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        parse(Config, ["--help"], description="Trains.")
    assert stopped.value.code == 0
    shown = capsys.readouterr().out
    for text in (
        "Trains.",
        "Number of steps.",
        "in laps per fortnight",
        "path | null",
        "--names ITEM",
    ):
        assert text in shown


def test_shipped_configs_are_found_by_name_from_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shipped = tmp_path / "configs"
    (shipped / "runs").mkdir(parents=True)
    (shipped / "runs" / "quick.yaml").write_text("steps: 3\n")
    monkeypatch.setattr(configuration, "CONFIGS", shipped)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert parse(Config, ["--config", "runs/quick"]).steps == 3
    assert config_file("runs/quick.yaml") == shipped / "runs" / "quick.yaml"
    # A file of the user's own wins.
    Path("runs").mkdir()
    Path("runs/quick.yaml").write_text("steps: 4\n")
    assert parse(Config, ["--config", "runs/quick.yaml"]).steps == 4
    with pytest.raises(FileNotFoundError, match="shipped: runs/quick"):
        config_file("runs/quik")


def test_the_resolved_config_reads_back_as_itself(tmp_path: Path) -> None:
    config = Config(7, Optim(0.1, "sgd"), Path("a/b"), {"x": 0.5})
    write_config(config, tmp_path / "config.yaml")
    assert yaml.safe_load((tmp_path / "config.yaml").read_text()) == to_dict(config)
    assert parse(Config, ["--config", str(tmp_path / "config.yaml")]) == config
