"""Every kind of encoder: the same windows in any order of leads, whole or in part, give what the interface says."""

from __future__ import annotations

import dataclasses
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from biofm.models.encoder import SIZES, Encoder, EncoderConfig, pooled
from biofm.models.make_embedder import stored_config
from biofm.models.make_encoder import ENCODERS, make_encoder
from biofm.models.masks import Mask
from biofm.models.pretrained import load_model, save_model
from biofm.models.sequence import SequenceEncoder
from biofm.models.tokenizer import PatchConfig
from biofm.signals import LEADS_12, Preprocessing
from biofm.signals.types import MISSING
from biofm.signals.windows import Windows

SAMPLES = {"vit": 20, "xresnet": 8, "lstm": 4, "s4": 4, "s4_causal": 4, "clocs": 400}
KINDS = list(SAMPLES)
T = 800


def made(backbone: str, **fields: Any) -> Encoder:
    span: Any = "lead" if backbone == "clocs" else "all"
    patch = PatchConfig(samples=SAMPLES[backbone], span=span)
    kind: Any = backbone
    torch.manual_seed(0)
    encoder = make_encoder(EncoderConfig(backbone=kind, patch=patch, **fields))
    if isinstance(encoder, SequenceEncoder):
        # New, it is 0: what is filled could not be told from rest.
        nn.init.normal_(encoder.missing_embedding)
    return encoder.eval()


def windows(rows: int = 3, channels: tuple[str, ...] = LEADS_12) -> Windows:
    generator = torch.Generator().manual_seed(0)
    C = len(channels)
    samples = torch.randint(-3000, 3000, (rows, C, T), dtype=torch.int16, generator=generator)
    scale, offset = torch.full((rows, C), 1e-3), torch.zeros(rows, C)
    return Windows("ecg", 100.0, channels, samples, scale, offset, complete=True)


def part(of: Windows, rows: list[int]) -> Windows:
    return replace(
        of,
        channels=tuple(of.channels[row] for row in rows),
        samples=of.samples[:, rows],
        scale=of.scale[:, rows],
        offset=of.offset[:, rows],
    )


def test_every_backbone_has_sizes_and_a_class() -> None:
    assert set(SIZES) == set(ENCODERS) == set(KINDS)


@pytest.mark.parametrize("backbone", KINDS)
@pytest.mark.parametrize("pool", ["mean", "concat"])
def test_tokens_and_embeddings_have_the_widths_they_say(backbone: str, pool: Any) -> None:
    encoder = made(backbone, pool=pool)
    z_BD, (tokens_BLW, there_BL) = encoder(windows()), encoder.tokens(windows())
    leads = 12 if backbone == "clocs" else 1
    assert z_BD.shape == (3, encoder.dim)
    assert tokens_BLW.shape == (3, leads * T // SAMPLES[backbone], encoder.width)
    assert bool(there_BL.all())
    if pool == "mean":
        torch.testing.assert_close(z_BD, tokens_BLW.mean(dim=1), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("backbone", KINDS)
def test_the_order_of_leads_changes_nothing(backbone: str) -> None:
    encoder, order = made(backbone), list(range(12))[::-1]
    torch.testing.assert_close(
        encoder(windows()), encoder(part(windows(), order)), rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("backbone", KINDS)
def test_a_lead_that_is_not_there_is_as_one_whose_samples_are_missing(backbone: str) -> None:
    encoder, few = made(backbone), [1, 6, 11]
    samples = windows().samples.clone()
    samples[:, [row for row in range(12) if row not in few]] = MISSING
    lacking = replace(windows(), samples=samples, complete=False)
    found = encoder(lacking)
    torch.testing.assert_close(found, encoder(part(windows(), few)), rtol=1e-4, atol=1e-5)
    assert not torch.allclose(found, encoder(windows()), atol=1e-3)


@pytest.mark.parametrize("backbone", KINDS)
def test_a_window_without_samples_is_finite_and_alone(backbone: str) -> None:
    encoder = made(backbone, pool="concat")
    samples = windows().samples.clone()
    samples[1] = MISSING
    found = encoder(replace(windows(), samples=samples, complete=False))
    assert bool(found.isfinite().all())
    torch.testing.assert_close(found[[0, 2]], encoder(windows())[[0, 2]], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("backbone", ["vit", "xresnet", "s4", "lstm", "s4_causal"])
def test_what_is_hidden_never_enters(backbone: str) -> None:
    encoder = made(backbone)
    patches = encoder.tokenizer.patches(windows())
    B, C, N = patches.present_BCN.shape
    visible_BCN = torch.rand(B, C, N, generator=torch.Generator().manual_seed(1)) < 0.5
    visible_BCN[:, :, 0] = True
    everything = torch.arange(N).expand(B, 1, N)
    mask = Mask(everything, None, visible_BCN, ~visible_BCN)
    before = encoder.hide(windows(), patches, mask)
    assert before.tokens.shape == (B, 1, N, encoder.width)
    whole = patches.values_BCNP.clone()
    patches.values_BCNP[~visible_BCN] = 1e3
    torch.testing.assert_close(before.tokens, encoder.hide(windows(), patches, mask).tokens)
    patches.values_BCNP.copy_(whole)
    patches.values_BCNP[visible_BCN] += 1.0
    assert not torch.allclose(before.tokens, encoder.hide(windows(), patches, mask).tokens)


@pytest.mark.parametrize("backbone", ["xresnet", "lstm", "s4", "s4_causal"])
def test_only_causal_encoders_know_nothing_of_what_comes(backbone: str) -> None:
    encoder, at = made(backbone), 400
    samples = windows().samples.clone()
    samples[:, :, at:] = samples[:, :, at:].flip(-1)
    later = replace(windows(), samples=samples)
    first = at // SAMPLES[backbone]
    one, other = encoder.tokens(windows())[0], encoder.tokens(later)[0]
    assert not torch.allclose(one[:, first:], other[:, first:], atol=1e-3)
    same = torch.allclose(one[:, :first], other[:, :first], rtol=1e-4, atol=1e-5)
    assert same is encoder.causal


def test_cpc_as_published_has_its_number_of_parameters() -> None:
    """5,261,312 with the projection of 512 × 512; the linear probe has 5,108,295 (counted in its released code)."""
    patch = PatchConfig(samples=1)
    encoder = make_encoder(EncoderConfig("lstm", "base", pool="concat", patch=patch))
    parameters = sum(p.numel() for n, p in encoder.named_parameters() if n != "missing_embedding")
    assert parameters + 512 * 512 == 5_261_312
    assert parameters + sum(p.numel() for p in nn.Linear(encoder.dim, 71).parameters()) == 5_108_295


@pytest.mark.parametrize("backbone", KINDS)
def test_it_comes_back_from_its_folder(backbone: str, tmp_path: Any) -> None:
    encoder = made(backbone)
    save_model(tmp_path / "m", encoder, {"ecg": Preprocessing(rate_hz=100.0)}, 8.0, {}, "card")
    again = load_model(tmp_path / "m")
    assert (
        again.encoder.config == encoder.config == stored_config(dataclasses.asdict(encoder.config))
    )
    torch.testing.assert_close(again({"ecg": windows()}), encoder(windows()))


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"backbone": "xresnet", "size": "tiny"}, r"xresnet comes in mini, small, base, large"),
        ({"backbone": "xresnet", "depth": 3}, r"depth: that of xresnet is its size's own"),
        ({"backbone": "clocs"}, r"patch.span must be lead for clocs"),
        ({"backbone": "s4", "norm": "mean"}, r"s4 has no final norm"),
        ({"backbone": "vit", "norm": "mean", "pool": "concat"}, r"norm: mean is for pool: mean"),
        ({"backbone": "lstm", "patch": PatchConfig(positions=9)}, r"positions are a vit's"),
    ],
)
def test_what_a_backbone_has_not_is_refused(fields: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        EncoderConfig(**fields)


def test_a_stride_that_an_xresnet_has_not_is_refused() -> None:
    with pytest.raises(ValueError, match=r"stride is 4, 8, 16 or 32, not 20"):
        make_encoder(EncoderConfig("xresnet", patch=PatchConfig(samples=20)))


def test_pooling_counts_only_what_is_there() -> None:
    tokens_BLW = torch.tensor([[[1.0], [5.0], [-2.0], [9.0]], [[3.0], [4.0], [5.0], [6.0]]])
    there_BL = torch.tensor([[True, True, True, False], [False] * 4])
    assert pooled(tokens_BLW, there_BL, "mean").flatten().tolist() == pytest.approx([4 / 3, 0.0])
    found: Tensor = pooled(tokens_BLW, there_BL, "concat")
    assert found[0].tolist() == pytest.approx([5.0, 4 / 3, -2.0])
    assert found[1].tolist() == [0.0, 0.0, 0.0]
