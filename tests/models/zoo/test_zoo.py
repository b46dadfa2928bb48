"""What every model of the zoo promises: shapes, gradients, independence of rows, learning, size."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from biofm.models.zoo import Classifier, create_model, list_models
from biofm.models.zoo.registry import MODELS

RATE_HZ = 100.0
NAMES = list(MODELS)
SMALL = [
    "resnet18",
    "mobilenet_v2",
    "inception_time",
    "s4",
    "inception_former",
    "mina",
    "se_ecgnet",
]
OPTIONS: dict[str, dict[str, Any]] = {
    "s4": {"width": 32, "depth": 2},
    "inception_former": {"widths": (16, 24, 32, 40), "depths": (1, 1, 2, 1)},
}


def make(name: str, channels: int, outputs: int = 2, seed: int = 0) -> Classifier:
    """The model, narrow where it can be."""
    torch.manual_seed(seed)
    options = OPTIONS.get(name, {})
    return create_model(name, channels=channels, outputs=outputs, rate_hz=RATE_HZ, **options)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("channels", "samples"), [(1, 250), (2, 300), (3, 1001)])
def test_shapes(name: str, channels: int, samples: int) -> None:
    model = make(name, channels, outputs=5).eval()
    maps: list[Tensor] = []
    model.last_map.register_forward_hook(lambda _m, _i, out: maps.append(out))
    x = torch.randn(2, channels, samples)
    with torch.no_grad():
        logits, features = model(x), model.features(x)
    assert logits.shape == (2, 5)
    assert features.shape == (2, model.head.in_features)
    torch.testing.assert_close(model.head(features), logits)
    assert maps[0].ndim == 3
    assert 1 <= maps[0].shape[2] <= samples


@pytest.mark.parametrize("name", NAMES)
def test_gradient_reaches_every_parameter_and_the_last_map(name: str) -> None:
    model = make(name, channels=2)
    for module in model.modules():
        if isinstance(module, nn.Linear) and module.bias is not None:
            # So that no narrow layer is dead by chance: SE-ECGNet's gates have two units.
            nn.init.ones_(module.bias)
    maps: list[Tensor] = []
    model.last_map.register_forward_hook(lambda _m, _i, out: maps.append(out))
    loss = model(torch.randn(8, 2, 500)).square().sum()
    dead = [
        n
        for n, g in zip(
            dict(model.named_parameters()),
            torch.autograd.grad(loss, list(model.parameters()), retain_graph=True),
            strict=True,
        )
        if not g.abs().sum() > 0
    ]
    assert not dead
    assert torch.autograd.grad(loss, maps[0])[0].abs().sum() > 0


@pytest.mark.parametrize("name", NAMES)
def test_a_row_does_not_depend_on_its_companions(name: str) -> None:
    model = make(name, channels=2)
    # Statistics of the norms that are not those of this batch.
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            assert module.running_mean is not None
            module.running_mean.normal_(std=0.1)
    model.eval()
    x = torch.randn(3, 2, 300)
    with torch.no_grad():
        together, again, alone = model(x), model(x), model(x[1:2])
    assert torch.equal(together, again)
    torch.testing.assert_close(together[1:2], alone, rtol=1e-4, atol=1e-5)
    assert (together[0] - together[1]).abs().max() > 1e-4


@pytest.mark.parametrize("name", NAMES)
def test_state_dict_restores_the_model(name: str, tmp_path: Path) -> None:
    model = make(name, channels=1)
    torch.save(model.state_dict(), tmp_path / "model.pt")
    other = make(name, channels=1, seed=1)
    x = torch.randn(1, 1, 260)
    model.eval()
    other.eval()
    with torch.no_grad():
        assert not torch.equal(model(x), other(x))
        other.load_state_dict(torch.load(tmp_path / "model.pt", weights_only=True))
        assert torch.equal(model(x), other(x))


@pytest.mark.parametrize("name", SMALL)
def test_learns_sixteen_windows(name: str) -> None:
    model = make(name, channels=1)
    time_s = torch.arange(256) / RATE_HZ
    labels = torch.arange(16) % 2
    phase = torch.rand(16, 1) * 2 * torch.pi
    x = torch.sin(2 * torch.pi * torch.where(labels == 0, 2.0, 5.0)[:, None] * time_s + phase)
    x = x[:, None] + 0.1 * torch.randn(16, 1, 256)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2 if name == "mina" else 2e-3)
    for module in model.modules():
        if isinstance(module, nn.Dropout | nn.Dropout1d):
            module.p = 0.0
    for _ in range(60):
        logits = model(x)
        loss = nn.functional.cross_entropy(logits, labels)
        if loss < 0.2 and bool((logits.argmax(dim=1) == labels).all()):
            return
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call] # torch leaves it untyped
        optimizer.step()
    pytest.fail(f"after 60 steps the loss is {loss.item():.3f}")


def test_sizes() -> None:
    """FACTS: 3.85 M, 7.23 M, 2.19 M, 12.45 M for 12 channels and 9 outputs; about 2.2 M for S4."""
    assert list_models(channels=12, outputs=9) == {
        "resnet18": 3_853_449,
        "resnet34": 7_227_785,
        "xresnet1d101": 1_872_777,
        "mobilenet_v2": 2_192_873,
        "inception_time": 492_937,
        "inception_former": 12_451_321,
        "s4": 2_169_865,
        "se_ecgnet": 37_912_487,
        "mina": 206_857,
    }
    assert list_models(channels=1, outputs=2)["mina"] == 115_274
    assert list_models(channels=12, outputs=71)["s4"] == 2_201_671


@pytest.mark.parametrize("name", NAMES)
def test_refuses_what_it_cannot_read(name: str) -> None:
    model = make(name, channels=2)
    with pytest.raises(ValueError, match="made for 2 channels, not 3: create it with channels=3"):
        model(torch.randn(1, 3, 300))
    shortest = type(model).shortest
    with pytest.raises(ValueError, match=rf"at least {shortest} samples, not {shortest - 1}"):
        model(torch.randn(1, 2, shortest - 1))
    with pytest.raises(ValueError, match=r"float \[batch, channels, time\], not torch.int16"):
        model.features(torch.zeros(1, 2, 300, dtype=torch.int16))
    with pytest.raises(ValueError, match=r"not torch.float32 \[2, 300\]"):
        model.features(torch.zeros(2, 300))
    with torch.no_grad():
        assert model.eval()(torch.randn(1, 2, shortest)).isfinite().all()
    with pytest.raises(ValueError, match="outputs=0"):
        make(name, channels=1, outputs=0)


def test_unknown_names_are_told_the_nearest() -> None:
    with pytest.raises(
        ValueError, match=r"unknown model 'resnet_18': .*'mina'.* did you mean 'resnet18'\?"
    ):
        create_model("resnet_18", channels=1, outputs=1)
    with pytest.raises(ValueError, match=r"unknown option of s4 'dept': .* did you mean 'depth'\?"):
        create_model("s4", channels=1, outputs=1, dept=3)
    with pytest.raises(
        ValueError, match=r"unknown option of inception_time 'width': there are \[\]$"
    ):
        create_model("inception_time", channels=1, outputs=1, width=3)
    with pytest.raises(ValueError, match="mina filters its windows: say their rate_hz"):
        create_model("mina", channels=1, outputs=1)
