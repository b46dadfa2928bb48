"""A pretraining run by BYOL: its config, and `main`, which `pretrain/byol.py` calls."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from ..models.encoder import EncoderConfig
from ..models.tokenizer import PatchConfig
from ..shards.reader import DataConfig
from .configuration import OptimConfig, RunConfig
from .objectives.backbones import check_backbone
from .objectives.byol import BYOL, BYOLConfig
from .run import start
from .twin import TWIN


@dataclass(frozen=True)
class Config:
    """A pretraining run by BYOL."""

    data: DataConfig = DataConfig(shards=(TWIN,))
    """Shards and windows; the default is the synthetic twin, made where it is not there."""
    model: EncoderConfig = EncoderConfig(size="mini", patch=PatchConfig(samples=20))
    """The encoder; the default learns on a laptop in minutes."""
    objective: BYOLConfig = BYOLConfig()
    """Views, heads and slow copy."""
    optim: OptimConfig = field(default_factory=lambda: OptimConfig(global_batch=64))
    """Optimizer, batch and length."""
    run: RunConfig = field(default_factory=lambda: RunConfig(out=Path("runs/byol_twin")))
    """Folder, seed, precision, checkpoints."""
    resume: Literal["auto", "never"] = "auto"
    """`auto`: go on from the run folder's last checkpoint; `never`: refuse a folder that has one."""

    def __post_init__(self) -> None:
        check_backbone("byol", self.model)


def main() -> None:
    """Parse the command line and train."""
    # What stands in for missing channels has no part in a step of complete windows.
    start(Config, BYOL, "BYOL: prediction between two views of a window.", idle=True)
