"""A pretraining run by CLOCS: its config, and `main`, which `pretrain/clocs.py` calls."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from ..models.encoder import EncoderConfig
from ..models.tokenizer import PatchConfig
from ..shards.reader import DataConfig
from .configuration import OptimConfig, RunConfig
from .objectives.backbones import check_backbone
from .objectives.clocs import Clocs, ClocsConfig
from .run import start
from .twin import TWIN


@dataclass(frozen=True)
class Config:
    """A pretraining run by CLOCS."""

    data: DataConfig = DataConfig(shards=(TWIN,), window_s=2.5)
    """Shards and windows: a row has `instances` × segments of them, so ten seconds hold four of 2.5 s. The
    default is the synthetic twin, made where it is not there."""
    model: EncoderConfig = EncoderConfig(size="mini", patch=PatchConfig(samples=25))
    """The encoder; the default learns on a laptop in minutes."""
    objective: ClocsConfig = ClocsConfig()
    """Views, instances and temperature."""
    optim: OptimConfig = field(default_factory=lambda: OptimConfig(global_batch=64))
    """Optimizer, batch and length."""
    run: RunConfig = field(default_factory=lambda: RunConfig(out=Path("runs/clocs_twin")))
    """Folder, seed, precision, checkpoints."""
    resume: Literal["auto", "never"] = "auto"
    """`auto`: go on from the run folder's last checkpoint; `never`: refuse a folder that has one."""

    def __post_init__(self) -> None:
        check_backbone("clocs", self.model)


def main() -> None:
    """Parse the command line and train."""
    # What stands in for missing channels has no part in a step of complete windows.
    start(Config, Clocs, "CLOCS: contrast between a subject's segments and leads.", idle=True)
