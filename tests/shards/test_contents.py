"""What a model learned from: exactly what was read, without a name, small, and found again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from biofm.datasets.simulate import simulate
from biofm.models.encoder import EncoderConfig
from biofm.models.pretrained import TRAINING, save_model, training_contents
from biofm.models.tokenizer import PatchConfig
from biofm.models.vit import ViTEncoder
from biofm.shards import contents as module
from biofm.shards.build import build
from biofm.shards.configuration import shipped
from biofm.shards.contents import SCHEMA, contents, recordings_read
from biofm.shards.index import INDEX, MANIFEST, read_index
from biofm.shards.reader import DataConfig, WindowReader
from biofm.shards.signature import compact
from biofm.signals import Preprocessing

KEY = b"0123456789abcdef"


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("tree") / "twin"
    return simulate("ptbxl", root, records=30, seed=1, progress=False)


@pytest.fixture(scope="module")
def shards(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made(tree, tmp_path_factory.mktemp("shards") / "out")


@pytest.fixture(scope="module")
def keyed(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same under pseudonyms."""
    folder = tmp_path_factory.mktemp("keyed")
    (folder / "key").write_bytes(KEY)
    return made(tree, folder / "out", folder / "key")


def made(tree: Path, out: Path, key: Path | None = None) -> Path:
    config = replace(shipped("ptbxl"), records_per_shard=8, pseudonym_key=key)
    build("ptbxl", [tree], out, config, workers=1, progress=False)
    return out


def reader(*folders: Path, split: str = "train", gone: Sequence[str] = ()) -> WindowReader:
    config = DataConfig(tuple(map(str, folders)), exclude_subjects=tuple(gone))
    return WindowReader(config, split, seed=0)


def short(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()[:16]


def test_one_row_for_each_recording_that_is_read(shards: Path) -> None:
    index = read_index(shards)
    gone = index.filter(split="train")["subject"][0]
    read = index.filter(pl.col("split") == "train", pl.col("subject") != gone)
    found = contents(reader(shards, gone=[gone]))
    assert found.schema == pl.Schema(SCHEMA)
    assert found["record"].to_list() == [
        short(f"record synthetic ptbxl {record}") for record in read["record"]
    ]
    assert found["subject"].to_list() == [
        short(f"subject synthetic {subject}") for subject in read["subject"]
    ]
    assert found["signature"].to_list() == [bytes.fromhex(s)[:16] for s in read["signature"]]
    assert found["fingerprint"].to_list() == [
        None if f is None else compact(f) for f in read["fingerprint"]
    ]
    assert found["fingerprint"].null_count() == 0
    assert found["key"].null_count() == found.height


def test_real_names_are_not_those_that_a_twin_borrows(shards: Path, tmp_path: Path) -> None:
    """A folder that is not synthetic, with the same names."""
    for file in shards.iterdir():
        (tmp_path / file.name).symlink_to(file)
    manifest = json.loads((shards / MANIFEST).read_text()) | {"synthetic": False}
    (tmp_path / MANIFEST).unlink()
    (tmp_path / MANIFEST).write_text(json.dumps(manifest))
    both = contents(reader(shards, tmp_path))
    one, other = both.partition_by("dataset", maintain_order=True)
    assert (one["dataset"][0], other["dataset"][0]) == ("synthetic ptbxl", "ptbxl")
    assert other["record"].to_list() == [
        short(f"record ptbxl {record}")
        for record in read_index(shards).filter(split="train")["record"]
    ]
    assert one["signature"].equals(other["signature"])
    assert set(one["subject"]).isdisjoint(other["subject"])


def test_a_recording_of_two_folders_is_there_once(shards: Path, tmp_path: Path) -> None:
    for file in shards.iterdir():
        (tmp_path / file.name).symlink_to(file)
    assert contents(reader(shards, tmp_path)).equals(contents(reader(shards)))


def test_rows_can_be_chosen(shards: Path) -> None:
    some = reader(shards)
    found = recordings_read(some, rows=some.rows_in_order()[[2, 0, 2]])
    assert found["record"].to_list() == some.index["record"][[0, 2]].to_list()
    assert found["signature"].to_list() == some.index["signature"][[0, 2]].to_list()


def test_under_pseudonyms_no_name_and_no_picture_is_kept(shards: Path, keyed: Path) -> None:
    plain, hidden = contents(reader(shards)), contents(reader(keyed))
    assert hidden["fingerprint"].null_count() == hidden.height
    assert hidden["key"].n_unique() == 1
    assert hidden["key"].null_count() == 0
    assert set(plain["subject"]).isdisjoint(hidden["subject"])
    assert set(plain["record"]).isdisjoint(hidden["record"])
    # A guessed name does not find its digest; the signal is still found.
    for name in read_index(shards)["record"]:
        assert short(f"record synthetic ptbxl {name}") not in set(hidden["record"])
    known = pl.concat([contents(reader(shards, split=s)) for s in ("train", "validation", "test")])
    assert set(hidden["signature"]) <= set(known["signature"])


def test_a_model_folder_carries_it_and_stays_small(shards: Path, tmp_path: Path) -> None:
    patch = PatchConfig()
    encoder = ViTEncoder(EncoderConfig(size="tiny", depth=1, patch=patch))
    what = contents(reader(shards))
    for name, training in (("with", what), ("without", None)):
        way = Preprocessing(patch.rate_hz)
        save_model(tmp_path / name, encoder, {"ecg": way}, 10.0, {}, "card", training)
    kept = training_contents(tmp_path / "with")
    assert kept is not None
    assert kept.equals(what)
    assert training_contents(tmp_path / "without") is None
    assert not (tmp_path / "without" / TRAINING).exists()
    raw = sum(len(f) for f in pl.read_parquet(shards / INDEX)["fingerprint"])
    assert (
        what["fingerprint"].bin.size().sum() < raw * what.height / read_index(shards).height / 1.9
    )
    with pytest.raises(FileNotFoundError):
        training_contents(tmp_path / "nothing")


def test_digests_are_of_the_stated_size(shards: Path) -> None:
    found = contents(reader(shards))
    for name in ("subject", "record", "signature"):
        assert set(found[name].bin.size()) == {module.DIGEST_BYTES}
