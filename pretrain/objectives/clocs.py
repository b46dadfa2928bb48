"""CLOCS: segments and leads of one subject are alike (Kiyasseh, Zhu & Clifton, ICML 2021, arXiv 2005.13249).

An instance is seen in several views: successive segments (CMSC), its leads (CMLC), or both (CMSMLC). Every pair of
views is contrasted over the batch, and so are views of different instances of one subject (`clocs_loss`). As in the
paper, what is contrasted are the embeddings themselves: there is no projection, and no augmentation.

- Over several ranks the batch is that of all of them, so a run is the same on any number of processes, where an
  encoder has neither batch norm nor drop-out.
- An evaluation contrasts each rank's micro-batch by itself. Its last ones may be short, with fewer negatives and so
  a lower loss: the same ones in every validation of a run, but not in runs of other micro-batches or ranks.
- A view whose window is missing takes no part. An instance without any counts for nothing.

Shape suffixes: B rows of a batch, I instances of a row, S segments of an instance, L leads that are looked at one
by one, X = B · I · S windows, C channels, T time, K instances, V views, D width.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from ...models.encoder import Encoder
from ...signals.windows import Batch, Windows, with_channels
from .base import Objective, Outcome
from .clocs_loss import LEAST_TEMPERATURE, clocs_loss
from .contrast import gathered
from .single_leads import cut, embed_leads, embed_whole


@dataclass(frozen=True)
class ClocsConfig:
    """Contrast between the views of a subject's instances.

    A row of a batch holds `instances` × segments windows end to end: two segments for cmsc and cmsmlc, one for
    cmlc. A micro-batch, over all processes together, is one contrast: accumulated micro-batches
    (`optim.micro_batch`) do not see one another, so that accumulation, unlike for other objectives, means
    fewer negatives. Leave optim.micro_batch null where memory allows.
    """

    views: Literal["cmsc", "cmlc", "cmsmlc"] = "cmsc"
    """What is alike: `cmsc` two successive segments, `cmlc` the leads of one, `cmsmlc` the leads of both."""
    leads: tuple[str, ...] | None = None
    """cmsc: leads each of which alone is an instance (the paper has II, V2, aVL and aVR); null: an instance has
    all leads of the windows. cmlc and cmsmlc: the leads that are views; null: all of the windows."""
    temperature: float = 0.1
    """What cosines are divided by, at least 0.003."""
    instances: int = 2
    """Instances that a row is cut into, all of one subject: from 2 on, every batch has positives between
    instances, even where each subject has one recording."""

    def __post_init__(self) -> None:
        if not self.temperature >= LEAST_TEMPERATURE:
            raise ValueError(
                f"temperature must be at least {LEAST_TEMPERATURE}, not {self.temperature}"
            )
        if self.instances < 1:
            raise ValueError(f"instances must be 1 or more, not {self.instances}")
        if self.leads is not None:
            least = 1 if self.views == "cmsc" else 2
            if len(self.leads) < least or len(set(self.leads)) < len(self.leads):
                raise ValueError(
                    f"leads: name {least} or more for {self.views}, and each once, not {self.leads}"
                )

    @property
    def segments(self) -> int:
        """Successive windows of an instance."""
        return 1 if self.views == "cmlc" else 2


class Instances(NamedTuple):
    """What a batch holds: its windows [X, C, T]; of each instance the subject, and which of its views are
    there [K, V]; whether leads are looked at one by one."""

    windows: Windows
    subjects_K: Tensor
    there_KV: Tensor
    one_by_one: bool


class Clocs(Objective):
    """Embeds all views in one pass and contrasts them.

    Raises `ValueError` for leads that the windows lack, and where fewer than two views are left.
    """

    encoder: Encoder
    method = "contrast between a subject's segments and leads (CLOCS)"
    loss_of = "pairs of views"

    def __init__(self, encoder: Encoder, config: ClocsConfig, stream: str) -> None:
        super().__init__(encoder, stream)
        self.config = config
        self.views = config.instances * config.segments

    def forward(self, batch: Batch) -> Outcome:
        """The loss of the contrast, of all ranks' rows while training, times this rank's instances."""
        seen = self.instances(batch)
        embed = embed_leads if seen.one_by_one else embed_whole
        z_KVD = self.arrange(embed(self.encoder, seen.windows))
        loss = clocs_loss(
            gathered(z_KVD),
            gathered(seen.subjects_K),
            gathered(seen.there_KV.long()).bool(),
            self.config.temperature,
        )
        targets = number_there(seen.there_KV)
        return Outcome(loss * targets, targets)

    @torch.no_grad()
    def count(self, batch: Batch) -> Tensor:
        """Instances of which a view is there."""
        return number_there(self.instances(batch).there_KV)

    def instances(self, batch: Batch) -> Instances:
        """Cut the rows of a batch into instances and views."""
        windows, config = cut(batch.streams[self.stream], self.views), self.config
        one_by_one = config.leads is not None or config.views != "cmsc"
        if config.leads is not None:
            windows = chosen(windows, config.leads)
        if config.views != "cmsc" and len(windows.channels) < 2:
            raise ValueError(
                f"objective.views: {config.views} contrasts leads, and the windows have only "
                f"{list(windows.channels)}: name more in data.channels, or choose cmsc"
            )
        there_XL = self.there(windows)
        if not one_by_one:
            there_XL = there_XL.any(dim=1, keepdim=True)
        there_KV = self.arrange(there_XL)
        instances = len(there_KV) // max(1, len(batch))
        subjects_K = batch.subjects.repeat_interleave(instances)
        return Instances(windows, subjects_K, there_KV, one_by_one)

    def there(self, windows: Windows) -> Tensor:
        """Which leads of the windows have a patch [X, L]."""
        if windows.complete:
            X, L, _ = windows.samples.shape
            return torch.ones(X, L, dtype=torch.bool, device=windows.samples.device)
        return self.encoder.tokenizer.patches(windows).present_BCN.any(dim=2)

    def arrange(self, x_XL: Tensor) -> Tensor:
        """What is known of (the leads of) windows [X, L, …], by instance and view [K, V, …].

        The leads of windows that are embedded whole are one; of cmsc they are instances, else views.
        """
        segments = self.config.segments
        x_NSL = x_XL.view(len(x_XL) // segments, segments, *x_XL.shape[1:])
        if self.config.views == "cmsc":
            return x_NSL.transpose(1, 2).flatten(0, 1)
        return x_NSL.flatten(1, 2)


def number_there(there_KV: Tensor) -> Tensor:
    """Instances of which a view is there."""
    return there_KV.any(dim=1).sum().float()


def chosen(windows: Windows, leads: tuple[str, ...]) -> Windows:
    """These leads of the windows. Raises `ValueError` where they lack one."""
    lacking = [lead for lead in leads if lead not in windows.channels]
    if lacking:
        raise ValueError(
            f"objective.leads: the windows have no {', '.join(lacking)}, only {list(windows.channels)}: name it in "
            "data.channels, or leave it out"
        )
    return with_channels(windows, leads)
