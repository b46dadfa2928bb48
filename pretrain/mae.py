"""Masked autoencoding of biosignals: `accelerate launch pretrain/mae.py [--config NAME] [--optim.lr …]`.

With no arguments it trains on the synthetic twin, which it makes first where it is not there yet.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from biofm.configuration import parse
from biofm.models.encoder import EncoderConfig
from biofm.pretrain.configuration import OptimConfig, RunConfig
from biofm.pretrain.objectives.mae import MAE, MAEConfig
from biofm.pretrain.run import run
from biofm.pretrain.twin import TWIN
from biofm.shards.reader import DataConfig


@dataclass(frozen=True)
class Config:
    """A pretraining run by masked autoencoding."""

    data: DataConfig = DataConfig(shards=(TWIN,))
    """Shards and windows; the default is the synthetic twin, made where it is not there."""
    model: EncoderConfig = field(default_factory=EncoderConfig)
    """The encoder."""
    objective: MAEConfig = field(default_factory=MAEConfig)
    """Masking, targets and decoder."""
    optim: OptimConfig = field(default_factory=OptimConfig)
    """Optimizer, batch and length."""
    run: RunConfig = field(default_factory=RunConfig)
    """Folder, seed, precision, checkpoints."""
    resume: Literal["auto", "never"] = "auto"
    """`auto`: go on from the run folder's last checkpoint; `never`: refuse a folder that has one."""


def main() -> None:
    """Parse the command line and train."""
    config = parse(Config, description=__doc__ or "")
    run(config, lambda encoder, stream: MAE(encoder, config.objective, stream))


if __name__ == "__main__":
    main()
