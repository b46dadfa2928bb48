"""What a pretraining run is made of, shared by all objectives."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from ..models.make_embedder import AnyConfig
from ..shards.reader import DataConfig


@dataclass(frozen=True)
class OptimConfig:
    """AdamW with a linear warm-up and a cosine decay to zero."""

    lr: float = 1e-3
    """Learning rate at the end of the warm-up."""
    weight_decay: float = 0.05
    """Decay of weight matrices; biases, norms and embeddings have none."""
    betas: tuple[float, float] = (0.9, 0.95)
    """AdamW's moments."""
    clip_norm: float = 1.0
    """Largest norm of the gradient."""
    global_batch: int = 32
    """Windows in one optimizer step, over all processes and accumulated micro-batches."""
    micro_batch: int | None = None
    """Windows in one forward pass of one process; null for global_batch / processes (no accumulation)."""
    epochs: int = 14
    """Passes over the training windows."""
    warmup_epochs: float = 1.0
    """Length of the warm-up."""

    def __post_init__(self) -> None:
        if self.micro_batch is not None and self.micro_batch < 1:
            raise ValueError(
                f"optim.micro_batch must be at least 1, or null, not {self.micro_batch}"
            )
        if self.weight_decay < 0 or not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError(
                f"optim.weight_decay must be 0 or more and optim.betas in [0, 1), not {self.weight_decay}, {self.betas}"
            )
        for name in ("lr", "clip_norm", "global_batch", "epochs"):
            if not getattr(self, name) > 0:
                raise ValueError(f"optim.{name} must be above 0, not {getattr(self, name)}")
        if not 0 <= self.warmup_epochs <= self.epochs:
            raise ValueError(
                f"optim.warmup_epochs must lie in 0…{self.epochs}, not {self.warmup_epochs}"
            )

    def micro(self, processes: int) -> int:
        """Windows in one forward pass, on so many processes."""
        return self.micro_batch or max(1, self.global_batch // processes)


@dataclass(frozen=True)
class RunConfig:
    """Where a run lives and how it is watched."""

    out: Path = Path("runs/mae_twin")
    """The run's folder: config, checkpoints, best model, figures, metrics."""
    seed: int = 0
    """Decides the initial weights and, with epoch and position, every mask and crop."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """`auto`: bf16 on a GPU that has it, else fp32."""
    compile: bool = False
    """Compile the transformer blocks (`torch.compile`): worth it on GPUs, not on CPUs."""
    recompute: bool = False
    """Keep only the input of each transformer block, and compute the rest again in the backward pass: memory
    for longer windows and larger batches, for about a third more work."""
    processes: int | None = None
    """When set, the number of processes the run must have."""
    validate_every: int = 1
    """Epochs between validations."""
    watch_every: int = 1
    """Pretraining: validations between looks at the representation, besides those before the first step, at
    the first validation and at the last; 0 for none. One takes as long as embedding the validation windows
    (of more than 2,000 a sample), and with `watch_labels` as many of train."""
    watch_labels: str | None = None
    """Pretraining: a label set of the shards, by which neighbours are judged and pictures coloured; null for
    none. It decides nothing about the weights, nor which of them are kept."""
    checkpoint_every: int = 200
    """Optimizer steps between checkpoints."""
    keep_last: int = 2
    """Checkpoints kept, besides the best model."""
    log_every: int = 10
    """Steps between lines in the metrics; every step's loss is in them."""
    tracking: str | None = "sqlite:///runs/mlflow.db"
    """MLflow's store; null for none."""
    dry: bool = False
    """Say what a run would read and cost, write that to `cost.json` in its folder, and train nothing."""

    def __post_init__(self) -> None:
        for name in ("validate_every", "checkpoint_every", "keep_last", "log_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"run.{name} must be at least 1, not {getattr(self, name)}")
        if self.watch_every < 0:
            raise ValueError(f"run.watch_every must be at least 0, not {self.watch_every}")
        if self.watch_labels is not None and not self.watch_every:
            raise ValueError(
                f"run.watch_labels is {self.watch_labels!r}, but run.watch_every is 0, and so nothing is looked "
                "at: set run.watch_every to 1 or more, or leave run.watch_labels null"
            )


class TrainingConfig(Protocol):
    """What every entry script's config has."""

    @property
    def optim(self) -> OptimConfig: ...
    @property
    def run(self) -> RunConfig: ...
    @property
    def resume(self) -> Literal["auto", "never"]: ...


class PretrainConfig(TrainingConfig, Protocol):
    """What the config of a pretraining has beside."""

    @property
    def data(self) -> DataConfig: ...
    @property
    def model(self) -> AnyConfig: ...
