"""What is said of embeddings: against hand calculations, the authors' formulas, and other implementations."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import entropy
from sklearn.metrics import cohen_kappa_score, roc_auc_score
from sklearn.neighbors import KNeighborsClassifier

from biofm.evaluation.probes import Part
from biofm.evaluation.representation import (
    alignment,
    deviation,
    effective_rank,
    knn_score,
    normalised,
    same_subject,
    uniformity,
)


def drawn(N: int, D: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(N, D))


def test_the_effective_rank_by_hand() -> None:
    assert effective_rank(np.eye(5)) == pytest.approx(5)
    assert effective_rank(np.outer(np.arange(1.0, 9.0), [3.0, -1.0, 2.0])) == pytest.approx(1)
    # Singular values 3 and 1: exp(−¾ ln ¾ − ¼ ln ¼) = 4 / 3^¾.
    assert effective_rank(np.diag([3.0, 1.0])) == pytest.approx(4 / 3**0.75)


@pytest.mark.parametrize(("N", "D"), [(60, 8), (8, 60), (1, 4), (4, 1)])
def test_the_effective_rank_is_that_of_rankme(N: int, D: int) -> None:
    """Its pseudo-code: shares of singular values plus 1e-7, and their entropy."""
    x = drawn(N, D) * np.linspace(1, 5, D)
    share = torch.linalg.svdvals(torch.from_numpy(x)).numpy()
    share = share / share.sum() + 1e-7
    expected = float(np.exp(-(share * np.log(share)).sum()))
    assert effective_rank(x) == pytest.approx(expected, rel=1e-4)
    assert 1 - 1e-9 <= effective_rank(x) <= min(N, D) + 1e-9


def test_an_offset_of_all_embeddings_hides_their_rank_unless_it_is_taken_away() -> None:
    x = drawn(200, 10)
    spread = effective_rank(x, centred=True)
    assert spread == pytest.approx(
        np.exp(entropy(np.linalg.svd(x - x.mean(axis=0), compute_uv=False)))
    )
    assert effective_rank(x + 100) < 1.5
    assert effective_rank(x + 100, centred=True) == pytest.approx(spread)
    assert effective_rank(drawn(6, 50), centred=True) <= 5 + 1e-9


@pytest.mark.parametrize("value", [0.0, 0.1, 1e4])
def test_one_embedding_for_all_windows_has_no_rank_left_but_its_offset(value: float) -> None:
    x = np.full((40, 16), value, dtype=np.float32)
    assert effective_rank(x) == pytest.approx(float(value != 0))
    assert effective_rank(x, centred=True) == 0
    # What rounding to float32 leaves is in all directions, and counts as none.
    shaken = x * (1 + np.float32(1.2e-7) * (drawn(40, 16) > 0))
    assert effective_rank(shaken.astype(np.float32), centred=True) == 0
    assert deviation(x) == pytest.approx(0, abs=1e-12)
    assert uniformity(x) == pytest.approx(0, abs=1e-9)


def test_the_deviation_by_hand_and_of_even_directions() -> None:
    # Dimensions deviate by 1 and 0 from their means: ½ on average, times √2.
    assert deviation(np.array([[2.0, 0.0], [-7.0, 0.0]])) == pytest.approx(np.sqrt(2) / 2)
    assert deviation(drawn(5000, 32)) == pytest.approx(1, rel=0.01)
    assert deviation(drawn(5000, 32) + 10) < 0.15


def test_alignment_by_hand_and_by_the_authors_formula() -> None:
    one, other = np.array([[3.0, 0.0], [0.0, 1.0]]), np.array([[5.0, 0.0], [0.0, -2.0]])
    assert alignment(one, other) == pytest.approx(2)  # (0 + 4) / 2
    x, y = drawn(30, 7), drawn(30, 7, seed=1)
    a, b = (torch.nn.functional.normalize(torch.from_numpy(v)) for v in (x, y))
    assert alignment(x, y) == pytest.approx(float((a - b).norm(p=2, dim=1).pow(2).mean()))
    with pytest.raises(ValueError, match=r"of one shape, found \(30, 7\) and \(29, 7\)"):
        alignment(x, y[:-1])


@pytest.mark.parametrize("N", [2, 50, 1500])
def test_uniformity_by_the_authors_formula(N: int) -> None:
    x = drawn(N, 5)
    z = torch.nn.functional.normalize(torch.from_numpy(x))
    assert uniformity(x) == pytest.approx(float(torch.pdist(z).pow(2).mul(-2).exp().mean().log()))
    assert uniformity(np.array([[1.0, 0.0], [-3.0, 0.0]])) == pytest.approx(-8)
    with pytest.raises(ValueError, match="expected two embeddings or more, found 1"):
        uniformity(x[:1])


def test_pairs_of_one_subject_are_neighbours_in_order() -> None:
    one, other = same_subject(np.array([4, 1, 4, 2, 4, 1]))
    assert sorted(zip(one.tolist(), other.tolist(), strict=True)) == [(0, 2), (1, 5), (2, 4)]
    assert not len(same_subject(np.arange(5))[0])


def test_neighbours_labels_against_another_implementation() -> None:
    known, judged = drawn(80, 6), drawn(40, 6, seed=1)
    classes = np.random.default_rng(2).integers(0, 3, size=120)
    known[:, 0] += 3 * (classes[:80] == 1)
    judged[:, 0] += 3 * (classes[80:] == 1)
    other = KNeighborsClassifier(7, metric="cosine").fit(known, classes[:80])
    score, said = knn_score(
        "multiclass", 3, Part(known, classes[:80]), Part(judged, classes[80:]), 7
    )
    np.testing.assert_allclose(said, other.predict_proba(judged), atol=1e-12)
    assert score == pytest.approx(cohen_kappa_score(classes[80:], said.argmax(axis=1)))

    has = np.stack([classes == 1, classes > 0], axis=1)
    score, said = knn_score("multilabel", 2, Part(known, has[:80]), Part(judged, has[80:]), 7)
    near = np.argsort(-normalised(judged) @ normalised(known).T, axis=1)[:, :7]
    np.testing.assert_allclose(said, has[:80][near].mean(axis=1), atol=1e-12)
    assert score == pytest.approx(roc_auc_score(has[80:], said))


def test_few_known_windows_one_class_and_embeddings_that_are_all_one() -> None:
    x, has = drawn(12, 3), np.arange(12)[:, None] % 2 == 0
    three = Part(x[:3], has[:3])
    score, said = knn_score("multilabel", 1, three, Part(x[3:], has[3:]))
    np.testing.assert_allclose(said, 2 / 3)
    assert score == 0.5
    assert np.isnan(knn_score("multilabel", 1, three, Part(x[3:4], has[3:4]))[0])
    flat = np.ones((12, 3))
    score, _ = knn_score("multilabel", 1, Part(flat, has), Part(flat, has), neighbours=5)
    assert score == 0.5


def test_what_is_not_finite_or_not_a_table_is_an_error() -> None:
    x = drawn(5, 4)
    x[3, 2] = np.nan
    for figure in (effective_rank, deviation, uniformity):
        with pytest.raises(ValueError, match="expected finite embeddings, found nan in row 3"):
            figure(x)
        with pytest.raises(ValueError, match=r"\[windows, width\], found the shape \(0, 4\)"):
            figure(x[:0])
    part = Part(x, np.ones((5, 1), dtype=bool))
    with pytest.raises(ValueError, match="finite"):
        knn_score("multilabel", 1, part, part)
    with pytest.raises(ValueError, match="expected multilabel or multiclass labels"):
        knn_score("regression", 1, part, part)
