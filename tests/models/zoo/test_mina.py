"""MINA's bands against scipy's filters, its guides against their definitions."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.signal import butter, lfilter, periodogram

from biofm.models.zoo import create_model
from biofm.models.zoo.mina import guides, split_bands


def test_bands_are_what_the_filters_make() -> None:
    rate_hz = 300.0
    x = np.random.default_rng(0).normal(size=(2, 3, 900)).cumsum(axis=-1) * 0.05
    bands = split_bands(torch.from_numpy(x).float(), rate_hz).numpy()
    assert bands.shape == (2, 4, 3, 900)
    np.testing.assert_array_equal(bands[:, 0], x.astype(np.float32))
    filters = [
        butter(1, [0.001, 0.5], "bandpass", fs=rate_hz),
        butter(1, [0.5, 50], "bandpass", fs=rate_hz),
        butter(1, 50, "highpass", fs=rate_hz),
    ]
    for band, (b, a) in enumerate(filters, start=1):
        np.testing.assert_allclose(bands[:, band], lfilter(b, a, x), atol=1e-4)


def test_at_100_hz_the_last_border_is_a_third_of_the_rate() -> None:
    x = torch.randn(1, 1, 500)
    b, a = butter(1, 100 / 3, "highpass", fs=100)
    np.testing.assert_allclose(split_bands(x, 100.0)[:, 3], lfilter(b, a, x), atol=1e-4)


def test_guides() -> None:
    rate_hz = 300.0
    x = torch.randn(2, 4, 2, 600) + 1
    known = guides(x, rate_hz)
    steep = np.abs(np.diff(x.numpy(), axis=-1))
    np.testing.assert_array_equal(known.steepness[..., 0], np.zeros((2, 4, 2)))
    np.testing.assert_allclose(known.steepness[..., 1:], steep, rtol=1e-6)
    deviation = x[1, 2, :, 50:100].numpy().std(axis=-1).mean()
    assert known.deviation[1, 2, 1].item() == pytest.approx(deviation, rel=1e-5)
    power = np.mean([periodogram(lead, rate_hz)[1].sum() for lead in x[1, 3].double().numpy()])
    assert known.power[1, 3].item() == pytest.approx(power, rel=1e-4)


def test_a_tail_shorter_than_a_segment_is_left_out() -> None:
    model = create_model("mina", channels=1, outputs=2, rate_hz=300).eval()
    x = torch.randn(1, 1, 349)
    torch.testing.assert_close(model(x), model(x[..., :300]))


def test_rates_without_room_for_the_bands_are_refused() -> None:
    with pytest.raises(ValueError, match="a rate above 2 Hz, not 1"):
        create_model("mina", channels=1, outputs=2, rate_hz=1)
