"""Several modalities in one encoder: any subset may be there, and what is not there changes nothing else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from biofm.models.encoder import EncoderConfig
from biofm.models.multimodal import MultimodalConfig, MultimodalEncoder
from biofm.models.pretrained import load_model, save_model
from biofm.models.tokenizer import PatchConfig
from biofm.signals import Preprocessing, Recording, Signal
from biofm.signals.types import MISSING
from biofm.signals.windows import Windows

ECG = EncoderConfig("xresnet", patch=PatchConfig("ecg", ("II",), 100.0, 8))
HR = EncoderConfig(depth=1, patch=PatchConfig("hr", ("hr",), 1.0, 2, unit=20.0, centre=70.0))


def made(**fields: Any) -> MultimodalEncoder:
    torch.manual_seed(0)
    return MultimodalEncoder(MultimodalConfig({"ecg": ECG, "hr": HR}, **fields)).eval()


def windows(modality: str, rows: int = 3, seconds: int = 10) -> Windows:
    rate = {"ecg": 100, "hr": 1}[modality]
    generator = torch.Generator().manual_seed(rate)
    samples = torch.randint(
        -3000, 3000, (rows, 1, rate * seconds), dtype=torch.int16, generator=generator
    )
    channels = {"ecg": ("II",), "hr": ("hr",)}[modality]
    scale, offset = torch.full((rows, 1), 1e-3), torch.zeros(rows, 1)
    return Windows(modality, float(rate), channels, samples, scale, offset, complete=True)


def both() -> dict[str, Windows]:
    return {"ecg-100hz": windows("ecg"), "hr-1hz": windows("hr")}


def test_embeddings_stand_side_by_side_and_zeros_where_a_modality_has_no_stream() -> None:
    encoder = made(dim=16)
    z_BD = encoder.embed(both())
    assert z_BD.shape == (3, encoder.dim) == (3, 32)
    alone = encoder.embed({"anything": windows("hr")})
    assert torch.equal(alone[:, :16], torch.zeros(3, 16))
    torch.testing.assert_close(alone[:, 16:], z_BD[:, 16:])


def test_a_row_without_samples_of_a_modality_is_as_one_without_the_modality() -> None:
    encoder, streams = made(), both()
    samples = streams["ecg-100hz"].samples.clone()
    samples[1] = MISSING
    streams["ecg-100hz"] = replace(streams["ecg-100hz"], samples=samples, complete=False)
    found, whole = encoder.embed(streams), encoder.embed(both())
    assert encoder.there(streams).tolist() == [[True, True], [False, True], [True, True]]
    half = encoder.dim // 2
    assert torch.equal(found[1, :half], torch.zeros(half))
    torch.testing.assert_close(found[1, half:], whole[1, half:])
    torch.testing.assert_close(found[[0, 2]], whole[[0, 2]], rtol=1e-4, atol=1e-5)


def test_tokens_of_all_modalities_are_counted_as_they_come() -> None:
    encoder = made()
    tokens_BLW, there_BL = encoder.embed_tokens(both())
    count = encoder.token_count({"ecg": ("II",), "hr": ("hr",)}, 10.0)
    assert tokens_BLW.shape == (3, count, encoder.width) == (3, 125 + 5, 256)
    assert there_BL.shape == (3, count)
    # The narrower ones, of 192, are filled up.
    assert not tokens_BLW[:, 125:, 192:].any()
    assert tokens_BLW[:, 125:, :192].any()


def test_tokens_of_a_modality_without_a_stream_are_not_there() -> None:
    encoder = made()
    tokens_BLW, there_BL = encoder.embed_tokens({"hr": windows("hr")})
    assert tokens_BLW.shape == (3, encoder.token_count({"hr": ("hr",)}, 10.0), 256)
    assert there_BL.sum(dim=1).tolist() == [5, 5, 5]
    assert not there_BL[:, :125].any()


def test_modalities_are_cut_at_the_same_times_whenever_they_begin(tmp_path: Path) -> None:
    how = {"ecg": Preprocessing(100.0), "hr": Preprocessing(1.0)}
    save_model(tmp_path / "m", made(), how, 10.0, {}, "card")
    model = load_model(tmp_path / "m")
    ecg = Signal("ecg", np.arange(0, 30, 0.01, dtype=np.float32)[None], 100.0, ("II",))
    # From 15 s to 42 s: nothing in the first window, half of the second, and on when the ECG is over.
    late = Signal("hr", np.arange(15, 42, dtype=np.float32)[None], 1.0, ("hr",), start_s=15.0)
    cut = model.windows(Recording("test", "r", "s", (ecg, late)))
    x_ecg, no_ecg = cut["ecg"].physical()
    x_hr, no_hr = cut["hr"].physical()
    assert len(x_ecg) == len(x_hr) == 4
    assert no_ecg.all(dim=2)[:, 0].tolist() == [False, False, False, True]
    assert no_hr.all(dim=2)[:, 0].tolist() == [True, False, False, False]
    assert no_hr[1, 0].tolist() == [True] * 5 + [False] * 5
    # What stands side by side is of one time.
    assert float(x_hr[2, 0, 0]) == pytest.approx(20.0, abs=0.01)
    assert float(x_ecg[2, 0, 0]) == pytest.approx(20.0, abs=0.3)


def test_streams_that_it_does_not_read_are_refused() -> None:
    with pytest.raises(ValueError, match="reads ecg, hr, but the windows hold ppg"):
        made().embed({"ppg": replace(windows("ecg"), modality="ppg")})


def test_from_its_folder_it_embeds_a_recording_with_any_subset(tmp_path: Path) -> None:
    encoder = made()
    how = {"ecg": Preprocessing(100.0, 0.5, 40.0), "hr": Preprocessing(1.0)}
    save_model(tmp_path / "m", encoder, how, 10.0, {}, "card")
    model = load_model(tmp_path / "m")
    assert model.encoder.config == encoder.config
    assert model.preprocessing == how
    noise = np.random.default_rng(0).normal(size=(1, 6000)).astype(np.float32)
    ecg = Signal("ecg", noise, 200.0, ("II",))
    hr = Signal("hr", np.full((1, 30), 60, np.float32), 1.0, ("hr",))
    whole = model.embed(Recording("test", "r", "s", (ecg, hr)))
    alone = model.embed(Recording("test", "r", "s", (hr,)))
    half = encoder.dim // 2
    assert whole.shape == alone.shape == (3, encoder.dim)
    np.testing.assert_allclose(alone[:, half:], whole[:, half:], rtol=1e-4, atol=1e-5)
    assert not alone[:, :half].any()
    with pytest.raises(KeyError, match=r"none of the model's channels \(ecg II; hr hr\)"):
        model.embed(Recording("test", "r", "s", ()))


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"encoders": {"ecg": ECG}}, "two modalities or more, not ecg"),
        ({"encoders": {"ecg": ECG, "ppg": HR}}, "encoders.ppg: its patch.modality must be ppg"),
        ({"encoders": {"ecg": ECG, "hr": HR}, "dim": 7}, "dim must be even"),
    ],
)
def test_what_makes_no_sense_is_refused(fields: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        MultimodalConfig(**fields)
