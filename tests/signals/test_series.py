"""Uneven series on an even grid, against arithmetic written out."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from biofm.signals import Preprocessing, Series, on_grid, preprocess


def series(times: list[float], values: list[float], spans: list[float] | None = None) -> Series:
    return Series(
        "counts" if spans else "hr",
        ("steps",) if spans else ("hr",),
        np.array(times, float),
        np.array([values], np.float32),
        None if spans is None else np.array(spans, float),
    )


def test_values_become_lines_on_multiples_of_the_interval() -> None:
    signal = on_grid(series([-2.5, 1.5, 3.5], [10, 50, 70]), Preprocessing(1.0))
    assert signal.start_s == -2.0
    assert signal.rate_hz == 1.0
    assert signal.samples[0].tolist() == [15, 25, 35, 45, 55, 65]


def test_a_fast_series_keeps_its_own_rate_until_it_is_filtered() -> None:
    times = np.arange(0, 20, 0.02) + np.random.default_rng(0).uniform(-0.004, 0.004, 1000)
    wave = np.sin(2 * np.pi * 1.0 * times) + np.sin(2 * np.pi * 17.0 * times)
    how = Preprocessing(16.0)
    signal = on_grid(series(times.tolist(), wave.tolist()), how)
    assert signal.rate_hz in (48.0, 64.0)
    slow = preprocess(signal, how)
    grid_s = slow.start_s + np.arange(slow.samples.shape[1]) / 16
    inner = slice(16, -16)
    # 17 Hz would fold to 1 Hz, at its full size, where it is not taken out before; what is left is that
    # straight lines between uneven times follow 17 Hz badly.
    error = slow.samples[0, inner] - np.sin(2 * np.pi * grid_s[inner])
    assert np.abs(error).max() < 0.3


def test_long_gaps_stay_missing_and_short_ones_are_bridged() -> None:
    how = Preprocessing(1.0, longest_gap_s=4.0)
    signal = on_grid(series([0, 1, 5, 10, 11], [1, 1, 5, 10, 11]), how)
    assert np.isnan(signal.samples[0]).tolist() == [False] * 6 + [True] * 4 + [False] * 2
    usual = on_grid(series([0, 1, 2, 3, 9, 10], [0] * 6), Preprocessing(1.0))
    assert np.isnan(usual.samples[0]).sum() == 5


def test_missing_values_are_no_values() -> None:
    signal = on_grid(series([0, 1, 2], [3, float("nan"), 5]), Preprocessing(1.0))
    assert signal.samples[0].tolist() == [3, 4, 5]
    nothing = on_grid(series([0, 1], [float("nan")] * 2), Preprocessing(1.0))
    assert np.isnan(nothing.samples).all()


def test_one_value_and_repeated_times() -> None:
    lone = on_grid(series([2.2], [60]), Preprocessing(1.0))
    assert lone.samples.shape == (1, 1)
    twice = on_grid(series([0, 0, 1], [1, 9, 3]), Preprocessing(1.0))
    assert twice.samples[0].tolist() == [1, 3]


def test_totals_are_shared_out_over_their_span() -> None:
    signal = on_grid(series([-1.0, 3.0, 10.0], [8, 6, 5], [2.0, 3.0, 1.0]), Preprocessing(0.5))
    # 4 a second from −1 s to 1 s, 2 a second from 3 s to 6 s, 5 from 10 s to 11 s.
    assert signal.start_s == -2.0
    assert signal.samples[0].tolist() == pytest.approx([4, 4, 2, 4, 0, 0, 5])


@given(
    st.lists(
        st.tuples(st.floats(-5e3, 5e3), st.floats(0.1, 900), st.floats(0, 500)),
        min_size=1,
        max_size=30,
    ),
    st.sampled_from([1.0, 0.1, 1 / 30]),
)
def test_no_step_is_lost(rows: list[tuple[float, float, float]], rate_hz: float) -> None:
    rows = sorted(rows)
    times, spans, values = ([row[i] for row in rows] for i in range(3))
    signal = on_grid(series(times, values, spans), Preprocessing(rate_hz))
    assert signal.samples.sum() == pytest.approx(sum(values), rel=1e-3, abs=1e-2)
    assert (signal.samples >= 0).all()


@pytest.mark.parametrize(
    ("times", "values", "spans", "message"),
    [
        ([0, 1], [1], None, "do not fit 1 channels at 2 times"),
        ([], [], None, "at least one time"),
        ([1, 0], [1, 1], None, "must not fall"),
        ([0, float("nan")], [1, 1], None, "finite"),
        ([0, 1], [1, 1], [1, 0], "one span above 0 s"),
    ],
)
def test_impossible_series_are_named(
    times: list[float], values: list[float], spans: list[float] | None, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        series(times, values, spans)


def test_a_value_that_stands_alone_is_at_the_nearest_point() -> None:
    how = Preprocessing(1.0, longest_gap_s=2.0)
    signal = on_grid(series([0.0, 10.4, 20.0], [1, 2, 3]), how)
    assert np.flatnonzero(np.isfinite(signal.samples[0])).tolist() == [0, 10, 20]
    assert signal.samples[0, [0, 10, 20]].tolist() == [1, 2, 3]


@pytest.mark.parametrize(
    ("times", "spans"),
    [
        ([0.0, 1e-9, 2e-9, 28_800.0], None),
        ([0.0, 5e-324], None),
        ([0.0, 1e12], None),
        ([0.0, 60.0], [60.0, 1e15]),
    ],
)
def test_a_grid_beyond_memory_is_refused(times: list[float], spans: list[float] | None) -> None:
    how = Preprocessing(1.0)
    with pytest.raises(ValueError, match=r"would need a grid of .* points, expected at most"):
        on_grid(series(times, [60.0] * len(times), spans), how)
