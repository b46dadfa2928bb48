"""Signals and recordings refuse what does not fit, and give their samples in physical units."""

from __future__ import annotations

import numpy as np
import pytest

from biofm.signals import MISSING, Recording, Signal


def ecg(channels: tuple[str, ...] = ("I", "II"), samples: int = 5) -> Signal:
    values = np.arange(len(channels) * samples, dtype=np.float32).reshape(len(channels), samples)
    return Signal("ecg", values, 100.0, channels)


def test_int16_becomes_physical_and_missing_becomes_nan() -> None:
    samples = np.array([[-10, 0, MISSING], [1, 2, 3]], np.int16)
    scale, offset = np.array([0.5, 2], np.float32), np.array([1, -1], np.float32)
    signal = Signal("ecg", samples, 250.0, ("I", "II"), scale, offset)
    np.testing.assert_array_equal(signal.physical(), [[-4, 1, np.nan], [1, 3, 5]])
    assert signal.unit == "mV"
    assert signal.duration_s == pytest.approx(3 / 250)


def test_selection_follows_names_and_not_positions() -> None:
    samples = np.array([[1, 2], [3, 4], [5, 6]], np.int16)
    scale, offset = np.array([1, 10, 100], np.float32), np.array([0, 1, 2], np.float32)
    signal = Signal("ecg", samples, 100.0, ("I", "II", "V1"), scale, offset)
    chosen = signal.select(("V1", "I"))
    assert chosen.channels == ("V1", "I")
    np.testing.assert_array_equal(chosen.physical(), [[502, 602], [1, 2]])
    with pytest.raises(KeyError, match=r"no channel \['V6'\]; it has \['I', 'II', 'V1'\]"):
        signal.select(("I", "V6"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"samples": np.zeros((3, 5), np.float32)}, "do not fit the 2 channels"),
        ({"samples": np.zeros(5, np.float32)}, r"expected \[channels, time\]"),
        ({"samples": np.zeros((2, 5), np.float64)}, "must be float32 or int16, not float64"),
        ({"samples": np.zeros((2, 5), np.int16)}, "int16 samples need scale and offset"),
        ({"scale": np.ones(2, np.float32)}, "float32 ones neither"),
        ({"channels": ("I", "I")}, "occurs twice"),
        ({"rate_hz": 0.0}, "above 0 Hz"),
        ({"rate_hz": float("nan")}, "above 0 Hz"),
    ],
)
def test_what_does_not_fit_is_refused(change: dict[str, object], message: str) -> None:
    whole: dict[str, object] = {
        "modality": "ecg",
        "samples": np.zeros((2, 5), np.float32),
        "rate_hz": 100.0,
        "channels": ("I", "II"),
    }
    with pytest.raises(ValueError, match=message):
        Signal(**(whole | change))  # type: ignore[arg-type]


def test_an_unknown_channel_is_an_error_that_lists_the_known_ones() -> None:
    with pytest.raises(KeyError, match=r"unknown channel 'VX'.*'aVR'"):
        ecg(("I", "VX"))


def test_a_recording_gives_the_only_signal_of_a_modality() -> None:
    recording = Recording("ptbxl", "00001_hr", "ptbxl-1", (ecg(),))
    assert recording.signal("ecg").channels == ("I", "II")
    with pytest.raises(KeyError, match="ptbxl 00001_hr: 0 signals of 'ppg'"):
        recording.signal("ppg")
    twice = Recording("x", "1", "x-1", (ecg(("I",)), ecg(("II",))))
    with pytest.raises(KeyError, match="2 signals of 'ecg'"):
        twice.signal("ecg")
