"""Several modalities at once: what they share and what is their own (FOCAL; Liu et al., NeurIPS 2023,
arXiv 2310.20071), with an adversary that looks for the subject.

The embedding of a modality has two halves. Of a window and a changed view of it:

- shared halves of different modalities of one window are alike (NT-Xent);
- private halves of one modality in both views are alike (NT-Xent);
- what is shared and what is private are orthogonal, and so are the private halves of different modalities: cosines
  above 0 are charged;
- a classifier of subjects learns from the embeddings, and its gradient reaches the encoder reversed (Ganin &
  Lempitsky, ICML 2015), so that embeddings say less about who somebody is.

Modalities that a window lacks take part in nothing. While training, contrasts are over the rows of all ranks; an
evaluation contrasts each rank's micro-batch by itself, and has no adversary: its subjects are others.

Shape suffixes: B rows of a rank, R rows of all ranks, M modalities, V views, D width of a modality's embedding, H half
of it.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...models.multimodal import MultimodalEncoder
from ...shards.reader import WindowReader
from ...signals.augmentations import AugmentConfig, augment
from ...signals.windows import Batch
from .base import Objective, Outcome
from .contrast import at_least_float32, gathered, nt_xent

ADVERSARY_RATE = 10.0
"""Factor on the adversary's learning rate: it has to keep up with the encoder."""


@dataclass(frozen=True)
class SharedPrivateConfig:
    """Weights of the terms; the defaults are those of a published foundation model of sleep recordings."""

    shared: float = 0.2
    """Of the contrast between modalities."""
    private: float = 0.4
    """Of the contrast between a window and its changed view."""
    orthogonal: float = 0.2
    """Of cosines above 0 between halves that should have nothing in common."""
    subject: float = 0.002
    """Of the adversary's reversed gradient; 0 for no adversary."""
    temperature: float = 0.5
    """What cosines are divided by in both contrasts."""
    augment: AugmentConfig = field(
        default_factory=lambda: AugmentConfig(
            ops=("partial_white_noise", "scale"), layers=2, probability=1.0
        )
    )
    """How the changed view comes about; the other one is the window as it is."""

    def __post_init__(self) -> None:
        for name in ("shared", "private", "orthogonal", "subject"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must be 0 or more, not {getattr(self, name)}")
        if not self.shared + self.private > 0:
            raise ValueError("shared or private must be above 0: nothing else tells windows apart")
        if not self.temperature > 0:
            raise ValueError(f"temperature must be above 0, not {self.temperature}")
        if self.private and not self.augment.ops:
            raise ValueError("augment.ops: name at least one, or the changed view is the window")


class SharedPrivate(Objective):
    """Embeds a batch and its changed view, modality by modality."""

    encoder: MultimodalEncoder
    method = "contrast between modalities and views, with shared and private halves"
    loss_of = "windows"

    def __init__(
        self, encoder: MultimodalEncoder, config: SharedPrivateConfig, stream: str
    ) -> None:
        super().__init__(encoder, stream)
        self.config = config
        self.adversary: nn.Module | None = None

    def begin(self, train: WindowReader) -> None:
        """The adversary knows the subjects of train by their numbers."""
        if self.config.subject:
            self.adversary = perceptron(self.encoder.dim, train.subjects)

    def parameter_groups(self) -> Sequence[tuple[list[str], float]]:
        """The adversary learns faster."""
        names = [name for name, _ in self.named_parameters()]
        own = [name for name in names if name.startswith("adversary.")]
        return [([n for n in names if n not in own], 1.0), (own, ADVERSARY_RATE)]

    def forward(self, batch: Batch) -> Outcome:
        """The weighted sum of the terms, the contrasts of all ranks' rows, times this rank's windows."""
        changed = augment(batch, self.config.augment)
        seen = [self.encoder.each(streams) for streams in (batch.streams, changed.streams)]
        z_BMVD = at_least_float32(
            torch.stack([torch.stack([view[m][0] for view in seen], dim=1) for m in seen[0]], dim=1)
        )
        there_BM = torch.stack([there_B for _, there_B in seen[0].values()], dim=1)
        windows = there_BM.any(dim=1).sum().float()
        loss = contrast(gathered(z_BMVD), gathered(there_BM), self.config)
        loss_sum = loss * windows
        if self.adversary is not None and self.training:
            loss_sum = loss_sum + self.unmasked(z_BMVD[:, :, 0], there_BM, batch.subjects)
        return Outcome(loss_sum, windows)

    @torch.no_grad()
    def count(self, batch: Batch) -> Tensor:
        """Windows that have any of the modalities."""
        return self.encoder.there(batch.streams).any(dim=1).sum().float()

    def unmasked(self, z_BMD: Tensor, there_BM: Tensor, subjects_B: Tensor) -> Tensor:
        """The adversary's cross-entropy summed over windows; reversed where it enters the encoder."""
        assert self.adversary is not None
        logits_BS = self.adversary(reverse(z_BMD.flatten(1), self.config.subject))
        found_B = F.cross_entropy(logits_BS.float(), subjects_B, reduction="none")
        return (found_B * there_BM.any(dim=1)).sum()

    def blocks(self) -> Sequence[nn.Module]:
        """The layers of every encoder."""
        return [layer for _, encoder in self.encoder.parts() for layer in encoder.layers]


def contrast(z_RMVD: Tensor, there_RM: Tensor, config: SharedPrivateConfig) -> Tensor:
    """The weighted sum of the three terms, each a mean over its pairs of halves."""
    shared_RMVH, private_RMVH = z_RMVD.chunk(2, dim=-1)
    M, V = z_RMVD.shape[1:3]
    modalities, views = range(M), range(V)
    between, within, angles = [], [], []
    for a, b in itertools.combinations(modalities, 2):
        both_R = there_RM[:, a] & there_RM[:, b]
        for v in views:
            pair = shared_RMVH[both_R, a, v], shared_RMVH[both_R, b, v]
            between.append(nt_xent(*pair, config.temperature))
            angles.append(overlap(private_RMVH[both_R, a, v], private_RMVH[both_R, b, v]))
    for m in modalities:
        own_R = there_RM[:, m]
        within.append(
            nt_xent(private_RMVH[own_R, m, 0], private_RMVH[own_R, m, 1], config.temperature)
        )
        angles += [overlap(shared_RMVH[own_R, m, v], private_RMVH[own_R, m, v]) for v in views]
    terms = ((between, config.shared), (within, config.private), (angles, config.orthogonal))
    return sum(
        (weight * torch.stack(found).mean() for found, weight in terms), z_RMVD.new_zeros(())
    )


def overlap(a_RH: Tensor, b_RH: Tensor) -> Tensor:
    """Mean of the cosines above 0; of no row, 0."""
    cosine_R = F.cosine_similarity(a_RH, b_RH, dim=-1)
    return cosine_R.clamp_min(0).sum() / max(1, len(cosine_R))


def perceptron(inputs: int, outputs: int) -> nn.Sequential:
    """Three hidden layers, each half as wide as the one before."""
    widths = [inputs, max(8, inputs // 2), max(8, inputs // 4), max(8, inputs // 8)]
    parts: list[nn.Module] = []
    for narrow in itertools.pairwise(widths):
        parts += [nn.Linear(*narrow), nn.LeakyReLU()]
    return nn.Sequential(*parts, nn.Linear(widths[-1], outputs))


def reverse(x: Tensor, strength: float) -> Tensor:
    """The same, with the gradient times −`strength`."""
    reversed_: Tensor = _Reversed.apply(x, strength)  # type: ignore[no-untyped-call]
    return reversed_


class _Reversed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, strength: float) -> Tensor:
        ctx.strength = strength
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return -ctx.strength * gradients[0], None
