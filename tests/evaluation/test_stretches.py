"""Features of heart rate and counts against plain arithmetic on the same numbers."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from biofm.evaluation.arrays import Floats
from biofm.evaluation.stretches import (
    Stretches,
    difference_of_gaussians,
    of_counts,
    of_heart_rate,
)
from biofm.signals import MISSING
from biofm.signals.windows import Windows

SCALE = 0.01


def windows(x_BCT: Floats, rate_hz: float, modality: str = "hr") -> Windows:
    """Windows of these values, NaN missing."""
    stored = np.where(np.isnan(x_BCT), MISSING, np.rint(np.nan_to_num(x_BCT) / SCALE))
    B, C, _ = x_BCT.shape
    return Windows(
        modality,
        rate_hz,
        tuple(f"c{i}" for i in range(C)),
        torch.from_numpy(stored.astype(np.int16)),
        torch.full((B, C), SCALE),
        torch.zeros(B, C),
    )


def heart(seed: int = 0) -> Floats:
    rng = np.random.default_rng(seed)
    x = 60 + np.cumsum(rng.normal(0, 0.3, (2, 1, 3630)), axis=2).clip(-20, 100)
    x[1, 0, 300:900] = np.nan
    return np.asarray(np.rint(x / SCALE) * SCALE)


def test_heart_rate_against_a_plain_loop() -> None:
    x = heart()
    found = of_heart_rate(Stretches.of(windows(x, 1.0)))
    # One value for every 5 s, as the watch has them.
    whole = {
        b: [np.nanmean(c) if np.isfinite(c).any() else np.nan for c in x[b, 0].reshape(-1, 5)]
        for b in (0, 1)
    }
    for b in (0, 1):
        v = np.array(whole[b])
        epoch, before, after = v[360:366], v[360 - 60 : 360], v[366 : 366 + 60]
        want = {
            "hr": epoch.mean(),
            "hr sd": epoch.std(),
            "hr 5 min before": before.mean() - epoch.mean(),
            "hr 5 min after": after.mean() - epoch.mean(),
            "hr sd 5 min before": before.std(),
            "hr sd 5 min after": after.std(),
            "hr 30 min around": np.nanmean(v),
            "hr sd 30 min around": np.nanstd(v),
            "hr against the hour": epoch.mean() - np.nanmean(v),
            "hr change 1 min around": np.sqrt(np.mean(np.diff(v[360 - 13 : 366 + 12]) ** 2)),
        }
        for name, value in want.items():
            assert found[name][b] == pytest.approx(value, abs=1e-4), name
    assert all(np.isfinite(column).all() for column in found.values())


def test_the_filter_of_walch_keeps_minutes_and_drops_hours() -> None:
    time_s = np.arange(0, 3600, 5.0)
    slow, mid = (np.sin(2 * np.pi * time_s / period)[None] for period in (7200, 1200))
    middle = slice(300, 420)
    kept = difference_of_gaussians(mid, 0.2)[0, middle].std() / mid[0, middle].std()
    lost = difference_of_gaussians(slow + 70, 0.2)[0, middle].std() / slow[0, middle].std()
    assert kept > 0.6
    assert lost < 0.35
    # Against a sum over Gaussians, far from the ends.
    weights = {s: np.exp(-0.5 * (np.arange(-2 * s, 2 * s + 5, 5) / s) ** 2) for s in (120, 600)}
    level = mid[0] - mid[0].mean()
    at = 360
    want = sum(
        sign * (level[at - len(w) // 2 : at + len(w) // 2 + 1] * w).sum() / w.sum()
        for sign, w in ((1, weights[120]), (-0.75, weights[600]))
    )
    assert difference_of_gaussians(mid, 0.2)[0, at] == pytest.approx(want, abs=1e-6)


def test_missing_heart_rate_is_missing_and_its_neighbours_are_not() -> None:
    x = heart()
    x[0, 0, 1800:1830] = np.nan
    found = of_heart_rate(Stretches.of(windows(x, 1.0)))
    assert np.isnan(found["hr"][0])
    assert np.isfinite(found["hr 5 min around"][0])
    empty = of_heart_rate(Stretches.of(windows(np.full((1, 1, 3630), np.nan), 1.0)))
    assert all(np.isnan(column).all() for column in empty.values())


def test_counts_against_a_plain_loop() -> None:
    rng = np.random.default_rng(1)
    x = rng.poisson(0.7, (3, 1, 121)).astype(np.float64) * 10
    x[2, 0, 50:58] = np.nan
    found = of_counts(Stretches.of(windows(x, 1 / 30, "counts")))
    v = np.log1p(x[:, 0])
    np.testing.assert_allclose(found["counts"], v[:, 60], atol=1e-6)
    np.testing.assert_allclose(
        found["counts 5 min before"], np.nanmean(v[:, 50:60], axis=1), atol=1e-6
    )
    np.testing.assert_allclose(found["counts 5 min after"], v[:, 61:71].mean(axis=1), atol=1e-6)
    np.testing.assert_allclose(
        found["counts 2 min around"], np.nanmean(v[:, 56:65], axis=1), atol=1e-6
    )


def test_several_channels_are_averaged_where_they_are() -> None:
    x = np.stack([heart(0)[:, 0], heart(5)[:, 0]], axis=1)
    one = Stretches.of(windows(x, 1.0)).values_BT
    both = x.reshape(2, 2, -1, 5)
    with np.errstate(invalid="ignore"):
        want = np.nansum(both, axis=(1, 3)) / np.isfinite(both).sum(axis=(1, 3))
    np.testing.assert_allclose(one, want, atol=1e-4)
