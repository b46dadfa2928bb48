"""What a model had seen of what it is judged on: every planted way, nothing else, and the mark it earns."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import polars as pl
import pytest

from biofm.datasets.ptbxl import PTBXL
from biofm.datasets.registry import About, RecordRef
from biofm.datasets.simulate import simulate
from biofm.evaluation.leakage import (
    NAMED,
    UNKNOWN,
    WAYS,
    Overlap,
    clean_for,
    leakage_section,
    overlap,
)
from biofm.evaluation.rounds import Round, rounds_of
from biofm.evaluation.tasks import Task, load_task
from biofm.shards import build as build_module
from biofm.shards import writing
from biofm.shards.build import build
from biofm.shards.configuration import BuildConfig, Folds, shipped
from biofm.shards.contents import contents
from biofm.shards.reader import DataConfig, WindowReader
from biofm.signals import Preprocessing, Recording, Signal, preprocess, quantize

TASK = Task(
    title="planted",
    datasets=("ptbxl",),
    label_set="rhythm",
    kind="multilabel",
    metrics=("auroc",),
    loss="bce",
)


@dataclass(frozen=True)
class One:
    """A recording: whose, by which name, in which fold (1 train, 2 validation, 3 test)."""

    fold: int
    signal: Signal
    record: str
    subject: str
    labelled: bool = True


class Made:
    """A source made in memory; its recordings come from a data set of the given name."""

    def __init__(self, ones: Sequence[One], dataset: str) -> None:
        self.name, self.ones = dataset, {one.record: one for one in ones}

    def about(self, roots: Sequence[Path] = ()) -> About:
        return About("Made", "CC0", "none", "ecg", "rhythm", "few", "none")

    def find(self, roots: Sequence[Path]) -> list[RecordRef]:
        return [RecordRef(o.record, o.subject, Path("r"), o.fold) for o in self.ones.values()]

    def read(self, ref: RecordRef) -> Recording:
        one = self.ones[ref.record]
        labels = {"AF": 100.0} if one.labelled else {}
        return Recording(self.name, ref.record, ref.subject, (one.signal,), labels, fold=one.fold)

    def label_sets(self, roots: Sequence[Path]) -> dict[str, dict[str, list[str]]]:
        return {"rhythm": {"AF": ["AF"]}}


Build = Callable[..., Path]


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Build:
    """Build recordings made in memory into a folder; a task takes them for PTB-XL's."""

    def build_ones(
        folder: str, ones: Sequence[One], dataset: str = "ptbxl", key: Path | None = None
    ) -> Path:
        source = Made(ones, dataset)
        for module in (build_module, writing):
            monkeypatch.setattr(module, "source", lambda _: source)
        config = BuildConfig(records_per_shard=9, folds=Folds((1,), (2,), (3,)), pseudonym_key=key)
        build("ptbxl", [Path("/none")], tmp_path / folder, config, workers=1, progress=False)
        return tmp_path / folder

    return build_ones


@pytest.fixture(scope="module")
def hearts(tmp_path_factory: pytest.TempPathFactory) -> list[Signal]:
    """Different ECGs."""
    tree = tmp_path_factory.mktemp("twin") / "tree"
    simulate("ptbxl", tree, records=26, seed=3, progress=False)
    source = PTBXL("records500")
    return [source.read(ref).signal("ecg") for ref in source.find([tree])]


def fresh(hearts: Sequence[Signal], name: str, folds: Sequence[int]) -> list[One]:
    """Different hearts of different people."""
    return [
        One(fold, heart, f"{name}{i}", f"ptbxl-{name}{i}")
        for i, (fold, heart) in enumerate(zip(folds, hearts, strict=True))
    ]


def learned_from(*folders: Path) -> pl.DataFrame:
    return contents(WindowReader(DataConfig(tuple(map(str, folders))), "train", seed=0))


def rounds(*folders: Path, task: Task = TASK) -> list[Round]:
    return rounds_of(task, [str(folder) for folder in folders])


def processed(signal: Signal) -> Signal:
    """As another collection might hold it: other rate, band, gain, and a little shorter."""
    theirs = quantize(preprocess(signal, Preprocessing(250, 0.67, 40)))
    cut = replace(theirs, samples=theirs.samples[:, 100:-60])
    return Signal("ecg", 1.7 * cut.physical(), 250.0, signal.channels)


def found(overlap: Overlap, split: str, way: str) -> list[str]:
    return overlap.rows.filter(pl.col("split") == split, pl.col(way))["record"].to_list()


def test_each_planted_way_is_found_and_nothing_else(hearts: list[Signal], made: Build) -> None:
    theirs = fresh(hearts[:8], "a", [1] * 6 + [2, 3])
    model = learned_from(made("theirs", theirs))
    assert model.height == 6  # What the model validated and tested on it did not learn from.
    mine = [
        *fresh(hearts[8:18], "b", [1, 1, 1, 2, 2, 3, 3, 3, 3, 3]),
        One(3, hearts[18], "another", theirs[0].subject),
        One(3, hearts[19], theirs[1].record, "ptbxl-b900"),
        One(3, hearts[2], "renamed", "ptbxl-b901"),
        One(2, processed(hearts[3]), "changed", "ptbxl-b902"),
        One(1, hearts[4], theirs[4].record, theirs[4].subject),
        One(3, hearts[6], "validated", theirs[6].subject),
        # Nobody is judged on what has no label.
        One(3, hearts[5], theirs[5].record, theirs[5].subject, labelled=False),
    ]
    it = overlap(model, rounds(made("mine", mine)))
    assert {split: [found(it, split, way) for way in WAYS] for split in ("test", "validation")} == {
        "test": [["another"], [theirs[1].record], ["renamed"], []],
        "validation": [[], [], [], ["changed"]],
    }
    assert [found(it, "train", way) for way in WAYS] == [[theirs[4].record]] * 3 + [[]]
    assert it.mark == "† 3 of 9 test subjects and 1 of 3 validation subjects were in pretraining"
    assert it.known
    assert not it.clean
    assert not it.notes


def test_an_overlap_in_train_alone_needs_no_mark_and_is_told(
    hearts: list[Signal], made: Build
) -> None:
    folder = made("out", fresh(hearts[:9], "a", [1] * 5 + [2, 2, 3, 3]))
    it = overlap(learned_from(folder), rounds(folder))
    assert it.clean
    assert it.mark == ""
    section = leakage_section({"ours": it})
    assert section.paragraphs == ["ours: saw nobody and nothing of test and validation."]
    (table,) = section.tables
    assert [row[1:] for row in table.rows] == [
        ["test", "2", "2", "0", "0", "0", "0", "0"],
        ["validation", "2", "2", "0", "0", "0", "0", "0"],
        ["train", "5", "5", "5", "5", "5", "0", "5"],
    ]


def test_a_copy_in_another_collection_is_found_by_its_names(
    hearts: list[Signal], made: Build
) -> None:
    """A recording keeps the name of where it first came from; another data set's equal names are others."""
    same = [One(3, processed(hearts[3]), "a0", "ptbxl-a0")]
    others = fresh(hearts[4:10], "b", [1, 1, 2, 2, 3, 3])
    mine = rounds(made("mine", [*others, *same]))
    model = learned_from(
        made("theirs", fresh(hearts[:2], "a", [1, 1]) + fresh(hearts[2:4], "v", [2, 3]))
    )
    it = overlap(model, mine)
    assert [found(it, "test", way) for way in WAYS] == [["a0"], ["a0"], [], []]
    renamed = [
        replace(one, subject=f"georgia-{one.record}")
        for one in fresh(hearts[:4], "a", [1, 1, 2, 3])
    ]
    assert overlap(learned_from(made("georgia", renamed, "georgia")), mine).clean


def test_a_model_that_does_not_say_is_marked(hearts: list[Signal], made: Build) -> None:
    it = overlap(None, rounds(made("out", fresh(hearts[:6], "a", [1, 1, 2, 2, 3, 3]))))
    assert it.mark == UNKNOWN
    assert not it.known
    assert not it.clean
    assert it.rows.select(WAYS).null_count().row(0) == (6,) * 4
    section = leakage_section({"theirs": it})
    assert section.paragraphs == [f"theirs: {UNKNOWN}."]
    assert not section.tables


def test_other_pseudonyms_are_said_and_the_signal_is_found_all_the_same(
    hearts: list[Signal], made: Build, tmp_path: Path
) -> None:
    (tmp_path / "key").write_bytes(b"0123456789abcdef")
    ones = fresh(hearts[:6], "a", [1, 1, 2, 2, 3, 3])
    hidden = [replace(one, fold=4 - one.fold) for one in ones]
    model = learned_from(made("hidden", hidden, key=tmp_path / "key"))
    it = overlap(model, rounds(made("plain", ones)))
    assert [len(found(it, "test", way)) for way in WAYS] == [0, 0, 2, 0]
    assert "The names of ptbxl were made with different pseudonym keys" in it.notes[0]
    assert it.notes[1].startswith("2 of 2 recordings it learned from carry no fingerprint")
    # With the same key names compare again.
    again = overlap(model, rounds(made("again", ones, key=tmp_path / "key")))
    assert [len(found(again, "test", way)) for way in WAYS] == [2, 2, 2, 0]
    assert len(again.notes) == 1


def test_models_are_chosen_that_saw_nobody_of_a_round(hearts: list[Signal], made: Build) -> None:
    folder = made("out", fresh(hearts[:12], "a", [1] * 10 + [2, 3]))
    task = replace(TASK, cross_validation=4)
    four = rounds(folder, task=task)
    models: dict[str, pl.DataFrame | None] = {
        f"without {number}": contents(one.readers["train"]) for number, one in enumerate(four)
    }
    models["all"], models["silent"] = learned_from(folder), None
    # Each round's validation is tested in the next one: only its own model saw neither.
    assert [clean_for(models, one) for one in four] == [(f"without {n}",) for n in range(4)]
    # All rounds together test everybody.
    assert overlap(models["without 0"], four).mark.startswith("† 6 of 12 test subjects")


def test_a_report_names_them_up_to_a_number(hearts: list[Signal], made: Build) -> None:
    mine = rounds(made("out", fresh(hearts[:6], "a", [1, 1, 2, 2, 3, 3])))
    rows = overlap(None, mine).rows.filter(split="test").head(1)
    many = pl.concat(
        rows.with_columns(
            pl.lit(f"r{i}").alias("record"),
            *(pl.lit(way == "same subject").alias(way) for way in WAYS),
        )
        for i in range(NAMED + 2)
    )
    section = leakage_section({"<b>": Overlap(many, known=True)})
    counts, names = section.tables
    assert counts.rows[0] == ["<b>", "test", "1", "42", "42", "0", "0", "0", "1"]
    ((model, split, way, named),) = names.rows
    assert (model, split, way) == ("<b>", "test", "same subject")
    assert named.startswith("ptbxl r0 (ptbxl-a4), ptbxl r1 (ptbxl-a4), ")
    assert named.endswith("ptbxl r39 (ptbxl-a4), and 2 more")


def test_the_challenges_copies_of_real_ptbxl_records_are_found(tmp_path: Path) -> None:
    data = os.environ.get("BIOFM_DATA")
    root = Path(data) if data else Path("/none")
    if not (root / "ptb-xl").is_dir() or not (root / "challenge-2021" / "WFDB_PTBXL").is_dir():
        pytest.skip("needs ptb-xl and challenge-2021: set BIOFM_DATA to the folder that holds them")
    build(
        "challenge",
        [root / "challenge-2021" / "WFDB_PTBXL", root / "challenge-2021" / "WFDB_Ga"],
        tmp_path / "challenge",
        shipped("challenge"),
        workers=1,
        progress=False,
    )
    build(
        "ptbxl", [root / "ptb-xl"], tmp_path / "ptbxl", shipped("ptbxl"), workers=1, progress=False
    )
    challenge = WindowReader(
        DataConfig((str(tmp_path / "challenge"),)), "all", seed=0, rows=pl.lit(True)
    )
    copies = sorted(
        set(challenge.index.filter(dataset="ptbxl")["record"])
        & {ref.record for ref in PTBXL().find([root / "ptb-xl"])}
    )
    assert copies
    it = overlap(contents(challenge), rounds_of(load_task("ptbxl_all"), [str(tmp_path / "ptbxl")]))
    seen = it.rows.filter(pl.any_horizontal(*WAYS))
    assert sorted(seen["record"]) == copies
    assert seen["same signal"].all()
    assert seen["same recording"].all()
    # The Challenge ships no patients of PTB-XL.
    assert not seen["same subject"].any()
    assert not it.clean
