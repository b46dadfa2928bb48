"""What is true of each window, recomputed from what was planted or from the source's own files; and that
labels which are one epoch late are noticed."""

from __future__ import annotations

import ast
import csv
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from unittest import mock

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray

from biofm.datasets.mitdb import AAMI
from biofm.datasets.registry import About, RecordRef
from biofm.datasets.simulate import simulate
from biofm.datasets.sleep_stages import STAGE_SETS
from biofm.evaluation.splits import task_reader
from biofm.evaluation.targets import Targets, targets
from biofm.evaluation.tasks import Task, load_task, task_names
from biofm.shards import build as build_module
from biofm.shards import writing
from biofm.shards.build import build
from biofm.shards.configuration import BuildConfig, Fractions, Modalities, shipped
from biofm.shards.reader import WindowReader
from biofm.signals import MISSING, Annotation, Preprocessing, Recording, Signal

Twin = Callable[[str], tuple[Path, Path]]

STAGES = ("W", "N1", "N2", "N3", "R")

RECORDS = {
    "ptbxl": 60,
    "mitdb": 3,
    "mesa": 3,
    "sleep_accel": 3,
    "ppg_dalia": 2,
    "wesad": 2,
    "continuous_pressure": 4,
}
"""Source → how many recordings of its twin are enough; 40 where nothing is said."""
UNUSED = ("resp", "spo2", "eeg", "eog", "emg", "eda", "temp", "bp")
"""Modalities that no task reads."""


@pytest.fixture(scope="module")
def twin(tmp_path_factory: pytest.TempPathFactory) -> Twin:
    """Builds a source's twin, all of it in `train`, once: (tree, shards)."""
    made: dict[str, tuple[Path, Path]] = {}

    def make(name: str) -> tuple[Path, Path]:
        if name not in made:
            root = tmp_path_factory.mktemp(name)
            records = RECORDS.get(name, 40)
            tree = simulate(name, root / "twin", records=records, seed=5, progress=False)
            config = replace(
                shipped(name), fractions=Fractions(1.0, 0.0, 0.0), unknown_subjects="may_leak"
            )
            config = replace(
                config,
                folds=replace(config.folds, train=tuple(range(1, 11)), validation=(), test=()),
                preprocessing=replace(config.preprocessing, **dict.fromkeys(UNUSED)),
                records_per_shard=16,
            )
            # Whether signals are plausible is no matter here, and costs more than the rest.
            with mock.patch.object(writing, "PER_SHARD", 0):
                build(name, [tree], root / "shards", config, workers=1, progress=False)
            made[name] = tree, root / "shards"
        return made[name]

    return make


def read(task: Task | str, shards: Path) -> tuple[Targets, WindowReader]:
    task = load_task(task) if isinstance(task, str) else task
    reader = task_reader(replace(task, cross_validation=0), [str(shards)], "train")
    return targets(task, reader), reader


@pytest.mark.parametrize("name", task_names())
def test_every_shipped_task_reads_its_twin(name: str, twin: Twin) -> None:
    task = load_task(name)
    for dataset in task.datasets:
        _, shards = twin(dataset)
        found, reader = read(task, shards)
        assert set(reader.config.channels) == set(task.channels)
        assert 0 < len(found) <= reader.windows
        assert len(found) + found.left_out == reader.windows
        wide = (len(found),) if task.kind == "multiclass" else (len(found), len(found.classes))
        assert found.values.shape == wide
        assert found.values.dtype == {"multilabel": bool, "multiclass": np.int64}.get(
            task.kind, np.float64
        )
        assert len(np.unique(found.values)) > 1
        batch = next(reader.evaluation_batches(micro_batch=4, rank=0, ranks=1))
        for windows in batch.streams.values():
            span_s = windows.samples.shape[2] / windows.rate_hz
            assert span_s == pytest.approx(task.window_s)
            assert bool((windows.samples != MISSING).any())


def statements(tree: Path, label_set: str) -> tuple[list[str], dict[str, set[str]]]:
    """(classes, record → its classes) from PTB-XL's own tables."""
    with (tree / "scp_statements.csv").open() as file:
        rows = {row[""]: row for row in csv.DictReader(file)}
    column = {"subdiagnostic": "diagnostic_subclass", "superdiagnostic": "diagnostic_class"}
    of_code = {
        code: row[column[label_set]] if label_set in column else code
        for code, row in rows.items()
        if label_set == "all" or row["diagnostic" if label_set in column else label_set]
    }
    with (tree / "ptbxl_database.csv").open() as file:
        of_record = {
            f"ptbxl/{int(row['ecg_id']):05d}": {
                of_code[c] for c in ast.literal_eval(row["scp_codes"]) if c in of_code
            }
            for row in csv.DictReader(file)
        }
    return sorted(set(of_code.values())), of_record


@pytest.mark.parametrize(
    "label_set", ["all", "diagnostic", "subdiagnostic", "superdiagnostic", "form", "rhythm"]
)
def test_ptbxl_is_as_its_tables_say_and_likelihood_0_is_stated(label_set: str, twin: Twin) -> None:
    tree, shards = twin("ptbxl")
    found, reader = read(f"ptbxl_{label_set}", shards)
    classes, of_record = statements(tree, label_set)
    assert found.classes == tuple(classes)
    told = {
        record: {classes[k] for k in np.flatnonzero(row)}
        for record, row in zip(found.records, found.values, strict=True)
    }
    assert told == {record: some for record, some in of_record.items() if some}
    assert found.left_out == sum(not some for some in of_record.values())
    # Form and rhythm are stated with likelihood 0 and nothing else.
    assert (found.left_out > 0) == (
        label_set in ("form", "diagnostic", "subdiagnostic", "superdiagnostic")
    )
    assert found.values.any(axis=0).sum() > 1
    assert str(found).endswith(f"; {found.left_out} windows without a label left out")
    assert reader.windows == len(found) + found.left_out


def test_whose_a_window_is_and_what_is_known_of_them(twin: Twin) -> None:
    tree, shards = twin("ptbxl")
    found, reader = read("ptbxl_form", shards)
    truth = {
        f"ptbxl/{row['ecg_id']:05d}": row
        for row in pl.read_parquet(tree / "truth.parquet").iter_rows(named=True)
    }
    for i, record in enumerate(found.records):
        assert found.subjects[i] == f"ptbxl-{truth[record]['subject']}"
        assert found.facts["sex"][i] == truth[record]["sex"]
        assert found.facts["age"][i] == (
            None if truth[record]["age"] is None else min(truth[record]["age"], 90)
        )
    assert set(found.facts["dataset"]) == {"ptbxl"}
    table = pl.read_csv(tree / "ptbxl_database.csv")
    sites = {
        f"ptbxl/{ecg_id:05d}": f"ptbxl-site-{site:.0f}"
        for ecg_id, site in table.select("ecg_id", "site").iter_rows()
    }
    assert found.facts["site"].to_list() == [sites[record] for record in found.records]
    assert set(found.facts["device"]) == set(table["device"])
    assert found.facts["onset_s"].null_count() == len(found)
    assert (reader.rows_in_order()[found.windows] == found.rows).all()


def test_a_batch_finds_its_truth_in_training_too(twin: Twin) -> None:
    _, shards = twin("ptbxl")
    task = replace(load_task("ptbxl_form"), window_s=3.0)
    found, reader = read(task, shards)
    assert reader.windows == 3 * 60
    assert len(found) == 3 * len(set(found.records))
    unlabelled = 0
    for (batch,) in reader.train_batches(global_batch=16, micro_batch=16, rank=0, ranks=1, epoch=1):
        places = found.places(batch)
        for row, place in zip(batch.rows.tolist(), places.tolist(), strict=True):
            record = f"ptbxl/{reader.index['record'][row]}"
            assert (place >= 0) == (record in found.records)
            assert place < 0 or found.records[place] == record
        unlabelled += int((places < 0).sum())
    assert unlabelled > 0


def test_beats_are_the_planted_ones(twin: Twin) -> None:
    tree, shards = twin("mitdb")
    found, _ = read("mitdb_aami_published", shards)
    assert found.classes == ("N", "S", "V", "F", "Q")
    truth = {row["record"]: row for row in pl.read_parquet(tree / "truth.parquet").to_dicts()}
    class_of = {symbol: k for k, symbols in enumerate(AAMI.values()) for symbol in symbols}
    seen = 0
    for record, row in truth.items():
        mine = found.records == f"mitdb/{record}"
        onsets_s = found.facts["onset_s"].to_numpy()[mine]
        beats = [
            (s, class_of[b])
            for s, b in zip(row["r_peaks_s"], row["beats"], strict=True)
            if b in class_of
        ]
        seen += len(beats)
        for onset_s, value in zip(onsets_s, found.values[mine], strict=True):
            nearest = min(beats, key=lambda beat: abs(beat[0] - onset_s))
            assert abs(nearest[0] - onset_s) < 0.02
            assert nearest[1] == value
    assert 0.95 * seen < len(found) <= seen
    assert len(set(found.values)) >= 2


@pytest.mark.parametrize("k", [5, 4, 3, 2])
def test_stages_are_the_planted_ones_and_those_of_one_epoch_later_are_not(
    k: int, twin: Twin
) -> None:
    tree, shards = twin("sleep_accel")
    found, reader = read(f"sleep_watch_hr_{k}", shards)
    scheme = [
        {code.removeprefix("stage:") for code in codes}
        for codes in STAGE_SETS[f"stages{k}"].values()
    ]
    truth = {
        f"sleep_accel/{row['record']}": row["stages"]
        for row in pl.read_parquet(tree / "truth.parquet").iter_rows(named=True)
    }

    def wrong(late: int) -> int:
        epochs = (found.facts["onset_s"].to_numpy() / 30).astype(int) + late
        planted = [
            truth[record][epoch] if epoch < len(truth[record]) else None
            for record, epoch in zip(found.records, epochs, strict=True)
        ]
        return sum(stage not in scheme[k] for stage, k in zip(planted, found.values, strict=True))

    assert wrong(0) == 0
    assert wrong(1) > 2
    assert wrong(-1) > 2
    scored = sum(stage is not None for stages in truth.values() for stage in stages)
    assert scored - 3 <= len(found) <= scored  # an epoch after the last heart rate has no window
    assert reader.anchors is not None
    assert found.facts["onset_s"].to_list() == reader.anchors["onset_s"][found.windows].to_list()


class Told:
    """Nights whose heart rate tells the stage of each epoch (40 bpm and 10 more a stage); the scoring is
    `late_s` late."""

    name = "told"

    def __init__(self, late_s: float) -> None:
        self.late_s = late_s

    def about(self, roots: Sequence[Path] = ()) -> About:
        return About("Told", "CC0", "none", "hr", "stages", "two", "none")

    def find(self, roots: Sequence[Path]) -> list[RecordRef]:
        return [RecordRef(f"n{i}", f"told-{i}", Path(f"n{i}")) for i in range(2)]

    def read(self, ref: RecordRef) -> Recording:
        rng = np.random.default_rng(int(ref.record[1:]))
        stages = rng.integers(0, 5, 50)
        begin_s = -90.0
        bpm = np.repeat(40.0 + 10.0 * stages, 30)[None].astype(np.float32)
        hr = Signal("hr", bpm, 1.0, ("hr",), start_s=begin_s)
        # Every seventh epoch is not scored.
        scored = tuple(
            Annotation(begin_s + 30.0 * i + self.late_s, 30.0, f"stage:{STAGES[stage]}")
            for i, stage in enumerate(stages)
            if i % 7
        )
        return Recording(self.name, ref.record, ref.subject, (hr,), annotations=scored)

    def label_sets(self, roots: Sequence[Path]) -> dict[str, dict[str, list[str]]]:
        return STAGE_SETS


@pytest.mark.parametrize("late_s", [0.0, 30.0, -30.0])
def test_a_label_that_is_one_epoch_late_does_not_fit_its_window(
    late_s: float, tmp_path: Path
) -> None:
    config = BuildConfig(
        preprocessing=Modalities(hr=Preprocessing(1.0)),
        segment_s=300.0,
        fractions=Fractions(1.0, 0.0, 0.0),
    )
    with (
        mock.patch.object(build_module, "source", return_value=Told(late_s)),
        mock.patch.object(writing, "source", return_value=Told(late_s)),
        mock.patch.object(build_module, "check_physiology"),
    ):
        build("told", [tmp_path], tmp_path / "shards", config, workers=1, progress=False)
    task = replace(load_task("sleep_watch_hr_5"), window_s=90.0, before_s=30.0)
    with mock.patch.object(Task, "__post_init__"):
        task = replace(task, datasets=("told",), cross_validation=0)
    reader = task_reader(task, [str(tmp_path / "shards")], "train")
    found = targets(task, reader)
    stages: NDArray[np.int64] = np.full(len(found), -1)
    for batch in reader.evaluation_batches(micro_batch=8, rank=0, ranks=1):
        bpm, _ = batch.streams[reader.stream].physical()
        # The epoch is the middle third of its window.
        epoch_bpm = bpm[:, 0, 30:60].mean(dim=1).numpy()
        places = found.places(batch)
        assert (places >= 0).all()
        stages[places] = np.rint((epoch_bpm - 40) / 10)
    wrong = float(np.mean(stages != found.values))
    assert wrong == 0 if late_s == 0 else wrong > 0.5


def test_heart_rate_is_the_planted_one(twin: Twin) -> None:
    tree, shards = twin("ppg_dalia")
    found, _ = read("hr_ppg_dalia", shards)
    for row in pl.read_parquet(tree / "truth.parquet").iter_rows(named=True):
        mine = found.records == f"ppg_dalia/{row['record']}"
        number = (found.facts["onset_s"].to_numpy()[mine] / 2).round().astype(int)
        assert len(number) > 20
        np.testing.assert_allclose(
            found.values[mine, 0], np.array(row["hr_bpm"])[number], atol=0.01
        )
    assert found.values.dtype == np.float64


def test_segments_have_their_numbers_and_nan_where_none_is_stated(twin: Twin) -> None:
    tree, shards = twin("hemodynamics")
    truth = {r["record"]: r for r in pl.read_parquet(tree / "truth.parquet").iter_rows(named=True)}
    for name, classes in (
        ("hemodynamics_pressure", ("SBP", "DBP")),
        ("hemodynamics_all", ("SBP", "MAP", "DBP", "HR", "CO", "CI", "SV", "SI", "SVR", "SVRI")),
    ):
        found, reader = read(name, shards)
        assert found.classes == classes
        planted = [
            [
                np.nan if truth[r.split("/")[1]][c] is None else truth[r.split("/")[1]][c]
                for c in classes
            ]
            for r in found.records
        ]
        np.testing.assert_allclose(found.values, planted, rtol=1e-4)
        assert len(found) + found.left_out == reader.windows == 40


def test_a_quantity_that_is_not_stated_is_nan(twin: Twin) -> None:
    _, shards = twin("hemodynamics")
    task = load_task("hemodynamics_pressure")
    reader = task_reader(task, [str(shards)], "train")
    labels = reader.index["labels"].to_list()
    labels[0] = [label for label in labels[0] if label["code"] != "DBP"]
    labels[1] = []
    reader.index = reader.index.with_columns(
        pl.Series("labels", labels, dtype=reader.index.schema["labels"])
    )
    found = targets(task, reader)
    assert np.isnan(found.values[0, 1])
    assert np.isfinite(found.values[0, 0])
    assert found.left_out == 1
    assert 1 not in found.windows


def test_two_quantities_of_one_beat_stand_in_one_row(twin: Twin) -> None:
    _, shards = twin("continuous_pressure")
    found, reader = read("continuous_pressure", shards)
    assert found.classes == ("sbp", "dbp")
    stated = {
        (row["record"], note["onset_s"], note["code"]): note["value"]
        for row in reader.index.iter_rows(named=True)
        for note in row["annotations"]
    }
    for record, onset_s, values in zip(
        found.records, found.facts["onset_s"], found.values, strict=True
    ):
        name = record.partition("/")[2]
        assert values.tolist() == [stated[name, onset_s, "sbp"], stated[name, onset_s, "dbp"]]
    assert len(found) > 100
    assert (found.values[:, 0] > found.values[:, 1]).all()


def test_a_recording_of_one_class_or_of_none_or_several(twin: Twin) -> None:
    tree, shards = twin("ptbxl")
    task = replace(
        load_task("ptbxl_superdiagnostic"),
        kind="multiclass",
        loss="cross_entropy",
        metrics=("kappa",),
        threshold=None,
    )
    found, _ = read(task, shards)
    classes, of_record = statements(tree, "superdiagnostic")
    one = {record: min(some) for record, some in of_record.items() if len(some) == 1}
    assert {r: classes[v] for r, v in zip(found.records, found.values, strict=True)} == one
    assert found.left_out == sum(len(some) != 1 for some in of_record.values())
    assert found.values.dtype == np.int64


def test_classes_can_be_chosen_and_ordered(twin: Twin) -> None:
    tree, shards = twin("ptbxl")
    found, _ = read(replace(load_task("ptbxl_superdiagnostic"), classes=("NORM", "CD")), shards)
    _, of_record = statements(tree, "superdiagnostic")
    expected = {
        r: ["NORM" in some, "CD" in some] for r, some in of_record.items() if some & {"NORM", "CD"}
    }
    assert {r: v.tolist() for r, v in zip(found.records, found.values, strict=True)} == expected


def test_what_does_not_fit_is_refused(twin: Twin) -> None:
    _, shards = twin("ptbxl")
    task = load_task("ptbxl_all")
    reader = task_reader(task, [str(shards)], "train")
    with pytest.raises(ValueError, match="no label set 'stages5'; they have all, diagnostic"):
        targets(replace(task, label_set="stages5"), reader)
    with pytest.raises(ValueError, match="classes: XYZ not in label set 'all'"):
        targets(replace(task, classes=("XYZ",)), reader)
    with pytest.raises(ValueError, match="no window of split 'train' has a label of 'all'"):
        targets(replace(task, classes=("PSVT",)), reader)
    with pytest.raises(
        ValueError, match=r"the windows stand at None, those of the task .* at 'stage'"
    ):
        targets(load_task("sleep_mesa_5"), reader)
    reader.manifests = [*reader.manifests, {"label_sets": {"all": {"NORM": ["NORM"]}}}]
    with pytest.raises(ValueError, match="differ in what 'all' means"):
        targets(task, reader)
    reader.manifests = [{"label_sets": {"all": {"a": ["x"], "b": ["x"]}}}]
    with pytest.raises(ValueError, match="a code of two classes"):
        targets(
            replace(
                task, kind="multiclass", loss="cross_entropy", metrics=("kappa",), threshold=None
            ),
            reader,
        )
