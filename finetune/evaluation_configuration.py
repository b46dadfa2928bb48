"""What an evaluation compares."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from ..models.zoo.registry import MODELS
from ..pretrain.configuration import OptimConfig
from ..signals.augmentations import AugmentConfig

Regime = Literal["linear", "attention", "finetune"]
Precision = Literal["auto", "fp32", "bf16"]


@dataclass(frozen=True)
class Supervised:
    """How an architecture is trained from labels alone."""

    seeds: int = 3
    """Runs to average over, each with its own initial weights and order."""
    epochs: int | None = None
    """Passes over the training windows, where they are not those of `optim`."""


@dataclass(frozen=True)
class EvaluationConfig:
    """Which models are compared on which tasks."""

    shards: tuple[str, ...]
    """Shard folders of the tasks' data set."""
    tasks: tuple[str, ...]
    """Shipped tasks, such as ptbxl_superdiagnostic, or YAML files. Tasks of the same windows are learned
    together where weights are trained."""
    regimes: tuple[Regime, ...] = ("linear", "attention", "finetune")
    """What is done with the encoder: a linear head on its frozen mean-pooled embeddings, one that attends to
    its frozen tokens, fine-tuning."""
    layers: tuple[int, ...] = ()
    """Blocks whose outputs linear and sequence heads read side by side, counted from 0, or from −1 backwards;
    none for the last alone."""
    seeds: int = 3
    """Untrained encoders, sets of random kernels, and runs from scratch to average over."""
    zoo: Mapping[str, Supervised] = field(
        default_factory=lambda: {"resnet18": Supervised(), "xresnet1d101": Supervised()}
    )
    """Supervised references by name (`biofm.models.zoo.list_models()`)."""
    shares: tuple[float, ...] = ()
    """Shares of the labelled training subjects for curves of label efficiency; none for no curves."""
    window_s: float | None = None
    """Length of the tasks' windows in seconds, where the encoder reads others; null for theirs."""
    crop_s: float | None = None
    """Where weights are trained: random stretches of so many seconds, answers averaged over a window's;
    null for whole windows."""
    layer_decay: float = 0.75
    """Fine-tuning: each block learns at this share of the rate of the one above it."""
    drop_path: float = 0.1
    """Fine-tuning, and the encoder from scratch: stochastic depth."""
    augment: AugmentConfig = AugmentConfig()
    """Wherever weights are trained: how training changes windows; nothing by default."""
    optim: OptimConfig = field(
        default_factory=lambda: OptimConfig(
            lr=1e-3, weight_decay=0.05, betas=(0.9, 0.999), epochs=20, warmup_epochs=2
        )
    )
    """Wherever weights are trained: optimizer, batch and length."""
    precision: Precision = "auto"
    """Wherever weights are trained; `auto`: bf16 on a GPU that has it, else fp32."""
    challenge_weights: Path | None = None
    """The Challenge's official table of weights (weights.csv); without it its metric is left out."""
    out: Path = Path("runs/evaluation")
    """Folder for the report, every model's scores, and the runs that made them. The same command goes on
    where it was stopped."""
    cache: Path = Path("data/cache/embeddings")
    """Folder in which embeddings are kept, to be computed once."""

    def __post_init__(self) -> None:
        if not self.shards or not self.tasks:
            raise ValueError("shards and tasks: name at least one of each")
        names = [Path(task).stem for task in self.tasks]
        for what, listed in (("tasks", names), ("shares", self.shares)):
            if len(set(listed)) != len(listed):
                said = ", ".join(map(str, listed))
                raise ValueError(f"{what}: each once, and under a name of its own, not {said}")
        if self.seeds < 1 or any(of.seeds < 1 for of in self.zoo.values()):
            raise ValueError("seeds must be 1 or more")
        if not all(0 < share < 1 for share in self.shares):
            raise ValueError(
                f"shares must lie between 0 and 1, not {self.shares}; 1 is always there"
            )
        if unknown := [name for name in self.zoo if name not in MODELS]:
            raise ValueError(f"zoo: unknown {', '.join(unknown)}; known: {', '.join(MODELS)}")
