"""Where a report's figures come from: code, command, models, task and data, each as what identifies it.

No path of the machine is in it: what was typed as a relative path stays, of others the last name.
"""

from __future__ import annotations

import hashlib
import json
import platform
import re
import subprocess
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import torch
import yaml

from ... import __version__
from ...configuration import to_dict
from ...models.pretrained import PretrainedModel
from ...models.task_model import TaskModel
from ...shards.reader import WindowReader
from ..embeddings import model_digest
from ..tasks import Task
from .section import Section, Table

_ROOT = Path(__file__).resolve().parents[2]
# Addresses, and absolute paths where one may begin: at the start, after `=`, in a list, in quotes.
_PLACE = re.compile(
    r"""(?P<address>\b[a-z][a-z0-9+.-]*://[^\s,'"\])}]+)"""
    r"""|(?<![^=,;:'"\[({\s])(?P<path>(?:~|/|[a-z]:[\\/]|\\\\)[^,;'"\])}]*)""",
    re.IGNORECASE,
)


def provenance(
    words: Sequence[str],
    task: Task,
    readers: Sequence[WindowReader],
    models: Mapping[str, PretrainedModel | TaskModel],
    day: date | None = None,
) -> Section:
    """What was run (`words` of the command line), on what, with which models (name → model), and when.

    `day` is today if none is given.
    """
    return Section(
        title="Provenance",
        paragraphs=[
            "What these figures were made with. The same commit, command, models and shards give the same "
            "figures again; a digest tells whether they are the same."
        ],
        tables=[
            Table(
                ("what", "value"),
                [
                    ("date", (day or date.today()).isoformat()),
                    ("command", " ".join(_quoted(without_places(word)) for word in words)),
                    ("biofm", f"{__version__}, commit {commit()}"),
                    ("Python", platform.python_version()),
                    ("torch", torch.__version__),
                    ("numpy", np.__version__),
                ],
            ),
            *([_models(models)] if models else []),
            _shards(readers),
            Table(("task", "value"), [(key, _value(v)) for key, v in to_dict(task).items()]),
        ],
    )


def commit() -> str:
    """The commit of the source tree the code runs from, or `unknown` where that is not one.

    Files that differ from the commit are said.
    """
    words = ["git", "-C", str(_ROOT), "rev-parse", "--show-toplevel", "--short", "HEAD"]
    changed = ["git", "-C", str(_ROOT), "status", "--porcelain", "--untracked-files=no"]
    try:
        shown = subprocess.run(words, capture_output=True, text=True).stdout.split("\n")
        # Installed from a wheel, the code may lie in somebody else's repository.
        if len(shown) < 2 or Path(shown[0]) != _ROOT:
            return "unknown"
        dirty = bool(subprocess.run(changed, capture_output=True, text=True).stdout.strip())
    except OSError:
        return "unknown"
    return f"{shown[1]}{' with changes' if dirty else ''}"


def without_places(word: str) -> str:
    """A word of a command line without the path of anything: `--out=/home/me/run` → `--out=run`.

    Of an address, what may be a secret goes: user, password and query.
    """
    return _PLACE.sub(_last_name, word)


def _last_name(place: re.Match[str]) -> str:
    if place["address"]:
        address = urlsplit(place["address"])
        return f"{address.scheme}://{address.netloc.rpartition('@')[2]}{address.path}"
    return re.split(r"[\\/]", place["path"].rstrip("\\/"))[-1] or "root"


def shard_digest(manifest: Mapping[str, Any]) -> str:
    """SHA-256 over the names and SHA-256 of a set's shards, in order: what the data were."""
    listed = [[shard["name"], shard["sha256"]] for shard in manifest["shards"]]
    return hashlib.sha256(json.dumps(listed).encode()).hexdigest()


def _quoted(word: str) -> str:
    return f'"{word}"' if re.search(r"\s", word) else word


def _value(value: object) -> str:
    """As in the YAML, on one line."""
    text = yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=1 << 20)
    return text.removesuffix("\n").removesuffix("\n...")


def _models(models: Mapping[str, PretrainedModel | TaskModel]) -> Table:
    rows = [
        (
            without_places(name),
            type(model.backbone if isinstance(model, TaskModel) else model.encoder).__name__,
            f"{sum(p.numel() for p in model.parameters()) / 1e6:.2f} M",
            model_digest(model),
        )
        for name, model in models.items()
    ]
    return Table(
        ("model", "kind", "parameters", "SHA-256"),
        rows,
        note="The digest is over the model's configuration and weights.",
    )


def _shards(readers: Sequence[WindowReader]) -> Table:
    rows: dict[tuple[str, ...], None] = {}
    for reader in readers:
        for where, manifest in zip(reader.config.shards, reader.manifests, strict=True):
            row = (
                without_places(where.rstrip("/")).rpartition("/")[2],
                manifest["title"],
                manifest["licence"],
                str(len(manifest["shards"])),
                f"{sum(split['records'] for split in manifest['splits'].values())}",
                shard_digest(manifest),
            )
            rows[row] = None
    return Table(
        ("shards", "title", "licence", "files", "recordings", "SHA-256"),
        list(rows),
        note="The digest is over the names and digests of the files, in order.",
    )
