"""A pretraining run over several modalities: its config, and `main`, which `pretrain/multimodal.py` calls."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from ..models.encoder import EncoderConfig
from ..models.multimodal import MultimodalConfig
from ..models.tokenizer import PatchConfig
from ..shards.reader import DataConfig
from .configuration import OptimConfig, RunConfig
from .objectives.backbones import check_backbone
from .objectives.multimodal import SharedPrivate, SharedPrivateConfig
from .run import start
from .twin import PRESSURE_TWIN


def ecg_and_ppg() -> MultimodalConfig:
    """Convolutions over one lead and over the pulse, both at 125 Hz, with a token for each 64 ms."""
    parts = {"ecg": ("II",), "ppg": ("ppg",)}
    # In millivolts and in the sensor's own units; both about as large as they are wide.
    units = {"ecg": 0.25, "ppg": 0.25}
    return MultimodalConfig(
        {
            modality: EncoderConfig(
                "xresnet",
                "mini",
                patch=PatchConfig(modality, channels, 125.0, 32, unit=units[modality]),
            )
            for modality, channels in parts.items()
        }
    )


@dataclass(frozen=True)
class Config:
    """A pretraining run over several modalities."""

    data: DataConfig = DataConfig(
        shards=(PRESSURE_TWIN,), channels={"ecg": ("II",), "ppg": ("ppg",)}
    )
    """Shards and windows, with the channels of every modality; the default is a synthetic twin with ECG and PPG,
    made where it is not there."""
    model: MultimodalConfig = field(default_factory=ecg_and_ppg)
    """An encoder for each modality."""
    objective: SharedPrivateConfig = SharedPrivateConfig()
    """Terms and their weights."""
    optim: OptimConfig = field(default_factory=lambda: OptimConfig(global_batch=64, epochs=20))
    """Optimizer, batch and length."""
    run: RunConfig = field(default_factory=lambda: RunConfig(out=Path("runs/multimodal_twin")))
    """Folder, seed, precision, checkpoints."""
    resume: Literal["auto", "never"] = "auto"
    """`auto`: go on from the run folder's last checkpoint; `never`: refuse a folder that has one."""

    def __post_init__(self) -> None:
        for encoder in self.model.encoders.values():
            check_backbone("multimodal", encoder)


def main() -> None:
    """Parse the command line and train."""
    # What stands in for missing channels has no part in a step of complete windows.
    start(Config, SharedPrivate, "Contrast between modalities, and between their views.", idle=True)
