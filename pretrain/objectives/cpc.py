"""Contrastive predictive coding: say from the past which of many instants of the same recording comes next.

As van den Oord et al. (2018, arXiv 1807.03748) define it, in the form that Mehari & Strodthoff (2022, arXiv
2103.12676) use for 12-lead ECG: features z of each patch, a causal context c of them, one linear map without bias
from c_t to what is expected of z_{t+k}, and the cross-entropy of telling z_{t+k} by its dot product from
`negatives` draws of the same window. As published there it is one step of 12 samples and 128 negatives.

- A term is a pair (t, k) whose two patches are there; draws are of patches that are there, never the true one, with
  replacement, and a function of (seed, epoch, position).
- Predictions meet all features of their window in one product, of which the drawn ones are picked. Picking features
  first would need `negatives` times their memory: at batch 32 and 250 patches of width 128 a step's loss and gradient
  take 0.03 s that way and 1.4 s the other (one core, fp32).
- Features take part as targets with their gradient, as published.

Shape suffixes: B batch, K steps, N patches in time, W width of a token, M draws, Q candidates: the true one, then the
draws.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ...models.encoder import Encoder
from ...models.sequence import SequenceEncoder
from ...models.tokenizer import Patches
from ...signals.randomness import uniform
from ...signals.windows import Batch, Windows
from .base import Objective, Outcome


@dataclass(frozen=True)
class CPCConfig:
    """Contrastive predictive coding."""

    steps: tuple[int, ...] = (12,)
    """How far ahead to look, in patches: one linear map each."""
    negatives: int = 128
    """Draws from the same window that the true patch has to be told from."""

    def __post_init__(self) -> None:
        if not self.steps or len(set(self.steps)) != len(self.steps) or min(self.steps) < 1:
            raise ValueError(
                f"steps must be different numbers of patches, each 1 or more, not {list(self.steps)}"
            )
        if self.negatives < 1:
            raise ValueError(f"negatives must be 1 or more, not {self.negatives}")


class CPC(Objective):
    """Features, causal context and predictions. Called through `forward` alone, as data-parallel wrappers need.

    Raises `ValueError` for an encoder that sees more than the past, and for windows shorter than a step.
    """

    method = "contrastive predictive coding"
    loss_of = "patches to come, told from others of the same window"
    encoder: SequenceEncoder

    def __init__(self, encoder: Encoder, config: CPCConfig, stream: str) -> None:
        super().__init__(encoder, stream)
        if not isinstance(encoder, SequenceEncoder) or not encoder.causal:
            raise ValueError(
                "contrastive predictive coding needs an encoder that sees the past alone (lstm, s4_causal), not "
                f"{encoder.config.backbone}"
            )
        self.config = config
        self.predict = nn.Linear(encoder.width, len(config.steps) * encoder.width, bias=False)
        # Expecting nothing is chance. From random weights the loss begins at twice that, and the first epoch goes
        # into unlearning them: 5 epochs of a mini s4_causal on 1,405 windows end at 3.62 in place of 3.39.
        nn.init.zeros_(self.predict.weight)

    def forward(self, batch: Batch) -> Outcome:
        """Cross-entropies summed over all pairs (t, k); their number is the targets."""
        logits_BKNQ, asked_BKN = self.logits(batch)
        loss_BKN = -logits_BKNQ.log_softmax(dim=-1)[..., 0]
        return Outcome((loss_BKN * asked_BKN).sum(), asked_BKN.sum().to(loss_BKN.dtype))

    @torch.no_grad()
    def count(self, batch: Batch) -> Tensor:
        """The number of pairs (t, k), without running the model."""
        there_BN = self.there(self.encoder.tokenizer.patches(batch.streams[self.stream]))
        return asked(there_BN, self.targets(there_BN)).sum().float()

    def logits(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Of each candidate, the true one first [B, K, N, Q]; and which pairs (t, k) there are [B, K, N]."""
        windows = batch.streams[self.stream]
        patches = self.encoder.tokenizer.patches(windows)
        there_BN = self.there(patches)
        target_KN = self.targets(there_BN)
        candidates_BKNQ = self.candidates(batch, there_BN, target_KN)
        likeness_BKNN = self.likeness(windows, patches)
        return likeness_BKNN.gather(-1, candidates_BKNQ), asked(there_BN, target_KN)

    def likeness(self, windows: Windows, patches: Patches) -> Tensor:
        """Dot products of what each instant expects with the features of every instant [B, K, N, N]."""
        features_BNW = self.encoder.features(windows, patches)
        contexts_BNW = self.encoder.contexts(features_BNW)
        expected_BNKW = self.predict(contexts_BNW).unflatten(-1, (len(self.config.steps), -1))
        # Sums of hundreds of products without a scale: in bf16 they would differ by less than its rounding.
        with torch.autocast(features_BNW.device.type, enabled=False):
            wide = torch.promote_types(features_BNW.dtype, torch.float32)
            return torch.einsum("bnkw,bmw->bknm", expected_BNKW.to(wide), features_BNW.to(wide))

    def there(self, patches: Patches) -> Tensor:
        """Which patches have samples [B, N]."""
        return self.encoder.there(patches)[:, 0]

    def targets(self, there_BN: Tensor) -> Tensor:
        """Where each pair (t, k) looks [K, N]: t + k, beyond the end where there is no such patch."""
        N = there_BN.shape[1]
        if max(self.config.steps) >= N:
            samples = self.encoder.config.patch.samples
            raise ValueError(
                f"objective.steps: a window of {N} patches of {samples} samples has none {max(self.config.steps)} "
                "ahead of another: take fewer steps, shorter model.patch.samples or a longer data.window_s"
            )
        steps_K = torch.tensor(self.config.steps, device=there_BN.device)
        return steps_K[:, None] + torch.arange(N, device=there_BN.device)

    def candidates(self, batch: Batch, there_BN: Tensor, target_KN: Tensor) -> Tensor:
        """Places of the true patch and of the draws [B, K, N, Q]; all steps of an instant share its draws."""
        (B, N), K = there_BN.shape, len(target_KN)
        target_KN = target_KN.clamp_max(N - 1)
        numbers = N * self.config.negatives
        chance_BX = uniform(batch.seed, batch.epoch, batch.positions, "negatives", numbers)
        # Patches that are there are numbered in order; of so many less one, those from the true one on move up.
        number_BKN = (there_BN.cumsum(dim=1) - 1)[:, target_KN]
        others_B1 = (there_BN.sum(dim=1, keepdim=True) - 1).clamp_min(0)
        drawn_B1NM = (chance_BX * others_B1).long().view(B, 1, N, -1)
        drawn_BKNM = drawn_B1NM + (drawn_B1NM >= number_BKN[..., None])
        places_BN = (~there_BN).to(torch.uint8).argsort(dim=1, stable=True)
        drawn_BKNM = places_BN.gather(1, drawn_BKNM.flatten(1)).view(B, K, N, -1)
        return torch.cat([target_KN.expand(B, K, N)[..., None], drawn_BKNM], dim=-1)


def asked(there_BN: Tensor, target_KN: Tensor) -> Tensor:
    """Which pairs (t, k) there are [B, K, N]: both patches have samples, and others to draw from."""
    N = there_BN.shape[1]
    ahead_BKN = there_BN[:, target_KN.clamp_max(N - 1)] & (target_KN < N)
    return ahead_BKN & there_BN[:, None] & (there_BN.sum(dim=1) > 1)[:, None, None]
