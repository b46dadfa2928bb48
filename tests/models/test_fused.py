"""Several modalities in one transformer: who attends to whom, and what is kept."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from biofm.models.fused import FusedConfig, FusedEncoder
from biofm.models.pretrained import load_model, save_model
from biofm.models.tokenizer import PatchConfig
from biofm.signals import Preprocessing
from biofm.signals.types import MISSING
from biofm.signals.windows import Windows

PATCHES = {
    "ecg": PatchConfig("ecg", ("I", "II"), 100.0, 50),
    "hr": PatchConfig("hr", ("hr",), 1.0, 2, unit=20.0),
}


def made() -> FusedEncoder:
    torch.manual_seed(0)
    return FusedEncoder(FusedConfig(PATCHES, depth=2)).eval()


def streams(rows: int = 3) -> dict[str, Windows]:
    found = {}
    for m, patch in PATCHES.items():
        generator = torch.Generator().manual_seed(patch.samples)
        shape = (rows, len(patch.channels), round(10 * patch.rate_hz))
        samples = torch.randint(-3000, 3000, shape, dtype=torch.int16, generator=generator)
        scale, offset = torch.full(shape[:2], 1e-3), torch.zeros(shape[:2])
        found[m] = Windows(m, patch.rate_hz, patch.channels, samples, scale, offset, complete=True)
    return found


def lacking(modality: str, row: int | slice) -> dict[str, Windows]:
    found = streams()
    samples = found[modality].samples.clone()
    samples[row] = MISSING
    return {**found, modality: replace(found[modality], samples=samples, complete=False)}


def test_a_modality_without_samples_is_as_one_without_a_stream() -> None:
    encoder = made()
    alone = encoder.embed({"ecg": streams()["ecg"]})
    missing = encoder.embed(lacking("hr", slice(None)))
    torch.testing.assert_close(alone, missing, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(alone, encoder.embed(streams()), atol=1e-3)


def test_modalities_attend_to_one_another() -> None:
    """What the heart rate says changes the ECG's tokens."""
    encoder = made()
    tokens_BLW, there_BL = encoder.embed_tokens(streams())
    other = encoder.embed_tokens(lacking("hr", 1))[0]
    assert tokens_BLW.shape == (3, encoder.token_count(dict.fromkeys(PATCHES, ()), 10.0), 192)
    assert tokens_BLW.shape[1] == 20 + 5
    assert bool(there_BL.all())
    assert not torch.allclose(tokens_BLW[1, :20], other[1, :20], atol=1e-3)
    torch.testing.assert_close(tokens_BLW[0], other[0], rtol=1e-4, atol=1e-5)


def test_a_window_without_any_sample_is_finite() -> None:
    given = {m: lacking(m, 1)[m] for m in PATCHES}
    assert bool(made().embed(given).isfinite().all())


def test_streams_that_it_does_not_read_are_refused() -> None:
    with pytest.raises(ValueError, match="reads ecg, hr, but the windows hold ppg"):
        made().embed({"ppg": replace(streams()["hr"], modality="ppg")})


def test_it_comes_back_from_its_folder(tmp_path: Path) -> None:
    encoder = made()
    how = {"ecg": Preprocessing(100.0), "hr": Preprocessing(1.0)}
    save_model(tmp_path / "m", encoder, how, 10.0, {}, "card")
    again = load_model(tmp_path / "m")
    assert again.encoder.config == encoder.config
    assert torch.equal(again(streams()), encoder.embed(streams()))


@pytest.mark.parametrize(
    ("patches", "says"),
    [
        ({"ecg": PATCHES["ecg"]}, "two modalities or more, not ecg"),
        ({**PATCHES, "ppg": PATCHES["hr"]}, "patches.ppg: its modality must be ppg, not hr"),
        (
            {**PATCHES, "ecg": replace(PATCHES["ecg"], span="lead")},
            "patches.ecg: its span must be all",
        ),
    ],
)
def test_what_makes_no_sense_is_refused(patches: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        FusedConfig(patches)
