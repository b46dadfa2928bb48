"""The pairs of an ablation: their files, the commands that train them, and what of it is done."""

from __future__ import annotations

import difflib
import hashlib
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from ...configuration import CONFIGS
from ...pretrain.objectives.backbones import ObjectiveName
from .configuration import AblationConfig

SCRIPTS = Path(__file__).resolve().parents[2] / "pretrain"


@dataclass(frozen=True)
class Pair:
    """An objective and a backbone; `file` configures what trains them."""

    objective: str
    backbone: str
    file: Path

    @property
    def name(self) -> str:
        """What files and options call it."""
        return f"{self.objective}_{self.backbone}"

    def command(self, config: AblationConfig, seed: int, out: Path) -> list[str]:
        """The entry script with this pair's config: what a user would run, but for its epochs."""
        return [
            *(sys.executable, str(SCRIPTS / f"{self.objective}.py"), "--config", str(self.file)),
            *("--data.shards", json.dumps(list(config.shards))),
            *("--run.seed", str(seed), "--run.out", str(out)),
            # Several processes would wait for one another's lock on MLflow's store.
            *("--run.tracking", "null", "--resume", "auto"),
        ]

    def folder(self, config: AblationConfig, seed: int) -> Path:
        """Where a run of it lies."""
        return config.out / "runs" / self.name / f"seed-{seed}"

    def plan(self, config: AblationConfig) -> Path:
        """Where lies what its training would cost."""
        return config.out / "plans" / self.name

    def terms(self, config: AblationConfig, data: str, seed: int) -> dict[str, Any]:
        """What decides a run of it; `data` is a digest of the shards."""
        said = hashlib.sha256(self.file.read_bytes()).hexdigest()
        return {"pair": self.name, "config": said, "data": data, "seed": seed}


def pairs_in(folder: str) -> list[Pair]:
    """The pairs of a folder, or of a shipped one of that name, by name.

    Raises `FileNotFoundError` where there are none, `ValueError` for a file whose name is not OBJECTIVE_BACKBONE.
    """
    for place in (Path(folder), CONFIGS / folder):
        if files := sorted(place.glob("*.yaml")):
            return [_pair(file) for file in files]
    raise FileNotFoundError(
        f"pairs: no folder {folder!r} with configs OBJECTIVE_BACKBONE.yaml, and no shipped one of that name"
    )


def _pair(file: Path) -> Pair:
    objective, _, backbone = file.stem.partition("_")
    known = [name for name in get_args(ObjectiveName) if (SCRIPTS / f"{name}.py").is_file()]
    if objective not in known or not backbone:
        raise ValueError(
            f"{file}: expected a name OBJECTIVE_BACKBONE.yaml, where OBJECTIVE is one of {', '.join(known)}"
        )
    return Pair(objective, backbone, file.resolve())


def chosen(pairs: Sequence[Pair], only: Sequence[str]) -> list[Pair]:
    """The pairs of these names; all where none is named. Raises `ValueError` for an unknown one."""
    names = [pair.name for pair in pairs]
    for name in only:
        if name not in names:
            near = difflib.get_close_matches(name, names, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise ValueError(f"only: no pair {name!r} among {', '.join(names)}{hint}")
    return [pair for pair in pairs if not only or pair.name in only]
