"""What can be said of embeddings themselves: whether they are spread out, and whether neighbours are alike.

Shape suffixes: N windows, D width of an embedding, M pairs, K classes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.neighbors import KNeighborsRegressor

from .arrays import Floats, Subjects
from .probes import Part, goodness
from .tasks import Kind

Embedded = NDArray[np.floating[Any]]

ROUNDING = 1e-6
"""Singular values below this share of the norm of all numbers are what float32 leaves, and count as 0."""

_ROWS = 1024


def effective_rank(x_ND: Embedded, *, centred: bool = False) -> float:
    """exp of the entropy of the singular values' shares: from 1 to min(N, D); 0 where nothing is left.

    Roy & Vetterli (EUSIPCO 2007); RankMe (Garrido et al., ICML 2023) is the same of embeddings. `centred`
    takes their mean away first: an offset that all windows share is one singular value that can outweigh
    all others (an encoder that is sound had 11 with it and 68 without, of 192). Raises `ValueError` for
    embeddings that are not finite.
    """
    x = checked(x_ND)
    # What rounding can leave follows from the numbers before their mean is taken away.
    noise = ROUNDING * np.linalg.norm(x)
    singular = np.linalg.svd(x - x.mean(axis=0) if centred else x, compute_uv=False)
    kept = singular[singular > noise]
    share = kept / kept.sum()
    return float(np.exp(-(share * np.log(share)).sum())) if kept.size else 0.0


def deviation(x_ND: Embedded) -> float:
    """Mean over dimensions of the standard deviation of L2-normalised embeddings, times √D.

    About 1 where they point everywhere alike, 0 where all are the same (Chen & He, CVPR 2021, figure 2,
    who compare the deviation with 1/√D). Raises `ValueError` for embeddings that are not finite.
    """
    z_ND = normalised(x_ND)
    return float(z_ND.std(axis=0).mean() * np.sqrt(z_ND.shape[1]))


def alignment(x_MD: Embedded, y_MD: Embedded) -> float:
    """Mean squared distance of the two L2-normalised embeddings of each pair: 0 is the best, 4 the worst.

    Wang & Isola (ICML 2020), with α = 2. Raises `ValueError` for shapes that differ, or no pair.
    """
    if np.shape(x_MD) != np.shape(y_MD):
        raise ValueError(
            f"expected pairs of embeddings of one shape, found {np.shape(x_MD)} and {np.shape(y_MD)}"
        )
    return float(np.square(normalised(x_MD) - normalised(y_MD)).sum(axis=1).mean())


def uniformity(x_ND: Embedded) -> float:
    """log of the mean over pairs of exp(−2 · squared distance), of L2-normalised embeddings: 0 down to −4
    (for many dimensions), lower is more even.

    Wang & Isola (ICML 2020), with t = 2. Raises `ValueError` for fewer than two embeddings.
    """
    z_ND = normalised(x_ND)
    N = len(z_ND)
    if N < 2:
        raise ValueError(f"uniformity is of pairs: expected two embeddings or more, found {N}")
    length_N = np.square(z_ND).sum(axis=1)
    total = 0.0
    for first in range(0, N, _ROWS):
        rows = slice(first, first + _ROWS)
        squared = length_N[rows, None] + length_N - 2 * z_ND[rows] @ z_ND.T
        total += float(np.exp(-2 * np.maximum(squared, 0.0)).sum())
    # Each embedding beside itself gave exp(0).
    return float(np.log(max(total - N, np.finfo(np.float64).tiny) / (N * (N - 1))))


def same_subject(subjects_N: Subjects) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Pairs of rows of one subject: each row and the next one of its subject, (first [M], second [M])."""
    order = np.argsort(subjects_N, kind="stable")
    alike = subjects_N[order[1:]] == subjects_N[order[:-1]]
    return order[:-1][alike], order[1:][alike]


def knn_score(
    kind: Kind, classes: int, known: Part, judged: Part, neighbours: int = 20
) -> tuple[float, Floats]:
    """How well the labels of a window's nearest neighbours tell its own: (score, mean labels [N, K]).

    The score is `probes.goodness`: mean AUROC (multilabel) or kappa (multiclass), NaN where no class of
    `judged` can be told. Nearest by cosine among `known`, which must be other subjects; of fewer than
    `neighbours` all are taken. Nothing is fitted or chosen. Raises `ValueError` for embeddings that are
    not finite, and for regression.
    """
    if kind == "regression":
        raise ValueError("knn_score: expected multilabel or multiclass labels, found regression")
    labels = np.eye(classes)[known.values] if kind == "multiclass" else known.values
    model = KNeighborsRegressor(min(neighbours, len(known.values)), algorithm="brute")
    model.fit(normalised(known.features), labels.astype(np.float64))
    scores_NK = np.asarray(model.predict(normalised(judged.features))).reshape(-1, classes)
    return goodness(kind, judged.values, scores_NK), scores_NK


def normalised(x_ND: Embedded) -> Floats:
    """Each row divided by its length; one of length 0 stays 0. Raises what `checked` raises."""
    x = checked(x_ND)
    length_N1: Floats = np.sqrt(np.square(x).sum(axis=1, keepdims=True))
    return x / np.maximum(length_N1, np.finfo(np.float64).tiny)


def checked(x_ND: Embedded) -> Floats:
    """The same as float64. Raises `ValueError` unless it is [N, D] with N, D ≥ 1 and finite."""
    x = np.asarray(x_ND, dtype=np.float64)
    if x.ndim != 2 or not x.size:
        raise ValueError(f"expected embeddings [windows, width], found the shape {x.shape}")
    if not np.isfinite(x).all():
        row, column = np.argwhere(~np.isfinite(x))[0]
        raise ValueError(f"expected finite embeddings, found {x[row, column]} in row {row}")
    return x
