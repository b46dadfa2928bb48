"""Grad-CAM finds a planted cause, and nothing without one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from biofm.evaluation.saliency.grad_cam import averaged_layer, class_importance, weighted
from biofm.models.encoder import EncoderConfig
from biofm.models.tokenizer import PatchConfig
from biofm.models.vit import ViTEncoder
from biofm.models.zoo.base import Classifier
from biofm.models.zoo.registry import MODELS, create_model
from biofm.signals import LEADS_12
from biofm.signals.windows import Windows

LEADS = ("I", "II", "V1", "V2")
LEAD, AT, WIDTH = 3, 120, 12
"""The cause: a bump in V2, 1.2 s into a window of 2.56 s at 100 Hz."""
SAMPLES = 256


def windows_of(x_mv: Tensor, channels: tuple[str, ...] = LEADS) -> Windows:
    shape = x_mv.shape[:2]
    digital = (x_mv * 1000).round().to(torch.int16)
    return Windows("ecg", 100.0, channels, digital, torch.full(shape, 1e-3), torch.zeros(shape))


def planted(count: int, seed: int) -> tuple[Windows, Tensor]:
    """Noise in all leads, with a bump in every second window: (windows, whether the bump is there)."""
    draw = torch.Generator().manual_seed(seed)
    x_mv = torch.randn(count, len(LEADS), SAMPLES, generator=draw) * 0.1
    there = torch.arange(count) % 2 == 1
    time = torch.arange(SAMPLES)
    x_mv[there, LEAD] += torch.exp(-(((time - AT) / (WIDTH / 2)) ** 2))
    return windows_of(x_mv), there


class Small(Classifier):
    """What the zoo is, in small: convolutions, a last map, its mean, a linear layer."""

    def __init__(self) -> None:
        super().__init__(len(LEADS), 2, width=16)
        self.body = nn.Sequential(
            nn.Conv1d(len(LEADS), 16, 9, 4, 4), nn.ReLU(), nn.Conv1d(16, 16, 5, 4, 2), nn.ReLU()
        )

    def embed(self, x_BCT: Tensor) -> Tensor:
        map_BKN: Tensor = self.last_map(self.body(x_BCT))
        return map_BKN.mean(dim=2)


class Probed(nn.Module):
    """An encoder and a linear layer for two outputs."""

    def __init__(self, **patch: Any) -> None:
        super().__init__()
        config = EncoderConfig(depth=2, patch=PatchConfig(samples=16, channels=LEADS, **patch))
        self.encoder = ViTEncoder(config)
        self.head = nn.Linear(self.encoder.dim, 2)

    def forward(self, windows: Windows) -> Tensor:
        outputs: Tensor = self.head(self.encoder(windows))
        return outputs


def made(kind: str, seed: int = 0) -> tuple[nn.Module, Callable[[Windows], Tensor], Any]:
    """(what learns, what maps windows to outputs, the backbone)."""
    torch.manual_seed(seed)
    if kind == "map":
        zoo = Small()
        return zoo, lambda windows: zoo(windows.physical()[0]), zoo
    model = Probed(**({} if kind == "all" else {"span": "lead", "separators": True}))
    return model, model, model.encoder


STEPS = {"map": 100, "all": 30, "lead": 50}


@pytest.fixture(scope="module", params=["map", "all", "lead"])
def trained(request: pytest.FixtureRequest) -> tuple[str, Callable[[Windows], Tensor], Any]:
    """A model that has learned to see the bump; output 1 is for it, output 0 against it."""
    learner, model, backbone = made(request.param)
    optimizer = torch.optim.AdamW(learner.parameters(), lr=1e-3)
    learner.train()
    for step in range(STEPS[request.param]):
        windows, there = planted(16, seed=step)
        optimizer.zero_grad()
        loss = F.cross_entropy(model(windows), there.long())
        torch.autograd.backward(loss)
        optimizer.step()
    learner.eval()
    windows, there = planted(32, seed=1000)
    with torch.no_grad():
        right = (model(windows).argmax(dim=1) == there).float().mean()
    assert float(right) > 0.95
    return request.param, model, backbone


def test_it_peaks_where_and_in_which_lead_the_cause_is(
    trained: tuple[str, Callable[[Windows], Tensor], Any],
) -> None:
    _, model, backbone = trained
    windows, there = planted(32, seed=2000)
    importance, outputs = class_importance(model, windows, 1, backbone)
    assert importance.shape == (32, len(LEADS), SAMPLES)
    assert (importance >= 0).all()
    with torch.no_grad():
        torch.testing.assert_close(outputs, model(windows), rtol=1e-4, atol=1e-5)
    with_it = importance[there]
    assert (with_it.mean(dim=(0, 2)).argmax() == LEAD).item()
    when = with_it[:, LEAD].argmax(dim=1) - AT
    # Within a patch (16 samples) or a step of the last map (32) of the bump.
    assert (when.abs() <= 32).float().mean() > 0.9
    near = with_it[:, LEAD, AT - 32 : AT + 32].sum()
    assert float(near / with_it.sum()) > 0.3  # of 6 % of the lead × time plane


def test_untrained_weights_give_another_map(
    trained: tuple[str, Callable[[Windows], Tensor], Any],
) -> None:
    kind, model, backbone = trained
    learner, other, untrained = made(kind, seed=5)
    learner.eval()
    windows, there = planted(32, seed=2000)
    one = class_importance(model, windows, 1, backbone)[0][there].mean(dim=0)
    two = class_importance(other, windows, 1, untrained)[0][there].mean(dim=0)
    near = (slice(LEAD, LEAD + 1), slice(AT - 32, AT + 32))
    assert float(two[near].sum() / two.sum().clamp_min(1e-12)) < 0.5 * float(
        one[near].sum() / one.sum()
    )


def test_no_gradient_of_a_weight_is_touched_and_nothing_is_left_hooked() -> None:
    learner, model, backbone = made("all")
    learner.eval()
    windows, _ = planted(2, seed=0)
    class_importance(model, windows, 0, backbone)
    assert all(p.grad is None for p in learner.parameters())
    assert not averaged_layer(backbone)._forward_hooks


def test_with_a_mean_and_a_linear_layer_it_is_each_steps_part_of_the_output() -> None:
    """Then Grad-CAM is CAM (Zhou et al., CVPR 2016): signed parts and the bias make the output."""
    learner, model, backbone = made("map")
    learner.eval()
    maps: list[Tensor] = []
    backbone.last_map.register_forward_hook(lambda _m, _a, out: maps.append(out))
    windows, _ = planted(4, seed=0)
    outputs = model(windows)
    parts = torch.einsum("bkn,k->bn", maps[0], backbone.head.weight[1]) / maps[0].shape[2]
    torch.testing.assert_close(parts.sum(dim=1) + backbone.head.bias[1], outputs[:, 1])
    towards = torch.autograd.grad(outputs[:, 1].sum(), maps[0])[0]
    torch.testing.assert_close(weighted(maps[0], towards), parts.relu())


@pytest.mark.parametrize("name", sorted(MODELS))
def test_every_model_of_the_zoo_can_be_explained(name: str) -> None:
    torch.manual_seed(0)
    zoo = create_model(name, channels=12, outputs=3, rate_hz=100.0).eval()
    assert isinstance(zoo, Classifier)
    x_mv = torch.randn(1, 12, 400) * 0.2
    importance, outputs = class_importance(
        lambda windows: zoo(windows.physical()[0]), windows_of(x_mv, LEADS_12), 1, zoo
    )
    assert importance.shape == (1, 12, 400)
    assert outputs.shape == (1, 3)
    assert importance.isfinite().all()


def test_wrong_targets_and_backbones_are_refused() -> None:
    learner, model, backbone = made("all")
    learner.eval()
    windows, _ = planted(2, seed=0)
    with pytest.raises(ValueError, match="target 2: the model has 2 outputs"):
        class_importance(model, windows, 2, backbone)
    with pytest.raises(ValueError, match="never ran the ViTEncoder"):
        class_importance(model, windows, 0, made("all")[2])
