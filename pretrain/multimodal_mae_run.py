"""A pretraining run by masked autoencoding of several modalities: its config, and `main`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from ..models.decoder import DecoderConfig
from ..models.fused import FusedConfig
from ..models.tokenizer import PatchConfig
from ..shards.reader import DataConfig
from .configuration import OptimConfig, RunConfig
from .objectives.multimodal_mae import MultimodalMAE, MultimodalMAEConfig
from .run import start
from .twin import PRESSURE_TWIN

ECG_AND_PPG = {
    "ecg": PatchConfig("ecg", ("II",), 125.0, 25),
    "ppg": PatchConfig("ppg", ("ppg",), 125.0, 25, scale="window"),
}
"""Patches of 0.2 s."""


@dataclass(frozen=True)
class Config:
    """A pretraining run by masked autoencoding of several modalities."""

    data: DataConfig = DataConfig(
        shards=(PRESSURE_TWIN,), channels={"ecg": ("II",), "ppg": ("ppg",)}
    )
    """Shards and windows, with the channels of every modality; the default is a synthetic twin with ECG and PPG,
    made where it is not there."""
    model: FusedConfig = FusedConfig(ECG_AND_PPG)
    """The encoder, which reads all modalities together."""
    objective: MultimodalMAEConfig = MultimodalMAEConfig(
        decoder=DecoderConfig(dim=128, depth=2, heads=4)
    )
    """Masking, targets and decoder."""
    optim: OptimConfig = OptimConfig(epochs=4)
    """Optimizer, batch and length."""
    run: RunConfig = field(default_factory=lambda: RunConfig(out=Path("runs/multimodal_mae_twin")))
    """Folder, seed, precision, checkpoints."""
    resume: Literal["auto", "never"] = "auto"
    """`auto`: go on from the run folder's last checkpoint; `never`: refuse a folder that has one."""


def main() -> None:
    """Parse the command line and train."""
    # What stands in for missing channels has no part in a step of complete windows.
    start(Config, MultimodalMAE, "Masked autoencoding of several modalities.", idle=True)
