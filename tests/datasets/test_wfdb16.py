"""The direct reader against `wfdb` on real records, and against what a header may do to it."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import scipy.io
import wfdb
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from biofm.datasets.registry import RecordError
from biofm.datasets.wfdb16 import _sums, comment_fields, read_wfdb
from biofm.datasets.wfdb_header import parse_header, parse_signal_line
from biofm.signals import LEADS_12, MISSING

DATA = Path(os.environ.get("BIOFM_DATA", "/nowhere"))


def headers(folder: str) -> list[Path]:
    """The real records below a folder, without suffix; skips where there are none."""
    found = sorted(path.with_suffix("") for path in (DATA / folder).rglob("*.hea"))
    if not found:
        pytest.skip(f"needs real recordings: set BIOFM_DATA to a folder that holds {folder}")
    return found


def write_record(
    folder: Path, samples: NDArray[np.int16], name: str = "rec", **fields: str
) -> Path:
    """A format-16 record from frames [T, C], with a header by hand that `fields` change."""
    folder.mkdir(exist_ok=True)
    samples.astype("<i2").tofile(folder / f"{name}.dat")
    sums = samples.sum(axis=0, dtype=np.int16)
    lines = [
        f"{fields.get('file', f'{name}.dat')} {fields.get('format', '16')} "
        f"{fields.get('gain', '1000(0)/mV')} 16 {fields.get('zero', '0')} {samples[0, c]} {sums[c]} 0 "
        f"{lead}"
        for c, lead in enumerate(fields.get("leads", " ".join(LEADS_12)).split())
    ]
    record = fields.get("record", f"{name} {len(lines)} 500 {len(samples)}")
    (folder / f"{name}.hea").write_text("\n".join([record, *lines, "# Age: 61", "#Sex: Male", ""]))
    return folder / name


@pytest.fixture
def frames() -> NDArray[np.int16]:
    """Frames [T, 12], of a length that is no multiple of the blocks in which checksums are added."""
    return np.random.default_rng(0).integers(-20_000, 20_000, (1234, 12)).astype(np.int16)


@pytest.mark.parametrize(
    "folder", ["ptb-xl/records100", "ptb-xl/records500", "challenge-2021", "mitdb"]
)
def test_every_real_record_equals_wfdb(folder: str) -> None:
    compared = refused = 0
    for path in headers(folder):
        record = read_wfdb(path)  # verifies the checksums, also of what wfdb refuses
        if path.with_suffix(".hea").read_text().split()[0].endswith(".mat"):
            refused += 1
            continue
        expected = wfdb.rdrecord(str(path), physical=False, return_res=16)
        np.testing.assert_array_equal(record.digital.T, expected.d_signal)
        assert record.rate_hz == expected.fs
        assert list(record.names) == expected.sig_name
        assert list(record.gain) == expected.adc_gain
        assert list(record.baseline) == expected.baseline
        assert list(record.units) == expected.units
        assert list(record.comments) == expected.comments
        compared += 1
    assert compared > 0
    assert refused == (17 if folder == "challenge-2021" else 0)


@pytest.mark.parametrize("folder", ["ptb-xl/records500", "challenge-2021", "mitdb"])
def test_physical_values_equal_wfdb(folder: str) -> None:
    for path in headers(folder)[:3]:
        physical = read_wfdb(path).ecg().physical()
        np.testing.assert_allclose(physical.T, wfdb.rdrecord(str(path)).p_signal, atol=1e-6)


def test_a_damaged_copy_of_each_real_record_is_refused(tmp_path: Path) -> None:
    """One changed bit in the middle of the samples never passes."""
    for path in headers("challenge-2021")[::7]:
        for suffix in (".hea", ".mat"):
            shutil.copy(f"{path}{suffix}", tmp_path)
        copy = tmp_path / path.name
        data = bytearray(copy.with_suffix(".mat").read_bytes())
        data[len(data) // 2] ^= 1
        copy.with_suffix(".mat").write_bytes(data)
        with pytest.raises(
            RecordError, match=rf"{path.name}\.mat.*checksum.*get the record's files"
        ):
            read_wfdb(copy)


def test_a_record_written_by_hand(tmp_path: Path, frames: NDArray[np.int16]) -> None:
    record = read_wfdb(write_record(tmp_path, frames))
    np.testing.assert_array_equal(record.digital, frames.T)
    assert comment_fields(record.comments) == {"age": "61", "sex": "Male"}
    signal = record.ecg(LEADS_12)
    assert signal.channels == LEADS_12
    np.testing.assert_allclose(signal.physical(), frames.T / 1000, atol=1e-5)


def test_matlab_v4_as_scipy_writes_it(tmp_path: Path, frames: NDArray[np.int16]) -> None:
    path = write_record(
        tmp_path, frames, file="rec.mat", format="16x1+24", record="rec.mat 12 500 1234"
    )
    scipy.io.savemat(tmp_path / "rec.mat", {"val": frames.T}, format="4")
    np.testing.assert_array_equal(read_wfdb(path).digital, frames.T)
    scipy.io.savemat(tmp_path / "rec.mat", {"val": frames.T.astype(np.int32)}, format="4")
    with pytest.raises(RecordError, match=r"rec\.mat: expected a MATLAB v4 header of 24 bytes"):
        read_wfdb(path)
    scipy.io.savemat(tmp_path / "rec.mat", {"val": frames[:-5].T}, format="4")
    with pytest.raises(RecordError, match="expected 1234 samples, found a matrix of 1229"):
        read_wfdb(path)


@pytest.mark.parametrize(
    ("gain", "zero", "scale_mv", "zero_mv"),
    [
        ("1000(0)/mV", "0", 1 / 1000, 0),
        ("1000/mv", "0", 1 / 1000, 0),
        ("200(100)/uV", "7", 1e-3 / 200, 100),
        ("200/mV", "1024", 1 / 200, 1024),  # without a baseline the ADC zero is it
        ("0", "0", 1 / 200, 0),  # a gain of 0 means the default
        ("2.5e2(-3)", "9", 1 / 250, -3),
    ],
)
def test_gain_baseline_and_units(
    tmp_path: Path, frames: NDArray[np.int16], gain: str, zero: str, scale_mv: float, zero_mv: float
) -> None:
    path = write_record(tmp_path, frames, gain=gain, zero=zero)
    physical = read_wfdb(path).ecg().physical()
    np.testing.assert_allclose(physical, (frames.T - zero_mv) * scale_mv, rtol=1e-4, atol=1e-6)
    if "uV" not in gain:
        np.testing.assert_allclose(
            physical.T, wfdb.rdrecord(str(path)).p_signal, rtol=1e-4, atol=1e-6
        )


def test_missing_samples_become_nan(tmp_path: Path, frames: NDArray[np.int16]) -> None:
    frames[10:20, 3] = MISSING
    physical = read_wfdb(write_record(tmp_path, frames)).ecg().physical()
    assert np.isnan(physical[3, 10:20]).all()
    assert np.isnan(physical).sum() == 10


def test_a_record_with_no_sample_at_all_is_refused(tmp_path: Path) -> None:
    path = write_record(tmp_path, np.full((100, 12), MISSING, np.int16))
    with pytest.raises(RecordError, match="rec: every sample is missing"):
        read_wfdb(path).ecg()


@pytest.mark.parametrize("form", ["80", "212"])
def test_other_formats_go_through_wfdb(tmp_path: Path, form: str) -> None:
    frames = np.random.default_rng(1).integers(-100, 100, (1001, 2)).astype(np.int64)
    physical = frames / 100.0
    physical[5:9, 1] = np.nan
    wfdb.wrsamp(
        "rec", 360, ["mV", "mV"], ["MLII", "V5"], physical, fmt=[form] * 2, adc_gain=[100.0] * 2,
        baseline=[0, 0], write_dir=str(tmp_path),
    )  # fmt: skip
    record = read_wfdb(tmp_path / "rec")
    np.testing.assert_array_equal(record.digital.T == MISSING, np.isnan(physical))
    signal = record.ecg()
    assert signal.channels == ("II", "V5")
    np.testing.assert_allclose(signal.physical().T, physical, atol=1e-6)
    short = (tmp_path / "rec.dat").read_bytes()[:-9]
    (tmp_path / "rec.dat").write_bytes(short)
    with pytest.raises(RecordError, match=r"rec\.dat: expected \d+ bytes .* cut short"):
        read_wfdb(tmp_path / "rec")


@pytest.mark.parametrize(("form", "dtype", "shift"), [("61", ">i2", 0), ("160", "<u2", 32768)])
def test_big_endian_and_offset_binary(
    tmp_path: Path, frames: NDArray[np.int16], form: str, dtype: str, shift: int
) -> None:
    path = write_record(tmp_path, frames, format=form)
    (frames.astype(np.int64) + shift).astype(dtype).tofile(tmp_path / "rec.dat")
    np.testing.assert_array_equal(read_wfdb(path).digital, frames.T)


def test_channels_in_two_files(tmp_path: Path, frames: NDArray[np.int16]) -> None:
    path = write_record(tmp_path, frames)
    frames[:, :8].astype("<i2").tofile(tmp_path / "a.dat")
    frames[:, 8:].astype("<i2").tofile(tmp_path / "b.dat")
    lines = path.with_suffix(".hea").read_text().split("\n")
    named = [
        line.replace("rec.dat", "a.dat" if i <= 8 else "b.dat") for i, line in enumerate(lines)
    ]
    path.with_suffix(".hea").write_text("\n".join(named))
    np.testing.assert_array_equal(read_wfdb(path).digital, frames.T)


def test_without_a_length_the_file_decides(tmp_path: Path, frames: NDArray[np.int16]) -> None:
    path = write_record(tmp_path, frames, record="rec 12 500")
    assert read_wfdb(path).digital.shape == (12, 1234)


def test_a_truncated_file_is_refused(tmp_path: Path, frames: NDArray[np.int16]) -> None:
    path = write_record(tmp_path, frames)
    (tmp_path / "rec.dat").write_bytes((tmp_path / "rec.dat").read_bytes()[:-100])
    with pytest.raises(
        RecordError, match=r"rec\.dat: expected 1234 samples .* found 1229.*cut short"
    ):
        read_wfdb(path)


def test_a_missing_file_is_named(tmp_path: Path, frames: NDArray[np.int16]) -> None:
    path = write_record(tmp_path, frames)
    (tmp_path / "rec.dat").unlink()
    with pytest.raises(RecordError, match=r"rec\.dat: .*No such file"):
        read_wfdb(path)
    with pytest.raises(RecordError, match=r"other\.hea: .*No such file"):
        read_wfdb(tmp_path / "other")


def test_a_wrong_first_value_or_checksum_is_refused(
    tmp_path: Path, frames: NDArray[np.int16]
) -> None:
    path = write_record(tmp_path, frames)
    frames[0, 2], frames[1, 2] = frames[1, 2], frames[0, 2]  # the sum stays
    frames.tofile(tmp_path / "rec.dat")
    with pytest.raises(
        RecordError, match=r"rec\.dat: for channel 'III' rec\.hea states first value"
    ):
        read_wfdb(path)
    frames[1, 2] += 1
    frames.tofile(tmp_path / "rec.dat")
    with pytest.raises(RecordError, match=r"'III' rec\.hea states checksum"):
        read_wfdb(path)


@pytest.mark.parametrize(
    ("leads", "message"),
    [
        ("I II III aVR aVL aVF V1 V2 V3 V4 V5", r"found 11: .*missing: \['V6'\]"),
        (
            "I II III aVR aVL aVF V1 V2 V3 V4 V5 Q7",
            r"unknown ecg channel name 'Q7'; known: \['I', 'II'",
        ),
        ("I II III aVR aVL aVF V1 V2 V3 V4 V5 V5", r"missing: \['V6'\]"),
    ],
)
def test_wrong_leads_are_refused(tmp_path: Path, leads: str, message: str) -> None:
    frames = np.ones((50, len(leads.split())), np.int16)
    record = read_wfdb(write_record(tmp_path, frames, leads=leads))
    with pytest.raises(RecordError, match=message):
        record.ecg(LEADS_12)


def test_leads_are_found_by_name_in_any_order(tmp_path: Path, frames: NDArray[np.int16]) -> None:
    leads = "V6 V5 V4 V3 V2 V1 AVF AVL AVR III II I"
    signal = read_wfdb(write_record(tmp_path, frames, leads=leads)).ecg(LEADS_12)
    np.testing.assert_array_equal(signal.select(("aVR",)).samples[0], frames[:, 8])


def test_an_unknown_unit_is_refused(tmp_path: Path, frames: NDArray[np.int16]) -> None:
    record = read_wfdb(write_record(tmp_path, frames, gain="10/bpm"))
    with pytest.raises(RecordError, match=r"expected the units \['mv', 'uv'\]"):
        record.ecg()


def test_channels_of_other_modalities(tmp_path: Path, frames: NDArray[np.int16]) -> None:
    path = write_record(tmp_path, frames[:, :5], leads="PLETH ABP EEG HR SpO2")
    lines = path.with_suffix(".hea").read_text().split("\n")
    units = ("NU", "mmHg", "mV", "bpm", "%")
    lines[1:6] = [line.replace("/mV", f"/{at}") for line, at in zip(lines[1:6], units, strict=True)]
    path.with_suffix(".hea").write_text("\n".join(lines))
    record = read_wfdb(path)
    for column, modality, name, channel, factor in (
        (0, "ppg", "PLETH", "ppg", 1),
        (1, "bp", "ABP", "abp", 1),
        (2, "eeg", "EEG", "C4-M1", 1000),
        (3, "hr", "HR", "hr", 1),
        (4, "spo2", "SpO2", "spo2", 1),
    ):
        signal = record.signal(modality, {name: channel})
        assert (signal.modality, signal.channels) == (modality, (channel,))
        expected = frames[:, column] * (factor / 1000)
        np.testing.assert_allclose(signal.physical()[0], expected, rtol=1e-4, atol=1e-4)
    with pytest.raises(RecordError, match=r"expected the units \['mmhg'\].* of bp, found \['NU'\]"):
        record.signal("bp", {"PLETH": "abp"})
    with pytest.raises(RecordError, match="expected one channel 'ART', found 0 among"):
        record.signal("bp", {"ART": "abp"})


def test_a_channel_without_a_sample_is_refused_alone(
    tmp_path: Path, frames: NDArray[np.int16]
) -> None:
    frames[:, 1] = MISSING
    record = read_wfdb(write_record(tmp_path, frames))
    assert record.signal("ecg", {"III": "III", "I": "I"}).channels == ("III", "I")
    with pytest.raises(RecordError, match="every sample is missing"):
        record.signal("ecg", {"II": "II"})


@pytest.mark.parametrize(
    ("when", "private"),
    [
        ("", ()),
        (" 10:30:00 1/2/1999", ("10:30:00", "1/2/1999")),
        ("  12-May-2020\t12:33:59", ("12-May-2020", "12:33:59")),
    ],
)
def test_time_and_date_are_told_apart_as_private(
    tmp_path: Path, frames: NDArray[np.int16], when: str, private: tuple[str, ...]
) -> None:
    path = write_record(tmp_path, frames, record=f"rec 12 500 1234{when}")
    assert read_wfdb(path).private == private


@pytest.mark.parametrize(
    "file", ["../rec.dat", "/etc/passwd", "..", "-", "a\\b.dat", "sub/rec.dat"]
)
def test_a_header_cannot_point_outside_its_folder(
    tmp_path: Path, frames: NDArray[np.int16], file: str
) -> None:
    path = write_record(tmp_path / "inside", frames, file=file)
    frames.tofile(tmp_path / "rec.dat")
    with pytest.raises(RecordError, match=r"rec\.hea: .*not the name of a file beside the header"):
        read_wfdb(path)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"record": "rec 12 500 99999999999999999"}, "expected 99999999999999999 samples"),
        ({"record": "rec 13 500 1234"}, "announces 13 signals, but 12 follow"),
        ({"record": "rec/2 12 500 1234"}, "several segments"),
        ({"record": "rec 12 0 1234"}, "rate must be above 0"),
        ({"record": "rec 12 1e999 1234"}, "rate must be above 0"),
        ({"record": "rec 12 1e7 1234"}, "rate must be above 0 and at most 1e"),
        ({"record": "rec 12 1e-4 1234"}, "which no recording is"),
        ({"record": "\0\0\0"}, "expected a WFDB record line"),
        ({"format": "16x2"}, "2 samples a frame"),
        ({"format": "16:3"}, "skew 3"),
        ({"format": "24"}, r"sample formats \['24'\]; known are 16"),
        ({"format": "sixteen"}, "is not a format"),
        ({"format": "16+999999999999"}, "cut short"),
        ({"gain": "mV"}, "is not a gain"),
        ({"gain": "1e999"}, "is not a gain"),
    ],
)
def test_headers_that_ask_for_too_much_or_say_nothing(
    tmp_path: Path, frames: NDArray[np.int16], fields: dict[str, str], message: str
) -> None:
    with pytest.raises(RecordError, match=message):
        read_wfdb(write_record(tmp_path, frames, **fields))


def test_unreadable_text_is_refused(tmp_path: Path, frames: NDArray[np.int16]) -> None:
    path = write_record(tmp_path, frames)
    path.with_suffix(".hea").write_bytes(bytes(range(256)) * 4)
    with pytest.raises(RecordError, match=r"rec\.hea: expected a WFDB record line"):
        read_wfdb(path)
    path.with_suffix(".hea").write_bytes(b"#" * (1 << 21))
    with pytest.raises(RecordError, match="longer than"):
        read_wfdb(path)
    path.with_suffix(".hea").write_text("")
    with pytest.raises(RecordError, match="found none"):
        read_wfdb(path)


def test_a_long_header_is_read_whole(tmp_path: Path, frames: NDArray[np.int16]) -> None:
    path = write_record(tmp_path, frames)
    with path.with_suffix(".hea").open("a") as file:
        file.write("# a comment\n" * 5000)
    assert len(read_wfdb(path).comments) == 5002


@given(st.text(max_size=200) | st.from_regex(r"r \d{1,3} [\d.e+-]{1,20} \d{1,30}\n.{0,60}"))
def test_any_text_is_a_header_or_a_value_error(text: str) -> None:
    try:
        header = parse_header(text)
    except ValueError:
        return
    assert header.rate_hz > 0
    assert header.signals


def test_a_hostile_line_ends() -> None:
    """Regular expressions that backtrack would take minutes here."""
    for line in ("a 16 " + "1" * 200_000 + "x", "a 16 1" + " " * 200_000 + "x", "1" * 500_000):
        with pytest.raises(ValueError, match="expected a WFDB signal line"):
            parse_signal_line(line)


@given(st.integers(1, 400), st.integers(1, 20), st.integers(0, 2**32 - 1))
def test_sums_equal_a_plain_sum(length: int, channels: int, seed: int) -> None:
    frames = (
        np.random.default_rng(seed).integers(-32768, 32768, (length, channels)).astype(np.int16)
    )
    plain = (frames.astype(np.int64).sum(axis=0) + 32768) % 65536 - 32768
    np.testing.assert_array_equal(_sums(frames), plain)


def test_an_error_does_not_tell_time_and_date(tmp_path: Path, frames: NDArray[np.int16]) -> None:
    for when in ("12:33:59 12/05/2020", "12-05-2020 12:33", "12.5.2020"):
        path = write_record(tmp_path, frames, record=f"rec 12 500,0 1234 {when}")
        with pytest.raises(RecordError, match="found 'rec 12 500,0 1234 …"):
            read_wfdb(path)
