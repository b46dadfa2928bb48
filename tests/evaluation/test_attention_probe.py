"""The attention probe: finds the token that tells, which the mean cannot; missing tokens take no part."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from biofm.evaluation.attention_probe import (
    QUERIES,
    Pooling,
    TokenPart,
    fit_attention_probe,
    outputs,
)
from biofm.evaluation.probes import Part, fit_probe
from biofm.evaluation.ranking import auroc
from biofm.evaluation.tokens import FrozenTokens

Classes = NDArray[np.bool_]


def frozen(tokens: NDArray[np.float64]) -> FrozenTokens:
    return FrozenTokens(tokens.astype(np.float16), np.arange(len(tokens)))


def planted(count: int, seed: int) -> tuple[NDArray[np.float64], Classes]:
    """30 tokens of width 32, each ± along one direction; only the sign of one that is marked is the class."""
    rng = np.random.default_rng(seed)
    signs, mark = np.random.default_rng(9).choice([-0.5, 0.5], size=(2, 32))
    x = rng.normal(size=(count, 30, 32))
    sign = rng.choice([-1.0, 1.0], size=(count, 30))
    x += sign[..., None] * signs
    rows, marked = np.arange(count), rng.integers(0, 30, count)
    x[rows, marked] += 3 * mark
    return x, (sign[rows, marked] > 0)[:, None]


TRAIN, VALIDATION, TEST = planted(500, 0), planted(200, 1), planted(400, 2)


def part(of: tuple[NDArray[np.float64], Classes]) -> TokenPart:
    return TokenPart(frozen(of[0]), of[1])


def test_the_token_that_tells_is_found_where_the_mean_tells_little() -> None:
    probe = fit_attention_probe("multilabel", 1, "bce", part(TRAIN), part(VALIDATION))
    attended = auroc(TEST[1], probe.predict(frozen(TEST[0])))[0]
    mean = [Part(x.mean(axis=1), y) for x, y in (TRAIN, VALIDATION)]
    linear = fit_probe("multilabel", 1, "logistic", *mean)
    assert attended > 0.95
    assert auroc(TEST[1], linear.predict(TEST[0].mean(axis=1)))[0] < 0.7
    said = probe.predict(frozen(VALIDATION[0]))
    assert probe.validation == pytest.approx(auroc(VALIDATION[1], said)[0])


def test_all_heads_at_once_are_plain_cross_attention_of_each_query() -> None:
    torch.manual_seed(0)
    heads = [Pooling(12, 3, 0.0) for _ in range(2)]
    for head in heads:
        for parameter in head.parameters():
            torch.nn.init.normal_(parameter)
    x_BLD, there_BL = torch.randn(5, 9, 12), torch.rand(5, 9) < 0.7
    found = outputs(heads, x_BLD * there_BL[..., None], there_BL, training=False)
    for c, head in enumerate(heads):
        for b in range(5):
            x_LD = x_BLD[b, there_BL[b]]
            gathered = [
                F.scaled_dot_product_attention(
                    head.query[None, None, m, None],
                    F.layer_norm(x_LD, (12,))[None, None],
                    x_LD[None, None],
                    scale=1.0,
                ).flatten()
                for m in range(QUERIES)
            ]
            expected = head.weight @ torch.cat(gathered) + head.bias
            torch.testing.assert_close(found[c, b], expected, rtol=1e-4, atol=1e-5)


def test_missing_tokens_take_no_part() -> None:
    def with_missing(of: tuple[NDArray[np.float64], Classes]) -> TokenPart:
        x = np.insert(of[0], [0, 7, 7, 30], np.nan, axis=1)
        return TokenPart(frozen(x), of[1])

    whole = fit_attention_probe("multilabel", 1, "bce", part(TRAIN), part(VALIDATION))
    padded = fit_attention_probe(
        "multilabel", 1, "bce", with_missing(TRAIN), with_missing(VALIDATION)
    )
    said = whole.predict(frozen(TEST[0]))
    np.testing.assert_allclose(padded.predict(with_missing(TEST).tokens), said, atol=0.02)
    # A window of which nothing is there scores like one at the mean of train, not NaN.
    nothing = np.full((2, 30, 32), np.nan)
    assert np.isfinite(whole.predict(frozen(nothing))).all()


def test_the_same_seed_gives_the_same_probe_and_leaves_the_world_alone() -> None:
    state = torch.random.get_rng_state()
    small, other = part(planted(60, 3)), part(planted(40, 4))
    said = [
        fit_attention_probe("multilabel", 1, "bce", small, other, seed=seed).predict(other.tokens)
        for seed in (0, 0, 1)
    ]
    np.testing.assert_array_equal(said[0], said[1])
    assert not np.array_equal(said[0], said[2])
    assert torch.equal(state, torch.random.get_rng_state())


def test_exclusive_classes_and_quantities() -> None:
    x, sign = TRAIN
    z, z_sign = VALIDATION
    level = x[..., 2].mean(axis=1) * 30**0.5
    z_level = z[..., 2].mean(axis=1) * 30**0.5
    exclusive = [TokenPart(frozen(a), np.where(b[:, 0], 2, 0)) for a, b in ((x, sign), (z, z_sign))]
    probe = fit_attention_probe("multiclass", 3, "balanced_cross_entropy", *exclusive)
    scores = probe.predict(exclusive[1].tokens)
    assert (scores.argmax(axis=1) == exclusive[1].values).mean() > 0.85
    assert (scores[:, 1] == 0).all()
    pressure = [
        TokenPart(frozen(a), 120 + 15 * np.stack([b, b], axis=1))
        for a, b in ((x, level), (z, z_level))
    ]
    pressure[0].values[::3, 1] = np.nan
    estimates = fit_attention_probe("regression", 2, "mae", *pressure)
    error = np.abs(estimates.predict(pressure[1].tokens) - pressure[1].values).mean(axis=0)
    assert (error < 6).all()  # 12 for one who always says 120


def test_a_class_that_train_lacks_scores_alike_everywhere() -> None:
    tokens, classes = TRAIN
    few = TokenPart(frozen(tokens[:40]), np.c_[classes[:40], np.zeros((40, 1), bool)])
    more = TokenPart(frozen(VALIDATION[0]), np.c_[VALIDATION[1], VALIDATION[1]])
    probe = fit_attention_probe("multilabel", 2, "bce", few, more)
    assert (probe.predict(more.tokens)[:, 1] == 0).all()
    nobody = TokenPart(few.tokens, np.zeros((40, 2), bool))
    assert fit_attention_probe("multilabel", 2, "bce", nobody, more).validation == 0.5
