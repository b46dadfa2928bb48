"""Resampling and filtering of whole recordings: length, phase, edges, gaps and aliases."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import signal as dsp

from biofm.signals import Preprocessing, Signal, preprocess
from biofm.signals.preprocessing import filter_both_ways, resample, resample_mask

rates_hz = st.sampled_from([32.0, 62.5, 64.0, 100.0, 125.0, 128.0, 250.0, 257.0, 360.0, 500.0])


def signal(*rows: NDArray[np.float64], rate_hz: float, start_s: float = 0.0) -> Signal:
    channels = ("I", "II", "III")[: len(rows)]
    return Signal("ecg", np.stack(rows).astype(np.float32), rate_hz, channels, start_s=start_s)


def times(seconds: float, rate_hz: float) -> NDArray[np.float64]:
    return np.arange(round(seconds * rate_hz)) / rate_hz


def rms(x: NDArray[Any]) -> float:
    return float(np.sqrt(np.mean(np.square(x, dtype=np.float64))))


@given(rates_hz, rates_hz, st.integers(1, 700))
def test_the_length_follows_the_rates(rate_hz: float, to_hz: float, length: int) -> None:
    rng = np.random.default_rng(length)
    out = preprocess(signal(rng.normal(size=length), rate_hz=rate_hz), Preprocessing(to_hz))
    assert out.samples.shape == (1, max(1, round(length * to_hz / rate_hz)))
    assert out.samples.dtype == np.float32
    assert out.rate_hz == to_hz
    assert np.isfinite(out.samples).all()


@pytest.mark.parametrize(("rate_hz", "to_hz"), [(500, 100), (500, 250), (257, 100), (100, 250)])
def test_a_slow_wave_is_the_same_at_any_rate_up_to_its_ends(rate_hz: float, to_hz: float) -> None:
    # With an offset and a slope: what stands outside the recording must not bend its ends.
    def wave(t: NDArray[np.float64]) -> NDArray[np.float64]:
        return 2.0 + 0.1 * t + np.sin(2 * np.pi * 1.25 * t)

    out = preprocess(
        signal(wave(times(10, rate_hz)), rate_hz=rate_hz, start_s=7.0), Preprocessing(to_hz)
    )
    error = np.abs(out.samples[0] - wave(times(10, to_hz)))
    assert out.start_s == 7.0
    assert error[round(to_hz / 2) : -round(to_hz / 2)].max() < 1e-3
    assert error.max() < 5e-3


def test_what_the_new_rate_cannot_hold_is_removed() -> None:
    t = times(10, 500)
    for frequency_hz in (60.0, 90.0, 140.0, 240.0):
        out = preprocess(
            signal(np.sin(2 * np.pi * frequency_hz * t), rate_hz=500), Preprocessing(100)
        )
        assert rms(out.samples[:, 100:-100]) < 1e-3 * np.sqrt(0.5), frequency_hz


def test_the_filters_keep_their_band_and_nothing_else() -> None:
    how = Preprocessing(250, highpass_hz=0.67, lowpass_hz=40)
    t = times(30, 250)
    gain = {
        f: rms(
            preprocess(signal(np.sin(2 * np.pi * f * t), rate_hz=250), how).samples[:, 1000:-1000]
        )
        / np.sqrt(0.5)
        for f in (0.2, 2.0, 10.0, 25.0, 80.0)
    }
    assert gain[0.2] < 1e-3
    assert gain[80.0] < 1e-3
    assert all(gain[f] == pytest.approx(1, abs=0.02) for f in (2.0, 10.0, 25.0))


def test_the_filters_do_not_move_a_beat() -> None:
    t = times(20, 500)
    beat = np.exp(-0.5 * ((t - 9.8) / 0.02) ** 2)
    out = preprocess(
        signal(beat, rate_hz=500), Preprocessing(250, highpass_hz=0.5, lowpass_hz=40)
    ).samples[0]
    peak = int(out.argmax())
    assert peak == round(9.8 * 250)
    # Zero phase: a symmetric beat stays symmetric.
    np.testing.assert_allclose(out[peak - 200 : peak], out[peak + 200 : peak : -1], atol=1e-4)


@pytest.mark.parametrize(("rate_hz", "to_hz"), [(500, 100), (500, 250), (100, 250), (257, 100)])
def test_resampling_equals_a_long_fir_filter(rate_hz: int, to_hz: int) -> None:
    # Noise fills the transition band as well: what soxr's HQ does there is a Kaiser window, too.
    samples = np.random.default_rng(3).normal(size=(3, 10 * rate_hz)).astype(np.float32)
    divisor = np.gcd(rate_hz, to_hz)
    up, down = to_hz // divisor, rate_hz // divisor
    lower_hz, dense_hz = min(rate_hz, to_hz) / 2, up * rate_hz
    taps = 2 * round(50 * dense_hz / lower_hz) + 1  # falls between 0.913 and 1 · lower_hz
    fir: Any = dsp.firwin(taps, 0.9569 * lower_hz, window=("kaiser", 13.5), fs=dense_hz)
    slow = dsp.resample_poly(samples, up, down, axis=1, window=fir)
    fast = resample(samples, rate_hz, to_hz)
    assert fast.shape == slow.shape
    middle = slice(to_hz, -to_hz)
    assert rms((fast - slow)[:, middle]) < 1e-3 * rms(slow[:, middle])


@pytest.mark.parametrize(
    "how",
    [
        Preprocessing(100, 0.5, 40),
        Preprocessing(250, highpass_hz=0.67),
        Preprocessing(100, None, 30),
    ],
)
def test_the_filters_equal_sosfiltfilt_up_to_the_ends(how: Preprocessing) -> None:
    noise = np.random.default_rng(4).normal(5, 1, size=(3, round(7 * how.rate_hz)))
    sos = []
    if how.highpass_hz is not None:
        sos.append(dsp.butter(how.order, how.highpass_hz, "high", fs=how.rate_hz, output="sos"))
    if how.lowpass_hz is not None:
        sos.append(dsp.butter(how.order, how.lowpass_hz, "low", fs=how.rate_hz, output="sos"))
    slow = dsp.sosfiltfilt(np.concatenate(sos), noise, axis=1, padlen=round(2 * how.rate_hz))
    fast = filter_both_ways(noise.astype(np.float32), how)
    assert fast.dtype == np.float32
    np.testing.assert_allclose(fast, slow, atol=1e-5)


@given(st.integers(0, 2**32 - 1))
def test_time_reversed_input_gives_time_reversed_output(seed: int) -> None:
    samples = np.random.default_rng(seed).normal(size=1000)
    how = Preprocessing(100, highpass_hz=0.5, lowpass_hz=40)
    forward = preprocess(signal(samples, rate_hz=100), how).samples
    backward = preprocess(signal(samples[::-1], rate_hz=100), how).samples[:, ::-1]
    # The middle only: the two directions of the filter start from different ends.
    np.testing.assert_allclose(forward[:, 400:600], backward[:, 400:600], atol=2e-2)


def test_a_constant_is_taken_out_up_to_the_ends() -> None:
    how = Preprocessing(100, highpass_hz=0.5)
    out = preprocess(signal(np.full(5000, 3.0), rate_hz=500), how).samples
    assert np.abs(out).max() < 1e-4


def test_channels_do_not_touch_one_another() -> None:
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(3, 2000))
    rows[1, 500:700] = np.nan
    how = Preprocessing(100, highpass_hz=0.5, lowpass_hz=40)
    together = preprocess(signal(*rows, rate_hz=500), how).samples
    alone = [preprocess(signal(row, rate_hz=500), how).samples[0] for row in rows]
    np.testing.assert_allclose(together, np.stack(alone), atol=1e-6)


def test_gaps_are_reopened_where_they_were_and_do_not_spread() -> None:
    t = times(10, 500)
    whole = np.sin(2 * np.pi * 1.5 * t)
    holed = whole.copy()
    holed[2000:2500] = np.nan
    how = Preprocessing(100, lowpass_hz=40)
    out = preprocess(signal(holed, rate_hz=500), how).samples[0]
    np.testing.assert_array_equal(np.flatnonzero(np.isnan(out)), np.arange(400, 501))
    reference = preprocess(signal(whole, rate_hz=500), how).samples[0]
    far = np.r_[0:380, 520:1000]
    np.testing.assert_allclose(out[far], reference[far], atol=0.02)


def test_a_channel_with_no_sample_stays_missing_and_spares_the_others() -> None:
    t = times(4, 500)
    out = preprocess(
        signal(np.full(2000, np.nan), np.sin(2 * np.pi * t), rate_hz=500),
        Preprocessing(100, highpass_hz=0.5),
    ).samples
    assert np.isnan(out[0]).all()
    assert np.isfinite(out[1]).all()


@given(rates_hz, rates_hz, st.integers(2, 300), st.data())
def test_no_gap_slips_between_two_new_samples(
    rate_hz: float, to_hz: float, length: int, data: st.DataObject
) -> None:
    first = data.draw(st.integers(0, length - 1))
    missing = np.zeros((2, length), bool)
    missing[1, first : data.draw(st.integers(first + 1, length))] = True
    new_length = max(1, round(length * to_hz / rate_hz))
    flags = resample_mask(missing, rate_hz, to_hz, new_length)
    assert flags.shape == (2, new_length)
    assert not flags[0].any()
    if to_hz <= rate_hz:
        assert flags[1].any()
    # A new sample is flagged only within one old or new step of a missing sample.
    gap_s = np.flatnonzero(missing[1]) / rate_hz
    for new in np.flatnonzero(flags[1]):
        # The last new sample also stands for old ones that come after it.
        steps = 1.5 if new == new_length - 1 else 1
        assert np.abs(gap_s - new / to_hz).min() <= steps / min(rate_hz, to_hz) + 1e-9


def test_the_input_is_left_as_it_was() -> None:
    samples = np.random.default_rng(1).normal(size=1000)
    samples[10:20] = np.nan
    given_signal = signal(samples, rate_hz=100)
    before = given_signal.samples.copy()
    preprocess(given_signal, Preprocessing(100, highpass_hz=0.5))
    np.testing.assert_array_equal(given_signal.samples, before)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"rate_hz": 0.0}, "rate_hz must be above 0"),
        ({"rate_hz": 100.0, "lowpass_hz": 50.0}, "between 0 and half the rate.*use null"),
        ({"rate_hz": 100.0, "highpass_hz": 0.0}, "between 0 and half the rate.*use null"),
        ({"rate_hz": 100.0, "order": 0}, "order must be at least 1"),
    ],
)
def test_impossible_values_are_refused(values: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Preprocessing(**values)  # type: ignore[arg-type]
