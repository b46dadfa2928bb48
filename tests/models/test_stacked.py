"""Channels of several modalities and rates as one tensor: the right samples at the right times."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from biofm.models.stacked import StackedInput
from biofm.signals import MISSING
from biofm.signals.windows import Windows, crop


def windows_of(
    modality: str, rate_hz: float, channels: tuple[str, ...], values_BCT: NDArray[np.float64]
) -> Windows:
    """Whole numbers, NaN where missing; scale 0.5 and offset 1, so that digital values are other ones."""
    digital = np.where(np.isnan(values_BCT), MISSING, (values_BCT - 1) * 2).astype(np.int16)
    samples = torch.from_numpy(digital)
    shape = samples.shape[:2]
    return Windows(
        modality, rate_hz, channels, samples, torch.full(shape, 0.5), torch.full(shape, 1.0)
    )


def times(rate_hz: float, seconds: float, batch: int = 2) -> NDArray[np.float64]:
    """Sample t says its number, the same in every row [B, 1, T]."""
    return np.tile(np.arange(round(rate_hz * seconds), dtype=float), (batch, 1, 1))


def test_slow_channels_become_steps_at_the_right_times() -> None:
    stacked = StackedInput((("hr", "hr", 1.0), ("acc", "y", 4.0), ("acc", "x", 4.0)))
    acc = np.concatenate([times(4.0, 6.0), 100 + times(4.0, 6.0)], axis=1)
    x_BCT = stacked(
        {
            "acc-4hz": windows_of("acc", 4.0, ("x", "y"), acc),
            "hr-1hz": windows_of("hr", 1.0, ("hr",), times(1.0, 6.0)),
            "ppg-8hz": windows_of("ppg", 8.0, ("ppg",), times(8.0, 6.0)),  # not asked for
        }
    )
    assert x_BCT.shape == (2, 3, 24)
    assert x_BCT[0, 0].tolist() == [t // 4 for t in range(24)]
    assert x_BCT[0, 1].tolist() == [100 + t for t in range(24)]
    assert x_BCT[0, 2].tolist() == list(range(24))


@given(
    st.sampled_from([0.1, 0.5, 1.0, 12.5, 25.0, 32.0, 64.0, 100.0]),
    st.floats(2.0, 61.0),
    st.sampled_from([64.0, 100.0, 125.0]),
)
def test_a_slow_sample_is_held_from_its_time_to_that_of_the_next(
    rate_hz: float, seconds: float, grid_hz: float
) -> None:
    if round(rate_hz * seconds) == 0:
        return
    rate_hz = min(rate_hz, grid_hz)
    stacked = StackedInput((("hr", "hr", rate_hz), ("acc", "x", grid_hz)))
    x_BCT = stacked(
        {
            "a": windows_of("hr", rate_hz, ("hr",), times(rate_hz, seconds, 1)),
            "b": windows_of("acc", grid_hz, ("x",), times(grid_hz, seconds, 1)),
        }
    )
    slow_T, fast_T = x_BCT[0].double()
    assert torch.equal(fast_T, torch.arange(round(grid_hz * seconds)).double())
    # A sample of the slow channel holds from its time to the next one's; the grid's is looked up at its middle.
    gap_s = (fast_T + 0.5) / grid_hz - slow_T / rate_hz
    inside = slow_T < round(rate_hz * seconds) - 1
    assert (gap_s >= -1e-6).all()
    assert (gap_s[inside] <= 1 / rate_hz + 1e-6).all()


def test_crops_of_two_rates_are_of_the_same_time() -> None:
    stacked = StackedInput((("hr", "hr", 1.0), ("acc", "x", 4.0)))
    streams = {
        "hr-1hz": windows_of("hr", 1.0, ("hr",), times(1.0, 60.0)),
        "acc-4hz": windows_of("acc", 4.0, ("x",), times(4.0, 60.0)),
    }
    starts_B = torch.tensor([7.0, 31.0])
    x_BCT = stacked({k: crop(w, starts_B, 10.0) for k, w in streams.items()})
    for row, start in enumerate((7, 31)):
        assert x_BCT[row, 0].tolist() == [start + t // 4 for t in range(40)]
        assert x_BCT[row, 1].tolist() == [4 * start + t for t in range(40)]


def test_mean_and_spread_are_those_of_what_is_there() -> None:
    random = np.random.default_rng(0)
    ecg = np.round(random.normal((100, -300), (50, 200), (9, 500, 2))).transpose(0, 2, 1)
    ecg[random.random(ecg.shape) < 0.2] = np.nan
    ecg[:4, 1] = np.nan
    flat = np.full((9, 1, 100), 7.0)
    stacked = StackedInput((("ecg", "I", 100.0), ("ecg", "II", 100.0), ("hr", "hr", 20.0)))

    def streams(part: slice) -> dict[str, Windows]:
        return {
            "ecg": windows_of("ecg", 100.0, ("I", "II"), ecg[part]),
            "hr": windows_of("hr", 20.0, ("hr",), flat[part]),
        }

    stacked.fit(streams(part) for part in (slice(0, 5), slice(5, 6), slice(6, 9)))
    np.testing.assert_allclose(
        stacked.mean.numpy(), [*np.nanmean(ecg, axis=(0, 2)), 7.0], rtol=1e-5
    )
    np.testing.assert_allclose(
        stacked.spread.numpy(), [*np.nanstd(ecg, axis=(0, 2)), 1.0], rtol=1e-5
    )
    x_BCT = stacked(streams(slice(0, 9))).numpy()
    missing = np.isnan(ecg)
    assert (x_BCT[:, :2][missing] == 0).all()
    assert (x_BCT[:, 2] == 0).all()
    for k in range(2):
        seen = x_BCT[:, k][~missing[:, k]]
        assert (seen.mean(), seen.std()) == (
            pytest.approx(0, abs=1e-4),
            pytest.approx(1, abs=1e-4),
        )


def test_a_channel_that_is_never_there_and_an_empty_batch_do_no_harm() -> None:
    stacked = StackedInput((("ecg", "I", 100.0),))
    stacked.fit([{"ecg": windows_of("ecg", 100.0, ("I",), np.full((2, 1, 50), np.nan))}])
    assert (stacked.mean.item(), stacked.spread.item()) == (0.0, 1.0)
    assert stacked({"ecg": windows_of("ecg", 100.0, ("I",), np.zeros((0, 1, 50)))}).shape == (
        0,
        1,
        50,
    )


@pytest.mark.parametrize(
    ("streams", "message"),
    [
        ({}, "reads ecg at 100 Hz, but the windows hold nothing"),
        ({"x": ("ppg", 64.0, ("ppg",))}, "reads ecg at 100 Hz, but the windows hold ppg at 64 Hz"),
        ({"x": ("ecg", 250.0, ("I", "II"))}, "but the windows hold ecg at 250 Hz"),
        ({"x": ("ecg", 100.0, ("I", "V1"))}, "reads ecg II, but the windows hold I, V1"),
    ],
)
def test_windows_of_another_kind_are_refused(
    streams: dict[str, tuple[str, float, tuple[str, ...]]], message: str
) -> None:
    stacked = StackedInput((("ecg", "I", 100.0), ("ecg", "II", 100.0)))
    made = {
        name: windows_of(m, rate, channels, np.zeros((1, len(channels), 100)))
        for name, (m, rate, channels) in streams.items()
    }
    with pytest.raises(ValueError, match=message):
        stacked(made)
