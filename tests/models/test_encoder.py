"""The encoder: sizes, subsets and orders of channels, window lengths, missing samples."""

from __future__ import annotations

import pytest
import torch

from biofm.models.encoder import EncoderConfig
from biofm.models.tokenizer import PatchConfig, moments
from biofm.models.vit import ViTEncoder
from biofm.signals import LEADS_12, MISSING
from biofm.signals.windows import Windows

# Parametrized values are plain strings, which mypy does not take for a config's Literal: hence the
# ignores below.
SPANS = ("lead", "all")


def make_windows(batch: int = 3, samples: int = 1000, rate_hz: float = 100.0) -> Windows:
    generator = torch.Generator().manual_seed(0)
    digital = torch.randint(
        -3000, 3000, (batch, 12, samples), dtype=torch.int16, generator=generator
    )
    return Windows(
        "ecg", rate_hz, LEADS_12, digital, torch.full((batch, 12), 1e-3), torch.zeros(batch, 12)
    )


def make_encoder(span: str, channels: tuple[str, ...] = LEADS_12) -> ViTEncoder:
    torch.manual_seed(0)
    patch = PatchConfig(channels=channels, samples=20, span=span, separators=span == "lead")  # type: ignore[arg-type]
    return ViTEncoder(EncoderConfig(size="tiny", depth=2, patch=patch)).eval()


def rows_of(windows: Windows, rows: list[int]) -> Windows:
    return Windows(
        windows.modality,
        windows.rate_hz,
        tuple(windows.channels[r] for r in rows),
        windows.samples[:, rows],
        windows.scale[:, rows],
        windows.offset[:, rows],
    )


@pytest.mark.parametrize("span", SPANS)
def test_order_of_channels_does_not_matter(span: str) -> None:
    encoder, windows = make_encoder(span), make_windows()
    shuffled = rows_of(windows, [11, 3, 0, 7, 5, 1, 2, 10, 9, 8, 6, 4])
    with torch.no_grad():
        torch.testing.assert_close(encoder(windows), encoder(shuffled), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("span", SPANS)
def test_any_subset_of_channels_and_any_length_gives_an_embedding(span: str) -> None:
    encoder = make_encoder(span)
    for rows, samples in (([1], 1000), ([0, 1, 6], 437), (list(range(12)), 2000)):
        with torch.no_grad():
            embedding = encoder(rows_of(make_windows(samples=samples), rows))
        assert embedding.shape == (3, 192)
        assert embedding.isfinite().all()


@pytest.mark.parametrize("span", SPANS)
def test_an_absent_channel_equals_a_wholly_missing_one(span: str) -> None:
    encoder, windows = make_encoder(span), make_windows()
    windows.samples[:, 5] = MISSING
    rows = [r for r in range(12) if r != 5]
    with torch.no_grad():
        absent = encoder(rows_of(windows, rows))
        torch.testing.assert_close(encoder(windows), absent, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("span", SPANS)
def test_a_row_with_gaps_does_not_change_its_neighbours(span: str) -> None:
    encoder, windows = make_encoder(span), make_windows()
    windows.samples[0, :, 400:600] = MISSING
    with torch.no_grad():
        one = encoder(windows)
        alone = encoder(
            Windows(
                "ecg", 100.0, LEADS_12, windows.samples[1:], windows.scale[1:], windows.offset[1:]
            )
        )
    # A row with gaps does not change its neighbours in the batch.
    torch.testing.assert_close(one[1:], alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("span", SPANS)
def test_a_window_without_any_sample_is_not_nan(span: str) -> None:
    windows = make_windows()
    windows.samples[1] = MISSING
    with torch.no_grad():
        assert make_encoder(span)(windows).isfinite().all()


def test_moments_keep_einthovens_law_and_ignore_missing_samples() -> None:
    x = torch.randn(2, 12, 500) * 3 + 1
    x[:, 1] = x[:, 0] + x[:, 2]
    valid = torch.ones_like(x, dtype=torch.bool)
    valid[:, :, 100:150] = False
    mean, deviation = moments(x.masked_fill(~valid, 1e3), valid, dims=(1, 2))
    seen = (x[0] - mean[0])[valid[0]]
    assert abs(float(seen.mean())) < 1e-3
    assert float(seen.std() / deviation[0]) == pytest.approx(1.0, abs=1e-3)
    mean, deviation = moments(x, None, dims=(1, 2))
    scaled = (x - mean) / deviation
    residual = scaled[:, 1] - scaled[:, [0, 2]].sum(dim=1)
    # The common mean leaves one constant: the law holds for everything that moves.
    torch.testing.assert_close(residual, residual[:, :1].expand_as(residual), atol=1e-4, rtol=0)


def test_scale_by_unit_remembers_how_large_the_signal_was_and_by_window_forgets() -> None:
    windows = make_windows()
    double = Windows("ecg", 100.0, LEADS_12, windows.samples, windows.scale * 2, windows.offset * 2)
    for scale, same in (("unit", False), ("window", True)):
        patch = PatchConfig(samples=20, scale=scale)  # type: ignore[arg-type]
        encoder = ViTEncoder(EncoderConfig(depth=1, patch=patch)).eval()
        with torch.no_grad():
            assert torch.allclose(encoder(windows), encoder(double), atol=1e-4) is same


def test_the_centre_is_what_becomes_0_and_what_is_missing_is_there_too() -> None:
    digital = torch.tensor([[[60, 75, MISSING, 45]]], dtype=torch.int16)
    heart = Windows("hr", 1.0, ("hr",), digital, torch.ones(1, 1), torch.zeros(1, 1))
    patch = PatchConfig("hr", ("hr",), 1.0, samples=4, unit=15.0, centre=60.0)
    patches = ViTEncoder(EncoderConfig(depth=1, patch=patch)).tokenizer.patches(heart)
    assert patches.values_BCNP.flatten().tolist() == [0, 1, 0, -1]


def test_wrong_rate_modality_and_channel_are_refused_with_the_remedy() -> None:
    encoder = make_encoder("all", channels=("I", "II"))
    with pytest.raises(ValueError, match=r"reads ecg at 100 Hz.*250 Hz"):
        encoder(rows_of(make_windows(rate_hz=250.0), [0, 1]))
    with pytest.raises(ValueError, match="no weights for the channels"):
        encoder(make_windows())


def test_a_branch_of_weight_zero_is_skipped_and_of_weight_one_is_not() -> None:
    encoder, windows = make_encoder("all"), make_windows()
    weight_BM2 = torch.ones(3, 2, 2)
    with torch.no_grad():
        whole = encoder(windows)
        torch.testing.assert_close(encoder(windows, weight_BM2), whole)
        weight_BM2[0] = 0  # both branches of both blocks, in the first row alone
        skipped = encoder(windows, weight_BM2)
        tokens = encoder.tokenizer(windows, encoder.tokenizer.patches(windows)).patches
        bare = encoder.blocks.norm(tokens[:, 0]).mean(dim=1)
    torch.testing.assert_close(skipped[0], bare[0])
    torch.testing.assert_close(skipped[1:], whole[1:])


@pytest.mark.parametrize(("size", "parameters"), [("base", 85_150_614 - 32 * 768), ("small", None)])
def test_encoder_has_st_mems_size(size: str, parameters: int | None) -> None:
    patch = PatchConfig(rate_hz=250.0, samples=75, span="lead", separators=True)
    with torch.device("meta"):
        encoder = ViTEncoder(EncoderConfig(size=size, patch=patch))  # type: ignore[arg-type]
    if parameters is not None:  # published with its fixed table of 32 positions
        assert sum(p.numel() for p in encoder.parameters()) == parameters
    assert len(encoder.blocks.blocks) == 12
