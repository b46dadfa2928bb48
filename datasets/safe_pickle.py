"""Read pickles that hold numpy arrays and plain containers, and refuse every other one.

A pickle is a program: loading one from the network runs whatever it says. Here `pickletools` parses it,
which executes nothing, and the few instructions that arrays and containers need are carried out below
on our own objects. No name in the file is ever looked up: the few that numpy's arrays are made of are
known by their spelling, and any other is an error. An array is a read-only view of bytes that stand in
the file, so nothing in it can claim more memory than the file has.

Protocols 2 to 4, as Python 2 (whose strings are Latin-1) and Python 3 write them.
"""

from __future__ import annotations

import math
import pickletools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from .registry import RecordError

LARGEST_BYTES = 1 << 32
"""Larger files are refused; the largest of WESAD's has about 1 GB."""

MOST_STEPS = 1_000_000
"""Longer programs are refused; arrays and tables of a recording take hundreds of instructions."""

MOST_AXES = 8

LARGEST_INTEGER = 1 << 1023
"""Numbers of more bits are refused: to print one takes very long."""

_LITERALS = {
    *("BININT", "BININT1", "BININT2", "LONG1", "LONG4", "BINFLOAT"),
    *("SHORT_BINSTRING", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"),
    *("SHORT_BINBYTES", "BINBYTES", "BINBYTES8"),
}
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_EMPTY = {"EMPTY_DICT": dict, "EMPTY_LIST": list, "EMPTY_TUPLE": tuple}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_NOTHING = {"PROTO", "FRAME"}

_NAMES = {
    "numpy ndarray": "ndarray",
    "numpy dtype": "dtype",
    "_codecs encode": "encode",
    "__builtin__ bytes": "no bytes",
    **{
        f"numpy.{core}.multiarray {name}": name
        for core in ("core", "_core")
        for name in ("_reconstruct", "scalar")
    },
}
"""What a file may name, as `pickletools` shows it → what it stands for here."""

_NUMBERS = re.compile(r"[biuf](1|2|4|8)", re.ASCII)
_MARK = object()


@dataclass(frozen=True)
class _Name:
    """One of `_NAMES`, on the stack."""

    known: str


class _Type:
    """A dtype under construction."""

    def __init__(self, code: str) -> None:
        self.dtype = np.dtype(code)


class _Blank:
    """An array before its content, and where the memo has it."""

    def __init__(self) -> None:
        self.places: list[int] = []


class _Arguments(tuple[Any, ...]):
    """A tuple with any of these in it: for a call, never for a container."""


_INTERNAL = (_Name, _Type, _Blank, _Arguments)


def load_pickle(path: Path, largest_bytes: int = LARGEST_BYTES) -> Any:
    """What the file holds: dict, list, tuple, str, bytes, numbers, None and numeric arrays.

    Arrays are read-only. A container may hold another many times over, and that one the next: only what
    was seen to be text or a number may be printed, or a few bytes become endless. Of what Python 2 wrote,
    strings of 256 bytes and more stay bytes. Raises `RecordError` on anything else, which is what a
    hostile file needs to do harm.
    """
    try:
        size = path.stat().st_size
        if size > largest_bytes:
            raise RecordError(
                f"{path}: {size} bytes, and at most {largest_bytes} are read; get the file again from "
                "the source"
            )
        with path.open("rb") as file:
            return _Machine(size).run(file)
    except OSError as error:
        raise RecordError(
            f"{path}: the file cannot be read ({error.strerror or error}); get it again from the source"
        ) from error
    except RecordError:
        raise
    except Exception as error:  # damaged bytes lead pickletools to many kinds of error
        raise RecordError(
            f"{path}: expected a pickle of numpy arrays in plain containers and nothing else: "
            f"{_said(error)}; get the file again from the source, and do not load it in another way"
        ) from error


def _said(error: Exception) -> str:
    """The error in one line; what stands in a file is never printed at length."""
    return f"{type(error).__name__}: {error}"[:300] if str(error) else type(error).__name__


class _Machine:
    """A pickle's stack and memo, and the instructions that it may use."""

    def __init__(self, size: int) -> None:
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        # A string may be turned into bytes again and again: all of them are no more than the file.
        self.left = size

    def run(self, file: Any) -> Any:
        """The value that the program leaves. Raises whatever a wrong program leads to."""
        for step, (opcode, argument, _) in enumerate(pickletools.genops(file)):
            if step >= MOST_STEPS:
                raise ValueError(f"more than {MOST_STEPS} instructions")
            if opcode.name == "STOP":
                break
            self._step(opcode.name, argument)
        (value,) = self.stack
        return _finished(value)

    def _step(self, name: str, argument: Any) -> None:
        stack = self.stack
        if name in _LITERALS:
            if isinstance(argument, int) and abs(argument) > LARGEST_INTEGER:
                raise ValueError("a whole number of more than 1024 bits")
            stack.append(argument)
        elif name == "BINSTRING":
            # Of 256 bytes or more: the content of an array. `pickletools` decodes it from Latin-1.
            stack.append(argument.encode("latin-1"))
        elif name in _CONSTANTS:
            stack.append(_CONSTANTS[name])
        elif name in _EMPTY:
            stack.append(_EMPTY[name]())
        elif name == "MARK":
            stack.append(_MARK)
        elif name in ("BINPUT", "LONG_BINPUT", "MEMOIZE"):
            place = len(self.memo) if name == "MEMOIZE" else argument
            self.memo[place] = stack[-1]
            if isinstance(stack[-1], _Blank):
                stack[-1].places.append(place)
        elif name in ("BINGET", "LONG_BINGET"):
            stack.append(self.memo[argument])
        elif name == "TUPLE" or name in _TUPLES:
            items = self._marked() if name == "TUPLE" else self._top(_TUPLES[name])
            stack.append(_tuple(items))
        elif name in ("APPEND", "APPENDS"):
            items = self._marked() if name == "APPENDS" else self._top(1)
            _expect(stack[-1], list).extend(map(_finished, items))
        elif name in ("SETITEM", "SETITEMS"):
            items = self._marked() if name == "SETITEMS" else self._top(2)
            _expect(stack[-1], dict).update(_pairs(items))
        elif name in ("GLOBAL", "STACK_GLOBAL"):
            named = argument if name == "GLOBAL" else " ".join(map(_text, self._top(2)))
            if named not in _NAMES:
                raise ValueError(f"it names {named[:100]!r}, which no array needs")
            stack.append(_Name(_NAMES[named]))
        elif name == "REDUCE":
            function, arguments = self._top(2)
            stack.append(self._called(_expect(function, _Name).known, _expect(arguments, tuple)))
        elif name == "BUILD":
            self._build()
        elif name not in _NOTHING:
            raise ValueError(f"it uses the instruction {name}, which no array needs")

    def _top(self, count: int) -> list[Any]:
        """Take the topmost values off the stack."""
        if len(self.stack) < count:
            raise ValueError("it takes more from the stack than there is")
        taken = self.stack[-count:]
        del self.stack[-count:]
        return taken

    def _marked(self) -> list[Any]:
        """Take what stands above the last mark off the stack, and the mark."""
        taken: list[Any] = []
        while (value := self.stack.pop()) is not _MARK:
            taken.append(value)
        return taken[::-1]

    def _build(self) -> None:
        """Fill the type or the array that stands below its state; in the memo, too."""
        blank, state = self._top(2)
        if isinstance(blank, _Type):
            blank.dtype = blank.dtype.newbyteorder(_byte_order(_expect(state, tuple)))
            self.stack.append(blank)
            return
        array = self._array(_expect(state, tuple))
        for place in _expect(blank, _Blank).places:
            self.memo[place] = array
        self.stack.append(array)

    def _called(self, function: str, arguments: tuple[Any, ...]) -> Any:
        """What the call of a known name stands for."""
        if function == "_reconstruct":
            if arguments[0] != _Name("ndarray"):
                raise ValueError("it makes an array that is no ndarray")
            return _Blank()
        if function == "dtype":
            code = _text(arguments[0])
            if not _NUMBERS.fullmatch(code):
                raise ValueError(f"an array of type {code[:20]!r}, expected whole or real numbers")
            return _Type(code)
        if function == "scalar":
            dtype, raw = arguments
            return self._view(raw, dtype, ()).item()
        if function == "encode":
            text, encoding = arguments
            if _text(encoding) not in ("latin1", "latin-1"):
                raise ValueError("it encodes a string in another way than Latin-1")
            return self._bytes(text)
        if function == "no bytes" and arguments == ():
            return b""
        raise ValueError(f"it calls {function}")

    def _array(self, state: tuple[Any, ...]) -> np.ndarray[Any, Any]:
        """The array of a state: (version, shape, type, whether Fortran-ordered, content)."""
        shape, dtype, fortran, raw = state[-4:]
        axes = _expect(shape, tuple)
        if len(axes) > MOST_AXES or not all(type(n) is int and n >= 0 for n in axes):
            raise ValueError(
                f"an array of {len(axes)} axes that are not all whole numbers from 0 on"
            )
        return self._view(raw, dtype, axes, "F" if _expect(fortran, int) else "C")

    def _view(
        self, raw: Any, type_: Any, shape: tuple[int, ...], order: Literal["C", "F"] = "C"
    ) -> np.ndarray[Any, Any]:
        """The bytes as an array, if they are exactly as many as it takes."""
        dtype = _expect(type_, _Type).dtype
        content = self._bytes(raw) if isinstance(raw, str) else _expect(raw, bytes)
        needed = math.prod(shape) * dtype.itemsize
        if len(content) != needed:
            raise ValueError(f"an array that claims {needed} bytes and has {len(content)}")
        return np.frombuffer(content, dtype).reshape(shape, order=order)

    def _bytes(self, text: Any) -> bytes:
        """A Latin-1 string as the bytes that it stands for."""
        self.left -= len(_text(text))
        if self.left < 0:
            raise ValueError("it uses the same bytes more than once")
        return _text(text).encode("latin-1")


def _byte_order(state: tuple[Any, ...]) -> Literal["<", ">", "|", "="]:
    """The byte order in the state of a dtype: (version, order, subtype, names, fields, …)."""
    order: Any = _text(state[1])
    if order not in ("<", ">", "|", "=") or any(part is not None for part in state[2:5]):
        raise ValueError("an array of a structured type, expected whole or real numbers")
    known: Literal["<", ">", "|", "="] = order
    return known


def _pairs(items: list[Any]) -> Iterator[tuple[Any, Any]]:
    """Keys and values for a dict; keys are text or whole numbers."""
    for key, value in zip(items[::2], items[1::2], strict=True):
        yield _expect(key, (str, int)), _finished(value)


def _tuple(items: list[Any]) -> tuple[Any, ...]:
    """The items as a tuple, marked where one of them may not stand in a container."""
    internal = any(item is _MARK or isinstance(item, _INTERNAL) for item in items)
    return _Arguments(items) if internal else tuple(items)


def _finished(value: Any) -> Any:
    """The value, which must be one that may stand in a container."""
    if value is _MARK or isinstance(value, _INTERNAL):
        raise ValueError("it leaves a name or half an array where a value should be")
    return value


def _expect(value: Any, kind: Any) -> Any:
    """The value, which must be of the kind."""
    if not isinstance(value, kind):
        raise ValueError(f"it uses a {type(value).__name__} where that is not possible")
    return value


def _text(value: Any) -> str:
    text: str = _expect(value, str)
    return text
