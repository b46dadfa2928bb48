"""Activity counts against a plain reference written from the published formula."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import signal as dsp

from biofm.signals import Series, Signal
from biofm.signals.activity import activity_counts, motion_rate_hz


def moving(seconds: int, seed: int = 0, start_s: float = 0.0) -> Series:
    """Uneven motion at about 50 Hz: rest, and bursts of several sizes."""
    rng = np.random.default_rng(seed)
    times_s = start_s + np.sort(np.arange(0, seconds, 0.02) + rng.normal(0, 0.003, seconds * 50))
    size_g = np.repeat(rng.choice((0.0, 0.0, 0.1, 0.8, 6.0), seconds // 5), 250)
    z_g = -1 + size_g * np.sin(2 * np.pi * 6 * times_s) + rng.normal(0, 0.01, len(times_s))
    values = np.stack([rng.normal(size=len(z_g)), z_g]).astype(np.float32)
    return Series("acc", ("x", "z"), times_s, values)


def reference(motion: Series, first_s: int, last_s: int) -> list[float]:
    """Sums of 15 s from `first_s` to `last_s`, one sample after another."""
    z_g = motion.values[motion.channels.index("z")].astype(float)
    grid_s = [first_s + i / 50 for i in range((last_s - first_s) * 50)]
    even = [float(np.interp(at_s, motion.times_s, z_g)) for at_s in grid_s]
    b, a = dsp.butter(5, [3 / 25, 11 / 25], "bandpass")
    filtered = [abs(float(g)) for g in dsp.filtfilt(b, a, even)]
    edges = [5 * i / 128 for i in range(129)]
    counts = []
    for sum_s in range(0, last_s - first_s - 14, 15):
        total = 0
        for second in range(sum_s, sum_s + 15):
            bins = [
                sum(edge <= g for edge in edges) for g in filtered[50 * second : 50 * second + 50]
            ]
            total += max(bins)
        counts.append(max(0.0, (total - 18) * 3.07))
    return counts


def samples_of(signal: Signal) -> NDArray[np.float32]:
    samples: NDArray[np.float32] = signal.physical()[0]
    return samples


def test_counts_are_those_of_the_plain_formula() -> None:
    motion = moving(120)
    counts = activity_counts(motion)
    assert (counts.modality, counts.channels, counts.rate_hz) == ("counts", ("counts",), 1 / 15)
    expected = reference(motion, 0, 120)
    assert max(expected) > 1000
    assert min(expected) < 500
    np.testing.assert_allclose(samples_of(counts), expected, rtol=1e-6)


def test_two_sums_make_an_epoch_of_30_s_from_second_0() -> None:
    motion = moving(150, start_s=-50.0)
    quarter, half = activity_counts(motion, 15), activity_counts(motion, 30)
    assert (quarter.start_s, half.start_s) == (-60.0, -60.0)
    pairs = samples_of(quarter)[: 2 * (len(samples_of(quarter)) // 2)].reshape(-1, 2).sum(axis=1)
    np.testing.assert_allclose(samples_of(half)[: len(pairs)], pairs, rtol=1e-6)
    # From −50 s on: the epoch from −60 s is not there from end to end, the next is.
    assert np.isnan(samples_of(half)[0])
    assert np.isfinite(samples_of(half)[1])


def test_an_even_signal_has_the_counts_of_the_same_series() -> None:
    times_s = np.arange(3000) / 50
    z_g = np.random.default_rng(1).normal(0, 0.3, (1, 3000)).astype(np.float32)
    signal = activity_counts(Signal("acc", z_g, 50.0, ("z",)))
    series = activity_counts(Series("acc", ("z",), times_s, z_g))
    assert len(samples_of(signal)) == 4
    assert np.isfinite(samples_of(signal)).all()
    np.testing.assert_array_equal(samples_of(signal), samples_of(series))


def test_rest_counts_nothing_and_more_movement_counts_more() -> None:
    time_s = np.arange(0, 60, 0.02)
    sizes_g = (0.0, 0.2, 0.5, 1.0)
    totals = [
        samples_of(
            activity_counts(
                Series("acc", ("z",), time_s, (g * np.sin(38 * time_s))[None].astype(np.float32))
            )
        )[1]
        for g in sizes_g
    ]
    assert totals[0] == 0
    assert totals == sorted(set(totals))


def test_a_gap_is_missing_and_not_rest_and_costs_no_memory() -> None:
    motion = moving(120)
    keep = (motion.times_s < 40) | (motion.times_s > 70)
    gap = Series("acc", motion.channels, motion.times_s[keep], motion.values[:, keep])
    whole, with_gap = samples_of(activity_counts(motion)), samples_of(activity_counts(gap))
    assert np.isnan(with_gap).tolist() == [False, False, True, True, True, False, False, False]
    np.testing.assert_array_equal(with_gap[[0, 1, 5, 6, 7]], whole[[0, 1, 5, 6, 7]])
    # A day and more between two pieces, as a watch that was worn again makes it.
    times_s = np.concatenate((motion.times_s, motion.times_s + 210_000))
    far = Series("acc", motion.channels, times_s, np.tile(motion.values, 2))
    assert np.isfinite(samples_of(activity_counts(far))).sum() == 16


def test_a_short_gap_is_bridged() -> None:
    motion = moving(60)
    keep = (motion.times_s < 20) | (motion.times_s > 21.5)
    short = Series("acc", motion.channels, motion.times_s[keep], motion.values[:, keep])
    assert np.isfinite(samples_of(activity_counts(short))[:3]).all()


@pytest.mark.parametrize(
    ("motion", "epoch_s", "message"),
    [
        (moving(30), 20, "multiple of 15 s, not 20"),
        (moving(30), 0, "multiple of 15 s, not 0"),
        (Signal("acc", np.zeros((1, 90), np.float32), 1.0, ("z",)), 15, "25 Hz or more, not at 1 Hz"),
        (Signal("acc", np.zeros((1, 90), np.float32), 50.0, ("x",)), 15, "channel z, not"),
        (Signal("acc", np.full((1, 90), np.nan, np.float32), 50.0, ("z",)), 15, "is missing"),
    ],
)  # fmt: skip
def test_what_has_no_counts_says_why(motion: Series | Signal, epoch_s: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        activity_counts(motion, epoch_s)


def test_the_usual_rate_is_that_of_the_median_interval() -> None:
    assert motion_rate_hz(moving(20)) == pytest.approx(50, rel=0.05)
    lone = Series("acc", ("z",), np.zeros(1), np.zeros((1, 1), np.float32))
    assert motion_rate_hz(lone) == 0
