"""EDF against MNE-Python, sample for sample; and every way in which a file can be damaged."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from pathlib import Path

import edfio
import mne
import numpy as np
import pytest
from numpy.typing import NDArray

from biofm.datasets.edf import EdfRecording, read_edf
from biofm.datasets.registry import RecordError
from biofm.signals import MISSING

SECONDS = 20
FIXED = {"header": (184, 8), "reserved": (192, 44), "records": (236, 8), "record_s": (244, 8),
         "channels": (252, 4), "version": (0, 8)}  # fmt: skip
EACH = {"label": (0, 16), "unit": (96, 8), "physical_min": (104, 8), "physical_max": (112, 8),
        "digital_min": (120, 8), "digital_max": (128, 8), "samples": (216, 8)}  # fmt: skip


def wave(rate_hz: int, size: float, seconds: int = SECONDS) -> NDArray[np.float64]:
    return np.random.default_rng(rate_hz).normal(0, size, rate_hz * seconds)


def signals() -> list[edfio.EdfSignal]:
    """ECG, two EEG channels and a heart rate, at 256 and 1 Hz."""
    return [
        edfio.EdfSignal(wave(256, 0.4), 256, label="EKG", physical_dimension="mV",
                        physical_range=(-5, 5)),
        edfio.EdfSignal(wave(256, 30), 256, label="EEG1", physical_dimension="uV",
                        physical_range=(-500, 500)),
        edfio.EdfSignal(60 + wave(1, 5), 1, label="HR", physical_range=(0, 300)),
        edfio.EdfSignal(wave(256, 2e-5), 256, label="EEG2", physical_dimension="V",
                        physical_range=(-0.0005, 0.0005)),
    ]  # fmt: skip


def write(path: Path, annotations: Sequence[edfio.EdfAnnotation] | None = None) -> Path:
    edfio.Edf(
        signals(),
        patient=edfio.Patient(
            code="MRN0815", sex="F", birthdate=datetime.date(1950, 1, 2), name="Doe_Jane"
        ),
        recording=edfio.Recording(startdate=datetime.date(2011, 3, 4), equipment_code="X"),
        starttime=datetime.time(21, 5, 6),
        data_record_duration=1,
        annotations=annotations,
    ).write(path)
    return path


def change(path: Path, field: str, value: bytes, channel: int = 0) -> Path:
    """Overwrite a field of the header."""
    content = bytearray(path.read_bytes())
    if field in FIXED:
        first, width = FIXED[field]
    else:
        start, width = EACH[field]
        count = int(content[252:256])
        first = 256 + start * count + channel * width
    content[first : first + width] = value.ljust(width)
    path.write_bytes(content)
    return path


def as_mne(path: Path, channel: str) -> NDArray[np.float64]:
    """A channel by MNE-Python in volts, or in its own unit where that is no voltage."""
    raw = mne.io.read_raw_edf(path, include=[channel], preload=True, verbose="ERROR")
    samples: NDArray[np.float64] = raw.get_data()[0]
    return samples


def physical(recording: EdfRecording, label: str) -> NDArray[np.float64]:
    channel = recording.channel(label)
    return channel.samples.astype(np.float64) * channel.scale + channel.offset


def test_samples_are_those_of_mne_within_a_step(tmp_path: Path) -> None:
    path = write(tmp_path / "night.edf")
    recording = read_edf(path)
    assert [channel.label for channel in recording.channels] == ["EKG", "EEG1", "HR", "EEG2"]
    assert recording.duration_s == SECONDS
    for label, volts in (("EKG", 1e-3), ("EEG1", 1e-6), ("HR", 1.0), ("EEG2", 1.0)):
        channel = recording.channel(label)
        assert channel.samples.dtype == np.int16
        assert channel.rate_hz == (1 if label == "HR" else 256)
        reference = as_mne(path, label) / volts
        assert len(channel.samples) == len(reference)
        assert np.abs(physical(recording, label) - reference).max() <= channel.scale * 1.01


def test_channels_become_signals_in_the_units_of_their_modality(tmp_path: Path) -> None:
    recording = read_edf(write(tmp_path / "night.edf"))
    wanted = {
        "EEG2": ("eeg", "Cz-Oz"),
        "HR": ("hr", "hr"),
        "EEG1": ("eeg", "Fz-Cz"),
        "EKG": ("ecg", "I"),
    }
    eeg, heart, ecg = recording.signals(wanted)
    assert (eeg.channels, eeg.rate_hz) == (("Cz-Oz", "Fz-Cz"), 256)
    assert eeg.samples.dtype == np.int16
    assert (heart.channels, heart.rate_hz) == (("hr",), 1)
    assert np.allclose(eeg.physical()[0], wave(256, 2e-5) * 1e6, atol=0.03)
    assert np.allclose(eeg.physical()[1], wave(256, 30), atol=0.03)
    assert np.allclose(ecg.physical()[0], wave(256, 0.4), atol=3e-4)
    assert np.allclose(heart.physical()[0], 60 + wave(1, 5), atol=0.01)


def test_the_lowest_value_is_a_sample_and_not_a_missing_one(tmp_path: Path) -> None:
    lowest = edfio.EdfSignal.from_digital(
        np.full(512, MISSING, np.int16), 256, label="EKG", physical_dimension="mV",
        physical_range=(-1, 1),
    )  # fmt: skip
    edfio.Edf([lowest]).write(tmp_path / "rail.edf")
    (signal,) = read_edf(tmp_path / "rail.edf").signals({"EKG": ("ecg", "I")})
    assert np.allclose(signal.physical(), -1, atol=1e-4)


def test_a_channel_is_read_when_it_is_asked_for(tmp_path: Path) -> None:
    path = write(tmp_path / "night.edf")
    recording = read_edf(path)
    first = recording.channel("EKG").samples
    first[:] = 0
    assert recording.channel("EKG").samples.any()


def test_annotations_and_private_words(tmp_path: Path) -> None:
    texts = [edfio.EdfAnnotation(3.5, None, "lights off"), edfio.EdfAnnotation(0, 15, "Stage W")]
    recording = read_edf(write(tmp_path / "plus.edf", texts))
    assert list(recording.annotations) == [(0.0, 15.0, "Stage W"), (3.5, 0.0, "lights off")]
    reference = mne.io.read_raw_edf(tmp_path / "plus.edf", verbose="ERROR").annotations
    assert [(a.onset_s, a.duration_s, a.text) for a in recording.annotations] == [
        (a["onset"], a["duration"], a["description"]) for a in reference
    ]
    words = ("MRN0815", "02-JAN-1950", "Doe_Jane", "04-MAR-2011", "04.03.11", "21.05.06")
    assert recording.private == words
    assert "Doe" not in repr(recording)


def test_anonymous_placeholders_are_not_private(tmp_path: Path) -> None:
    edfio.Edf(signals(), data_record_duration=1).write(tmp_path / "nobody.edf")
    assert read_edf(tmp_path / "nobody.edf").private == ()


def test_a_file_of_annotations_alone_has_no_channels(tmp_path: Path) -> None:
    edfio.Edf([], annotations=[edfio.EdfAnnotation(30, 30, "Stage 2")]).write(tmp_path / "h.edf")
    recording = read_edf(tmp_path / "h.edf")
    assert (recording.channels, recording.annotations) == ((), ((30, 30, "Stage 2"),))


def test_mne_reads_headers_that_bend_the_standard(tmp_path: Path) -> None:
    texts = [edfio.EdfAnnotation(3.5, None, "lights off")]
    kept = read_edf(write(tmp_path / "plus.edf", texts))
    bent = read_edf(change(write(tmp_path / "bent.edf", texts), "record_s", b"1\0\0\0\0\0\0\0"))
    assert [c.rate_hz for c in bent.channels] == [256, 256, 1, 256]
    assert bent.annotations == kept.annotations
    for label, modality, name in (
        ("EKG", "ecg", "I"),
        ("HR", "hr", "hr"),
        ("EEG2", "eeg", "Cz-Oz"),
    ):
        (one,), (other,) = (r.signals({label: (modality, name)}) for r in (kept, bent))
        assert other.samples.dtype == np.float32
        assert other.samples.shape == one.samples.shape
        assert np.allclose(one.physical(), other.physical(), atol=1e-3)


def test_bdf_is_read_at_its_own_rates(tmp_path: Path) -> None:
    ecg = edfio.BdfSignal(wave(256, 0.4), 256, label="EKG", physical_dimension="mV",
                          physical_range=(-5, 5))  # fmt: skip
    heart = edfio.BdfSignal(60 + wave(1, 5), 1, label="HR", physical_range=(0, 300))
    edfio.Bdf([heart, ecg], data_record_duration=1).write(tmp_path / "night.bdf")
    recording = read_edf(tmp_path / "night.bdf")
    assert [channel.label for channel in recording.channels] == ["HR", "EKG"]
    first, second = recording.signals({"EKG": ("ecg", "I"), "HR": ("hr", "hr")})
    assert (first.rate_hz, second.rate_hz) == (256, 1)
    assert np.allclose(first.samples[0], wave(256, 0.4), atol=1e-5)
    assert np.allclose(second.samples[0], 60 + wave(1, 5), atol=1e-3)


def test_a_file_that_was_not_closed_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    path = change(write(tmp_path / "open.edf"), "records", b"-1")
    path.write_bytes(path.read_bytes()[:-100])
    recording = read_edf(path)
    assert recording.duration_s == SECONDS - 1
    assert len(recording.channel("HR").samples) == SECONDS - 1


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("version", b"7", "expected an EDF or BDF header"),
        ("channels", b"9999", "announces 9999 channels"),
        ("channels", b"-1", "announces -1 channels"),
        ("channels", b"3", "1280 bytes long, but 3 channels take 1024"),
        ("channels", b"many", "expected a number"),
        ("header", b"512", "512 bytes long, but 4 channels take 1280"),
        ("records", b"21", "expected 21 data records of 1538 bytes, found 20 and 0"),
        ("records", b"99999999", "cut short or damaged"),
        ("record_s", b"0", "lasts 0 s"),
        ("record_s", b"-1", "lasts -1 s"),
        ("record_s", b"nan", "expected a number"),
        ("record_s", b"99999999", "which no recording is"),
        ("record_s", b"1e-9", "more than 1e\\+06 Hz"),
        ("samples", b"0", "'EKG' has 0 samples"),
        ("samples", b"-256", "'EKG' has -256 samples"),
        ("samples", b"99999999", "cut short or damaged"),
        ("samples", b"1.5", "expected a whole number"),
        ("physical_min", b"inf", "expected a number"),
    ],
)
def test_a_header_is_held_against_the_file(
    tmp_path: Path, field: str, value: bytes, said: str
) -> None:
    path = change(write(tmp_path / "bad.edf"), field, value)
    with pytest.raises(RecordError, match=said) as error:
        read_edf(path)
    assert str(path) in str(error.value)


@pytest.mark.parametrize("size", [0, 100, 300, 1280, 1281, 20_000])
def test_a_file_that_is_cut_short_is_refused(tmp_path: Path, size: int) -> None:
    path = write(tmp_path / "cut.edf")
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(RecordError, match=r"cut\.edf"):
        read_edf(path)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match=r"none\.edf: the file cannot be read"):
        read_edf(tmp_path / "none.edf")


@pytest.mark.parametrize(
    ("field", "value"),
    [("physical_min", b"5"), ("digital_min", b"32767"), ("digital_max", b"-32768")],
)
def test_an_empty_range_harms_only_the_channel_that_has_it(
    tmp_path: Path, field: str, value: bytes
) -> None:
    recording = read_edf(change(write(tmp_path / "flat.edf"), field, value))
    assert np.isfinite(physical(recording, "EEG1")).all()
    with pytest.raises(RecordError, match=r"'EKG' maps .* which gives its samples no unit"):
        recording.signals({"EKG": ("ecg", "I")})


def test_a_unit_or_label_that_is_not_there_is_named(tmp_path: Path) -> None:
    path = change(write(tmp_path / "units.edf"), "unit", b"furlong")
    recording = read_edf(change(path, "label", b"EEG1", channel=3))
    with pytest.raises(RecordError, match=r"'EKG' is in 'furlong'; expected one of \['mv', 'nv'"):
        recording.signals({"EKG": ("ecg", "I")})
    with pytest.raises(RecordError, match="expected one channel 'EEG1', found 2"):
        recording.channel("EEG1")
    with pytest.raises(RecordError, match="expected one channel 'Pleth', found 0"):
        recording.channel("Pleth")


def test_gaps_in_time_are_refused(tmp_path: Path) -> None:
    texts = [edfio.EdfAnnotation(3.5, None, "lights off")]
    path = change(write(tmp_path / "gaps.edf", texts), "reserved", b"EDF+D")
    assert len(read_edf(path).channels) == 4, "EDF+D without a gap is continuous"
    content = path.read_bytes()
    path.write_bytes(content.replace(b"+5\x14\x14", b"+9\x14\x14"))
    with pytest.raises(RecordError, match="leave gaps in time"):
        read_edf(path)
