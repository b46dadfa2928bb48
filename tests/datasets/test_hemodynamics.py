"""PPG segments with hemodynamic labels: the sidecar, the arrays, whose rows they are."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray

from biofm.datasets.hemodynamics import Hemodynamics
from biofm.datasets.hemodynamics_sidecar import QUANTITIES, read_sidecar
from biofm.datasets.registry import RecordError, RecordRef
from biofm.datasets.simulate import simulate

SIDECAR = "name: ward\nrate_hz: 125\nlabels: {SBP: mmHg, DBP: mmHg}\n"


def write(
    folder: Path,
    sidecar: str = SIDECAR,
    ppg: NDArray[Any] | None = None,
    cnap: NDArray[Any] | None = None,
) -> Path:
    """A set of three rows."""
    folder.mkdir(parents=True, exist_ok=True)
    waves = np.random.default_rng(0).normal(size=(3, 1250))
    labels = np.array([[118.2, 71.0], [125.0, 80.5], [131.0, 64.0]])
    np.save(folder / "ppg.npy", waves if ppg is None else ppg)
    np.save(folder / "cnap.npy", labels if cnap is None else cnap)
    (folder / "dataset.yaml").write_text(sidecar)
    return folder


def refs_of(*folders: Path) -> list[RecordRef]:
    return Hemodynamics().find(folders)


def test_a_row_is_a_record_with_its_labels(tmp_path: Path) -> None:
    folder = write(tmp_path / "set")
    refs = refs_of(folder)
    assert [ref.record for ref in refs] == ["ward-00000000", "ward-00000001", "ward-00000002"]
    recording = Hemodynamics().read(refs[1])
    assert recording.labels == {"SBP": 125.0, "DBP": 80.5}
    signal = recording.signal("ppg")
    assert (signal.rate_hz, signal.channels) == (125.0, ("ppg",))
    stored = np.load(folder / "ppg.npy")[1]
    np.testing.assert_array_equal(signal.samples[0], stored.astype(np.float32))


def test_columns_are_named_by_the_sidecar_and_not_by_their_order(tmp_path: Path) -> None:
    labels = np.array([[71.0, 60.0, 118.0, 5.5]] * 3)
    sidecar = "name: ward\nrate_hz: 50\nlabels: {DBP: mmHg, HR: bpm, SBP: mmHg, CO: L/min}\n"
    recording = Hemodynamics().read(refs_of(write(tmp_path / "set", sidecar, cnap=labels))[0])
    assert recording.labels == {"DBP": 71.0, "HR": 60.0, "SBP": 118.0, "CO": 5.5}
    assert recording.signal("ppg").rate_hz == 50.0


def test_units_are_brought_to_one(tmp_path: Path) -> None:
    labels = np.array([[16.0, 1.2, 15.0]] * 3)
    sidecar = "name: ward\nrate_hz: 125\nlabels: {SBP: kPa, HR: Hz, SVR: mmHg*min/L}\n"
    recording = Hemodynamics().read(refs_of(write(tmp_path / "set", sidecar, cnap=labels))[0])
    assert recording.labels == pytest.approx({"SBP": 120.01, "HR": 72.0, "SVR": 1199.9})
    assert all(next(iter(units.values())) == 1.0 for units in QUANTITIES.values())


def test_missing_labels_and_samples(tmp_path: Path) -> None:
    labels = np.array([[np.nan, 71.0], [np.inf, np.nan], [120.0, 70.0]])
    waves = np.zeros((3, 100))
    waves[0, 7], waves[2] = np.inf, np.nan
    refs = refs_of(write(tmp_path / "set", ppg=waves, cnap=labels))
    first = Hemodynamics().read(refs[0])
    assert first.labels == {"DBP": 71.0}
    assert np.flatnonzero(np.isnan(first.signal("ppg").samples)).tolist() == [7]
    assert Hemodynamics().read(refs[1]).labels == {}
    with pytest.raises(RecordError, match=r"ppg\.npy, row 2: every sample is missing"):
        Hemodynamics().read(refs[2])


def test_several_channels(tmp_path: Path) -> None:
    waves = np.arange(600, dtype=np.int16).reshape(3, 2, 100)
    folder = write(tmp_path / "set", SIDECAR + "channels: [infrared, red]\n", ppg=waves)
    signal = Hemodynamics().read(refs_of(folder)[2]).signal("ppg")
    assert signal.channels == ("infrared", "red")
    np.testing.assert_array_equal(signal.samples, waves[2])
    with pytest.raises(ValueError, match=r"ppg\.npy: expected \[rows, samples\] for the channels"):
        refs_of(write(tmp_path / "set", ppg=waves))
    # One channel may have its axis or not.
    assert len(refs_of(write(tmp_path / "set", ppg=waves[:, :1]))) == 3


def test_without_subjects_nobody_is_known(tmp_path: Path) -> None:
    refs = refs_of(write(tmp_path / "set"))
    assert not any(ref.subject_known for ref in refs)
    assert len({ref.subject for ref in refs}) == 3
    assert refs[0].subject == "ward-row-00000000"


@pytest.mark.parametrize("form", ["list", "txt", "csv", "npy numbers", "npy text"])
def test_subjects_in_every_form(tmp_path: Path, form: str) -> None:
    folder = write(tmp_path / "set")
    kind = form.split(" ")[0]
    said = "[7, 7, 12]" if kind == "list" else f"people.{kind}"
    (folder / "dataset.yaml").write_text(f"{SIDECAR}subjects: {said}\n")
    (folder / "people.txt").write_text("7\n7\n12\n")
    (folder / "people.csv").write_text("age,subject\n3,7\n3,7\n4,12\n")
    people = [7, 7, 12] if form == "npy numbers" else ["7", "7", "12"]
    np.save(folder / "people.npy", np.array(people))
    refs = refs_of(folder)
    assert all(ref.subject_known for ref in refs)
    assert [ref.subject for ref in refs] == [f"ward-{id}" for id in (7, 7, 12)]


@pytest.mark.parametrize(
    ("subjects", "message"),
    [
        ("[1, 2]", "expected a subject for each of the 3 rows, found 2"),
        ("short.txt", r"short\.txt: expected a subject for each of the 3 rows, found 2"),
        ("empty.txt", "found 3, of which 1 are empty"),
        ("no.txt", r"no\.txt: no such file"),
        ("../set/short.txt/../../short.txt", "expected a file beside it"),
        ("headless.csv", "expected a CSV with a column subject"),
        ("short.json", r"expected a \.txt, \.csv or \.npy file"),
        ("object.npy", "cannot be read as a .npy array"),
        ("float.npy", r"expected a \.npy array of numbers or text, found float64"),
    ],
)
def test_wrong_subjects(tmp_path: Path, subjects: str, message: str) -> None:
    folder = write(tmp_path / "set", f"{SIDECAR}subjects: {subjects}\n")
    (folder / "short.txt").write_text("1\n2\n")
    (folder / "short.json").write_text("[1]")
    (folder / "empty.txt").write_text("1\n\n2\n")
    (folder / "headless.csv").write_text("1\n1\n2\n")
    np.save(folder / "object.npy", np.array([{}, {}, {}]), allow_pickle=True)
    np.save(folder / "float.npy", np.array([1.0, 2.0, 3.0]))
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        refs_of(folder)


@pytest.mark.parametrize(
    ("sidecar", "message"),
    [
        ("rate: 125\nlabels: {SBP: mmHg, DBP: mmHg}", "rate.*not accepted"),
        ("labels: {SBP: mmHg, DBP: mmHg}", "required: name, rate_hz"),
        ("name: ward\nrate_hz: 0\nlabels: {SBP: mmHg}", "rate_hz must be above 0 Hz"),
        ("name: ward\nrate_hz: 125\nlabels: {}", "labels must name 1 to 10 of SBP"),
        ("name: ward\nrate_hz: 125\nlabels: {SBP: cmH2O}", "SBP in 'cmH2O' is not known; known are SBP in mmHg"),
        ("name: ward\nrate_hz: 125\nlabels: {sbp: mmHg}", "sbp in 'mmHg' is not known"),
        (f"{SIDECAR}channels: [purple]", "channels: unknown channel 'purple'"),
        (SIDECAR.replace("ward", "a.b"), "name must be a word"),
        ("name: ward\nrate_hz: [", "dataset.yaml: "),
        ("a: &a [1]\nb: *a\nrate_hz: 1", "without aliases"),
        ("# " + "x" * (1 << 20), "longer than 1048576 bytes"),
    ],
)  # fmt: skip
def test_a_wrong_sidecar_names_the_file_and_the_field(
    tmp_path: Path, sidecar: str, message: str
) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        refs_of(write(tmp_path / "set", sidecar))
    assert "dataset.yaml" in str(caught.value)


def test_a_missing_sidecar_or_array_is_named(tmp_path: Path) -> None:
    folder = write(tmp_path / "set")
    (folder / "dataset.yaml").unlink()
    with pytest.raises(
        FileNotFoundError, match=r"dataset\.yaml: no such file; write it, with name, rate"
    ):
        refs_of(folder)
    write(folder)
    (folder / "cnap.npy").unlink()
    with pytest.raises(FileNotFoundError, match=r"cnap\.npy: no such file"):
        refs_of(folder)


def test_columns_in_the_wrong_order_are_noticed(tmp_path: Path) -> None:
    swapped = "name: ward\nrate_hz: 125\nlabels: {DBP: mmHg, SBP: mmHg}\n"
    with pytest.raises(ValueError, match="medians of its columns are SBP 71, DBP 125 mmHg, but"):
        refs_of(write(tmp_path / "set", swapped))
    with pytest.raises(ValueError, match="correct the order or the units"):
        refs_of(
            write(tmp_path / "set", "name: ward\nrate_hz: 125\nlabels: {SBP: mmHg, DBP: kPa}\n")
        )


def test_rows_and_columns_must_fit(tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"cnap\.npy: expected 3 rows .* of 2 columns \(SBP, DBP\)"
    ):
        refs_of(write(tmp_path / "set", cnap=np.ones((3, 4))))
    with pytest.raises(ValueError, match=r"cnap\.npy: expected 3 rows"):
        refs_of(write(tmp_path / "set", cnap=np.ones((2, 2))))
    with pytest.raises(ValueError, match=r"ppg\.npy: expected \[rows, samples\]"):
        refs_of(write(tmp_path / "set", ppg=np.ones((3, 0))))


def header_of(shape: str) -> bytes:
    """A `.npy` file of version 1 that announces a shape and holds 80 bytes."""
    text = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode() + bytes(80)


@pytest.mark.parametrize(
    "content",
    [
        header_of("(1000000000000, 1250)"),
        header_of("(3, 1250)"),
        header_of("(10**9, 10**9)"),
        header_of("(99999999999999999999, 2)"),
        header_of("()"),
        b"",
        b"\x93NUMPY\x01\x00\xff\xff",
        b"PK\x03\x04 no archive",
        pickle.dumps([1, 2, 3]),
    ],
)
def test_a_hostile_array_is_refused(tmp_path: Path, content: bytes) -> None:
    folder = write(tmp_path / "set")
    (folder / "ppg.npy").write_bytes(content)
    with pytest.raises(ValueError, match=r"ppg\.npy: .*write it again with numpy\.save"):
        refs_of(folder)


def test_an_array_of_objects_is_never_unpickled(tmp_path: Path) -> None:
    folder = write(tmp_path / "set")
    np.save(folder / "ppg.npy", np.array([[{}], [{}], [{}]]), allow_pickle=True)
    with pytest.raises(ValueError, match=r"ppg\.npy: cannot be read as a \.npy array"):
        refs_of(folder)
    np.save(folder / "ppg.npy", np.ones((3, 5), complex))
    with pytest.raises(ValueError, match=r"ppg\.npy: expected a \.npy array of real numbers"):
        refs_of(folder)


def test_a_set_that_shrinks_after_it_was_found(tmp_path: Path) -> None:
    folder = write(tmp_path / "set")
    last = refs_of(folder)[-1]
    write(folder, ppg=np.ones((2, 1250)))
    with pytest.raises(RecordError, match="row 2: "):
        Hemodynamics().read(last)


def test_two_sets_need_names(tmp_path: Path) -> None:
    first, second = write(tmp_path / "a"), write(tmp_path / "b")
    with pytest.raises(
        ValueError, match=r"both sets are called 'ward', .* give each its own `name`"
    ):
        refs_of(first, second)
    write(second, SIDECAR.replace("ward", "cnap2"))
    refs = refs_of(first, second)
    assert refs == refs_of(second, first)
    assert [ref.record for ref in refs][2] == "cnap2-00000002"
    assert refs[2].subject == "cnap2-row-00000002"
    assert len(refs_of(first, first)) == 3


def test_the_set_describes_itself(tmp_path: Path) -> None:
    text = SIDECAR + "title: Ward 7\nlicence: CC0\ncitation: me (2024)\n"
    about = Hemodynamics().about([write(tmp_path / "set", text)])
    assert (about.title, about.licence, about.citation) == ("Ward 7", "CC0", "me (2024)")
    assert "LSM2oE" in Hemodynamics().about().citation


def test_label_sets_are_those_of_the_sidecar(tmp_path: Path) -> None:
    sidecar = "name: ward\nrate_hz: 125\nlabels: {HR: bpm, SBP: mmHg}\n"
    folder = write(tmp_path / "set", sidecar, cnap=np.array([[60.0, 120.0]] * 3))
    assert Hemodynamics().label_sets([folder]) == {
        "hemodynamics": {"SBP": ["SBP"], "HR": ["HR"]},
        "pressure": {"SBP": ["SBP"]},
    }


def test_a_reference_does_not_carry_the_list_of_subjects(tmp_path: Path) -> None:
    people = ", ".join(f"someone{i}" for i in range(3))
    ref = refs_of(write(tmp_path / "set", f"{SIDECAR}subjects: [{people}]\n"))[0]
    assert b"someone2" not in pickle.dumps(ref)
    assert replace(ref.facts["sidecar"], subjects=("a",)).labels == {"SBP": "mmHg", "DBP": "mmHg"}


def test_the_twin_is_read_and_its_wave_shows_its_labels(tmp_path: Path) -> None:
    root = simulate("hemodynamics", tmp_path / "twin", records=160, progress=False)
    truth = {row["record"]: row for row in pl.read_parquet(root / "truth.parquet").to_dicts()}
    refs = refs_of(root)
    assert list(truth) == [ref.record for ref in refs]
    assert read_sidecar(root).subjects == "subjects.txt"
    features, pressures = [], []
    for ref in refs:
        recording = Hemodynamics().read(ref)
        planted = truth[ref.record]
        assert recording.subject == planted["subject"]
        assert recording.labels == pytest.approx({name: planted[name] for name in QUANTITIES})
        labels = recording.labels
        assert labels["CO"] == pytest.approx(labels["HR"] * labels["SV"] / 1000)
        assert labels["SVR"] == pytest.approx(80 * (labels["MAP"] - 5) / labels["CO"])
        wave = recording.signal("ppg").samples[0]
        features.append([1.0, np.ptp(wave), wave.mean(), labels["HR"]])
        pressures.append(labels["SBP"] - labels["DBP"])
    weights, *_ = np.linalg.lstsq(np.array(features), np.array(pressures))
    explained = np.corrcoef(np.array(features) @ weights, pressures)[0, 1] ** 2
    assert explained > 0.7


def test_blanks_make_no_other_person(tmp_path: Path) -> None:
    folder = write(tmp_path / "set", f"{SIDECAR}subjects: who.txt\n")
    (folder / "who.txt").write_text("7\n7 \n 8\n")
    assert [ref.subject[-2:] for ref in refs_of(folder)] == ["-7", "-7", "-8"]
    (folder / "who.txt").write_text("7\n \n8\n")
    with pytest.raises(ValueError, match="of which 1 are empty"):
        refs_of(folder)
    (folder / "who.txt").write_bytes(b"7\n8\n\xff\n")
    with pytest.raises(ValueError, match=r"who\.txt: expected text in UTF-8"):
        refs_of(folder)


@pytest.mark.parametrize(
    "header",
    [
        "{'descr':'<f8','fortran_order':False,'shape':(3L,",
        "-" * 9000 + "1",
        "{'descr':'<f8','fortran_order':False,'shape':(True,)}",
    ],
)
def test_headers_that_lead_numpy_astray(tmp_path: Path, header: str) -> None:
    folder = write(tmp_path / "set")
    size = (len(header) + 1).to_bytes(2, "little")
    content = b"\x93NUMPY\x01\0" + size + header.encode() + b"\n" + bytes(64)
    (folder / "ppg.npy").write_bytes(content)
    with pytest.raises(ValueError, match=r"ppg\.npy: cannot be read as a \.npy array"):
        refs_of(folder)


def test_a_sidecar_nested_without_end_is_refused(tmp_path: Path) -> None:
    folder = write(tmp_path / "set", f"{SIDECAR}subjects: {'[' * 1500}{']' * 1500}\n")
    with pytest.raises(ValueError, match=r"dataset\.yaml: "):
        refs_of(folder)
