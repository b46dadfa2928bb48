"""Verification finds every damage and every leak, and lets whole shards pass."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from biofm.cli import main
from biofm.datasets.registry import About, RecordRef
from biofm.files import sha256
from biofm.shards import build as build_module
from biofm.shards import writing
from biofm.shards.build import build
from biofm.shards.configuration import BuildConfig, Folds
from biofm.shards.index import INDEX, MANIFEST, read_index
from biofm.shards.quality import physiology, source_quality
from biofm.shards.verify import Report, verify
from biofm.signals import LEADS_12, MISSING, Preprocessing, Recording, Signal, preprocess

Samples = np.ndarray[Any, np.dtype[np.float32]]


def ecg(number: int, length: int = 2000) -> Signal:
    """Twelve leads of 200 Hz that obey Einthoven and Goldberger, of smooth noise."""
    rng = np.random.default_rng(number)
    noise = rng.normal(size=(8, length + 8)).cumsum(axis=1)
    one, two, *chest = (noise[:, 8:] - noise[:, :-8]) / 8
    limb = [one, two, two - one, -(one + two) / 2, one - two / 2, two - one / 2]
    return Signal("ecg", np.array([*limb, *chest], np.float32), 200.0, LEADS_12)


@dataclass(frozen=True)
class One:
    """A record to build: a fold, a signal, and what is special about it."""

    fold: int
    signal: Signal
    subject: str | None = None
    record: str | None = None


class Made:
    """A source made in memory."""

    def about(self, roots: Sequence[Path] = ()) -> About:
        return About("Made", "CC0", "none", "ecg", "none", "few", "none")

    def __init__(self, ones: Sequence[One], name: str = "made") -> None:
        self.ones, self.name = list(ones), name
        self.refs = [
            RecordRef(one.record or f"r{i:03d}", one.subject or f"{name}-{i}", Path("r"), one.fold)
            for i, one in enumerate(self.ones)
        ]

    def find(self, roots: Sequence[Path]) -> list[RecordRef]:
        return self.refs

    def read(self, ref: RecordRef) -> Recording:
        one = self.ones[self.refs.index(ref)]
        label = {"AF": 100.0} if self.refs.index(ref) % 2 else {"SR": 100.0}
        return Recording(self.name, ref.record, ref.subject, (one.signal,), label, fold=one.fold)

    def label_sets(self, roots: Sequence[Path]) -> dict[str, dict[str, list[str]]]:
        return {"rhythm": {"AF": ["AF"], "SR": ["SR"]}}


Build = Callable[..., Path]
CONFIG = BuildConfig(records_per_shard=4, folds=Folds((1,), (), (2,)))


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Build:
    """Build records made in memory into a folder."""

    def build_ones(ones: Sequence[One], folder: str = "out", name: str = "made") -> Path:
        source = Made(ones, name)
        for module in (build_module, writing):
            monkeypatch.setattr(module, "source", lambda _: source)
        build(name, [Path("/none")], tmp_path / folder, CONFIG, workers=1, progress=False)
        return tmp_path / folder

    return build_ones


def plain(count: int = 10, first: int = 0) -> list[One]:
    """Different records of different people, every third a test record."""
    return [One(2 if i % 3 == 2 else 1, ecg(first + i)) for i in range(count)]


def messages(report: Report, level: str = "FAILURE") -> str:
    return "\n".join(str(f) for found in report.folders.values() for f in found if f.level == level)


def test_whole_shards_pass_and_their_labels_are_shown(made: Build) -> None:
    folder = made(plain())
    report = verify([folder])
    assert not report.failures
    assert {f.check for f in report.folders[str(folder)] if f.level == "ok"} == {
        *("checksums", "contents", "counts", "quality", "source", "physiology", "leaks"),
    }
    assert report.text().endswith("verified")
    assert "rhythm     AF     4 (57.1 %)  1 (33.3 %)" in report.text()
    report.raise_on_failure()


def flip_a_byte(folder: Path, shard: Path) -> None:
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)


def drop_a_row(folder: Path, shard: Path) -> None:
    read_index(folder)[1:].write_parquet(folder / INDEX)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (flip_a_byte, "was changed after the build: copy it again"),
        (lambda folder, shard: shard.write_bytes(shard.read_bytes()[:-512]), "bytes, not"),
        (lambda folder, shard: shard.unlink(), "is missing"),
        (lambda folder, shard: shutil.copy(shard, folder / "more.tar"), "no shard of this build"),
        (drop_a_row, "index.parquet was changed after the build"),
    ],
)
def test_damage_is_named(
    made: Build,
    damage: Callable[[Path, Path], Any],
    said: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = made(plain())
    shard = sorted(folder.glob("*.tar"))[0]
    damage(folder, shard)
    report = verify([folder])
    assert said in messages(report)
    if damage is not drop_a_row:
        assert ("more.tar" if "no shard" in said else shard.name) in messages(report)
    assert main(["shards", "verify", str(folder)]) == 1
    assert "verification failed" in capsys.readouterr().err


def forge(folder: Path, change: Callable[[pl.DataFrame], pl.DataFrame]) -> None:
    """Change the index and make its checksum fit."""
    change(read_index(folder)).write_parquet(folder / INDEX)
    manifest = json.loads((folder / MANIFEST).read_text())
    manifest["index_sha256"] = sha256(folder / INDEX)
    (folder / MANIFEST).write_text(json.dumps(manifest))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t: t[1:], "contents"),
        (lambda t: t[:-1], "is not in the index"),
        (lambda t: t.reverse(), "expected sample"),
        (lambda t: t.with_columns(split=pl.lit("test")), "its JSON says split 'train'"),
        (lambda t: t.with_columns(missing=pl.lit(0.5, pl.Float32)), "samples are missing"),
        (lambda t: t.with_columns(labels=t["labels"].reverse()), "different labels"),
        (
            lambda t: t.with_columns(
                streams=pl.col("streams").list.eval(
                    pl.element().struct.with_fields(pl.field("data_offset") + 2)
                )
            ),
            "the index says int16",
        ),
        (
            lambda t: t.with_columns(
                streams=pl.col("streams").list.eval(
                    pl.element().struct.with_fields(scale=pl.field("offset"))
                )
            ),
            "differ in channels or scale",
        ),
    ],
)
def test_an_index_that_is_not_of_these_tars_is_found(
    made: Build, change: Callable[[pl.DataFrame], pl.DataFrame], said: str
) -> None:
    folder = made(plain(6))
    forge(folder, change)
    assert said in messages(verify([folder]))


def test_wrong_counts_in_the_manifest_are_found(made: Build) -> None:
    folder = made(plain())
    manifest = json.loads((folder / MANIFEST).read_text())
    manifest["splits"]["train"]["labels"]["AF"] += 1
    (folder / MANIFEST).write_text(json.dumps(manifest))
    assert "count differently: ['train']" in messages(verify([folder]))


def test_a_subject_in_two_splits_is_a_leak(made: Build) -> None:
    ones = [*plain(), One(1, ecg(50), subject="made-x"), One(2, ecg(51), subject="made-x")]
    report = verify([made(ones)])
    assert "1 subject(s) shared in this folder, in different splits" in messages(report)
    assert "made-x: r010 (train, made-x), r011 (test, made-x)" in messages(report)


def test_one_signal_in_two_splits_is_a_leak_and_in_one_split_a_warning(made: Build) -> None:
    report = verify([made([*plain(), One(1, ecg(50)), One(2, ecg(50))])])
    assert "1 signal(s) shared in this folder, in different splits" in messages(report)
    report = verify([made([*plain(), One(1, ecg(50)), One(1, ecg(50))], "same")])
    assert not report.failures
    assert "1 signal(s) shared in this folder, in one split, under different" in messages(
        report, "warning"
    )
    ones = [*plain(), *[One(1, ecg(50), subject="made-x")] * 2]
    report = verify([made(ones, "person")])
    assert "1 signal(s) shared in this folder, in one split" in messages(report, "note")


def changed(signal: Signal) -> Signal:
    """A copy that no hash recognises: cropped, filtered, at half the rate, twice as large."""
    shorter = replace(signal, samples=signal.samples[:, 150:])
    other = preprocess(shorter, Preprocessing(100, 0.67, 40))
    return replace(other, samples=2 * other.physical())


def test_a_processed_copy_in_two_splits_is_a_leak(made: Build) -> None:
    report = verify([made([*plain(), One(1, ecg(50)), One(2, changed(ecg(50)))])])
    assert "1 similar signal(s) shared in this folder, in different splits" in messages(report)
    assert "r010 (train, made-10), r011 (test, made-11)" in messages(report)


def test_several_folders_report_what_they_share(
    made: Build, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = made(plain(), "first", "one")
    other = [*plain(6, 100), One(1, ecg(0)), One(1, changed(ecg(1)))]
    second = made(other, "second", "two")
    report = verify([first, second])
    assert not report.failures
    assert "1 signal(s) shared between folders, in one split" in messages(report, "warning")
    assert "1 similar signal(s) shared between folders" in messages(report, "warning")

    third = made([*other, One(2, ecg(3)), One(1, ecg(60), subject="one-2")], "third", "three")
    csv = tmp_path / "shared.csv"
    assert main(["shards", "verify", str(first), str(third), "--shared", str(csv)]) == 1
    said = capsys.readouterr().out
    assert "subject one-2" in said
    assert "2 FAILURES" in said
    table = pl.read_csv(csv)
    assert set(table["kind"]) == {"subject", "signal", "similar signal"}
    leaks = table.filter(pl.col("leak"))
    assert set(leaks.filter(kind="signal")["record"]) == {"r003", "r008"}
    assert set(leaks["folder"]) == {str(first), str(third)}


def test_the_same_records_in_two_folders_are_a_note(made: Build) -> None:
    first, second = made(plain(), "first"), made(plain(), "second")
    report = verify([first, second])
    assert not report.failures
    assert "10 record(s) shared between folders, in one split" in messages(report, "note")
    swapped = [replace(one, fold=3 - one.fold) for one in plain()]
    report = verify([first, made(swapped, "third")])
    assert "10 record(s) shared between folders, in different splits" in messages(report)


def relabelled(signal: Signal) -> Signal:
    """With leads II and aVF called by each other's name."""
    order = list(LEADS_12)
    order[1], order[5] = order[5], order[1]
    return replace(signal, channels=tuple(order))


def test_swapped_leads_warn_and_fail_where_most_are(
    made: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = [*plain(), One(1, relabelled(ecg(50)))]
    report = verify([made(few, "few")])
    assert not report.failures
    assert "1 of 11 records break Einthoven's law (I + III = II): r010" in messages(
        report, "warning"
    )
    monkeypatch.setattr(build_module, "check_physiology", lambda *_: None)
    most = [replace(one, signal=relabelled(one.signal)) for one in plain()]
    assert "10 of 10 records break Einthoven's law" in messages(verify([made(most, "most")]))


def test_wrong_units_fail(made: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build_module, "check_physiology", lambda *_: None)
    tiny = [
        replace(one, signal=replace(one.signal, samples=one.signal.physical() * np.float32(1e-3)))
        for one in plain()
    ]
    assert "10 of 10 records have an amplitude outside 0.1 to 20 mV" in messages(
        verify([made(tiny)])
    )


def test_missing_flat_and_clipped_records_are_named(made: Build) -> None:
    lost, flat, clipped = (ecg(50 + i).samples.copy() for i in range(3))
    lost[:, :1200] = np.nan
    flat[7] = 0.25
    np.clip(clipped, -0.3, 0.3, out=clipped)
    odd = [One(1, replace(ecg(0), samples=samples)) for samples in (lost, flat, clipped)]
    report = verify([made([*plain(), *odd])])
    assert not report.failures
    warning = messages(report, "warning")
    assert "1 records more than half missing (r010)" in warning
    assert "1 records with a channel that never moves (r011)" in warning
    assert "1 records more than 1 % clipped (r012)" in warning
    rows = {
        row["record"]: row
        for row in read_index(Path(next(iter(report.folders)))).iter_rows(named=True)
    }
    assert rows["r010"]["missing"] == pytest.approx(0.6, abs=0.01)
    assert rows["r011"]["flat"] == pytest.approx(1 / 12)
    assert rows["r012"]["clipped"] > 0.2
    assert rows["r000"]["clipped"] == 0


def test_source_quality_on_int16_and_by_time() -> None:
    samples = np.tile(np.arange(1000, dtype=np.int16) % 97, (2, 1))
    samples[0, 200:260] = 500
    samples[0, 600] = MISSING
    samples[1, 500:] = 7
    scale, offset = np.ones(2, np.float32), np.zeros(2, np.float32)
    found = source_quality(Signal("ecg", samples, 100.0, ("I", "II"), scale, offset))
    assert found.shares(0, 10) == pytest.approx((0.0, 60 / 2000))
    assert found.shares(0, 5) == pytest.approx((0.0, 60 / 1000))
    assert found.shares(5, 10) == (0.5, 0.0)


def test_physiology_of_what_has_no_twelve_leads_or_no_signal() -> None:
    signal = ecg(1)
    assert physiology(signal.physical()[:3], signal.channels[:3]) is None
    assert physiology(np.zeros((12, 100), np.float32), LEADS_12) is None
    assert physiology(np.full((12, 100), np.nan, np.float32), LEADS_12) is None
    facts = physiology(signal.physical(), signal.channels)
    assert facts is not None
    assert facts.einthoven < 1e-6
    assert facts.goldberger < 1e-6


def test_an_unfinished_folder_says_so(made: Build, capsys: pytest.CaptureFixture[str]) -> None:
    folder = made(plain())
    (folder / MANIFEST).unlink()
    assert main(["shards", "verify", str(folder)]) == 1
    assert "not a finished shard folder" in capsys.readouterr().err


def test_real_recordings_pass(tmp_path: Path) -> None:
    data = os.environ.get("BIOFM_DATA")
    if not data:
        pytest.skip("set BIOFM_DATA to the folder with real recordings to verify real shards")
    out = tmp_path / "out"
    build("ptbxl", [Path(data) / "ptb-xl"], out, workers=1, progress=False)
    report = verify([out])
    assert not report.failures
    # Two pairs of records in PTB-XL 1.0.3 are one signal.
    assert "00137 (train, ptbxl-8727), 00138 (train, ptbxl-8727)" in messages(report, "note")


def test_a_simulated_record_is_not_the_real_one_of_its_name(made: Build) -> None:
    real, simulated = made(plain(4), "real"), made(plain(4, first=50), "simulated")
    path = simulated / "shards.json"
    path.write_text(path.read_text().replace('"synthetic": false', '"synthetic": true'))
    assert "shared between folders" in verify([real, made(plain(4, first=90), "other")]).text()
    assert "shared between folders" not in verify([real, simulated]).text()
