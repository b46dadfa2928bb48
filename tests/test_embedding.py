"""From a record on disk to embeddings: any rate, any lead order, and files that cannot be used."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
import wfdb

from biofm import load_model, read_recording
from biofm.cli import main
from biofm.models.encoder import EncoderConfig
from biofm.models.pretrained import save_model
from biofm.models.tokenizer import PatchConfig
from biofm.models.vit import ViTEncoder
from biofm.signals import LEADS_12, Preprocessing, Recording, Signal


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that was never trained, with preprocessing."""
    torch.manual_seed(0)
    encoder = ViTEncoder(EncoderConfig(depth=1, patch=PatchConfig(samples=20)))
    path = tmp_path_factory.mktemp("model") / "model"
    save_model(
        path,
        encoder,
        {"ecg": Preprocessing(100.0, 0.5, 40.0)},
        10.0,
        {"synthetic": True},
        "# A card\n",
    )
    return path


def ecg(rate_hz: float, seconds: float = 25.0, leads: tuple[str, ...] = LEADS_12) -> Recording:
    """Slow waves, one frequency a lead, the same at any rate."""
    time = np.arange(round(seconds * rate_hz)) / rate_hz
    rows = [np.sin(2 * np.pi * (1 + LEADS_12.index(lead) / 5) * time) for lead in leads]
    return Recording(
        "test", "r", "s", (Signal("ecg", np.stack(rows).astype(np.float32), rate_hz, leads),)
    )


def test_embeddings_hardly_depend_on_the_rate_and_not_on_the_order_of_leads(folder: Path) -> None:
    model = load_model(folder)
    one = model.embed(ecg(500.0))
    assert one.shape == (2, 192)
    assert one.dtype == np.float32
    for other in (ecg(257.0), ecg(1000.0), ecg(500.0, leads=LEADS_12[::-1])):
        again = model.embed(other)
        assert np.abs(one - again).max() < 0.05 * np.abs(one).max()
    different = model.embed(ecg(500.0, leads=LEADS_12[:2]))
    assert np.abs(one - different).max() > 0.2 * np.abs(one).max()


def test_a_recording_shorter_than_a_window_gives_one_and_no_known_lead_is_an_error(
    folder: Path,
) -> None:
    model = load_model(folder)
    assert model.embed(ecg(500.0, seconds=6.0)).shape == (1, 192)
    with pytest.raises(KeyError, match="none of the model's channels"):
        model.embed(dataclasses.replace(ecg(500.0), signals=()))


def test_saved_and_loaded_it_is_the_same_model(folder: Path, tmp_path: Path) -> None:
    model = load_model(folder)
    save_model(
        tmp_path / "copy", model.encoder, model.preprocessing, model.window_s, model.facts, ""
    )
    assert np.array_equal(model.embed(ecg(500.0)), load_model(tmp_path / "copy").embed(ecg(500.0)))


def test_a_damaged_or_absent_folder_says_what_is_wrong(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no model folder.*config.json is missing"):
        load_model(tmp_path / "nothing")
    model = load_model(folder)
    wider = ViTEncoder(EncoderConfig(depth=2, patch=PatchConfig(samples=20)))
    save_model(tmp_path / "bad", wider, model.preprocessing, 10.0, {}, "")
    (tmp_path / "bad" / "config.json").write_text((folder / "config.json").read_text())
    with pytest.raises(ValueError, match=r"does not fit its config.json at \['blocks"):
        load_model(tmp_path / "bad")


def test_embed_verb_writes_a_table_and_skips_what_cannot_be_read(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    signal = ecg(500.0).signal("ecg").physical().T.astype(np.float64)
    names = [lead.upper() if lead.startswith("a") else lead for lead in LEADS_12]
    wfdb.wrsamp(
        "rec",
        fs=500,
        units=["mV"] * 12,
        sig_name=names,
        p_signal=signal,
        fmt=["16"] * 12,
        write_dir=str(tmp_path),
    )
    (tmp_path / "broken.hea").write_text("broken 12 500 5000\n")
    out = tmp_path / "embeddings.parquet"
    files = [str(tmp_path / "rec.hea"), str(tmp_path / "broken"), str(tmp_path / "absent")]
    assert main(["embed", str(folder), *files, "--out", str(out)]) == 0
    shown = capsys.readouterr().err
    assert "skipped" in shown
    assert "broken.hea" in shown
    assert "absent.hea" in shown
    table = pl.read_parquet(out)
    assert table.columns == ["record", "window", "start_s", "embedding"]
    assert table["start_s"].to_list() == [0.0, 10.0]
    expected = load_model(folder).embed(read_recording(tmp_path / "rec"))
    assert np.allclose(np.stack(table["embedding"].to_list()), expected)
    assert (
        main(
            ["embed", str(folder), str(tmp_path / "absent"), "--out", str(tmp_path / "no.parquet")]
        )
        == 1
    )
    assert not (tmp_path / "no.parquet").exists()
