"""The `biofm` command: every verb is a typed function, and its docstring is the help.

A function's parameters without a default are positional on the command line, up to the first
sequence; all others are options. A sequence without a default takes one or more words. A parameter
that is a config dataclass becomes `--config` and one option a field. A verb's module is imported only
when the verb is called.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import difflib
import importlib
import inspect
import os
import sys
import typing
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import docstring_parser

from . import __version__
from .configuration import CONFIGS, USER_ERRORS, ConfigParser, tell

VERBS: dict[str, tuple[str, str]] = {
    "datasets list": (".datasets.commands:list_sources", "the sources biofm reads"),
    "datasets simulate": (".datasets.simulate:simulate", "write a synthetic twin of a source"),
    "datasets download": (".datasets.download:download", "download a source from its publisher"),
    "shards build": (".shards.commands:build", "turn recordings into audited tar shards"),
    "shards verify": (".shards.commands:verify", "prove that shards are whole and leak nothing"),
    "shards inspect": (".shards.commands:inspect", "show what a shard folder holds"),
    "probe": (".finetune.probe:probe", "judge a frozen encoder on a task by a linear head"),
    "finetune": (".finetune.finetune_run:finetune", "train a model for tasks"),
    "embed": (".embedding:embed", "embed recordings with a trained encoder"),
}
"""Verb → (module:function, one line for `biofm --help`)."""


SHIPPED = {"shards build": "shards"}
"""Verb → the folder of shipped configs in which its first word has one, used where none is named."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb, and print the path it made if it returns one.

    Returns the exit status: 0, 1 for an error, 2 for a wrong command line.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    verb = next((v for v in VERBS if words[: len(v.split())] == v.split()), None)
    if verb is None:
        return overview(words)
    try:
        rest = words[len(verb.split()) :]
        result = call(function_of(verb), f"biofm {verb}", [*shipped_config(verb, rest), *rest])
        if isinstance(result, Path):
            print(result)
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader of our output (`| head`) has left; Python would complain again when it exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    except USER_ERRORS as error:
        tell(error)
        return 1
    return 0


def shipped_config(verb: str, words: Sequence[str]) -> list[str]:
    """`--config shards/mesa` for `shards build mesa …`, where that ships and no other is named."""
    named = any(word.partition("=")[0] == "--config" for word in words)
    if verb not in SHIPPED or not words or named:
        return []
    name = f"{SHIPPED[verb]}/{words[0]}"
    return ["--config", name] if (CONFIGS / f"{name}.yaml").is_file() else []


def overview(words: Sequence[str]) -> int:
    """Answer a command line that names no verb: help, the version, or what may have been meant."""
    if words and words[0] == "--version":
        print(f"biofm {__version__}")
        return 0
    group = [verb for verb in VERBS if words and verb.split()[0] == words[0]]
    if not words or words[-1] in ("--help", "-h") or (group and len(words) == 1):
        print("usage: biofm VERB …\n\nverbs:")
        for verb in group or VERBS:
            print(f"  {verb:20}{VERBS[verb][1]}")
        print("\n`biofm VERB --help` says everything about one; BIOFM_DEBUG=1 shows where an error")
        print("rose; --version prints the version.")
        return 0
    asked = " ".join(words[:2])
    near = difflib.get_close_matches(asked, VERBS, n=1, cutoff=0.5)
    hint = f"did you mean `biofm {near[0]}`?" if near else "`biofm --help` lists them"
    print(f"error: no verb {asked!r}; {hint}", file=sys.stderr)
    return 2


def function_of(verb: str) -> Callable[..., object]:
    """The function behind a verb."""
    module, _, name = VERBS[verb][0].partition(":")
    found: Callable[..., object] = getattr(importlib.import_module(module, __package__), name)
    return found


def call(function: Callable[..., object], name: str, words: Sequence[str]) -> object:
    """Parse `words` as the parameters of `function`, call it, and return what it returns."""
    hints = typing.get_type_hints(function)
    text = docstring_parser.parse(function.__doc__ or "")
    described = {p.arg_name: p.description or "" for p in text.params}
    parameters = inspect.signature(function).parameters
    positional = _positional(parameters.values(), hints)
    usage = [name]
    for key, parameter in parameters.items():
        if key in positional:
            usage.append(f"{key.upper()} ..." if _is_sequence(hints[key]) else key.upper())
        elif parameter.default is parameter.empty and not _is_config(hints[key]):
            usage.append(f"--{key} {key.upper()}{' ...' if _is_sequence(hints[key]) else ''}")
    about = "\n\n".join(filter(None, (text.short_description, text.long_description)))
    parser = ConfigParser(name, " ".join([*usage, "[--OPTION VALUE ...]"]), description=about)
    for key, parameter in parameters.items():
        if key in positional:
            _add_positional(parser, key, hints[key], described.get(key, ""))
        else:
            _add_option(parser, parameter, hints[key], described.get(key, ""))
    values = parser.values(words)
    return function(
        **{
            key: parser.config(hints[key], values) if _is_config(hints[key]) else values[key]
            for key in parameters
        }
    )


def _positional(parameters: Iterable[inspect.Parameter], hints: dict[str, Any]) -> list[str]:
    """Names of the parameters that are positional on the command line."""
    found: list[str] = []
    for parameter in parameters:
        keyword = parameter.kind is parameter.KEYWORD_ONLY
        if keyword or parameter.default is not parameter.empty or _is_config(hints[parameter.name]):
            break
        found.append(parameter.name)
        if _is_sequence(hints[parameter.name]):
            break
    return found


def _add_positional(parser: ConfigParser, key: str, hint: Any, text: str) -> None:
    many = _is_sequence(hint)
    element = typing.get_args(hint)[0] if many else hint
    parser.add_argument(
        key, type=element, nargs="+" if many else None, metavar=key.upper(), help=text
    )


def _add_option(parser: ConfigParser, parameter: inspect.Parameter, hint: Any, text: str) -> None:
    option = f"--{parameter.name}"
    if _is_config(hint):
        parser.add_config(hint)
    elif parameter.default is parameter.empty:
        many = _is_sequence(hint)
        element = typing.get_args(hint)[0] if many else hint
        parser.add_argument(
            option, type=element, nargs="+" if many else None, required=True, help=text
        )
    elif parameter.default is False:
        parser.add_argument(option, action="store_true", help=text)
    else:
        parser.add_argument(option, type=hint, default=parameter.default, help=text)


def _is_sequence(hint: Any) -> bool:
    return typing.get_origin(hint) in (list, collections.abc.Sequence)


def _is_config(hint: Any) -> bool:
    return dataclasses.is_dataclass(hint)
