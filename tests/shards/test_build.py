"""The build: what it writes, that its bytes depend on nothing but input and config, how it fails."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import webdataset

from biofm.cli import main
from biofm.configuration import parse
from biofm.datasets.registry import About, RecordError, RecordRef
from biofm.datasets.simulate import simulate
from biofm.shards import build as build_module
from biofm.shards import writing
from biofm.shards.build import build
from biofm.shards.configuration import BuildConfig, Folds, Fractions, Modalities
from biofm.shards.index import INDEX, MANIFEST, SCHEMA, read_index
from biofm.shards.inspect import describe
from biofm.shards.plan import plan_shards, splits_of_subjects
from biofm.shards.prepare import prepare
from biofm.signals import (
    LEADS_12,
    MISSING,
    Annotation,
    Preprocessing,
    Recording,
    Signal,
    preprocess,
    quantize,
)

SMALL = BuildConfig(records_per_shard=7, max_bad=0)


class Tiny:
    """A source made in memory: records of chosen folds, and what is to go wrong with which."""

    name = "tiny"

    def about(self, roots: Sequence[Path] = ()) -> About:
        return About("Tiny", "CC0", "none", "ecg", "none", "few", "none")

    def __init__(
        self, folds: Sequence[int | None], length_s: float = 10.0, bad: Sequence[str] = ()
    ) -> None:
        self.folds, self.length_s, self.bad = folds, length_s, bad

    def find(self, roots: Sequence[Path]) -> list[RecordRef]:
        return [
            RecordRef(f"r{i:03d}", f"tiny-{i}", roots[0] / f"r{i:03d}", fold)
            for i, fold in enumerate(self.folds)
        ]

    def read(self, ref: RecordRef) -> Recording:
        if ref.record in self.bad:
            raise RecordError(f"{ref.path}.dat: expected 5000 samples, found 12: cut short")
        samples = ecg(int(ref.record[1:]), round(self.length_s * 200))
        if int(ref.record[1:]) == 3:
            samples[2, 100:400] = np.nan
        # Not in the vocabulary's order: the build has to see to that.
        backwards = Signal("ecg", samples[::-1].copy(), 200.0, LEADS_12[::-1])
        labels = {"AF": 100.0, "SR": 0.0} if ref.record > "r004" else {"SR": 100.0}
        notes = (Annotation(0.0, 30.0, "N2"),)
        return Recording(
            "tiny", ref.record, ref.subject, (backwards,), labels, notes, 61.0, "male", ref.fold
        )

    def label_sets(self, roots: Sequence[Path]) -> dict[str, dict[str, list[str]]]:
        return {"tiny": {"AF": ["AF"], "SR": ["SR"]}}


def ecg(number: int, length: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Twelve leads that obey Einthoven and Goldberger, of smooth noise."""
    rng = np.random.default_rng(number)
    noise = rng.normal(size=(8, length + 8)).cumsum(axis=1)
    one, two, *chest = (noise[:, 8:] - noise[:, :-8]) / 8
    limb = [one, two, two - one, -(one + two) / 2, one - two / 2, two - one / 2]
    return np.array([*limb, *chest], np.float32)


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Make `source()` return a Tiny in this process."""

    def use(*arguments: Any, **options: Any) -> None:
        source = Tiny(*arguments, **options)
        for module in (build_module, writing):
            monkeypatch.setattr(module, "source", lambda name: source)

    return use


def run(out: Path, config: BuildConfig = SMALL, **options: Any) -> dict[str, Any]:
    """Build in this process, silently."""
    options = {"workers": 1, "progress": False} | options
    return build("tiny", [Path("/nowhere")], out, config, **options)


def hashes(folder: Path) -> dict[str, str]:
    """File name → SHA-256 of everything in a folder."""
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(folder.iterdir())}


def members(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Every member of every shard, in order."""
    for path in sorted(folder.glob("*.tar")):
        with tarfile.open(path) as tar:
            for member in tar:
                file = tar.extractfile(member)
                assert file is not None
                yield member.name, file.read()


@pytest.fixture(scope="module")
def twin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return simulate("ptbxl", tmp_path_factory.mktemp("twin") / "tree", records=60, progress=False)


@pytest.fixture(scope="module")
def reference(twin: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shards of the twin, built in one process."""
    out = tmp_path_factory.mktemp("reference") / "shards"
    build("ptbxl", [twin], out, SMALL, workers=1, progress=False)
    return out


def test_index_manifest_and_members_say_what_was_read(tiny: Any, tmp_path: Path) -> None:
    tiny([1, 2, 3, 4, 9, 10, 1])
    manifest = run(tmp_path / "out")
    index = read_index(tmp_path / "out")
    assert dict(index.schema) == dict(pl.Schema(SCHEMA))
    assert {k: v["records"] for k, v in manifest["splits"].items()} == {
        "train": 5,
        "validation": 1,
        "test": 1,
    }
    assert manifest["splits"]["train"]["labels"] == {"AF": 1, "SR": 5}
    assert manifest["synthetic"] is False
    assert manifest["config"]["preprocessing"]["ecg"]["rate_hz"] == 100
    assert json.loads((tmp_path / "out" / MANIFEST).read_text()) == manifest
    for entry in manifest["shards"]:
        path = tmp_path / "out" / entry["name"]
        assert entry["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
        assert entry["bytes"] == path.stat().st_size
    found = dict(members(tmp_path / "out"))
    for row in index.iter_rows(named=True):
        stream = row["streams"][0]
        array = np.load(io.BytesIO(found[f"{row['key']}.ecg-100hz.npy"]))
        content = (tmp_path / "out" / row["shard"]).read_bytes()
        at = stream["data_offset"]
        assert content[at : at + array.nbytes] == array.tobytes()
        assert stream["channels"] == list(LEADS_12)
        said = json.loads(found[f"{row['key']}.json"])
        assert said["subject"] == row["subject"]
        assert said["annotations"] == row["annotations"]
        assert said["annotations"] == [
            {"onset_s": 0.0, "duration_s": 30.0, "code": "N2", "value": None}
        ]
        assert said["streams"][0]["unit"] == "mV"
    with tarfile.open(next((tmp_path / "out").glob("*.tar"))) as tar:
        assert {(m.mtime, m.uname, m.gname, m.uid, m.mode) for m in tar} == {
            (0, "biofm", "biofm", 0, 0o444)
        }


def test_segments_joined_are_the_whole_recording(tiny: Any, tmp_path: Path) -> None:
    tiny([1] * 5, length_s=25.4)
    config = replace(SMALL, segment_s=10.0, folds=Folds((1,), (), ()))
    run(tmp_path / "out", config)
    index = read_index(tmp_path / "out")
    found = dict(members(tmp_path / "out"))
    for number in range(5):
        record = f"r{number:03d}"
        source = Signal("ecg", ecg(number, 5080), 200.0, LEADS_12)
        if number == 3:
            source.samples[2, 100:400] = np.nan
        assert config.preprocessing.ecg is not None
        whole = quantize(preprocess(source, config.preprocessing.ecg))
        rows = index.filter(record=record)
        assert rows["start_s"].to_list() == [0.0, 10.0, 20.0]
        assert rows["duration_s"].to_list() == pytest.approx([10.0, 10.0, 5.4])
        assert rows["segment"].to_list() == [0, 1, 2]
        assert rows["fingerprint"].is_null().to_list() == [False, True, True]
        parts = [np.load(io.BytesIO(found[f"{key}.ecg-100hz.npy"])) for key in rows["key"]]
        assert np.array_equal(np.concatenate(parts, axis=1), whole.samples)
        assert whole.scale is not None
        for streams in rows["streams"]:
            assert streams[0]["scale"] == whole.scale.tolist()
    missing = index.filter(record="r003")["missing"].to_list()
    assert missing == pytest.approx([150 / 12000, 0, 0], abs=1e-3)


def test_segments_of_one_recording_stay_together_in_one_shard(tiny: Any, tmp_path: Path) -> None:
    tiny([1] * 9, length_s=25.0)
    run(
        tmp_path / "out",
        replace(SMALL, segment_s=10.0, records_per_shard=4, folds=Folds((1,), (), ())),
    )
    index = read_index(tmp_path / "out")
    assert index["shard"].n_unique() == 3
    runs = index.select(pl.col("record").rle_id()).to_series().n_unique()
    assert runs == index["record"].n_unique() == 9


def test_a_signal_that_begins_later_is_missing_before() -> None:
    late = Signal("ecg", ecg(0, 800), 100.0, LEADS_12, start_s=3.0)
    (prepared,) = prepare(Recording("tiny", "r", "tiny-r", (late,)), SMALL)
    first, second, outside = (prepared.cut(*times) for times in ((0, 5), (5, 11), (20, 25)))
    assert first is not None
    assert second is not None
    assert outside is None
    assert (first.samples[:, :300] == MISSING).all()
    assert (first.samples[:, 300:] != MISSING).all()
    joined = np.concatenate([first.samples[:, 300:], second.samples], axis=1)
    assert np.array_equal(joined, prepared.signal.samples)


@pytest.mark.parametrize("workers", [2, 3])
def test_bytes_do_not_depend_on_workers(
    twin: Path, reference: Path, tmp_path: Path, workers: int
) -> None:
    build("ptbxl", [twin], tmp_path / "out", SMALL, workers=workers, progress=False)
    assert hashes(tmp_path / "out") == hashes(reference)


def test_bytes_are_the_same_on_a_ray_cluster(twin: Path, reference: Path, tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="Ray is not installed: pip install 'biofm[ray]'")
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    try:
        cluster.add_node(num_cpus=1)
        build("ptbxl", [twin], tmp_path / "out", SMALL, ray_address=cluster.address, progress=False)
    finally:
        cluster.shutdown()  # type: ignore[no-untyped-call]
    assert hashes(tmp_path / "out") == hashes(reference)


KILLED = """
import os, signal, sys
from pathlib import Path
from biofm.shards import writing
from biofm.shards.build import build
from biofm.shards.configuration import BuildConfig
whole, count = writing.read_record, 0
def dying(*arguments):
    global count
    count += 1
    if count == 24:
        os.kill(os.getpid(), signal.SIGKILL)
    return whole(*arguments)
writing.read_record = dying
build("ptbxl", [Path(sys.argv[1])], Path(sys.argv[2]),
      BuildConfig(records_per_shard=7, max_bad=0), workers=1, progress=False)
"""


def test_a_killed_build_looks_unfinished_and_goes_on(
    twin: Path, reference: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    ended = subprocess.run([sys.executable, "-c", KILLED, str(twin), str(out)], timeout=120)
    assert ended.returncode == -signal.SIGKILL
    kept = {path.name: path.stat().st_mtime_ns for path in out.glob("*.tar")}
    assert len(kept) == 3
    assert list(out.glob(".*.partial"))
    with pytest.raises(FileNotFoundError, match="interrupted build again"):
        read_index(out)
    with pytest.raises(ValueError, match=r"config\.seed is 0 there and 1 here"):
        build("ptbxl", [twin], out, replace(SMALL, seed=1), workers=1, progress=False)
    # A shard that was damaged in between is made anew.
    victim = sorted(kept)[0]
    (out / victim).write_bytes(b"cut short")
    build("ptbxl", [twin], out, SMALL, workers=1, progress=False)
    assert hashes(out) == hashes(reference)
    after = {path.name: path.stat().st_mtime_ns for path in out.glob("*.tar")}
    assert {name for name in kept if after[name] != kept[name]} == {victim}


def test_a_finished_build_is_left_alone_and_others_are_refused(
    twin: Path, reference: Path, tmp_path: Path
) -> None:
    before = hashes(reference)
    assert build("ptbxl", [twin], reference, SMALL, progress=False)["dataset"] == "ptbxl"
    other = replace(SMALL, preprocessing=replace(SMALL.preprocessing, ecg=Preprocessing(50)))
    with pytest.raises(ValueError, match=r"preprocessing\.ecg\.rate_hz is 100\.0 there and 50"):
        build("ptbxl", [twin], reference, other, progress=False)
    smaller = simulate("ptbxl", tmp_path / "tree", records=50, seed=2, progress=False)
    with pytest.raises(ValueError, match=r"another build: input\."):
        build("ptbxl", [smaller], reference, SMALL, progress=False)
    assert hashes(reference) == before
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("precious")
    with pytest.raises(ValueError, match="no shard build"):
        build("ptbxl", [twin], tmp_path / "mine", SMALL, progress=False)
    assert os.listdir(tmp_path / "mine") == ["thesis.txt"]


def test_two_builds_cannot_write_one_folder(tiny: Any, tmp_path: Path) -> None:
    tiny([1, 9, 10])
    with (
        build_module.only_one(tmp_path / "out"),
        pytest.raises(RuntimeError, match="another build is writing"),
    ):
        run(tmp_path / "out")


def test_a_bad_record_only_shortens_its_shard(
    tiny: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folds = [1, 2, 3, 4, 5, 6, 7, 8] * 3 + [9, 10]
    tiny(folds)
    run(tmp_path / "whole")
    tiny(folds, bad=["r005"])
    manifest = run(tmp_path / "out", replace(SMALL, max_bad=1))
    assert "r005.dat: expected 5000 samples, found 12" in capsys.readouterr().err
    assert [bad["record"] for bad in manifest["bad"]] == ["r005"]
    assert "cut short" in manifest["bad"][0]["reason"]
    whole, lacking = read_index(tmp_path / "whole"), read_index(tmp_path / "out")
    assert lacking["key"].to_list() == [k for k in whole["key"] if not k.startswith("tiny_r005")]
    shard = whole.filter(record="r005")["shard"][0]
    differing = {
        name
        for name, digest in hashes(tmp_path / "whole").items()
        if hashes(tmp_path / "out")[name] != digest
    }
    assert differing == {shard, INDEX, MANIFEST}


def test_too_many_bad_records_fail_and_more_may_be_allowed(tiny: Any, tmp_path: Path) -> None:
    tiny([1] * 20 + [9, 10], bad=["r001", "r002"])
    with pytest.raises(ValueError, match="more than --max_bad 1") as failure:
        run(tmp_path / "out", replace(SMALL, max_bad=1))
    assert "r001" in str(failure.value)
    with pytest.raises(FileNotFoundError):
        read_index(tmp_path / "out")
    assert len(run(tmp_path / "out", replace(SMALL, max_bad=2))["bad"]) == 2


def test_a_shard_or_split_without_a_usable_record(tiny: Any, tmp_path: Path) -> None:
    tiny([1, 1, 9, 10], bad=["r000"])
    config = replace(SMALL, records_per_shard=1, max_bad=5)
    assert len(run(tmp_path / "one", config)["shards"]) == 3
    assert len(list((tmp_path / "one").glob("*.tar"))) == 3
    tiny([1, 1, 9, 10], bad=["r002"])
    with pytest.raises(ValueError, match="no record of the split 'validation' could be used"):
        run(tmp_path / "two", config)


def test_all_missing_or_unwanted_signals_are_bad_records(tiny: Any) -> None:
    empty = Signal("ecg", np.full((1, 500), np.nan, np.float32), 100.0, ("II",))
    with pytest.raises(RecordError, match="every sample of its ecg is missing"):
        prepare(Recording("tiny", "r1", "s", (empty,)), SMALL)
    pulse = Signal("ppg", np.ones((1, 500), np.float32), 100.0, ("ppg",))
    without = replace(SMALL, preprocessing=Modalities(ppg=None))
    with pytest.raises(RecordError, match=r"has \['ppg'\], none of which"):
        prepare(Recording("tiny", "r1", "s", (pulse,)), without)
    (left,) = prepare(Recording("tiny", "r1", "s", (empty, pulse)), SMALL)
    assert left.signal.modality == "ppg"


def test_an_empty_split_says_the_fix(tiny: Any, tmp_path: Path) -> None:
    tiny([1, 2, 10])
    with pytest.raises(ValueError, match=r"'validation' would be empty.*--folds\.validation"):
        run(tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert set(run(tmp_path / "out", replace(SMALL, folds=Folds((1, 2), (), (10,))))["splits"]) == {
        "train",
        "test",
    }
    tiny([None, 1])
    with pytest.raises(ValueError, match="others \\(r000, …\\) have none"):
        run(tmp_path / "mixed")


def test_without_folds_subjects_are_split_by_hash(tiny: Any, tmp_path: Path) -> None:
    tiny([None] * 60, length_s=2.0)
    manifest = run(tmp_path / "out", replace(SMALL, fractions=Fractions(0.5, 0.25, 0.25)))
    assert "hash of the subject" in manifest["split_rule"]
    before = dict(read_index(tmp_path / "out").select("record", "split").iter_rows())
    tiny([None] * 90, length_s=2.0)
    run(tmp_path / "more", replace(SMALL, fractions=Fractions(0.5, 0.25, 0.25)))
    after = dict(read_index(tmp_path / "more").select("record", "split").iter_rows())
    assert {record: after[record] for record in before} == before


def test_a_full_disk_leaves_nothing_that_looks_whole(
    tiny: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny([1] * 20 + [9, 10])
    written, whole = 0, webdataset.TarWriter.write

    def full(self: Any, sample: dict[str, Any]) -> Any:
        nonlocal written
        written += 1
        if written == 10:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return whole(self, sample)

    monkeypatch.setattr(webdataset.TarWriter, "write", full)
    with pytest.raises(OSError, match=r"no space left.*free some space") as failure:
        run(tmp_path / "out")
    assert failure.value.errno == errno.ENOSPC
    assert not list((tmp_path / "out").rglob("*.partial"))
    assert len(list((tmp_path / "out").glob("*.tar"))) == 1
    with pytest.raises(FileNotFoundError):
        read_index(tmp_path / "out")
    monkeypatch.undo()
    tiny([1] * 20 + [9, 10])
    run(tmp_path / "out")
    tiny([1] * 20 + [9, 10])
    run(tmp_path / "again")
    assert hashes(tmp_path / "out") == hashes(tmp_path / "again")


def test_a_reader_that_mixes_records_up_is_found(
    tiny: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny([1, 9, 10])
    right = Tiny.read
    monkeypatch.setattr(Tiny, "read", lambda self, ref: replace(right(self, ref), subject="x"))
    with pytest.raises(RuntimeError, match="a mistake in the reader"):
        run(tmp_path / "out")


def test_the_twin_is_called_synthetic_everywhere(reference: Path, twin: Path) -> None:
    manifest = json.loads((reference / MANIFEST).read_text())
    assert manifest["synthetic"] is True
    assert "SYNTHETIC" in manifest["notices"][0]
    assert "SYNTHETIC" in manifest["title"]
    assert "SYNTHETIC" in describe(reference)
    with pytest.raises(ValueError, match="is synthetic and"):
        build("ptbxl", [twin, twin.parent.parent], reference.parent / "mixed")


def test_no_name_and_no_date_reaches_a_shard(reference: Path, twin: Path) -> None:
    table = pl.read_csv(next(twin.glob("ptbxl_database.csv")), infer_schema=False)
    dates = table["recording_date"].drop_nulls().to_list()
    assert dates
    text = b"".join(content for name, content in members(reference) if name.endswith("json"))
    assert not [date for date in dates if date.encode() in text]


@pytest.mark.parametrize("name", ["ptbxl", "ptbxl_250hz"])
def test_shipped_configs_are_found_by_name_and_can_be_overridden(name: str) -> None:
    given = ["--config", f"shards/{name}", "--preprocessing.ecg.rate_hz", "200"]
    config = parse(BuildConfig, [*given, "--folds.train", "[1,2]", "--preprocessing.ppg", "null"])
    assert config.preprocessing.ecg is not None
    assert config.preprocessing.ecg.rate_hz == 200
    assert config.preprocessing.ecg.lowpass_hz == 40
    assert config.preprocessing.ppg is None
    assert config.folds.train == (1, 2)
    ecg = parse(BuildConfig, given[:2]).preprocessing.ecg
    assert ecg is not None
    assert ecg.rate_hz == (250 if "250hz" in name else 100)


def test_impossible_configs_are_refused() -> None:
    for wrong in (
        lambda: Folds((1, 2), (2,), (3,)),
        lambda: Folds((), (), ()),
        lambda: Fractions(0.5, 0.1, 0.1),
        lambda: BuildConfig(segment_s=0),
        lambda: BuildConfig(records_per_shard=0),
        lambda: BuildConfig(max_bad=-1),
    ):
        with pytest.raises(ValueError, match=r"fold|fractions|segment_s|records_per|max_bad"):
            wrong()


def test_commands_build_verify_and_inspect(
    twin: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "out")
    given = ["shards", "build", "ptbxl", str(twin), "--out", out, "--config", "shards/ptbxl"]
    assert main([*given, "--workers", "1"]) == 0
    assert main(["shards", "verify", out]) == 0
    assert "verified" in capsys.readouterr().out
    assert main(["shards", "inspect", out]) == 0
    shown = capsys.readouterr().out
    for word in (
        "SYNTHETIC",
        "subjects",
        "hours",
        "100 Hz",
        "V6",
        "first sample",
        "superdiagnostic",
    ):
        assert word in shown
    assert main([*given[:5], out, "--seed", "1"]) == 1
    assert "another build" in capsys.readouterr().err
    assert main(["shards", "inspect", str(tmp_path)]) == 1
    assert "biofm shards build" in capsys.readouterr().err


def test_small_cohorts_leave_no_split_empty_and_large_ones_depend_on_nobody_else() -> None:
    config = BuildConfig()
    everyone = {f"made-{i}" for i in range(500)}
    split_of, moved = splits_of_subjects(everyone, config)
    assert moved == 0
    some = set(sorted(everyone)[:300])
    assert splits_of_subjects(some, config)[0] == {s: split_of[s] for s in some}
    for count in range(3, 12):
        few, _ = splits_of_subjects({f"few-{i}" for i in range(count)}, config)
        assert set(few.values()) == {"train", "validation", "test"}
    two, _ = splits_of_subjects({"a", "b"}, config)
    assert set(two) == {"a", "b"}


def test_two_people_do_not_fill_three_splits_and_the_advice_works(
    tiny: Any, tmp_path: Path
) -> None:
    tiny([None, None])
    with pytest.raises(ValueError, match="only 2 subjects; build fewer splits, such as"):
        run(tmp_path / "out")
    manifest = run(tmp_path / "out", replace(SMALL, fractions=Fractions(1.0, 0.0, 0.0)))
    assert manifest["splits"]["train"]["subjects"] == 2


def test_records_that_would_share_a_key_are_refused(tmp_path: Path) -> None:
    refs = [RecordRef(name, f"made-{name}", tmp_path / name) for name in ("a b", "a/b", "c")]
    with pytest.raises(ValueError, match="'a b' and 'a/b' differ only in"):
        plan_shards("made", refs, BuildConfig())


def test_a_large_subject_and_what_is_left_out_are_told() -> None:
    refs = [RecordRef(f"r{i}", f"made-{max(0, i - 40)}", Path("r"), 1 + i % 3) for i in range(60)]
    plan = plan_shards("made", refs, replace(SMALL, folds=Folds((1,), (), (2,))))
    left, large = build_module.remarks_on(plan, refs)
    assert left.startswith("20 records are left out")
    assert large.startswith("41 records count as one subject, made-0")
