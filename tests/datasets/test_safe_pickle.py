"""Pickles of arrays are read as numpy reads them, and every other pickle is refused."""

from __future__ import annotations

import contextlib
import os
import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from biofm.datasets import safe_pickle
from biofm.datasets.registry import RecordError
from biofm.datasets.safe_pickle import load_pickle

RNG = np.random.default_rng(0)
ARRAYS: dict[str, np.ndarray[Any, Any]] = {
    "matrix": RNG.standard_normal((200, 3)),
    "fortran": np.asfortranarray(RNG.standard_normal((4, 3))),
    "single": RNG.standard_normal((5, 1)).astype(np.float32),
    "codes": np.arange(300, dtype=np.int32),
    "swapped": np.arange(9, dtype=">i2"),
    "bytes": np.arange(256, dtype=np.uint8),
    "flags": np.array([True, False]),
    "scalar": np.array(3.0),
    "nothing": np.empty((0, 3)),
}


def written(folder: Path, content: bytes) -> Path:
    path = folder / "some.pkl"
    path.write_bytes(content)
    return path


def refused(folder: Path, content: bytes, why: str) -> None:
    with pytest.raises(RecordError, match=rf"some\.pkl.*{why}"):
        load_pickle(written(folder, content))


class Calls:
    """Pickles as the call of a function."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return self.call


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_arrays_and_plain_containers_are_read(tmp_path: Path, protocol: int) -> None:
    plain = {
        "text": "Ä",
        "list": [1, -70_000, 2.5, None, True, 10**30],
        "tuple": (1, ("a",)),
        5: {},
    }
    content = {"arrays": ARRAYS, "n": np.float64(2.5), "i": np.int64(-3), "again": ARRAYS, **plain}
    got = load_pickle(written(tmp_path, pickle.dumps(content, protocol=protocol)))
    assert {key: got[key] for key in plain} == plain
    assert (got["n"], got["i"]) == (2.5, -3)
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(got["arrays"][name], array)
        assert got["arrays"][name].dtype == array.dtype
        assert not got["arrays"][name].flags.writeable
    assert got["again"] is got["arrays"]


def python2_string(text: bytes) -> bytes:
    """How Python 2's protocol 2 writes a string: its bytes as they are."""
    if len(text) < 256:
        return b"U" + bytes([len(text)]) + text
    return b"T" + struct.pack("<i", len(text)) + text


def python2_array(array: np.ndarray[Any, Any], first: bool) -> bytes:
    """How Python 2 and numpy 1 write an array; the first one fills the memo, others look there."""
    named = b"cnumpy.core.multiarray\n_reconstruct\nq\x01cnumpy\nndarray\nq\x02"
    making = named if first else b"h\x01h\x02"
    kind, shape = (
        array.dtype.str[1:].encode(),
        b"".join(b"M" + struct.pack("<H", n) for n in array.shape),
    )
    return (
        making + b"K\x00\x85" + python2_string(b"b") + b"\x87R(K\x01(" + shape + b"t"
        b"cnumpy\ndtype\n" + python2_string(kind) + b"K\x00K\x01\x87R"
        b"(K\x03" + python2_string(b"<") + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89"
        + python2_string(array.tobytes()) + b"tb"
    )  # fmt: skip


def test_what_python_2_wrote_is_read_as_numpy_reads_it(tmp_path: Path) -> None:
    big, small = RNG.standard_normal((70, 2)), np.arange(6, dtype="<i4")
    content = (
        b"\x80\x02}q\x00(" + python2_string(b"big") + python2_array(big, first=True)
        + python2_string(b"small") + python2_array(small, first=False)
        + python2_string(b"subject") + python2_string(b"S1") + b"u."
    )  # fmt: skip
    got = load_pickle(written(tmp_path, content))
    reference = pickle.loads(content, encoding="latin1")
    assert got.keys() == reference.keys() == {"big", "small", "subject"}
    np.testing.assert_array_equal(got["big"], big)
    np.testing.assert_array_equal(reference["big"], big)
    np.testing.assert_array_equal(got["small"], small)
    assert got["subject"] == "S1"


@pytest.mark.parametrize(
    ("function", "arguments"),
    [
        (os.system, ("touch hacked",)),
        (eval, ("open('hacked', 'w')",)),
        (exec, ("open('hacked', 'w')",)),
        (getattr, ("text", "upper")),
        (np.load, ("hacked.npy", None, True)),
        (np.testing.assert_equal, (1, 1)),
        (np.fromfile, ("/etc/passwd",)),
        (np.frombuffer, (b"12345678",)),
        (np.zeros, (1 << 40,)),
        (bytes, (1 << 40,)),
        (bytearray, (b"x",)),
    ],
)
@pytest.mark.parametrize("protocol", [2, 4])
def test_calls_of_anything_else_are_refused_and_not_made(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    protocol: int,
    function: Any,
    arguments: tuple[Any, ...],
) -> None:
    monkeypatch.chdir(tmp_path)
    content = pickle.dumps({"signal": [Calls(function, *arguments)]}, protocol=protocol)
    refused(tmp_path, content, r"names '.*', which no array needs|it calls no bytes")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["some.pkl"]


def array_with(**lies: bytes) -> bytes:
    """A pickled array of four doubles in which some parts are replaced."""
    parts = {
        "function": b"cnumpy._core.multiarray\n_reconstruct\n",
        "class": b"cnumpy\nndarray\n",
        "shape": b"K\x04\x85",
        "type": b"U\x02f8",
        "state": b"(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb",
        "content": python2_string(bytes(32)),
        **lies,
    }
    return (
        b"\x80\x02" + parts["function"] + parts["class"] + b"K\x00\x85U\x01b\x87R(K\x01" + parts["shape"]
        + b"cnumpy\ndtype\n" + parts["type"] + b"K\x00K\x01\x87R" + parts["state"] + b"\x89"
        + parts["content"] + b"tb."
    )  # fmt: skip


@pytest.mark.parametrize(
    ("lies", "why"),
    [
        ({"shape": b"J\xff\xff\xff\x7f\x85"}, "claims 17179869176 bytes and has 32"),
        ({"shape": b"K\x05\x85"}, "claims 40 bytes and has 32"),
        ({"shape": b"J\xff\xff\xff\xff\x85"}, "whole numbers"),
        ({"shape": b"(" + b"K\x01" * 40 + b"t"}, "40 axes"),
        ({"shape": b"G" + struct.pack(">d", 4.0) + b"\x85"}, "whole numbers"),
        ({"shape": b"K\x04"}, "a int where"),
        ({"type": b"U\x02O8"}, "type 'O8', expected whole or real numbers"),
        ({"type": b"U\x05V9999"}, "expected whole or real numbers"),
        ({"type": b"U\x02M8"}, "expected whole or real numbers"),
        ({"type": b"U\x02f3"}, "f3"),
        ({"state": b"(K\x03U\x01<cnumpy\nndarray\nNNJ\xff\xff\xff\xffK\x00tb"}, "structured"),
        ({"state": b"(K\x03U\x01<NU\x01aNJ\xff\xff\xff\xffK\x00tb"}, "structured"),
        ({"content": b"N"}, "NoneType"),
        ({"content": python2_string(b"")}, "claims 32 bytes and has 0"),
        ({"class": b"cnumpy\ndtype\n"}, "no ndarray"),
        ({"class": b"cnumpy\nmatrix\n"}, "numpy matrix"),
        ({"function": b"cnumpy._core.multiarray\nfromfile\n"}, "fromfile"),
    ],
)
def test_arrays_that_lie_are_refused(tmp_path: Path, lies: dict[str, bytes], why: str) -> None:
    assert load_pickle(written(tmp_path, array_with())).tolist() == [0.0] * 4
    refused(tmp_path, array_with(**lies), why)


def test_object_arrays_are_refused(tmp_path: Path) -> None:
    hidden = np.array([Calls(os.system, "true")], dtype=object)
    refused(tmp_path, pickle.dumps({"x": hidden}, protocol=2), "type 'O8'|which no array needs")


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "exhausted"),
        (b"not a pickle", "opcode|instruction|exhausted|ValueError"),
        (pickle.dumps(ARRAYS, protocol=2)[:-40], "bytes remain|expected|exhausted"),
        (b"\x80\x02K\x01K\x02.", "unpack"),
        (b"\x80\x02.", "unpack"),
        (b"\x80\x020.", "instruction POP"),
        (b"\x80\x02(K\x01.", "unpack"),
        (b"\x80\x02e.", "IndexError"),
        (b"\x80\x02h\x07.", "KeyError"),
        (b"\x80\x02cnumpy\nndarray\n.", "leaves a name"),
        (b"\x80\x02]cnumpy\nndarray\na.", "leaves a name"),
        (b"\x80\x02]cnumpy\nndarray\n\x85a.", "leaves a name"),
        (b"\x80\x02]K\x01K\x02s.", "list where"),
        (b"\x80\x02}]K\x02s.", "list where"),
        (b"\x80\x02ccopy_reg\n_reconstructor\n.", "copy_reg"),
        (b"(ios\nsystem\n.", "INST"),
        (b"\x80\x02cos\nsystem\n.", "os system"),
        (b"\x80\x02\x82\x01.", "EXT1"),
        (b"Psome\n.", "PERSID"),
        (b"\x80\x04\x8c\x02os\x8c\x06system\x93.", "os system"),
        (b"\x80\x05\x97.", "NEXT_BUFFER"),
        # A length beyond any memory, for a string and for the place in the memo.
        (b"\x80\x04\x8e" + struct.pack("<Q", 1 << 62) + b"x.", "MemoryError|bytes"),
        (b"\x80\x02K\x01r\xff\xff\xff\xff0.", "instruction POP"),
    ],
)
def test_what_is_no_such_pickle_is_refused(tmp_path: Path, content: bytes, why: str) -> None:
    refused(tmp_path, content, why)


def test_the_memo_is_no_bomb(tmp_path: Path) -> None:
    # Python's own unpickler would reserve 64 GB for this place.
    assert load_pickle(written(tmp_path, b"\x80\x02K\x01r\xff\xff\xff\xff.")) == 1


def test_references_are_shared_and_not_multiplied(tmp_path: Path) -> None:
    nested: list[Any] = []
    for _ in range(200):
        nested = [nested, nested]
    got = load_pickle(written(tmp_path, pickle.dumps(nested, protocol=2)))
    for _ in range(200):
        assert got[0] is got[1]
        got = got[0]
    itself: list[Any] = []
    itself.append(itself)
    got = load_pickle(written(tmp_path, pickle.dumps(itself, protocol=2)))
    assert got[0] is got


def test_one_string_does_not_become_many_arrays(tmp_path: Path) -> None:
    text = b"X" + struct.pack("<I", 1000) + b"a" * 1000 + b"q\x00"
    first = b"c_codecs\nencode\nq\x01h\x00X\x06\x00\x00\x00latin1q\x02\x86R"
    again = b"h\x01h\x00h\x02\x86R"
    got = load_pickle(written(tmp_path, b"\x80\x02](" + text + first + b"e."))
    assert got == ["a" * 1000, b"a" * 1000]
    refused(
        tmp_path, b"\x80\x02](" + text + first + again * 50 + b"e.", "same bytes more than once"
    )


def test_files_and_programs_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path, pickle.dumps(list(range(50)), protocol=2))
    with pytest.raises(
        RecordError, match=rf"some\.pkl: {path.stat().st_size} bytes, and at most 20"
    ):
        load_pickle(path, largest_bytes=20)
    monkeypatch.setattr(safe_pickle, "MOST_STEPS", 20)
    refused(tmp_path, path.read_bytes(), "more than 20 instructions")
    with pytest.raises(RecordError, match=r"absent\.pkl: the file cannot be read"):
        load_pickle(tmp_path / "absent.pkl")


WHOLE = pickle.dumps({"a": ARRAYS["codes"], "b": [1.0, "x", (2,)]}, protocol=2)


@settings(max_examples=300, deadline=None)
@given(at=st.integers(0, len(WHOLE) - 1), byte=st.integers(0, 255), cut=st.booleans())
def test_damaged_pickles_are_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, at: int, byte: int, cut: bool
) -> None:
    damaged = WHOLE[:at] if cut else WHOLE[:at] + bytes([byte]) + WHOLE[at + 1 :]
    path = tmp_path_factory.getbasetemp() / "damaged.pkl"
    path.write_bytes(damaged)
    with contextlib.suppress(RecordError):
        load_pickle(path)


def test_a_number_that_takes_long_to_print_is_refused(tmp_path: Path) -> None:
    refused(tmp_path, pickle.dumps({10**6000: 1}, protocol=2), "number of more than 1024 bits")
