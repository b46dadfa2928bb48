"""The `biofm` command: every verb is a typed function, and its docstring is the help.

A function's parameters without a default are positional on the command line (a `Sequence` takes
one or more words); keyword-only parameters and those with a default are options; a parameter that
is a config dataclass becomes `--config` and one option a field. A verb's module is imported only
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
import traceback
import typing
from collections.abc import Callable, Sequence
from typing import Any

import docstring_parser

from . import __version__
from .configuration import ConfigParser

VERBS: dict[str, tuple[str, str]] = {
    "datasets list": (".datasets.commands:list_sources", "the sources biofm reads"),
    "datasets simulate": (".datasets.simulate:simulate", "write a synthetic twin of a source"),
    "shards build": (".shards.commands:build", "turn recordings into audited tar shards"),
    "shards verify": (".shards.commands:verify", "prove that shards are whole and leak nothing"),
    "shards inspect": (".shards.commands:inspect", "show what a shard folder holds"),
    "embed": (".models.commands:embed", "embed recordings with a trained encoder"),
}
"""Verb → (module:function, one line for `biofm --help`)."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; returns the exit status: 0, 1 for an error, 2 for a wrong command line."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    verb = next((v for v in VERBS if words[: len(v.split())] == v.split()), None)
    if verb is None:
        return overview(words)
    try:
        call(function_of(verb), f"biofm {verb}", words[len(verb.split()) :])
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader of our output (`| head`) has left; Python would complain again when it exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    except (OSError, ValueError, LookupError, ImportError, RuntimeError) as error:
        if os.environ.get("BIOFM_DEBUG"):
            traceback.print_exc()
        # str(KeyError) is the message in quotes.
        print(f"error: {error.args[0] if type(error) is KeyError else error}", file=sys.stderr)
        return 1
    return 0


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


def function_of(verb: str) -> Callable[..., None]:
    """The function behind a verb."""
    module, _, name = VERBS[verb][0].partition(":")
    found: Callable[..., None] = getattr(importlib.import_module(module, __package__), name)
    return found


def call(function: Callable[..., None], name: str, words: Sequence[str]) -> None:
    """Parse `words` as the parameters of `function` and call it."""
    hints = typing.get_type_hints(function)
    text = docstring_parser.parse(function.__doc__ or "")
    described = {p.arg_name: p.description or "" for p in text.params}
    parameters = list(inspect.signature(function).parameters.values())
    usage = " ".join([name, *filter(None, map(_usage, parameters)), "[--OPTION VALUE ...]"])
    about = "\n\n".join(filter(None, (text.short_description, text.long_description)))
    parser = ConfigParser(prog=name, usage=usage, description=about)
    for parameter in parameters:
        _add(parser, parameter, hints[parameter.name], described.get(parameter.name, ""))
    values = parser.values(words)
    arguments: dict[str, Any] = {
        p.name: parser.config(hints[p.name], values)
        if _is_config(hints[p.name])
        else values[p.name]
        for p in parameters
    }
    function(**arguments)


def _add(parser: ConfigParser, parameter: inspect.Parameter, hint: Any, text: str) -> None:
    """Add one parameter of a verb to its parser."""
    name, default = parameter.name, parameter.default
    if _is_config(hint):
        parser.add_config(hint)
    elif _is_positional(parameter):
        many = typing.get_origin(hint) is collections.abc.Sequence
        element = typing.get_args(hint)[0] if many else hint
        parser.add_argument(
            name, type=element, nargs="+" if many else None, metavar=name.upper(), help=text
        )
    elif hint is bool:
        parser.add_argument(f"--{name}", action="store_true", help=text)
    elif default is inspect.Parameter.empty:
        parser.add_argument(f"--{name}", type=hint, required=True, help=text)
    else:
        parser.add_argument(f"--{name}", type=hint, default=default, help=text)


def _usage(parameter: inspect.Parameter) -> str:
    """What a parameter without a default looks like on the command line."""
    name = parameter.name
    if _is_positional(parameter):
        return f"{name.upper()} ..." if "Sequence" in str(parameter.annotation) else name.upper()
    return f"--{name} {name.upper()}" if parameter.default is inspect.Parameter.empty else ""


def _is_positional(parameter: inspect.Parameter) -> bool:
    required = parameter.default is inspect.Parameter.empty
    return required and parameter.kind is not inspect.Parameter.KEYWORD_ONLY


def _is_config(hint: Any) -> bool:
    return dataclasses.is_dataclass(hint)
