"""Who a recording is of must not be in a shard: keyed names instead of the source's, and a last look.

Only the fields of the index's schema are ever written (`segments`), so that what a header says besides
cannot slip in by being there; `check_private` proves it for the strings that identify.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..signals import Recording

SHORTEST_KEY = 16
SHORTEST = 4
"""A shorter private string occurs by chance in any code: it is not searched for."""
NOT_SEARCHED = frozenset(
    (
        *("key", "record", "subject"),  # the names that the recording is to have
        *("dataset", "split", "streams"),  # from our own vocabulary
        *("signature", "fingerprint"),  # computed: any four characters occur in some of them
    )
)
"""Fields of a row that cannot hold a private string, or hold the name in public use."""


class PrivacyError(ValueError):
    """Something that identifies a person would have been written: the build stops."""


def pseudonymous(recording: Recording, key_file: Path | None) -> Recording:
    """The recording under keyed names, its own ones private; as it is where there is no key."""
    if key_file is None:
        return recording
    return replace(
        recording,
        record=pseudonym(recording.record, key_file),
        subject=pseudonym(recording.subject, key_file),
        private=(*recording.private, recording.record, recording.subject),
    )


def pseudonym(name: str, key_file: Path) -> str:
    """16 hexadecimal digits of HMAC-SHA-256 (RFC 2104): the same for the same name and key."""
    return hmac.new(_key(key_file), name.encode(), hashlib.sha256).hexdigest()[:16]


def key_id(key_file: Path | None) -> str | None:
    """What tells one key from another, and neither the key nor where it lies."""
    return None if key_file is None else pseudonym("", key_file)


def check_private(recording: Recording, rows: Iterable[Mapping[str, Any]]) -> None:
    """Raises `PrivacyError` where a private string of the recording is in a text to be written.

    Capitals and what stands between words do not matter, and numbers are not searched: an id of four
    digits is in one of many. A string that is the source's own name of the record or subject is not
    private as long as that name is used; a name that holds it among other things is refused.
    """
    names = [_plain(name) for name in (recording.record, recording.subject)]
    dataset = _plain(recording.dataset)
    public = {*names, *(name.removeprefix(f"{dataset} ") for name in names)}
    searched = {text for raw in recording.private if len(text := _plain(raw)) >= SHORTEST} - public
    if not searched:
        return
    for string in sorted(searched):
        if not string.isdigit() and any(f" {string} " in f" {name} " for name in names):
            raise PrivacyError(
                f"{recording.dataset} {recording.record}: its name or its subject's holds {string!r}, "
                "which the file's header says of the person; nothing was written. Name records and "
                "subjects otherwise, or have them replaced by keyed hashes with --pseudonym_key FILE"
            )
    fields = (value for row in rows for name, value in row.items() if name not in NOT_SEARCHED)
    written = {_plain(text) for value in fields for text in _texts(value)}
    for string in sorted(searched):
        if any(string in text for text in written):
            raise PrivacyError(
                f"{recording.dataset} {recording.record}: {string!r} stands in the header of the "
                "recording's file and would have been written to a shard; nothing of it was. It "
                "names a person, a device or a date: mend the reader, or the source's table"
            )


def _plain(text: str) -> str:
    """Lower-cased words and numbers, one blank between them."""
    return " ".join(re.findall(r"[^\W_]+", text.lower()))


def _texts(value: object) -> Iterator[str]:
    """Every text in a value of a row."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from _texts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _texts(inner)


def _key(path: Path) -> bytes:
    """The key in a file. Raises `ValueError` where it is missing or too short."""
    try:
        key = path.read_bytes()
    except OSError as error:
        raise ValueError(
            f"pseudonym_key: {path} cannot be read ({error.strerror}); make one with "
            f"`head -c 32 /dev/urandom > {path}`, keep it, and keep it to yourself"
        ) from error
    if len(key) < SHORTEST_KEY:
        raise ValueError(
            f"pseudonym_key: {path} holds {len(key)} bytes; at least {SHORTEST_KEY} random ones are "
            f"needed: head -c 32 /dev/urandom > {path}"
        )
    return key
