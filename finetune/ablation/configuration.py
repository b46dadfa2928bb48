"""What an ablation compares: pairs of an objective and a backbone, at one budget, on the same tasks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ...models.zoo.registry import MODELS
from ...pretrain.configuration import OptimConfig
from ..evaluation_configuration import EvaluationConfig, Precision, Supervised


@dataclass(frozen=True)
class AblationConfig:
    """Which pairs are trained how long, and what they are judged on."""

    pairs: str
    """Folder of pretraining configs, OBJECTIVE_BACKBONE.yaml each, or the name of a shipped one: a file
    mae_vit.yaml is what pretrain/mae.py is given, but for shards, epochs, seed and folder. BACKBONE may be any
    word: mae_xresnet8 and mae_xresnet32 are two pairs."""
    shards: tuple[str, ...]
    """Shard folders to pretrain on and to be judged on."""
    tasks: tuple[str, ...]
    """Shipped tasks or YAML files; the main table is of the first one."""
    signal_s: float
    """The budget of every pair: seconds of signal that are read in training, all channels of a window at once.
    Met to the nearest whole epoch, of which there is at least one."""
    most_flops: float | None = None
    """Pairs whose training would take more FLOPs are left out, and the report says so; null for no limit."""
    runs: int = 1
    """Pretraining runs of each pair, each with a seed of its own; figures are their mean."""
    only: tuple[str, ...] = ()
    """Names of the pairs to train now; none for all. The tables have whatever is trained."""
    jobs: int = 2
    """Processes side by side: each trains, or judges, one pair."""
    threads: int = 1
    """Threads of each."""
    seeds: int = 3
    """Untrained encoders of each backbone, and sets of random kernels, to average over."""
    zoo: Mapping[str, Supervised] = field(default_factory=lambda: {"resnet18": Supervised()})
    """Supervised references by name (`biofm.models.zoo.list_models()`)."""
    crop_s: float | None = None
    """Supervised references: random stretches of so many seconds; null for whole windows."""
    optim: OptimConfig = field(
        default_factory=lambda: OptimConfig(
            lr=1e-3, weight_decay=0.05, betas=(0.9, 0.999), epochs=20, warmup_epochs=2
        )
    )
    """Supervised references: optimizer, batch and length."""
    precision: Precision = "auto"
    """Supervised references; `auto`: bf16 on a GPU that has it, else fp32."""
    out: Path = Path("runs/ablation")
    """Folder for the runs, all scores and the report. The same command goes on where it was stopped."""
    cache: Path = Path("data/cache/embeddings")
    """Folder in which embeddings are kept."""

    def __post_init__(self) -> None:
        if not self.shards or not self.tasks:
            raise ValueError("shards and tasks: name at least one of each")
        if not self.signal_s > 0:
            raise ValueError(f"signal_s must be above 0, not {self.signal_s}")
        if self.most_flops is not None and not self.most_flops > 0:
            raise ValueError(f"most_flops must be above 0, or null, not {self.most_flops}")
        for name in ("runs", "jobs", "threads", "seeds"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be 1 or more, not {getattr(self, name)}")
        if unknown := [name for name in self.zoo if name not in MODELS]:
            raise ValueError(f"zoo: unknown {', '.join(unknown)}; known: {', '.join(MODELS)}")

    def evaluation(self, window_s: float | None = None) -> EvaluationConfig:
        """How pairs and references are judged, in windows of so many seconds (null: the tasks' own)."""
        return EvaluationConfig(
            shards=self.shards,
            tasks=self.tasks,
            regimes=("linear", "attention"),
            seeds=self.seeds,
            zoo=self.zoo,
            window_s=window_s,
            crop_s=self.crop_s,
            optim=self.optim,
            precision=self.precision,
            out=self.out / "references",
            cache=self.cache,
        )
