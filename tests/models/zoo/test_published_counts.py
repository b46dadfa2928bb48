"""Parameters and multiply-adds against the published tables, for 12 channels, 1,000 samples and 9 outputs."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from biofm.models.zoo import Classifier, create_model


def multiply_adds(model: Classifier, pooling: bool = False) -> float:
    """As the tables count: convolutions and linear layers without biases, 4 for each value of a norm, without the
    products of attention; and 1 for each value of the last map, where its `pooling` was a module of its own."""
    norms = 0

    def add(module: nn.Module, _inputs: Any, out: Tensor) -> None:
        nonlocal norms
        norms += out.numel() * (1 if isinstance(module, nn.Identity) else 4)

    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d | nn.LayerNorm) or (
            pooling and module is model.last_map
        ):
            module.register_forward_hook(add)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model.eval()(torch.randn(1, 12, 1000))
    found = counter.get_flop_counts()["Global"]
    flops: int = sum(found[op] for op in found if "scaled_dot_product" not in str(op))
    return norms + flops / 2


@pytest.mark.parametrize(
    ("name", "parameters", "expected"),
    [
        ("resnet18", "3.85", 176.57e6),
        ("resnet34", "7.23", 357.74e6),
        ("mobilenet_v2", "2.19", 96.60e6),
    ],
)
def test_baselines(name: str, parameters: str, expected: float) -> None:
    model = create_model(name, channels=12, outputs=9)
    assert f"{sum(p.numel() for p in model.parameters()) / 1e6:.2f}" == parameters
    counted = multiply_adds(model, pooling=name != "mobilenet_v2")
    assert counted == pytest.approx(expected, abs=0.005e6)


def test_inception_former() -> None:
    model = create_model("inception_former", channels=12, outputs=9)
    assert multiply_adds(model) == pytest.approx(2.14e9, abs=0.005e9)


def test_xresnet_is_what_the_benchmark_describes() -> None:
    """The sum by hand: stem, 33 bottlenecks of 64 and 256 with kernel 5, two shortcut convolutions, head."""

    def conv(inputs: int, outputs: int, kernel: int) -> int:
        return inputs * outputs * kernel + 2 * outputs

    stem = conv(12, 32, 5) + conv(32, 32, 5) + conv(32, 64, 5)
    block = conv(256, 64, 1) + conv(64, 64, 5) + conv(64, 256, 1)
    first = block - conv(256, 64, 1) + conv(64, 64, 1) + conv(64, 256, 1)
    head = 2 * 512 + 512 * 128 + 128 + 2 * 128 + 128 * 71 + 71
    model = create_model("xresnet1d101", channels=12, outputs=71)
    assert sum(p.numel() for p in model.parameters()) == stem + first + 32 * block + head
