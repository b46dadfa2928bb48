"""What a training step reads and costs: said before the first one, and kept beside every run as `cost.json`."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

from torch import nn

from ..files import write_aside
from ..shards.reader import WindowReader


@dataclasses.dataclass(frozen=True)
class Cost:
    """Of one position of an epoch: a window, or several that an objective reads end to end."""

    parameters: int
    """Numbers that are learned, the objective's own among them."""
    flops: float
    """FLOPs of a training step, forward and backward."""
    signal_s: float
    """Seconds of signal; all its channels at once count once."""
    batch: int
    """Positions of a step."""
    steps: int
    """Steps of an epoch."""

    @property
    def epoch_s(self) -> float:
        """Seconds of signal in an epoch."""
        return self.steps * self.batch * self.signal_s

    @property
    def epoch_flops(self) -> float:
        """FLOPs of an epoch, validation apart."""
        return self.steps * self.batch * self.flops


def cost_of(objective: nn.Module, train: WindowReader, batch: int, flops: float) -> Cost:
    """The cost of a run in steps of `batch` positions, of which each takes so many FLOPs."""
    row = next(iter(train.evaluation_batches(micro_batch=1, rank=0, ranks=1)))
    first = next(iter(row.streams.values()))
    learned = sum(p.numel() for p in objective.parameters() if p.requires_grad)
    signal_s = first.samples.shape[-1] / first.rate_hz
    return Cost(learned, flops, signal_s, batch, train.steps_per_epoch(batch))


def write_cost(run: Path, cost: Cost) -> None:
    """Keep it in the run's folder."""
    with write_aside(run / "cost.json") as aside:
        aside.write_text(json.dumps(dataclasses.asdict(cost), indent=1) + "\n")


def read_cost(run: Path) -> Cost:
    """Raises `OSError` where the run's folder has none, `ValueError` where it is damaged."""
    try:
        return Cost(**json.loads((run / "cost.json").read_text()))
    except TypeError as error:
        raise ValueError(f"{run / 'cost.json'} is damaged: {error}; delete it") from error
