"""int16 keeps every sample to half a step, and missing samples missing."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from biofm.signals import MISSING, Signal, quantize

CHANNELS = ("I", "II", "III")
# Physical units: nothing recorded in mV, g or bpm lies beyond these.
values = st.floats(-1e6, 1e6, width=32, allow_subnormal=False) | st.just(float("nan"))
samples_CT = arrays.arrays(np.float32, st.tuples(st.just(3), st.integers(1, 40)), elements=values)


def signal(samples: NDArray[np.float32]) -> Signal:
    return Signal("ecg", samples, 100.0, CHANNELS)


@given(samples_CT)
def test_the_error_is_at_most_half_a_step(samples: NDArray[np.float32]) -> None:
    back = quantize(signal(samples)).physical()
    np.testing.assert_array_equal(np.isnan(back), np.isnan(samples))
    for row, restored in zip(samples, back, strict=True):
        known = row[~np.isnan(row)].astype(np.float64)
        if known.size:
            half_step = np.ptp(known) / 131068
            rounding = 4 * np.finfo(np.float32).eps * np.abs(known).max()
            worst = np.abs(known - restored[~np.isnan(row)]).max()
            assert worst <= 1.01 * half_step + rounding


@given(samples_CT)
def test_only_missing_samples_take_the_missing_value(samples: NDArray[np.float32]) -> None:
    digital = quantize(signal(samples)).samples
    np.testing.assert_array_equal(digital == MISSING, np.isnan(samples))


def test_the_whole_range_is_used() -> None:
    digital = quantize(signal(np.array([[-1, 0, 3], [5, 5, 5], [np.nan] * 3], np.float32)))
    assert digital.samples[0].min() == -32767
    assert digital.samples[0].max() == 32767
    np.testing.assert_array_equal(digital.physical()[1], [5, 5, 5])
    np.testing.assert_array_equal(digital.samples[2], [MISSING] * 3)


def test_infinite_samples_are_missing() -> None:
    digital = quantize(signal(np.array([[np.inf, 0, 1], [-np.inf, 0, 1], [0, 0, 1]], np.float32)))
    np.testing.assert_array_equal(digital.samples == MISSING, [[1, 0, 0], [1, 0, 0], [0, 0, 0]])


def test_int16_passes_unchanged() -> None:
    digital = quantize(signal(np.ones((3, 4), np.float32)))
    assert quantize(digital) is digital
