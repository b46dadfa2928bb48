"""A pretraining run by masked autoencoding: its config, and `main`, which `pretrain/mae.py` calls."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from ..models.decoder import DecoderConfig
from ..models.encoder import EncoderConfig
from ..models.tokenizer import PatchConfig
from ..shards.reader import DataConfig
from .configuration import OptimConfig, RunConfig
from .mae_shown import reconstructions, trivial
from .objectives.backbones import check_backbone
from .objectives.mae import MAE, MAEConfig
from .run import Shown, start
from .twin import TWIN


@dataclass(frozen=True)
class Config:
    """A pretraining run by masked autoencoding."""

    data: DataConfig = DataConfig(shards=(TWIN,))
    """Shards and windows; the default is the synthetic twin, made where it is not there."""
    model: EncoderConfig = EncoderConfig(size="mini", patch=PatchConfig(samples=20))
    """The encoder; the default learns on a laptop in minutes."""
    objective: MAEConfig = MAEConfig(decoder=DecoderConfig(dim=128, depth=2, heads=4))
    """Masking, targets and decoder."""
    optim: OptimConfig = field(default_factory=OptimConfig)
    """Optimizer, batch and length."""
    run: RunConfig = field(default_factory=RunConfig)
    """Folder, seed, precision, checkpoints."""
    resume: Literal["auto", "never"] = "auto"
    """`auto`: go on from the run folder's last checkpoint; `never`: refuse a folder that has one."""

    def __post_init__(self) -> None:
        check_backbone("mae", self.model)


def main() -> None:
    """Parse the command line and train."""
    start(Config, MAE, "Masked autoencoding of biosignals.", Shown(reconstructions, trivial))
