"""Supervised learning of one task or several of the same windows, as an objective of the training loop.

The loss of a window is the mean over the classes of a task, and of the tasks that say something about it. Crops,
augmentations and skipped blocks are drawn from (seed, epoch, position), as everything random is.

Shape suffixes: B batch, K classes or quantities, M blocks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..evaluation.targets import Targets
from ..evaluation.tasks import Kind, Task
from ..models.task_model import HeadConfig, TaskModel
from ..pretrain.objectives.base import Outcome
from ..signals.augmentations import AugmentConfig, augment
from ..signals.randomness import uniform
from ..signals.windows import Batch


@dataclass
class Learned:
    """One task's truth on one device: `values` by place, and `place` by row of the index or anchor.

    Quantities are in units of the head: 0 is their mean in training, 1 their deviation; NaN is not stated.
    """

    kind: Kind
    values: Tensor
    place: Tensor

    @classmethod
    def of(cls, head: HeadConfig, truth: Targets, device: torch.device) -> Learned:
        """The truth of a split."""
        values = truth.values
        if head.kind == "regression":
            values = (values - np.array(head.mean)) / np.array(head.spread)
        if head.kind != "multiclass":
            values = values.astype(np.float32)
        return cls(
            head.kind,
            torch.from_numpy(values).to(device),
            torch.from_numpy(truth.place).to(device),
        )

    def of_batch(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """(values [B] or [B, K], whether there is a truth [B])."""
        place_B = self.place[batch.rows if batch.anchors is None else batch.anchors]
        return self.values[place_B.clamp_min(0)], place_B >= 0


class Supervised(nn.Module):
    """A task model and the truth it learns from; in evaluation mode the validation's truth.

    `balance` are the weights of a task's classes, None for tasks whose loss does not weigh them.
    """

    def __init__(
        self,
        model: TaskModel,
        train: Sequence[Learned],
        validation: Sequence[Learned],
        balance: Sequence[Tensor | None],
        layer_decay: float,
        augmentation: AugmentConfig = AugmentConfig(),
    ) -> None:
        super().__init__()
        self.model = model
        self.truths = {True: train, False: validation}
        self.balance = balance
        self.layer_decay = layer_decay
        self.augmentation = augmentation

    def forward(self, batch: Batch) -> Outcome:
        """Sum of the losses of all windows and tasks that have a truth, and their number."""
        draws_BM2 = None
        M, inputs = self.model.backbone.draws, self.model.inputs
        streams = batch.streams
        if inputs.crop_s is not None and inputs.crop_s < inputs.window_s:
            room_s = inputs.window_s - inputs.crop_s
            start_B = self._draw(batch, "crop", 1)[:, 0] if self.training else 0.5
            streams = dict(self.model.cropped(streams, start_B * room_s))
        if self.training:
            streams = augment(replace(batch, streams=streams), self.augmentation).streams
        if self.training and M:
            draws_BM2 = self._draw(batch, "depth", 2 * M).view(-1, M, 2)
        sums, counts = [], []
        outputs = self.model(streams, draws_BM2)
        for learned, output_BK, weight_K in zip(
            self.truths[self.training], outputs, self.balance, strict=True
        ):
            truth, known_B = learned.of_batch(batch)
            loss_B = loss_of(learned.kind, output_BK.float(), truth, weight_K)
            sums.append((loss_B * known_B).sum())
            counts.append(known_B.sum())
        return Outcome(torch.stack(sums).sum(), torch.stack(counts).sum().float())

    @torch.no_grad()
    def count(self, batch: Batch) -> Tensor:
        """The number of windows and tasks that `forward` will sum over."""
        truths = self.truths[self.training]
        return torch.stack([one.of_batch(batch)[1].sum() for one in truths]).sum().float()

    def parameter_groups(self) -> Iterator[tuple[list[str], float]]:
        """Layer-wise decay (Bao et al., ICLR 2022): stage s of S learns at decay^(S + 1 − s) of the rate of the
        heads and last norms."""
        names = {id(p): n for n, p in self.named_parameters()}
        stages = list(self.model.backbone.stages())
        for number, stage in enumerate(stages):
            found = [names.pop(id(p)) for p in stage.parameters()]
            yield found, self.layer_decay ** (len(stages) - number)
        yield list(names.values()), 1.0

    @staticmethod
    def _draw(batch: Batch, purpose: str, numbers: int) -> Tensor:
        return uniform(batch.seed, batch.epoch, batch.positions, purpose, numbers)


def loss_of(kind: Kind, output_BK: Tensor, truth: Tensor, weight_K: Tensor | None) -> Tensor:
    """Loss of each window [B], whatever stands where there is no truth: cross-entropy of each class on its own
    or of all of them, or the mean absolute error over the quantities that are stated."""
    if kind == "multilabel":
        each_BK = F.binary_cross_entropy_with_logits(output_BK, truth, reduction="none")
        return each_BK.mean(dim=1)
    if kind == "multiclass":
        return F.cross_entropy(output_BK, truth, weight=weight_K, reduction="none")
    stated_BK = truth.isfinite()
    error_BK = (output_BK - truth.nan_to_num()).abs() * stated_BK
    return error_BK.sum(dim=1) / stated_BK.sum(dim=1).clamp_min(1)


def head_for(name: str, task: Task, truth: Targets) -> HeadConfig:
    """The head of a task; a quantity's scale is that of its training windows.

    Raises `ValueError` for a quantity that none of them states.
    """
    if task.kind != "regression":
        return HeadConfig(name, task.kind, truth.classes)
    stated_K = np.isfinite(truth.values).any(axis=0)
    if not stated_K.all():
        unknown = [name for name, has in zip(truth.classes, stated_K, strict=True) if not has]
        raise ValueError(
            f"{task.title!r}: no training window states {', '.join(unknown)}: leave it out of the task's "
            "`classes`, or train on more subjects"
        )
    mean, spread = np.nanmean(truth.values, axis=0), np.nanstd(truth.values, axis=0)
    return HeadConfig(
        name,
        task.kind,
        truth.classes,
        tuple(mean.tolist()),
        tuple(np.where(spread > 0, spread, 1.0).tolist()),
    )
