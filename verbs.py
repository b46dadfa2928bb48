"""A typed function as a command: its parameters are the command line, its docstring is the help.

Parameters without a default are positional on the command line, up to the first sequence; all others are
options. A sequence without a default takes one or more words. A parameter that is a config dataclass becomes
`--config` and one option a field.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import inspect
import typing
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import docstring_parser

from .configuration import ConfigParser


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
