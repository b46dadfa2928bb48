"""What heads minimise: against torch's own losses one class at a time, and what cannot be learned stays level."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from biofm.evaluation.losses import Goal

RNG = np.random.default_rng(0)
OUTPUTS = torch.from_numpy(RNG.normal(size=(2, 40, 3))).float()


def test_each_class_on_its_own() -> None:
    values = RNG.random((40, 3)) < 0.4
    values[:, 1] = True
    goal = Goal.of("multilabel", 3, "bce", values)
    found = goal.loss(OUTPUTS, goal.truth(values))
    for head in range(2):
        kept = OUTPUTS[head][:, [0, 2]]
        truth = torch.from_numpy(values[:, [0, 2]]).float()
        expected = F.binary_cross_entropy_with_logits(kept, truth)
        torch.testing.assert_close(found[head], expected)
    scores = goal.scores(OUTPUTS[0])
    assert (scores[:, 1] == 1).all()
    np.testing.assert_allclose(scores[:, 0], OUTPUTS[0, :, 0].sigmoid(), rtol=1e-6)
    values[:, 1] = False
    assert (Goal.of("multilabel", 3, "bce", values).scores(OUTPUTS[0])[:, 1] == 0).all()


def test_exclusive_classes_and_one_that_is_absent() -> None:
    values = RNG.choice([0, 2], p=[0.8, 0.2], size=40)
    goal = Goal.of("multiclass", 3, "cross_entropy", values)
    truth = goal.truth(values)
    expected = F.cross_entropy(OUTPUTS[1][:, [0, 2]], truth // 2)
    torch.testing.assert_close(goal.loss(OUTPUTS, truth)[1], expected)
    balanced = Goal.of("multiclass", 3, "balanced_cross_entropy", values).loss(OUTPUTS, truth)[1]
    each = F.cross_entropy(OUTPUTS[1][:, [0, 2]], truth // 2, reduction="none")
    torch.testing.assert_close(balanced, (each[truth == 0].mean() + each[truth == 2].mean()) / 2)
    scores = goal.scores(OUTPUTS[0])
    assert (scores[:, 1] == 0).all()
    np.testing.assert_allclose(scores.sum(axis=1), 1, rtol=1e-6)
    # The absent class takes no part, and nothing becomes NaN on the way back.
    leaf = OUTPUTS.clone().requires_grad_()
    goal.loss(leaf, truth).sum().backward()  # type: ignore[no-untyped-call]
    assert leaf.grad is not None
    assert torch.isfinite(leaf.grad).all()
    assert (leaf.grad[..., 1] == 0).all()


def test_quantities_in_units_of_their_spread() -> None:
    values = np.array([100.0, 5.0]) + RNG.normal(size=(40, 2)) * np.array([20.0, 0.1])
    values[::4, 1] = np.nan
    goal = Goal.of("regression", 2, "mae", values)
    outputs = OUTPUTS[..., :2]
    units = (values - np.nanmean(values, axis=0)) / np.nanstd(values, axis=0)
    expected = np.nanmean(np.abs(outputs[0].numpy() - units))
    assert goal.loss(outputs, goal.truth(values))[0].item() == pytest.approx(expected, rel=1e-5)
    said = goal.scores(goal.truth(values))
    np.testing.assert_allclose(said[1::4], values[1::4], rtol=1e-5)
    values[:, 1] = np.nan
    with pytest.raises(ValueError, match="never states one of the quantities"):
        Goal.of("regression", 2, "mae", values)
