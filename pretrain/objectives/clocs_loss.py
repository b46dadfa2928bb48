"""The loss of CLOCS (Kiyasseh, Zhu & Clifton, ICML 2021, arXiv 2005.13249), over all pairs of views at once.

Of a pair of views (a, b) of K instances, with S_ij = exp(cos(a_i, b_j) / temperature), it is the mean of

    −mean over i of                        log S_ii / Σ_k S_ik      b_i is to be told from a_i,
    −mean over j of                        log S_jj / Σ_k S_kj      and a_j from b_j,
    −mean over i < j of one subject of     log S_ij / Σ_k S_ik      and so are other instances of the subject:
    −mean over i > j of one subject of     log S_ij / Σ_k S_kj      above the diagonal, and below it;

without the last two where no subject has two instances. The loss is the mean over all pairs.

- The products of all embeddings of all views are one symmetric matrix. Its block (b, a) is the block (a, b) the
  other way round, so sums over columns are sums over rows, and what lies below the diagonal lies above it: each
  block gives two of the four terms by its rows.
- The sums of logits over a subject's later instances are products with the sums of their embeddings: nothing of
  the size of the matrix is made but the matrix and its logsumexp.
- A missing window is nobody's positive, nobody's negative, and has none of its own. Each mean is over what is
  there, and terms and pairs of which nothing is there are not counted.

Shape suffixes: K instances, V views, D width, F = V · K.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from .contrast import at_least_float32


def clocs_loss(z_KVD: Tensor, subjects_K: Tensor, there_KV: Tensor, temperature: float) -> Tensor:
    """The loss of instances, each in several views; in float32, or in float64 where they are.

    `subjects_K` are integers, one for each subject; `there_KV` is False where a window is missing. The loss is 0
    where there is no pair.
    """
    with torch.autocast(z_KVD.device.type, enabled=False):
        z_VKD = at_least_float32(z_KVD).masked_fill(~there_KV[..., None], 0.0).transpose(0, 1)
        z_VKD = F.normalize(z_VKD, dim=-1)
        there_VK = there_KV.T.to(z_VKD.dtype)
        lse_VKV = logsumexp(z_VKD, there_KV.T, temperature)

        # Which instance comes later than which, and is of the same subject.
        later_KK = (subjects_K[:, None] == subjects_K).triu(1).to(z_VKD.dtype)
        same_VKV = torch.einsum("akd,bkd->akb", z_VKD, z_VKD) / temperature
        later_VKV = torch.einsum("akd,bkd->akb", z_VKD, later_KK @ z_VKD) / temperature
        sames_VKV = torch.einsum("ak,bk->akb", there_VK, there_VK)
        laters_VKV = torch.einsum("ak,bk->akb", there_VK, there_VK @ later_KK.T)

        sums_2VV = torch.stack(
            [
                ((same_VKV - lse_VKV) * sames_VKV).sum(dim=1),
                (later_VKV - lse_VKV * laters_VKV).sum(dim=1),
            ]
        )
        counts_2VV = torch.stack([sames_VKV, laters_VKV]).sum(dim=2)
        means_VV = (sums_2VV / counts_2VV.clamp_min(1)).sum(dim=0)
        terms_VV = (counts_2VV > 0).sum(dim=0)
        # The blocks (a, b) and (b, a) are one pair.
        terms_VV = terms_VV + terms_VV.T
        losses_VV = -(means_VV + means_VV.T) / terms_VV.clamp_min(1)
        pairs = (terms_VV > 0).triu(1).sum()
        return losses_VV.triu(1).sum() / pairs.clamp_min(1)


def logsumexp(z_VKD: Tensor, there_VK: Tensor, temperature: float) -> Tensor:
    """Over all instances that are there in view b: log Σ_k exp(a_i · b_k / temperature), at [a, i, b]."""
    V, K, _ = z_VKD.shape
    z_FD = z_VKD.flatten(0, 1)
    # Not −∞: a row of a block in which nothing is there would be NaN, and count for nothing all the same.
    least = torch.finfo(z_FD.dtype).min
    absent_F = z_FD.new_zeros(V * K).masked_fill(~there_VK.flatten(), least)
    logits_FF = torch.addmm(absent_F, z_FD, z_FD.T, alpha=1 / temperature)
    return logits_FF.view(V, K, V, K).logsumexp(dim=-1)
