"""An encoder of other channels is refused, and told is what fits."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from biofm.federated.cohort import cohort_of
from biofm.federated.configuration import FederatedConfig
from biofm.models.encoder import EncoderConfig
from biofm.models.pretrained import load_model, save_model
from biofm.models.tokenizer import PatchConfig
from biofm.models.vit import ViTEncoder
from biofm.signals import Preprocessing


def save(folder: Path, modality: str, channel: str, window_s: float = 600.0) -> str:
    rate_hz = 1.0 if modality == "hr" else 100.0
    patch = PatchConfig(modality=modality, channels=(channel,), rate_hz=rate_hz, samples=30)
    encoder = ViTEncoder(EncoderConfig(depth=1, patch=patch))
    prepared = {modality: Preprocessing(rate_hz, longest_gap_s=60.0 if modality == "hr" else None)}
    save_model(folder, encoder, prepared, window_s, {}, "")
    return str(folder)


def refusal(config: FederatedConfig, model: str) -> str:
    with pytest.raises(ValueError, match="the encoder does not fit the clients' data") as caught:
        cohort_of(replace(config, models=(model,)), load_model(model))
    return str(caught.value)


def test_an_encoder_of_other_channels_is_refused_and_what_fits_is_told(
    small_config: FederatedConfig, tmp_path: Path
) -> None:
    heart = save(tmp_path / "runs" / "ecg" / "best", "ecg", "II")
    told = refusal(small_config, heart)
    assert "The encoder reads ecg II; the clients' windows hold hr hr" in told
    assert told.endswith("none of the encoders beside it fits")
    fits = save(tmp_path / "runs" / "pulse" / "best", "hr", "hr")
    save(tmp_path / "runs" / "other" / "best", "ecg", "I")
    (tmp_path / "runs" / "broken").mkdir()
    (tmp_path / "runs" / "broken" / "config.json").write_text('{"encoder": {}}')
    (tmp_path / "runs" / "else").mkdir()
    (tmp_path / "runs" / "else" / "config.json").write_text("no JSON at all")
    assert refusal(small_config, heart).endswith(f"these fit: {fits}")


def test_another_channel_of_the_same_modality_does_not_fit(
    small_config: FederatedConfig, tmp_path: Path
) -> None:
    other = save(tmp_path / "runs" / "other" / "best", "hr", "dhr")
    told = refusal(small_config, other)
    assert "no channel in common" in told
    assert told.endswith("none of the encoders beside it fits")


def test_an_encoder_that_fits_is_taken(small_config: FederatedConfig) -> None:
    assert cohort_of(small_config, load_model(small_config.models[0])).clients
