"""What a supervised run is made of."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from ..pretrain.configuration import OptimConfig, RunConfig
from ..signals.augmentations import AugmentConfig


@dataclass(frozen=True)
class FinetuneConfig:
    """Supervised learning of one task, or of several tasks of the same windows together."""

    shards: tuple[str, ...]
    """Shard folders of the tasks' data set."""
    tasks: tuple[str, ...]
    """Shipped tasks, such as ptbxl_superdiagnostic, or YAML files; each gets a head."""
    model: str
    """What to begin with: a pretrained encoder's folder (RUN/best) or hub id, or a name of the zoo
    (resnet18)."""
    from_scratch: bool = False
    """Use the encoder's architecture alone, with new weights."""
    round: int = 0
    """Round of the tasks' cross-validation."""
    labelled: float = 1.0
    """Share of the training subjects with labels that is learned from."""
    subset_seed: int = 0
    """Which subjects those are; smaller shares are parts of larger ones."""
    window_s: float | None = None
    """Length of the tasks' windows in seconds, where the encoder reads others; null for theirs."""
    crop_s: float | None = None
    """Learn from random stretches of so many seconds, and answer by the mean over a window's; null for
    whole windows."""
    layer_decay: float = 0.75
    """Each block of a pretrained encoder learns at this share of the rate of the one above it; 1 for one
    rate, which new weights always have."""
    drop_path: float = 0.1
    """Probability that training skips a branch of the last block; lower ones less (encoders only)."""
    augment: AugmentConfig = AugmentConfig()
    """How training changes windows, after the crop; nothing by default."""
    optim: OptimConfig = field(
        default_factory=lambda: OptimConfig(
            lr=1e-3, weight_decay=0.05, betas=(0.9, 0.999), epochs=20, warmup_epochs=2
        )
    )
    """Optimizer, batch and length."""
    run: RunConfig = field(default_factory=lambda: RunConfig(out=Path("runs/finetune")))
    """Folder, seed, precision, checkpoints."""
    resume: Literal["auto", "never"] = "auto"
    """`auto`: go on from the run folder's last checkpoint; `never`: refuse a folder that has one."""

    def __post_init__(self) -> None:
        if not self.shards or not self.tasks:
            raise ValueError("shards and tasks: name at least one of each")
        names = [Path(task).stem for task in self.tasks]
        if len(set(names)) != len(names):
            raise ValueError(f"tasks: each needs a name of its own, not {', '.join(names)}")
        if not 0 < self.labelled <= 1:
            raise ValueError(f"labelled must lie in (0, 1], not {self.labelled}")
        if not 0 < self.layer_decay <= 1:
            raise ValueError(f"layer_decay must lie in (0, 1], not {self.layer_decay}")
        if not 0 <= self.drop_path < 1:
            raise ValueError(f"drop_path must lie in [0, 1), not {self.drop_path}")
        if self.crop_s is not None and not self.crop_s > 0:
            raise ValueError(f"crop_s must be above 0, or null, not {self.crop_s}")
