"""Embeddings of whole splits: against recordings embedded one by one, and kept by what decides them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import polars as pl
import pytest
import torch
from numpy.typing import NDArray

from biofm.datasets.registry import source
from biofm.datasets.simulate import simulate
from biofm.evaluation import embeddings as module
from biofm.evaluation import kept
from biofm.evaluation.embeddings import Embeddings, embeddings, model_digest
from biofm.files import sha256, write_aside
from biofm.models.encoder import EncoderConfig
from biofm.models.fused import FusedConfig, FusedEncoder
from biofm.models.pretrained import PretrainedModel, load_model, save_model
from biofm.models.tokenizer import PatchConfig
from biofm.models.vit import ViTEncoder
from biofm.shards import writing
from biofm.shards.build import build
from biofm.shards.configuration import Folds, Fractions, shipped
from biofm.shards.reader import DataConfig, WindowReader
from biofm.signals import Preprocessing

PREPROCESSING = Preprocessing(100.0, 0.5, 40.0)


@pytest.fixture(scope="module")
def twin(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    root = tmp_path_factory.mktemp("ptbxl")
    tree = simulate("ptbxl", root / "twin", records=20, seed=2, progress=False)
    everything = Folds(tuple(range(1, 11)), (), ())
    config = replace(shipped("ptbxl"), folds=everything, records_per_shard=8)
    build("ptbxl", [tree], root / "shards", config, workers=1, progress=False)
    return tree, root / "shards"


def made(seed: int = 0, depth: int = 3, **patch: Any) -> PretrainedModel:
    torch.manual_seed(seed)
    config = EncoderConfig(size="mini", depth=depth, patch=PatchConfig(**{"samples": 50} | patch))
    return PretrainedModel(
        ViTEncoder(config), {config.patch.modality: PREPROCESSING}, 10.0, {}
    ).eval()


def reading(
    shards: Path, split: str = "train", rows: pl.Expr | None = None, **config: Any
) -> WindowReader:
    return WindowReader(DataConfig((str(shards),), **config), split, seed=0, rows=rows)


def embed(
    model: PretrainedModel, reader: WindowReader, cache: Path, layers: Sequence[int] = ()
) -> Embeddings:
    return embeddings(model, reader, cache, layers=layers, batch=7, progress=False)


def arrays(cache: Path) -> list[Path]:
    return sorted(cache.glob("*.npy"))


@pytest.mark.parametrize("patch", [{}, {"span": "lead", "separators": True, "scale": "window"}])
def test_they_equal_the_recordings_embedded_one_by_one(
    patch: dict[str, Any], twin: tuple[Path, Path], tmp_path: Path
) -> None:
    tree, shards = twin
    model, reader = made(**patch), reading(shards)
    found = embed(model, reader, tmp_path)
    ptbxl = source("ptbxl")
    of_record = {ref.record: model.embed(ptbxl.read(ref))[0] for ref in ptbxl.find([tree])}
    expected = np.stack([of_record[record] for record in reader.index["record"]])
    assert found.shape == (20, model.dim)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=2e-5)
    assert np.abs(np.diff(expected, axis=0)).max(axis=1).min() > 1e-3  # no two are alike


def test_the_second_time_they_are_read(
    twin: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = embed(made(), reading(twin[1]), tmp_path)
    monkeypatch.setattr(module, "computed", None)
    # From elsewhere, under another name, and the model through its folder.
    shutil.copytree(twin[1], tmp_path / "elsewhere")
    model = made()
    save_model(tmp_path / "model", model.encoder, {"ecg": PREPROCESSING}, 10.0, {}, "a card")
    again = embed(
        load_model(tmp_path / "model"),
        reading(tmp_path / "elsewhere", "all", rows=pl.col("split") == "train"),
        tmp_path,
    )
    np.testing.assert_array_equal(first, again)
    again[:] = 0  # what is handed out is one's own
    np.testing.assert_array_equal(first, embed(model, reading(twin[1]), tmp_path))
    (about,) = tmp_path.glob("*.json")
    told = json.loads(about.read_text())
    assert told["shape"] == [20, made().dim]
    assert told["terms"]["model"] == model_digest(model)
    assert told["terms"]["window_s"] == 10.0
    assert "SYNTHETIC" in told["title"][0]


def test_everything_that_decides_them_is_in_the_key(
    twin: tuple[Path, Path], tmp_path: Path
) -> None:
    tree, shards = twin
    embed(made(), reading(shards), tmp_path)
    other = made()
    with torch.no_grad():
        next(other.encoder.parameters()).view(-1)[0] += 1e-3
    others = [
        (other, reading(shards), ()),
        (made(scale="window"), reading(shards), ()),
        (made(), reading(shards), (0, 2)),
        (made(), reading(shards), (2, 0)),
        (made(), reading(shards, window_s=5.0), ()),
        (made(), reading(shards, window_s=5.0, hop_s=2.5), ()),
        (made(), reading(shards, channels={"ecg": ("I", "II")}), ()),
        (made(), reading(shards, channels={"ecg": ("II", "I")}), ()),
        (made(), reading(shards, rows=pl.col("fold") != 1), ()),
        (made(), reading(shards, rows=pl.col("record") != reading(shards).index["record"][3]), ()),
    ]
    config = replace(shipped("ptbxl"), folds=Folds(tuple(range(1, 11)), (), ()), seed=1)
    build("ptbxl", [tree], tmp_path / "other", config, workers=1, progress=False)
    others.append((made(), reading(tmp_path / "other"), ()))
    for number, (model, reader, layers) in enumerate(others, 2):
        embed(model, reader, tmp_path, layers)
        assert len(arrays(tmp_path)) == number
        embed(model, reader, tmp_path, layers)
        assert len(arrays(tmp_path)) == number


def test_other_bytes_of_shards_or_index_are_other_content(
    twin: tuple[Path, Path], tmp_path: Path
) -> None:
    reader = reading(twin[1])
    (manifest,) = reader.manifests
    shard, *others = manifest["shards"]
    embed(made(), reader, tmp_path)
    changes: list[dict[str, Any]] = [
        {"shards": [shard | {"sha256": "0" * 64}, *others]},
        {"index_sha256": "0" * 64},
    ]
    for number, changed in enumerate(changes, 2):
        reader.manifests = [manifest | changed]
        embed(made(), reader, tmp_path)
        assert len(arrays(tmp_path)) == number


def test_windows_at_annotations_are_told_apart(tmp_path: Path) -> None:
    tree = simulate("continuous_pressure", tmp_path / "twin", records=2, progress=False)
    config = replace(shipped("continuous_pressure"), fractions=Fractions(1.0, 0.0, 0.0))
    with mock.patch.object(writing, "PER_SHARD", 0):
        build("continuous_pressure", [tree], tmp_path / "shards", config, workers=1, progress=False)
    model = made(modality="ppg", channels=("ppg",), rate_hz=125.0)
    assert config.preprocessing.ppg is not None
    model.preprocessing = {"ppg": config.preprocessing.ppg}
    digests = set()
    for before_s in (0.5, 0.6):
        reader = WindowReader(
            DataConfig(
                (str(tmp_path / "shards"),),
                channels={"bp": ("abp",), "ppg": ("ppg",)},
                window_s=2.0,
                anchor="sbp",
                before_s=before_s,
            ),
            "train",
            seed=0,
        )
        found = embed(model, reader, tmp_path / "cache")
        assert len(found) == reader.windows > 50
        assert np.isfinite(found).all()
        digests.add(found.tobytes())
    assert len(digests) == len(arrays(tmp_path / "cache")) == 2
    # Annotations that moved by a sample are other windows, even where the shards are the same.
    assert reader.anchors is not None
    reader.anchors = reader.anchors.with_columns(pl.col("onset_s") + 0.01)
    embed(model, reader, tmp_path / "cache")
    assert len(arrays(tmp_path / "cache")) == 3


def spoil_bit(array: Path, about: Path) -> None:
    content = bytearray(array.read_bytes())
    content[-5] ^= 1
    array.write_bytes(content)


def cut_short(array: Path, about: Path) -> None:
    array.write_bytes(array.read_bytes()[:-100])


def lose_array(array: Path, about: Path) -> None:
    array.unlink()


def no_json(array: Path, about: Path) -> None:
    about.write_text('{"terms": ')


def a_list(array: Path, about: Path) -> None:
    about.write_text("[1]")


def another_ones(array: Path, about: Path) -> None:
    told = json.loads(about.read_text())
    told["terms"]["model"] = "0" * 64
    about.write_text(json.dumps(told))


def signed(array: Path, about: Path, content: np.ndarray[Any, Any]) -> None:
    """Somebody else's array with a JSON that vouches for it."""
    np.save(array, content, allow_pickle=True)
    told = json.loads(about.read_text()) | {"sha256": sha256(array)}
    about.write_text(json.dumps(told))


def other_shape(array: Path, about: Path) -> None:
    signed(array, about, np.zeros((3, 2), np.float32))


def other_type(array: Path, about: Path) -> None:
    signed(array, about, np.zeros((20, made().dim)))


def a_pickle(array: Path, about: Path) -> None:
    signed(array, about, np.array([[{}] * made().dim] * 20, object))


@pytest.mark.parametrize(
    "damage",
    [
        spoil_bit,
        cut_short,
        lose_array,
        no_json,
        a_list,
        another_ones,
        other_shape,
        other_type,
        a_pickle,
    ],
)
def test_what_is_damaged_or_foreign_is_computed_again_with_a_note(
    damage: Any, twin: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    reader = reading(twin[1])
    first = embed(made(), reader, tmp_path)
    (array,), (about,) = arrays(tmp_path), tuple(tmp_path.glob("*.json"))
    damage(array, about)
    assert capsys.readouterr().err == ""
    np.testing.assert_array_equal(embed(made(), reader, tmp_path), first)
    assert f"note: {array} is of no use" in capsys.readouterr().err
    # And it is mended.
    np.testing.assert_array_equal(embed(made(), reader, tmp_path), first)
    assert capsys.readouterr().err == ""


def test_an_interrupted_run_leaves_nothing_that_looks_whole(
    twin: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def arrays_alone(path: Path) -> AbstractContextManager[Path]:
        if path.suffix == ".json":
            raise KeyboardInterrupt
        return write_aside(path)

    reader = reading(twin[1])
    with monkeypatch.context() as patched:
        patched.setattr(kept, "write_aside", arrays_alone)
        with pytest.raises(KeyboardInterrupt):
            embed(made(), reader, tmp_path)
    (array,) = tmp_path.iterdir()
    array.write_bytes(b"half")
    assert np.isfinite(embed(made(), reader, tmp_path)).all()


def test_two_at_once_do_no_harm(
    twin: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader, others = reading(twin[1]), []
    computed = module.computed

    def while_another_runs(*given: Any, **options: Any) -> Iterator[NDArray[Any]]:
        monkeypatch.setattr(module, "computed", computed)
        with mock.patch("os.getpid", return_value=1):  # another process
            others.append(embed(made(), reader, tmp_path))
        return computed(*given, **options)

    monkeypatch.setattr(module, "computed", while_another_runs)
    first = embed(made(), reader, tmp_path)
    np.testing.assert_array_equal(first, others[0])
    monkeypatch.setattr(module, "computed", None)
    np.testing.assert_array_equal(first, embed(made(), reader, tmp_path))
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("patch", [{}, {"span": "lead", "separators": True}])
def test_layers_are_those_of_encoders_that_end_there(
    patch: dict[str, Any], twin: tuple[Path, Path], tmp_path: Path
) -> None:
    # Nine seconds and a window of eleven: every window has a missing part.
    reader = reading(twin[1], window_s=11.0)
    model = made(**patch)
    found = embed(model, reader, tmp_path, (0, -2, 2))
    width = model.dim
    for place, depth in enumerate((1, 2, 3)):
        shorter = made(**patch)
        shorter.encoder.load_state_dict(model.encoder.state_dict())
        assert isinstance(shorter.encoder, ViTEncoder)
        shorter.encoder.blocks.blocks = shorter.encoder.blocks.blocks[:depth]
        alone = embed(shorter, reader, tmp_path)
        part = found[:, place * width : (place + 1) * width]
        np.testing.assert_allclose(part, alone, atol=1e-5)
    count = len(arrays(tmp_path))
    np.testing.assert_array_equal(
        embed(model, reader, tmp_path, (-1,)), embed(model, reader, tmp_path)
    )
    assert len(arrays(tmp_path)) == count
    with pytest.raises(ValueError, match=r"layers \[3\]: the encoder has 3"):
        embed(model, reader, tmp_path, (3,))


def test_a_model_in_training_is_left_in_training(twin: tuple[Path, Path], tmp_path: Path) -> None:
    model = made().train()
    embed(model, reading(twin[1]), tmp_path)
    assert model.training


def test_windows_that_the_model_was_not_made_for_are_refused(
    twin: tuple[Path, Path], tmp_path: Path
) -> None:
    reader = reading(twin[1])
    model = made()
    model.preprocessing = {"ecg": replace(PREPROCESSING, lowpass_hz=35.0)}
    with pytest.raises(ValueError, match=r"shards: ecg was prepared as .*40\.0.* from .*35\.0"):
        embed(model, reader, tmp_path)
    with pytest.raises(ValueError, match="the model reads ppg, but these windows hold ecg"):
        embed(made(modality="ppg", channels=("ppg",)), reader, tmp_path)
    with pytest.raises(ValueError, match="no weights for the channels"):
        embed(made(channels=("I",)), reader, tmp_path)
    assert not list(tmp_path.iterdir())


def test_inner_layers_of_several_modalities_are_refused_before_any_work(
    twin: tuple[Path, Path], tmp_path: Path
) -> None:
    patches = {"ecg": PatchConfig(samples=100), "hr": PatchConfig("hr", ("hr",), 1.0, 2)}
    how = {"ecg": PREPROCESSING, "hr": Preprocessing(1.0)}
    model = PretrainedModel(FusedEncoder(FusedConfig(patches, depth=2)), how, 10.0, {}).eval()
    with pytest.raises(ValueError, match="there is the last one alone"):
        embed(model, reading(twin[1]), tmp_path, (0, 1))
