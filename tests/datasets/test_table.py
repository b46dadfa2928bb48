"""The generic reader: its YAML, its table, its files, the twin's truth, and three real layouts."""

from __future__ import annotations

import os
import pickle
import re
import shutil
from copy import deepcopy
from dataclasses import fields
from pathlib import Path
from typing import Any

import edfio
import h5py
import numpy as np
import polars as pl
import pytest
import yaml
from numpy.typing import NDArray
from scipy.signal import find_peaks

from biofm.configuration import CONFIGS
from biofm.datasets import table_configuration
from biofm.datasets.registry import RecordError
from biofm.datasets.simulate import TRUTH, simulate
from biofm.datasets.simulate.wfdb_files import write_format_16
from biofm.datasets.table import Table
from biofm.datasets.table_configuration import read_description
from biofm.shards.build import build
from biofm.shards.configuration import BuildConfig, Fractions
from biofm.shards.index import read_index
from biofm.shards.verify import verify
from biofm.signals import Preprocessing, Recording, on_grid, preprocess

WELLTORY = Path(os.environ.get("BIOFM_DATA", "/nowhere")) / "welltory-ppg"
DOCS = CONFIGS.parent / "docs" / "your-data.md"
ECG: dict[str, Any] = {
    "modality": "ecg",
    "format": "npy",
    "axes": "CT",
    "rate_hz": 100,
    "channels": {0: "I", 1: "II"},
}


def describe(folder: Path, rows: dict[str, list[Any]], **said: Any) -> Path:
    """Write a table and a `dataset.yaml` with one ECG signal into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    pl.DataFrame(rows).write_csv(folder / "table.csv")
    text = {"name": "mine", "table": "table.csv", "signals": [ECG], **said}
    (folder / "dataset.yaml").write_text(yaml.safe_dump(text, sort_keys=False))
    return folder


def one(folder: Path, path: str = "a.npy", **signal: Any) -> Recording:
    """The recording of a table of one row, whose only signal is read from the file `path`."""
    describe(folder, {"path": [path]}, signals=[ECG | signal])
    (ref,) = Table().find([folder])
    return Table().read(ref)


def numbers(channels: int = 2, samples: int = 300) -> NDArray[np.float32]:
    return np.random.default_rng(0).normal(size=(channels, samples)).astype(np.float32)


@pytest.fixture(scope="module")
def twin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return simulate(
        "table", tmp_path_factory.mktemp("t") / "twin", records=8, seed=3, progress=False
    )


# The twin


def test_the_twins_truth_is_found_again(twin: Path) -> None:
    truth = {row["record"]: row for row in pl.read_parquet(twin / TRUTH).to_dicts()}
    reader = Table()
    refs = reader.find([twin])
    assert [ref.record for ref in refs] == sorted(truth)
    for ref in refs:
        planted, found = truth[ref.record], reader.read(ref)
        assert ref.subject_known
        assert (found.dataset, found.subject) == ("my_study", f"my_study-{planted['person']}")
        assert (found.age, found.sex) == (
            planted["age_years"],
            {"F": "female", "M": "male"}[planted["gender"]],
        )
        assert found.labels[planted["rate_class"]] == 100
        assert ("beta_blocker" in found.labels) == planted["beta_blocker"]
        assert found.labels["mean_hr_bpm"] == pytest.approx(planted["mean_hr_bpm"], abs=0.06)
        beats = [a.onset_s for a in found.annotations if a.code == "beat:N"]
        assert beats == pytest.approx(planted["beats_s"], abs=6e-4)
        rates = [a for a in found.annotations if a.code == "hr"]
        assert [a.value for a in rates] == pytest.approx([60_000 / rr for rr in planted["rr_ms"]])
        assert [a.onset_s for a in rates] == pytest.approx(
            np.cumsum([0, *planted["rr_ms"][:-1]]) / 1000
        )


def test_the_twins_signals_follow_the_planted_beats_in_every_format(twin: Path) -> None:
    truth = {row["record"]: row for row in pl.read_parquet(twin / TRUTH).to_dicts()}
    for ref in Table().find([twin]):
        planted, found = truth[ref.record], Table().read(ref)
        ecg = found.signal("ecg")
        peaks, _ = find_peaks(ecg.select(("II",)).physical()[0], height=0.6, distance=60)
        inside = [t for t in planted["beats_s"] if 0.1 < t < 59.9]
        nearest = [np.abs(peaks / 250 - t).min() for t in inside]
        assert max(nearest) < 0.02  # npy of int16 in µV
        (ppg,) = found.series
        assert ppg.channels == ("red", "green")
        assert np.diff(ppg.times_s).std() > 1e-3  # uneven, and in s
        assert ppg.times_s[-1] == pytest.approx(60, abs=0.1)
        how = Preprocessing(rate_hz=50, highpass_hz=0.5, lowpass_hz=5, order=2)
        wave = -preprocess(on_grid(ppg, how), how).samples[1]
        assert spectral_peak(wave, 50, 0.7, 3.5) * 60 == pytest.approx(
            planted["mean_hr_bpm"], abs=8
        )
        belt = found.signal("resp").physical()[0]
        assert spectral_peak(belt, 25, 0.1, 0.5) == pytest.approx(planted["breaths_hz"], abs=0.02)
        assert 90 <= found.signal("spo2").physical().min() <= 100
        assert (found.signal("resp").rate_hz, found.signal("spo2").rate_hz) == (25, 1)


def spectral_peak(
    wave: NDArray[np.floating], rate_hz: float, low_hz: float, high_hz: float
) -> float:
    """The strongest frequency in a band, in Hz."""
    frequencies = np.fft.rfftfreq(16384, 1 / rate_hz)
    power = np.abs(
        np.fft.rfft(np.nan_to_num(wave - np.nanmean(wave)) * np.hanning(len(wave)), 16384)
    )
    band = (frequencies > low_hz) & (frequencies < high_hz)
    return float(frequencies[band][power[band].argmax()])


def test_the_twin_builds_and_verifies(twin: Path, tmp_path: Path) -> None:
    config = BuildConfig(fractions=Fractions(0.5, 0.5, 0.0))
    build("table", [twin], tmp_path / "out", config, workers=1, progress=False)
    verify([tmp_path / "out"]).raise_on_failure()
    index = read_index(tmp_path / "out")
    assert set(index["dataset"]) == {"my_study"}
    assert index.group_by("subject").agg(pl.col("split").n_unique())["split"].max() == 1
    names = {stream["name"] for row in index["streams"].to_list() for stream in row}
    assert names == {"ecg-100hz", "ppg-32hz", "resp-8hz", "spo2-1hz"}


def test_about_and_label_sets_come_from_the_yaml(twin: Path) -> None:
    about = Table().about([twin])
    assert about.title == "A minute at rest and after climbing stairs"
    assert about.signals.startswith("ecg I, II (npy, 250 Hz); ppg red, green (csv)")
    sets = Table().label_sets([twin])
    assert sets["beat"] == {"N": ["beat:N"]}
    assert sets["hr"] == {"hr": ["hr"]}
    assert set(sets["rate"]) <= {"slow", "normal", "fast"}
    assert sets["measured"] == {"mean_hr_bpm": ["mean_hr_bpm"]}


# The YAML


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"nam": 1}, "'nam' is not accepted; did you mean name"),
        ({"name": "My Study"}, "name must be of lower-case letters"),
        ({"signals": []}, "signals: name at least one"),
        ({"signals": [ECG | {"format": "mp3"}]}, "signals.*format.*Expected.*'wfdb'.*mp3"),
        ({"signals": [ECG | {"rate": 3}]}, "'rate' is not accepted; did you mean rate_hz"),
        ({"signals": [ECG | {"rate_hz": 0}]}, "rate_hz must be above 0"),
        ({"signals": [ECG | {"rate_hz": None}]}, "rate_hz is needed for format npy"),
        ({"signals": [ECG | {"format": "wfdb"}]}, "rate_hz means nothing for format wfdb"),
        ({"signals": [ECG | {"modality": "egc"}]}, "unknown modality 'egc'; known"),
        ({"signals": [ECG | {"channels": {0: "VII"}}]}, "unknown channel 'VII'"),
        ({"signals": [ECG | {"channels": {0: "I", 1: "I"}}]}, "named twice"),
        ({"signals": [ECG | {"channels": {"I": "I"}}]}, "indices from 0, not"),
        ({"signals": [ECG | {"channels": {}}]}, "at least one channel"),
        ({"signals": [ECG | {"axes": "CC"}]}, "axes must name T"),
        ({"signals": [ECG | {"axes": "T"}]}, "has one channel, of index 0"),
        ({"signals": [ECG | {"axes": "NCT"}]}, "row.*need each other"),
        ({"row": "path"}, "row.*need each other"),
        ({"signals": [ECG, deepcopy(ECG)]}, "ecg I is named twice"),
        (
            {"signals": [{"modality": "hr", "format": "csv", "channels": {"a": "hr"}}]},
            "either rate_hz .* or time",
        ),
        ({"labels": [{"set": "a"}]}, "labels 'a': name flags, classes or quantities"),
        ({"labels": [{"set": "a", "flags": ["x"], "separator": ";"}]}, "separator stands between"),
        ({"annotations": [{"path": "a", "onset": "t"}]}, "either code and codes .* or kind"),
        (
            {"annotations": [{"path": "a", "onset": "t", "code": "c", "codes": {"N": "normal"}}]},
            "'normal' is no annotation code",
        ),
        (
            {"annotations": [{"path": "a", "onset": "t", "kind": "HR", "value": "v"}]},
            "'HR' is no annotation code",
        ),
        ({"intervals": [{"path": "a", "format": "csv"}]}, "column is for csv and parquet"),
        ({"sexes": {"1": "man"}}, "expected male, female"),
        ({"time_zero": "first_value"}, "needs signals that all have a time column"),
        (
            {"signals": [ECG | {"trim_zeros": True}], "intervals": [{"path": "a"}]},
            "trim_zeros moves second 0",
        ),
    ],
)
def test_a_wrong_yaml_names_its_file_and_its_key(
    change: dict[str, Any], message: str, tmp_path: Path
) -> None:
    describe(tmp_path, {"path": ["a.npy"]}, **change)
    with pytest.raises(ValueError, match=f"(?s)dataset.yaml: .*{message}"):
        Table().find([tmp_path])


@pytest.mark.parametrize(
    "path", sorted((CONFIGS / "datasets").glob("*.yaml")), ids=lambda p: p.stem
)
def test_shipped_descriptions_are_valid(path: Path) -> None:
    assert read_description(path).name == path.stem


def test_the_page_explains_every_key_and_its_examples_are_valid(tmp_path: Path) -> None:
    page = DOCS.read_text()
    for name in ("", "Signal", "Labels", "Annotations", "Intervals", "Join"):
        kind = getattr(table_configuration, f"Table{name}" if name else "Description")
        for key in fields(kind):
            assert f"`{key.name}`" in page, f"{kind.__name__}.{key.name}"
    examples = re.findall(r"```yaml\n(name: .*?)```", page, re.DOTALL)
    assert examples
    for number, example in enumerate(examples):
        (tmp_path / f"{number}.yaml").write_text(example)
        read_description(tmp_path / f"{number}.yaml")


def test_a_yaml_that_changes_after_its_records_were_found_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", numbers())
    describe(tmp_path, {"path": ["a.npy"]})
    (ref,) = Table().find([tmp_path])
    with (tmp_path / "dataset.yaml").open("a") as file:
        file.write("title: another\n")
    with pytest.raises(ValueError, match="changed since its records were found"):
        Table().read(ref)


# The table


@pytest.mark.parametrize(
    ("table", "said", "message"),
    [
        ({"path": ["a", "../b"]}, {}, r"row 2 .*'path' \('../b'\).*'../b'; expected a path below"),
        ({"path": ["/etc/passwd"]}, {}, r"row 1 .*'/etc/passwd'; expected a path below"),
        ({"path": ["a/../../b"]}, {}, r"row 1 .*expected a path below"),
        ({"path": [r"a\b"]}, {}, r"row 1 .*with / between its parts"),
        ({"path": [r"C:/b"]}, {}, r"row 1 .*expected a path below"),
        ({"path": ["a"], "x": [".."]}, {"signals": [ECG | {"path": "{x}/b"}]}, "row 1 .*'../b'"),
        ({"path": ["a.npy", "b/a.npy"]}, {}, "row 1 .*another row has the same name"),
        ({"path": ["a.b.x", "a_b.x"]}, {}, "another row has the same name"),
        ({"path": ["a", None, "c"]}, {}, "row 2 .*a recording needs a name"),
        ({"path": ["a"]}, {"subject": "who"}, r"no column 'who'.*it has \['path'\]"),
        ({"path": ["a"]}, {"signals": [ECG | {"path": "{who}"}]}, "no column 'who'"),
        ({"path": ["a", "b"], "age": ["60", "old"]}, {"age": "age"}, r"row 2 .*'age' \('old'\)"),
        ({"path": ["a"], "s": ["x"]}, {"sex": "s"}, "expected male, female or unknown, found 'x'"),
        ({"path": ["a"], "f": ["1.5"]}, {"fold": "f"}, "expected a whole number"),
        (
            {"path": ["a", "b"], "AF": ["1", "maybe"]},
            {"labels": [{"set": "r", "flags": ["AF"]}]},
            r"row 2 .*'AF' \('maybe'\): expected 0 or 1",
        ),
        (
            {"path": ["a"], "bp": ["high"]},
            {"labels": [{"set": "r", "quantities": ["bp"]}]},
            r"row 1 .*'bp' \('high'\): could not convert",
        ),
        ({"path": []}, {}, "no row in it"),
    ],
)
def test_a_wrong_table_names_the_row(
    table: dict[str, list[Any]], said: dict[str, Any], message: str, tmp_path: Path
) -> None:
    describe(tmp_path, table, **said)
    with pytest.raises(ValueError, match=f"(?s)table.csv: .*{message}"):
        Table().find([tmp_path])


def test_a_table_that_is_not_there_is_named(tmp_path: Path) -> None:
    describe(tmp_path, {"path": ["a"]}, table="other.csv")
    with pytest.raises(FileNotFoundError, match=r"other\.csv: no such table"):
        Table().find([tmp_path])


def test_columns_become_facts_and_labels(tmp_path: Path) -> None:
    table: dict[str, list[Any]] = {
        "path": ["x/a.npy", "x/b.npy", "c"],
        "who": ["7", None, "7"],
        "years": ["300", "", "4.5"],
        "man": [True, False, None],
        "recorder": ["AT-6 C", None, ""],
        "ward": [3, None, 12],
        "fold": [1, 2, 10],
        "AF": [True, False, None],
        "dx": ["MI; LVH", "", "MI"],
        "sbp": ["120.5", None, "nan"],
    }
    said = {
        "subject": "who",
        "age": "years",
        "sex": "man",
        "sexes": {True: "male", False: "female"},
        "device": "recorder",
        "site": "ward",
        "fold": "fold",
        "labels": [
            {"set": "rhythm", "flags": ["AF"]},
            {"set": "diagnosis", "classes": ["dx"], "separator": ";"},
            {"set": "pressure", "quantities": ["sbp"]},
        ],
    }
    refs = Table().find([describe(tmp_path, table, **said)])
    assert [(r.record, r.subject, r.subject_known, r.fold) for r in refs] == [
        ("a", "mine-7", True, 1),
        ("b", "mine-unknown-b", False, 2),
        ("c", "mine-7", True, 10),
    ]
    assert [(r.facts["age"], r.facts["sex"]) for r in refs] == [
        (90.0, "male"),
        (None, "female"),
        (4.5, None),
    ]
    assert [(r.facts["device"], r.facts["site"]) for r in refs] == [
        ("AT-6 C", "mine-site-3"),
        (None, None),
        (None, "mine-site-12"),
    ]
    assert [r.facts["labels"] for r in refs] == [
        {"AF": 100, "MI": 100, "LVH": 100, "sbp": 120.5},
        {},
        {"MI": 100},
    ]
    assert Table().label_sets([tmp_path]) == {
        "rhythm": {"AF": ["AF"]},
        "diagnosis": {"LVH": ["LVH"], "MI": ["MI"]},
        "pressure": {"sbp": ["sbp"]},
    }


def test_a_parquet_table_says_the_same_as_a_csv(tmp_path: Path) -> None:
    table: dict[str, list[Any]] = {"path": ["a", "b"], "who": [7, 8], "AF": [True, False]}
    said = {"subject": "who", "labels": [{"set": "r", "flags": ["AF"]}]}
    csv = Table().find([describe(tmp_path / "csv", table, **said)])
    describe(tmp_path / "parquet", table, **said, table="t.parquet")
    pl.DataFrame(table).write_parquet(tmp_path / "parquet" / "t.parquet")
    parquet = Table().find([tmp_path / "parquet"])
    assert [(r.subject, r.facts["labels"]) for r in csv] == [
        (r.subject, r.facts["labels"]) for r in parquet
    ]


def test_roots_merge_and_one_record_has_one_meaning(tmp_path: Path) -> None:
    a = describe(tmp_path / "a", {"path": ["x", "y"]})
    b = describe(tmp_path / "b", {"path": ["z"]})
    assert [ref.record for ref in Table().find([b, a / "dataset.yaml"])] == ["x", "y", "z"]
    assert Table().find([tmp_path]) == Table().find([b, a])
    describe(tmp_path / "b", {"path": ["x"]}, name="other")
    with pytest.raises(ValueError, match=r"the record x stands in .*a/dataset.yaml too"):
        Table().find([a, b])


def test_files_may_lie_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    np.save(tmp_path / "files" / "a.npy", numbers())
    folder = describe(tmp_path / "yaml", {"path": ["a.npy"]}, root="../files")
    (ref,) = Table().find([folder])
    assert Table().read(ref).signal("ecg").samples.shape == (2, 300)


def test_a_second_table_adds_columns_and_may_lack_rows(tmp_path: Path) -> None:
    said = {"labels": [{"set": "d", "classes": ["dx"]}], "join": {"table": "more.csv", "by": "id"}}
    describe(tmp_path, {"path": ["a", "b"], "id": [2, 1]}, **said)
    (tmp_path / "more.csv").write_text("id,dx\n2,MI\n3,LVH\n")
    assert [ref.facts["labels"] for ref in Table().find([tmp_path])] == [{"MI": 100}, {}]
    (tmp_path / "more.csv").write_text("id,dx\n2,MI\n2,LVH\n")
    with pytest.raises(ValueError, match=r"more.csv: row 1 .*'id' \('2'\): it stands in two rows"):
        Table().find([tmp_path])


def test_an_empty_cell_leaves_a_signal_out_and_no_signal_at_all_is_an_error(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", numbers())
    np.save(tmp_path / "hr.npy", numbers(1))
    hr = ECG | {"modality": "hr", "channels": {0: "hr"}, "path": "{watch}"}
    table: dict[str, list[Any]] = {
        "path": ["a", "b", "c"],
        "e": ["a.npy", "a.npy", None],
        "watch": ["hr.npy", None, None],
    }
    describe(tmp_path, table, signals=[ECG | {"path": "{e}"}, hr])
    refs = Table().find([tmp_path])
    assert [s.modality for s in Table().read(refs[0]).signals] == ["ecg", "hr"]
    assert [s.modality for s in Table().read(refs[1]).signals] == ["ecg"]
    with pytest.raises(RecordError, match="record c: the table names no file of it"):
        Table().read(refs[2])


# The files


def test_arrays_are_read_by_their_axes(tmp_path: Path) -> None:
    x = numbers(3)
    channels = {2: "V2", 0: "I"}
    for axes, stored in (("CT", x), ("TC", x.T), ("T", x[0])):
        np.save(tmp_path / "a.npy", stored)
        wanted = {0: "I"} if axes == "T" else channels
        signal = one(tmp_path, axes=axes, channels=wanted).signal("ecg")
        np.testing.assert_array_equal(signal.samples, x[[int(i) for i in wanted]])
        assert signal.channels == tuple(wanted.values())
    np.save(tmp_path / "a.npy", np.stack([x * 0, x.copy()]))
    many = {"axes": "NCT", "channels": channels}
    describe(
        tmp_path,
        {"path": ["p", "q"], "n": [1, 5]},
        signals=[ECG | many | {"path": "a.npy"}],
        row="n",
    )
    p, q = Table().find([tmp_path])
    np.testing.assert_array_equal(Table().read(p).signal("ecg").samples, x[[2, 0]])
    with pytest.raises(RecordError, match="row '5' is not a place from 0 to 1"):
        Table().read(q)


def test_numbers_come_to_the_modalitys_unit_and_what_is_not_finite_is_missing(
    tmp_path: Path,
) -> None:
    np.save(tmp_path / "a.npy", np.array([[1000, -500]], np.int16))
    signal = one(tmp_path, scale=0.001, offset=0.5, channels={0: "I"}).signal("ecg")
    np.testing.assert_allclose(signal.samples, [[1.5, 0.0]])
    np.save(tmp_path / "a.npy", np.array([[1.0, np.inf, np.nan]]))
    samples = one(tmp_path, channels={0: "I"}).signal("ecg").samples
    np.testing.assert_array_equal(samples, np.array([[1, np.nan, np.nan]], np.float32))
    np.save(tmp_path / "a.npy", np.full((1, 3), np.nan))
    with pytest.raises(RecordError, match="record a: every sample of it is missing"):
        one(tmp_path, channels={0: "I"})


def npy_header(shape: str, descr: str = "<f8") -> bytes:
    header = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}}}"
    header = header.ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode()


class Planted:
    """What a pickle would do when it is loaded."""

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return (os.mkdir, ("planted",))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (npy_header("(2, 10**9)".replace("10**9", str(10**9))) + b"\0" * 80, "mmap|larger|length"),
        (npy_header(f"(2, {10**30})") + b"\0" * 80, "expected a .npy file"),
        (npy_header("(2, 3)", "|O") + pickle.dumps([Planted()] * 6), "expected a .npy file"),
        (npy_header("(2, 3)", "<U1") + b"\0" * 24, "expected numbers, found <U1"),
        (npy_header("(2, 3)", "<c8") + b"\0" * 48, "expected numbers, found complex64"),
        (pickle.dumps(Planted()), "expected a .npy file"),
        (b"", "expected a .npy file"),
        (b"PK\x03\x04" + b"\0" * 50, "expected a .npy file"),
        (npy_header("(6,)") + b"\0" * 48, "an array of 2 axes 'CT'"),
        (npy_header("(6, 2)") + b"\0" * 96, "2 samples of 6 channels .* turn T and C round"),
        (npy_header("(1, 6)") + b"\0" * 48, "no channel 1: .* has 1 channels, counted from 0"),
    ],
)
def test_a_hostile_npy_is_refused(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "a.npy").write_bytes(content)
    with pytest.raises(RecordError, match=f"a.npy: .*({message})"):
        one(tmp_path)
    assert not Path("planted").exists()


def hdf5(folder: Path, **signal: Any) -> Recording:
    return one(folder, "a.h5", **{"format": "hdf5", "array": "x/y", **signal})


def test_hdf5_is_read_from_the_file_itself_alone(tmp_path: Path) -> None:
    x, path = numbers(), tmp_path / "a.h5"
    with h5py.File(tmp_path / "other.h5", "w") as other:
        other["y"] = x

    def written(plant: Any) -> None:
        with h5py.File(path, "w") as file:
            plant(file.create_group("x"))

    written(lambda group: group.create_dataset("y", data=x, chunks=(1, 100), compression="gzip"))
    np.testing.assert_array_equal(hdf5(tmp_path).signal("ecg").samples, x)

    written(lambda group: group.__setitem__("y", h5py.ExternalLink("other.h5", "y")))
    with pytest.raises(RecordError, match="'y' is a link to elsewhere"):
        hdf5(tmp_path)
    written(lambda group: group.__setitem__("y", h5py.SoftLink("/x/z")))
    with pytest.raises(RecordError, match="'y' is a link to elsewhere"):
        hdf5(tmp_path)
    layout = h5py.VirtualLayout(x.shape, x.dtype)
    layout[:] = h5py.VirtualSource(tmp_path / "other.h5", "y", x.shape)
    written(lambda group: group.create_virtual_dataset("y", layout))
    with pytest.raises(RecordError, match="keeps its numbers in other files"):
        hdf5(tmp_path)
    (tmp_path / "raw").write_bytes(x.tobytes())
    outside = [(str(tmp_path / "raw"), 0, x.nbytes)]
    written(lambda group: group.create_dataset("y", x.shape, x.dtype, external=outside))
    with pytest.raises(RecordError, match="keeps its numbers in other files"):
        hdf5(tmp_path)
    written(lambda group: group.create_dataset("y", (2, 3), h5py.string_dtype()))
    with pytest.raises(RecordError, match="expected numbers, found object"):
        hdf5(tmp_path)
    written(lambda group: group.create_dataset("y", (2, 1 << 40), "f4", chunks=(1, 1 << 10)))
    with pytest.raises(RecordError, match="larger than any recording"):
        hdf5(tmp_path)
    with pytest.raises(RecordError, match=r"no array 'x/ecg' in it; there it has \['y'\]"):
        hdf5(tmp_path, array="x/ecg")
    with pytest.raises(RecordError, match=r"'x' is a group of \['y'\], not an array"):
        hdf5(tmp_path, array="x")
    path.write_bytes(b"\x89HDF\r\n\x1a\n" + b"\0" * 500)
    with pytest.raises(RecordError, match="the HDF5 file cannot be read"):
        hdf5(tmp_path)


def csv(folder: Path, text: str, **signal: Any) -> Recording:
    folder.mkdir(exist_ok=True)
    (folder / "a.csv").write_text(text)
    how = {"modality": "ppg", "format": "csv", "channels": {"R": "red"}, **signal}
    describe(folder, {"path": ["a.csv"]}, signals=[how])
    (ref,) = Table().find([folder])
    return Table().read(ref)


def test_csv_columns_are_found_by_name_evenly_spaced_or_not(tmp_path: Path) -> None:
    text = "t,G,R\n20,9,3\n0,8, 1\n10,7,\n"
    even = csv(tmp_path, text, rate_hz=10).signal("ppg")
    np.testing.assert_array_equal(even.samples, np.array([[3, 1, np.nan]], np.float32))
    (series,) = csv(tmp_path, text, time="t", time_scale=0.001, scale=2).series
    assert series.times_s.tolist() == [0.0, 0.01, 0.02]  # sorted: values go with their times
    np.testing.assert_array_equal(series.values, np.array([[2, np.nan, 6]], np.float32))
    pl.DataFrame({"R": [1, 2], "other": [[1], [2]]}).write_parquet(tmp_path / "a.csv")
    how = {"modality": "ppg", "format": "parquet", "channels": {"R": "red"}, "rate_hz": 1}
    describe(tmp_path, {"path": ["a.csv"]}, signals=[how])
    (ref,) = Table().find([tmp_path])
    assert Table().read(ref).signal("ppg").samples.tolist() == [[1, 2]]


def test_counts_are_totals_over_their_spans(tmp_path: Path) -> None:
    text = "t,n,len\n60000,30,30000\n0,12,60000\n"
    steps: dict[str, Any] = {"modality": "counts", "channels": {"n": "steps"}}
    minute = Preprocessing(rate_hz=1 / 30)
    uneven: list[tuple[dict[str, Any], list[float]]] = [
        ({"time": "t", "time_scale": 0.001, "span": "len"}, [6, 6, 30]),
        ({"time": "t", "time_scale": 0.001, "span": 60}, [6, 6, 15, 15]),
        ({"rate_hz": 1 / 60}, [15, 15, 6, 6]),
    ]
    for how, totals in uneven:
        (series,) = csv(tmp_path, text, **steps, **how).series
        assert on_grid(series, minute).samples.tolist() == [totals]
    with pytest.raises(ValueError, match="span is needed: over how long"):
        csv(tmp_path, text, **steps, time="t")
    with pytest.raises(ValueError, match="span goes with time"):
        csv(tmp_path, text, **steps, rate_hz=1, span=3)
    with pytest.raises(RecordError, match="column 'len' must be above 0"):
        csv(tmp_path, "t,n,len\n0,1,0\n", **steps, time="t", span="len")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("t,G\n1,2\n", r"no column 'R'; it has \['t', 'G'\]"),
        ("t,R\n1,two\n", "column 'R' holds 'two', expected numbers"),
        ("t,R\n", "found 0 rows"),
        ("", "expected a csv file"),
        ("t,R\n,2\n", "column 't' has an empty cell"),
        ("t,R\n1763700000,2\n", "beyond 315360000 s, which are dates .* time_zero: first_value"),
    ],
)
def test_a_wrong_csv_is_named(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(RecordError, match=message):
        csv(tmp_path, text, time="t")


def test_a_compressed_csv_is_not_unpacked(tmp_path: Path) -> None:
    import gzip

    describe(tmp_path, {"path": ["a.csv"]}, signals=[
        {"modality": "ppg", "format": "csv", "channels": {"R": "red"}, "rate_hz": 1}
    ])  # fmt: skip
    (tmp_path / "a.csv").write_bytes(gzip.compress(b"R\n" + b"1\n" * 1000))
    (ref,) = Table().find([tmp_path])
    with pytest.raises(RecordError, match="a compressed CSV; unpack it first"):
        Table().read(ref)


def test_dates_become_times_and_never_reach_a_recording(tmp_path: Path) -> None:
    (tmp_path / "beats.csv").write_text("at,len,what,bpm\n1763700002.5,1,N,60\n1763700001,2,V,\n")
    (tmp_path / "a.csv").write_text("t,R\n1763700000.5,3\n1763700001,4\n")
    beats = {"path": "beats.csv", "onset": "at", "duration": "len"}
    describe(
        tmp_path,
        {"path": ["a.csv"]},
        time_zero="first_value",
        signals=[{"modality": "ppg", "format": "csv", "time": "t", "channels": {"R": "red"}}],
        annotations=[
            beats | {"code": "what", "codes": {"N": "beat:N", "V": "beat:V"}},
            beats | {"duration": 8, "kind": "hr", "value": "bpm"},
        ],
    )
    (ref,) = Table().find([tmp_path])
    found = Table().read(ref)
    assert found.series[0].times_s.tolist() == [0.0, 0.5]
    assert [(a.onset_s, a.duration_s, a.code, a.value) for a in found.annotations] == [
        (0.5, 2.0, "beat:V", None),
        (2.0, 1.0, "beat:N", None),
        (2.0, 8.0, "hr", 60.0),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("at,what\n1,X\n", r"column 'what' says 'X', which `codes` does not name \(\['N'\]\)"),
        ("at,what\n,N\n", "a row has no onset"),
        ("at\n1\n", "no column 'what'"),
    ],
)
def test_wrong_annotations_are_named(text: str, message: str, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", numbers())
    (tmp_path / "beats.csv").write_text(text)
    beats = {"path": "beats.csv", "onset": "at", "code": "what", "codes": {"N": "beat:N"}}
    describe(tmp_path, {"path": ["a.npy"]}, annotations=[beats])
    (ref,) = Table().find([tmp_path])
    with pytest.raises(RecordError, match=f"beats.csv: {message}"):
        Table().read(ref)


@pytest.mark.parametrize("text", ["800 0 900", "800 -1", "800 x", "800, nan"])
def test_intervals_that_are_none_are_refused(text: str, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", numbers())
    (tmp_path / "rr.txt").write_text(text)
    describe(tmp_path, {"path": ["a.npy"]}, intervals=[{"path": "rr.txt", "time_scale": 0.001}])
    (ref,) = Table().find([tmp_path])
    with pytest.raises(RecordError, match=r"rr.txt: (an interval is missing|column 'interval')"):
        Table().read(ref)


def test_names_in_headers_are_private(tmp_path: Path) -> None:
    signal = edfio.EdfSignal(np.arange(100.0), 10, label="ECG", physical_dimension="uV")
    patient = edfio.Patient(code="MRN-7731", name="Roe_Jane")
    edfio.Edf([signal], patient=patient).write(tmp_path / "a.edf")
    described: dict[str, Any] = {"modality": "ecg", "format": "edf", "channels": {"ECG": "I"}}
    describe(tmp_path, {"path": ["a.edf"]}, signals=[described])
    (ref,) = Table().find([tmp_path])
    found = Table().read(ref)
    assert {"MRN-7731", "Roe_Jane"} <= set(found.private)
    assert found.signal("ecg").physical().max() == pytest.approx(0.099, abs=1e-4)  # µV → mV
    assert "private" not in repr(found)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    for format, needs in (("npy", {}), ("hdf5", {"array": "x"})):
        with pytest.raises(RecordError, match=r"gone: .*No such file"):
            one(tmp_path, "gone", format=format, **needs)
    for format in ("csv", "parquet"):
        describe(tmp_path, {"path": ["gone"]}, signals=[
            {"modality": "ppg", "format": format, "channels": {"R": "red"}, "rate_hz": 1}
        ])  # fmt: skip
        (ref,) = Table().find([tmp_path])
        with pytest.raises(RecordError, match=r"gone: the file cannot be read \((?i:no such file)"):
            Table().read(ref)


# Real layouts


def shipped(name: str, folder: Path) -> Path:
    """A shipped description in a folder of its data, as its head says to do it."""
    shutil.copy(CONFIGS / "datasets" / f"{name}.yaml", folder / "dataset.yaml")
    return folder


def test_code15_as_published(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    seven, ten = rng.normal(size=(2800, 12)), rng.normal(size=(4000, 12))
    tracings = np.zeros((4, 4096, 12), np.float32)
    tracings[0, 48:4048] = ten
    tracings[1, 648:3448] = seven
    with h5py.File(tmp_path / "exams_part3.hdf5", "w") as file:
        file["exam_id"] = [1169160, 271011, 99, 0]  # and a last row that is no exam
        file["tracings"] = tracings
    (tmp_path / "exams.csv").write_text(
        "exam_id,age,is_male,nn_predicted_age,1dAVb,RBBB,LBBB,SB,ST,AF,patient_id,death,timey,"
        "normal_ecg,trace_file\n"
        "271011,81,False,70.1,False,True,False,False,False,True,1632315,True,1.2,False,exams_part3.hdf5\n"
        "99,40,True,41.0,False,False,False,False,False,False,5,,,True,exams_part3.hdf5\n"
        "1169160,38,True,40.16,False,False,False,False,False,False,523632,False,2.098,True,exams_part3.hdf5\n"
    )
    reader = Table()
    refs = reader.find([shipped("code15", tmp_path)])
    assert [ref.record for ref in refs] == ["1169160", "271011", "99"]
    first, second = reader.read(refs[0]), reader.read(refs[1])
    assert (first.subject, first.age, first.sex) == ("code15-523632", 38, "male")
    assert first.labels == {"normal_ecg": 100}
    assert second.labels == {"RBBB": 100, "AF": 100}
    assert second.sex == "female"
    signal = first.signal("ecg")
    assert (signal.rate_hz, signal.start_s, signal.duration_s) == (400, 0, 10)
    np.testing.assert_array_equal(signal.select(("aVR",)).samples[0], ten.astype(np.float32)[:, 3])
    np.testing.assert_array_equal(second.signal("ecg").samples, seven.astype(np.float32).T)
    with pytest.raises(RecordError, match="every sample is 0 in every channel"):
        reader.read(refs[2])
    with h5py.File(tmp_path / "exams_part3.hdf5", "r+") as file:
        file["exam_id"][0] = 7
    with pytest.raises(RecordError, match="row '1169160' is not an id of 'exam_id', which has 4"):
        reader.read(refs[0])


def test_mimic_iv_ecg_as_published(tmp_path: Path) -> None:
    leads = ("I", "II", "III", "aVR", "aVF", "aVL", "V1", "V2", "V3", "V4", "V5", "V6")
    samples = np.random.default_rng(0).integers(-900, 900, (12, 5000)).astype(np.int16)
    stem = tmp_path / "files" / "p1000" / "p10000032" / "s40689238" / "40689238"
    stem.parent.mkdir(parents=True)
    write_format_16(stem, samples, 500, leads)
    header = stem.with_suffix(".hea")
    text = header.read_text().replace("500 5000\n", "500 5000 08:44:00 23/07/2180\n", 1)
    text = text.replace("1000.0(0)/mV", "200.0(0)/mV")
    header.write_text(text + "# <subject_id>: 10000032\n")
    (tmp_path / "record_list.csv").write_text(
        "subject_id,study_id,file_name,ecg_time,path\n"
        "10000032,40689238,40689238,2180-07-23 08:44:00,files/p1000/p10000032/s40689238/40689238\n"
        "10000032,44458630,44458630,2180-07-23 09:54:00,files/p1000/p10000032/s44458630/44458630\n"
    )
    reports = ["Sinus rhythm", "", "Abnormal ECG", *[""] * 15]
    (tmp_path / "machine_measurements.csv").write_text(
        f"subject_id,study_id,cart_id,ecg_time,{','.join(f'report_{i}' for i in range(18))},bandwidth,"
        "filtering,rr_interval,p_onset,p_end,qrs_onset,qrs_end,t_end,p_axis,qrs_axis,t_axis\n"
        f"10000032,40689238,6848296,2180-07-23 08:44:00,{','.join(reports)},0.005-150 Hz,"
        "60 Hz notch,659,40,128,170,258,518,81,77,79\n"
    )
    first, second = Table().find([shipped("mimic_iv_ecg", tmp_path)])
    found = Table().read(first)
    assert (found.record, found.subject) == ("40689238", "mimic_iv_ecg-10000032")
    assert found.labels == {"Sinus rhythm": 100, "Abnormal ECG": 100}
    assert second.facts["labels"] == {}
    signal = found.signal("ecg")
    assert (signal.rate_hz, signal.duration_s) == (500, 10)
    np.testing.assert_allclose(signal.select(("aVL",)).physical()[0], samples[5] / 200, atol=1e-6)
    assert {"23/07/2180", "08:44:00"} <= set(found.private)
    assert "2180" not in repr((first.facts, found))


@pytest.fixture
def welltory(tmp_path: Path) -> Path:
    if not WELLTORY.is_dir():
        pytest.skip("needs the Welltory-PPG recordings: set BIOFM_DATA to a folder that holds them")
    for suffix in ("yaml", "csv"):
        shutil.copy(CONFIGS / "datasets" / f"welltory_ppg.{suffix}", tmp_path)
    with (tmp_path / "welltory_ppg.yaml").open("a") as file:
        file.write(f"root: {WELLTORY}\n")
    return tmp_path / "welltory_ppg.yaml"


def test_real_camera_ppg_beats_as_its_rr_intervals_say(welltory: Path) -> None:
    refs = Table().find([welltory])
    assert len(refs) == 21
    assert not any(ref.subject_known for ref in refs)
    how = Preprocessing(rate_hz=32, highpass_hz=0.5, lowpass_hz=4, order=3)
    for ref in refs:
        found = Table().read(ref)
        (ppg,) = found.series
        lengths = [a.duration_s for a in found.annotations]
        assert ppg.times_s[0] == 0
        # The strap's intervals fill the video, but for the seconds before its first one.
        assert -0.3 < ppg.times_s[-1] - sum(lengths) < 3.2
        strap_bpm = 60 * len(lengths) / sum(lengths)
        waves = preprocess(on_grid(ppg, how), how).samples
        camera_bpm = [60 * spectral_peak(wave, 32, 0.7, 2.5) for wave in waves]
        assert min(abs(bpm - strap_bpm) for bpm in camera_bpm) < 6, ref.record


def test_real_camera_ppg_is_split_only_when_people_may_leak(welltory: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="21 of 21 are of unknown subjects"):
        build("table", [welltory], tmp_path / "out", workers=1, progress=False)
    config = BuildConfig(unknown_subjects="may_leak")
    manifest = build("table", [welltory], tmp_path / "out", config, workers=1, progress=False)
    assert manifest["unknown_subjects"] == 21
    assert "one person may be in train and test" in manifest["notices"][0]
    assert not manifest["bad"]
    verify([tmp_path / "out"]).raise_on_failure()
    assert manifest["label_sets"] == {"hr": {"hr": ["hr"]}}


def test_a_damaged_table_is_named(tmp_path: Path) -> None:
    describe(tmp_path, {"path": ["a.npy"]}, table="t.parquet")
    (tmp_path / "t.parquet").write_bytes(b"PAR1 no table PAR1")
    with pytest.raises(ValueError, match=r"t\.parquet: expected a CSV or Parquet table"):
        Table().find([tmp_path])
    describe(tmp_path, {"path": ["a.npy"]})
    (tmp_path / "table.csv").write_text("")
    with pytest.raises(ValueError, match=r"table\.csv: expected a CSV or Parquet table"):
        Table().find([tmp_path])


def test_an_array_whose_header_leads_numpy_astray_is_refused(tmp_path: Path) -> None:
    header = "{'descr':'<f8','fortran_order':False,'shape':(3L,\n"
    size = len(header).to_bytes(2, "little")
    (tmp_path / "a.npy").write_bytes(b"\x93NUMPY\x01\0" + size + header.encode() + bytes(64))
    with pytest.raises(RecordError, match=r"a\.npy: expected a \.npy file of numbers"):
        one(tmp_path)


def test_an_error_does_not_tell_dates(tmp_path: Path) -> None:
    how = {"modality": "hr", "format": "csv", "channels": {"bpm": "hr"}, "time": "t", "axes": None}
    how |= {"rate_hz": None}
    for times, message in (
        (("2019-04-09T07:23:41", "2019-04-09 07:23:42"), "column 't' holds '…', expected numbers"),
        (("1554794621", "1554794622"), "which are dates and no times within a recording"),
    ):
        (tmp_path / "a.csv").write_text("t,bpm\n" + "".join(f"{time},60\n" for time in times))
        with pytest.raises(RecordError, match=message) as error:
            one(tmp_path, "a.csv", **how)
        assert times[0][:6] not in str(error.value)


def test_a_table_that_makes_polars_panic_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    describe(tmp_path, {"path": ["a.npy"]})

    def panic(*_: Any, **__: Any) -> None:
        raise pl.exceptions.PanicException("assertion failed")

    monkeypatch.setattr(pl.LazyFrame, "collect", panic)
    with pytest.raises(ValueError, match=r"table\.csv: expected a table .* assertion failed"):
        Table().find([tmp_path])
