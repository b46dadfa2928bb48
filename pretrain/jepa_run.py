"""A pretraining run by JEPA: its config, and `main`, which `pretrain/jepa.py` calls."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from ..models.encoder import EncoderConfig
from ..models.tokenizer import PatchConfig
from ..shards.reader import DataConfig
from .configuration import OptimConfig, RunConfig
from .objectives.backbones import check_backbone
from .objectives.jepa import JEPA, JEPAConfig
from .run import start
from .twin import TWIN


@dataclass(frozen=True)
class Config:
    """A pretraining run by JEPA."""

    data: DataConfig = DataConfig(shards=(TWIN,))
    """Shards and windows; the default is the synthetic twin, made where it is not there."""
    model: EncoderConfig = EncoderConfig(size="mini", patch=PatchConfig(samples=20))
    """The encoder; the default learns on a laptop in minutes."""
    objective: JEPAConfig = field(default_factory=JEPAConfig)
    """Masking, slow copy and predictor."""
    optim: OptimConfig = field(default_factory=OptimConfig)
    """Optimizer, batch and length."""
    run: RunConfig = field(default_factory=lambda: RunConfig(out=Path("runs/jepa_twin")))
    """Folder, seed, precision, checkpoints."""
    resume: Literal["auto", "never"] = "auto"
    """`auto`: go on from the run folder's last checkpoint; `never`: refuse a folder that has one."""

    def __post_init__(self) -> None:
        check_backbone("jepa", self.model)


def main() -> None:
    """Parse the command line and train."""
    start(Config, JEPA, "JEPA: prediction of the tokens of hidden blocks.")
