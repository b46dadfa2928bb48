"""One way to configure: frozen dataclasses, read from YAML and the command line by jsonargparse.

`parse(Config)` gives `--config NAME_OR_FILE`, dotted overrides (`--optim.lr 1e-3`), lists as words
(`--tasks a b`) or as in YAML (`--tasks '[a, b]'`), `--print_config` and a `--help` made from the field
docstrings. Unknown keys and impossible values stop the program before any work. Configs that ship with
biofm are found by name from any folder.
"""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import json
import os
import re
import sys
import traceback
import types
import typing
from collections import deque
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import yaml
from jsonargparse import (
    ArgumentParser,
    DefaultHelpFormatter,
    set_parsing_settings,
)

from .files import write_aside

CONFIGS = Path(__file__).resolve().parent / "configs"
T = TypeVar("T")

# A field's docstring stands below it, and is what `--help` says. No config holds an object of a
# class that the file itself names, so none can be made to.
set_parsing_settings(
    docstring_parse_attribute_docstrings=True, instantiate_subclass_spec_in_any=False
)


def config_file(name: str) -> Path:
    """The file that `name` means: a path, or a shipped config's name (`pretrain/mae_ptbxl`)."""
    path = Path(name)
    if path.is_file():
        return path
    shipped = CONFIGS / (name if name.endswith(".yaml") else f"{name}.yaml")
    if shipped.is_file():
        return shipped
    known = sorted(str(p.relative_to(CONFIGS).with_suffix("")) for p in CONFIGS.rglob("*.yaml"))
    raise FileNotFoundError(
        f"no config file {name!r}, and no shipped config of that name; shipped: {', '.join(known)}"
    )


def parse(config_type: type[T], arguments: Sequence[str] | None = None, description: str = "") -> T:
    """Build `config_type` from command-line arguments (default: `sys.argv`).

    An unknown option, a wrong type, or a value that the config refuses (its `ValueError`) prints
    one line that says what was expected and ends the program with status 2.
    """
    parser = ConfigParser(description=description)
    parser.add_config(config_type)
    return parser.config(config_type, parser.values(arguments))


class ConfigParser(ArgumentParser):
    """jsonargparse's parser, with short errors, shipped configs by name and readable help."""

    config_read: str = ""
    """The last config file that was read, which an error then names."""

    def __init__(self, prog: str | None = None, usage: str | None = None, **rest: Any) -> None:
        # A usage line that names every option of a config would bury the error that follows it.
        usage = usage or "%(prog)s [--config NAME_OR_FILE] [--OPTION VALUE ...]"
        super().__init__(
            prog=prog, usage=usage, formatter_class=_HelpFormatter, allow_abbrev=False, **rest
        )

    def add_config(self, config_type: type) -> None:
        """Add `--config` and one option for each field of `config_type`, however deep."""
        self.add_argument(
            "--config",
            action="config",
            metavar="NAME_OR_FILE",
            help="A YAML file, or the name of a shipped config; options after it override it.",
        )
        self.add_class_arguments(config_type, None)
        for action in self._lists().values():
            action.metavar = "ITEM ..."

    def values(self, arguments: Sequence[str] | None = None) -> Mapping[str, Any]:
        """Parse, and build what is nested; a value that a config refuses ends as a usage error."""
        words = self._with_files(sys.argv[1:] if arguments is None else arguments)
        parsed = self.parse_args(self._with_lists(words))
        try:
            return dict(vars(self.instantiate(parsed)))
        except (ValueError, KeyError) as error:
            self.error(str(error.args[0]), error)

    def _with_files(self, words: Sequence[str]) -> list[str]:
        """`words` with the name of a shipped config after `--config` replaced by its file."""
        found = list(words)
        for i, word in enumerate(words):
            option, equals, name = word.partition("=")
            if option != "--config" or (not equals and i + 1 == len(words)):
                continue
            try:
                self.config_read = str(config_file(name if equals else words[i + 1]))
            except FileNotFoundError as error:
                self.error(str(error), error)
            if equals:
                found[i] = f"--config={self.config_read}"
            else:
                found[i + 1] = self.config_read
        return found

    def _lists(self) -> dict[str, argparse.Action]:
        """Options whose value is a list, and which argparse gives a single word."""
        return {
            option: action
            for option, action in self._option_string_actions.items()
            if action.nargs is None and _items(getattr(action, "_typehint", None))
        }

    def _with_lists(self, words: Sequence[str]) -> list[str]:
        """`words` with the words after an option that takes a list as one: `[a, b]`, as in YAML."""
        lists = self._lists()
        found: list[str] = []
        waiting = deque(words)
        while waiting:
            word = waiting.popleft()
            option, equals, value = word.partition("=")
            if option not in lists:
                found.append(word)
                continue
            items = [value] if equals else []
            while not equals and waiting and not _OPTION.match(waiting[0]):
                items.append(waiting.popleft())
            if not items:
                self.error(f"{option}: expected one or more words after it, found none")
            found.append(f"{option}={_as_list(items, getattr(lists[option], '_typehint', None))}")
        return found

    def config(self, config_type: type[T], values: Mapping[str, Any]) -> T:
        """The `config_type` whose fields are among `values`."""
        names = [field.name for field in dataclasses.fields(config_type)]  # type: ignore[arg-type]
        try:
            return config_type(**{name: values[name] for name in names})
        except (ValueError, KeyError) as error:
            self.error(str(error.args[0]), error)

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Say what is wrong, the nearest known name and where the help is; exit with status 2."""
        message = _plainly(message)
        where = f" (with --config {self.config_read})" if self.config_read else ""
        sys.stderr.write(f"error: {message}{self._nearest(message)}{where}\n")
        sys.stderr.write(f"{self.prog} --help lists every option\n")
        self.exit(2)

    def _nearest(self, message: str) -> str:
        """`; did you mean …?` for an unknown option or configuration key."""
        key = re.search(r"Group '([\w.]+)' does not accept option '([\w.]+)'", message)
        option = re.search(r"(?:unrecognized arguments: --|Option ')([\w.]+)", message)
        if key:
            unknown = ".".join(key.groups())
        elif option:
            unknown = option[1]
        else:
            return ""
        known = [name.removeprefix("--") for name in self._option_string_actions]
        near = difflib.get_close_matches(unknown, known, n=1)
        return f"; did you mean {near[0]}?" if near else ""


_OPTION = re.compile(r"-(?![\d.])")
"""How a word begins that is an option, and no number."""


def _items(hint: Any) -> tuple[Any, ...]:
    """The types of the items where a list is expected (or null); else none."""
    union = typing.get_origin(hint) in (typing.Union, types.UnionType)
    for one in typing.get_args(hint) if union else (hint,):
        if typing.get_origin(one) in (tuple, list, Sequence):
            return typing.get_args(one)
    return ()


def _as_list(words: Sequence[str], hint: Any) -> str:
    """Words as a YAML list. A single one may be a list already, or null where that is allowed."""
    null = words == ["null"] and type(None) in typing.get_args(hint)
    if null or (len(words) == 1 and words[0].startswith("[")):
        return words[0]
    # Text stays text, even if it looks like a number.
    text = any(
        item in (str, Path) or typing.get_origin(item) is typing.Literal for item in _items(hint)
    )
    return f"[{', '.join(json.dumps(word) if text else word for word in words)}]"


def _plainly(message: str) -> str:
    """jsonargparse's message in one line, without Python's names for types."""
    message = " ".join(message.split()).replace("typing.", "").replace("Parser key ", "")
    return re.sub(r"<class '([\w.]+)'>", r"\1", message)


class _FileParser(ConfigParser):
    """Raises where the command line would end the program."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Raise `ValueError` with the message and the nearest known key."""
        message = _plainly(message)
        raise ValueError(message + self._nearest(message))


@lru_cache(maxsize=8)
def _file_parser(config_type: type) -> _FileParser:
    """Made once: it takes longer to make than to use."""
    parser = _FileParser()
    parser.add_config(config_type)
    return parser


def read_config(config_type: type[T], path: Path, largest: int = 1 << 20) -> T:
    """The config in a YAML file that came with somebody's data.

    Raises `ValueError` naming the file where it is larger than `largest` bytes, no YAML, or not what the
    config takes; `OSError` where it cannot be read.
    """
    if (size := path.stat().st_size) > largest:
        raise ValueError(f"{path}: longer than {largest} bytes ({size}), so this is no such file")
    try:
        text = path.read_text(encoding="utf-8")
        # An alias in YAML can make a few bytes stand for more than any memory holds.
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, yaml.SafeLoader)):
            raise ValueError("expected YAML without aliases (*)")
        return from_words(config_type, ["--config", str(path)])
    except (ValueError, yaml.YAMLError, RecursionError) as error:
        raise ValueError(f"{path}: {' '.join(str(error).split())}; correct it") from None


def from_words(config_type: type[T], words: Sequence[str]) -> T:
    """The config that words of a command line make. Raises `ValueError` where `parse` would end the program."""
    parser = _file_parser(config_type)  # type: ignore[arg-type] # a class is hashable
    return parser.config(config_type, parser.values(words))


class _HelpFormatter(DefaultHelpFormatter):
    """`path` where jsonargparse would write `<class 'Path'>`."""

    def _get_type_str(self, action: argparse.Action) -> str | None:
        text = super()._get_type_str(action)
        return text and text.replace("<class 'Path'>", "path").replace("Path", "path")


def to_dict(config: Any) -> dict[str, Any]:
    """A config dataclass as plain containers: what goes into YAML, JSON and the tracker."""
    return {k: _plain(v) for k, v in dataclasses.asdict(config).items()}


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return str(value) if isinstance(value, Path) else value


def write_config(config: Any, path: Path) -> None:
    """Write the resolved config as YAML beside the artefact it made."""
    with write_aside(path) as aside:
        aside.write_text(yaml.safe_dump(to_dict(config), sort_keys=False, allow_unicode=True))


USER_ERRORS = (OSError, ValueError, LookupError, ImportError, RuntimeError)
"""What a user can mend: these end a program with one line, not with a traceback."""


def tell(error: BaseException) -> None:
    """Print such an error; `BIOFM_DEBUG=1` shows where it rose."""
    if os.environ.get("BIOFM_DEBUG"):
        traceback.print_exception(error)
    # str(KeyError) is the message in quotes.
    print(f"error: {error.args[0] if type(error) is KeyError else error}", file=sys.stderr)
