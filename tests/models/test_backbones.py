"""Backbones: features of the right shape, stochastic depth, and making them again from what they say."""

from __future__ import annotations

import json

import pytest
import torch
from torch import Tensor

from biofm.models.backbones import Backbone, EncoderBackbone, ZooBackbone, make_backbone
from biofm.models.encoder import EncoderConfig
from biofm.models.tokenizer import PatchConfig
from biofm.models.vit import ViTEncoder
from biofm.models.zoo.registry import MODELS
from biofm.signals import MISSING
from biofm.signals.windows import Windows

LEADS = ("I", "II", "V1")
CHANNELS = tuple(("ecg", lead, 100.0) for lead in LEADS)
DEPTH = 4


def ecg(batch: int = 3, samples: int = 300) -> dict[str, Windows]:
    generator = torch.Generator().manual_seed(1)
    digital = torch.randint(-900, 900, (batch, 3, samples), generator=generator).to(torch.int16)
    digital[:1, 0, :60] = MISSING
    scale = torch.full((batch, 3), 1e-3)
    return {"ecg-100hz": Windows("ecg", 100.0, LEADS, digital, scale, torch.zeros(batch, 3))}


def vit(drop_path: float = 0.0) -> EncoderBackbone:
    torch.manual_seed(0)
    patch = PatchConfig(channels=LEADS, samples=50)
    return EncoderBackbone(ViTEncoder(EncoderConfig(depth=DEPTH, patch=patch)), drop_path)


@pytest.mark.parametrize("name", MODELS)
def test_every_architecture_of_the_zoo_gives_features_and_is_made_again(name: str) -> None:
    torch.manual_seed(0)
    backbone = ZooBackbone(name, CHANNELS).eval()
    check(backbone)
    assert backbone.draws == 0


def test_an_encoder_gives_features_and_is_made_again() -> None:
    check(vit(0.2).eval())


def check(backbone: Backbone) -> None:
    """Features are finite and [B, dim]; a new one with the same weights gives the same."""
    with torch.no_grad():
        features_BD = backbone(ecg())
    assert features_BD.shape == (3, backbone.dim)
    assert features_BD.isfinite().all()
    again = make_backbone(json.loads(json.dumps(backbone.described()))).eval()
    again.load_state_dict(backbone.state_dict())
    with torch.no_grad():
        assert torch.equal(again(ecg()), features_BD)
    parts = [p for stage in backbone.stages() for p in stage.parameters()]
    assert len({id(p) for p in parts}) == len(parts)


def test_the_stages_of_an_encoder_are_its_tokenizer_and_its_blocks() -> None:
    backbone = vit()
    encoder = backbone.encoder
    assert list(backbone.stages()) == [encoder.tokenizer, *encoder.layers]


def weights_of(backbone: EncoderBackbone, draws_BM2: Tensor) -> Tensor | None:
    """What the encoder is given for these draws."""
    seen: list[Tensor | None] = []
    encoder = backbone.encoder
    hook = encoder.register_forward_pre_hook(lambda _, given: seen.append(given[1]))
    with torch.no_grad():
        backbone(ecg(len(draws_BM2)), draws_BM2)
    hook.remove()
    return seen[0]


def test_a_branch_is_skipped_as_often_as_it_should_and_its_expectation_stays() -> None:
    backbone = vit(0.6).train()
    assert backbone.draws == DEPTH
    rows = 100
    # Equally spaced draws: what is exact here is what random ones have on average.
    draws_BM2 = ((torch.arange(rows) + 0.5) / rows)[:, None, None].expand(rows, DEPTH, 2)
    weight_BM2 = weights_of(backbone, draws_BM2)
    assert weight_BM2 is not None
    skip_M = torch.tensor([0.0, 0.2, 0.4, 0.6])
    for k in range(2):
        torch.testing.assert_close((weight_BM2[..., k] == 0).float().mean(dim=0), skip_M)
        torch.testing.assert_close(weight_BM2[..., k].mean(dim=0), torch.ones(DEPTH))
    kept = weight_BM2.amax(dim=(0, 2))
    torch.testing.assert_close(kept, 1 / (1 - skip_M))


def test_skipped_branches_leave_a_row_as_it_was_and_others_alone() -> None:
    backbone = vit(0.9).train()
    with torch.no_grad():
        # The first is never skipped: it adds nothing.
        for name, weight in backbone.encoder.layers[0].named_parameters():
            if name.startswith(("attention.out", "mlp.2")):
                weight.zero_()
        draws_BM2 = torch.full((3, DEPTH, 2), 0.95)
        draws_BM2[1] = 0.0
        one, none = backbone(ecg(), draws_BM2), backbone(ecg(), torch.full((3, DEPTH, 2), 0.95))
        encoder = backbone.encoder
        assert isinstance(encoder, ViTEncoder)
        windows = ecg()["ecg-100hz"]
        patches = encoder.tokenizer.patches(windows)
        tokens_BND = encoder.tokenizer(windows, patches).patches[:, 0]
        there_BN = patches.present_BCN.any(dim=1)
    torch.testing.assert_close(one[[0, 2]], none[[0, 2]])
    assert not torch.allclose(one[1], none[1], atol=1e-2)
    mean_D = encoder.normed(tokens_BND[1])[there_BN[1]].mean(dim=0)
    torch.testing.assert_close(one[1], backbone.norm(mean_D), rtol=1e-4, atol=1e-5)


def test_without_training_nothing_is_skipped() -> None:
    backbone = vit(0.9).eval()
    with torch.no_grad():
        assert torch.equal(backbone(ecg(), torch.zeros(3, DEPTH, 2)), backbone(ecg()))
        assert torch.equal(backbone(ecg()), vit(0.0).eval()(ecg()))
    assert vit(0.0).draws == 0


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match=r"drop_path must lie in \[0, 1\), not 1.0"):
        vit(1.0)
    one = torch.zeros(1, 1)
    other = {"ppg": Windows("ppg", 64.0, ("ppg",), one[..., None], one, one)}
    with pytest.raises(ValueError, match="the encoder reads ecg, but the windows hold ppg"):
        vit()(other)
    with pytest.raises(ValueError, match=r"unknown model 'resnet81'.*did you mean 'resnet18'"):
        ZooBackbone("resnet81", CHANNELS)
