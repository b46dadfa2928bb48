"""A pretraining run by contrastive predictive coding: its config, and `main`, which `pretrain/cpc.py` calls."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from ..models.encoder import EncoderConfig
from ..models.tokenizer import PatchConfig
from ..shards.reader import DataConfig
from .configuration import OptimConfig, RunConfig
from .cpc_shown import chance, predictions
from .objectives.backbones import check_backbone
from .objectives.cpc import CPC, CPCConfig
from .run import Shown, start
from .twin import TWIN


@dataclass(frozen=True)
class Config:
    """A pretraining run by contrastive predictive coding."""

    data: DataConfig = DataConfig(shards=(TWIN,))
    """Shards and windows; the default is the synthetic twin, made where it is not there."""
    model: EncoderConfig = EncoderConfig(
        "s4_causal", size="mini", pool="concat", patch=PatchConfig(samples=8)
    )
    """The encoder, one that sees the past alone; the default learns on a laptop in minutes."""
    objective: CPCConfig = CPCConfig(steps=(6,), negatives=64)
    """How far ahead to look, and among how many to choose."""
    optim: OptimConfig = field(default_factory=lambda: OptimConfig(lr=3e-3))
    """Optimizer, batch and length."""
    run: RunConfig = field(default_factory=lambda: RunConfig(out=Path("runs/cpc_twin")))
    """Folder, seed, precision, checkpoints."""
    resume: Literal["auto", "never"] = "auto"
    """`auto`: go on from the run folder's last checkpoint; `never`: refuse a folder that has one."""

    def __post_init__(self) -> None:
        check_backbone("cpc", self.model)


def main() -> None:
    """Parse the command line and train."""
    # What stands in for missing channels has no part in a step of complete windows.
    start(
        Config,
        CPC,
        "Contrastive predictive coding of biosignals.",
        Shown(predictions, chance),
        idle=True,
    )
