"""The loss of CLOCS (Kiyasseh, Zhu & Clifton, ICML 2021, arXiv 2005.13249), over all pairs of views at once.

Of a pair of views (a, b) of K instances, with S_ij = exp(cos(a_i, b_j) / temperature), it is the mean of

    −mean over i of                        log S_ii / Σ_k S_ik      b_i is to be told from a_i,
    −mean over j of                        log S_jj / Σ_k S_kj      and a_j from b_j,
    −mean over i < j of one subject of     log S_ij / Σ_k S_ik      and so are other instances of the subject:
    −mean over i > j of one subject of     log S_ij / Σ_k S_kj      above the diagonal, and below it;

without the last two where no subject has two instances. The loss is the mean over all pairs.

- All pairs are one batched product of matrices; each similarity is exponentiated once, for its row and its column.
- Seen from b, what lies below the diagonal lies above it: the second and the fourth term are the first and the
  third of the pair (b, a).
- Sums of positives are products of sums: no logit of a positive is looked up.
- No maximum has to be taken off: exponents lie within 2 / temperature of one another, and where that is more than
  float32 holds, float64 does.
- A missing window is nobody's positive, nobody's negative, and has none of its own. Each mean is over what is
  there, and terms and pairs of which nothing is there are not counted.

Shape suffixes: K instances, V views, P pairs of views, 2 the ways to look at a pair, D width,
X = K · D.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from .contrast import at_least_float32

LEAST_TEMPERATURE = 0.003
"""Of which exp(−2 / temperature) is still a float64."""
FLOAT32_FROM = 0.025
"""Temperature from which on it is a float32."""


def clocs_loss(z_KVD: Tensor, subjects_K: Tensor, there_KV: Tensor, temperature: float) -> Tensor:
    """The loss of instances, each in several views; in float32, or in float64 where they are.

    `subjects_K` are integers, one for each subject; `there_KV` is False where a window is missing. The loss is 0
    where there is no pair.
    """
    with torch.autocast(z_KVD.device.type, enabled=False):
        z_KVD = at_least_float32(z_KVD)
        kind = z_KVD.dtype
        exact = kind if temperature >= FLOAT32_FROM else torch.float64
        z_VKD = z_KVD.to(exact).masked_fill(~there_KV[..., None], 0.0).transpose(0, 1)
        z_VKD = F.normalize(z_VKD, dim=-1)
        there_VK = there_KV.T.to(exact)
        # Which instance comes later than which, and is of the same subject.
        later_KK = (subjects_K[:, None] == subjects_K).triu(1).to(exact)
        laters_VK = there_VK @ later_KK.T
        # Summed over instances: those that are missing are 0.
        z_VX, later_VX = z_VKD.flatten(1), (later_KK @ z_VKD).flatten(1)
        same_VV, later_VV = (z_VX @ x_VX.T / temperature for x_VX in (z_VX, later_VX))

        V = len(z_VKD)
        one_P, two_P = torch.triu_indices(V, V, 1, device=z_VKD.device)
        there_2PK = torch.stack([there_VK[one_P], there_VK[two_P]])
        sames_PK = there_2PK.prod(dim=0)
        laters_2PK = there_2PK * torch.stack([laters_VK[two_P], laters_VK[one_P]])
        lse_2PK = logsumexp(
            z_VKD.index_select(0, one_P), z_VKD.index_select(0, two_P), there_2PK, temperature
        )
        later_2P = torch.stack([later_VV[one_P, two_P], later_VV[two_P, one_P]])
        sums_22P = torch.stack(
            [
                same_VV[one_P, two_P] - (lse_2PK * sames_PK).sum(dim=-1),
                later_2P - (lse_2PK * laters_2PK).sum(dim=-1),
            ]
        )
        counts_22P = torch.stack([sames_PK.expand_as(laters_2PK), laters_2PK]).sum(dim=-1)
        terms_P = (counts_22P > 0).sum(dim=(0, 1))
        losses_P = -(sums_22P / counts_22P.clamp_min(1)).sum(dim=(0, 1)) / terms_P.clamp_min(1)
        return (losses_P.sum() / (terms_P > 0).sum().clamp_min(1)).to(kind)


def logsumexp(a_PKD: Tensor, b_PKD: Tensor, there_2PK: Tensor, temperature: float) -> Tensor:
    """Of each row and of each column of a_i · b_j / temperature, over what is there [2, P, K]."""
    scale = 1 / temperature
    # Unit vectors: shifted by the largest product there can be, exponents are at most 0.
    shift = a_PKD.new_full((), -scale)
    S_PKK = torch.baddbmm(shift, a_PKD, b_PKD.mT, alpha=scale).exp_()
    there_a_PK, there_b_PK = there_2PK
    rows_PK = (S_PKK @ there_b_PK[..., None])[..., 0]
    columns_PK = (there_a_PK[:, None] @ S_PKK)[:, 0]
    # Where nothing is there the sum is 0; its logarithm counts for nothing, but must not be infinite.
    least = torch.finfo(S_PKK.dtype).tiny
    return torch.stack([rows_PK, columns_PK]).clamp_min(least).log() + scale
