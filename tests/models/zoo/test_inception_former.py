"""InceptionFormer stage by stage against its published table, and its smaller variants."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from biofm.models.zoo import create_model
from biofm.models.zoo.inception_former import AttentionBlock, ConvolutionBlock, InceptionFormer


def parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def make(**options: Any) -> InceptionFormer:
    model = create_model("inception_former", channels=12, outputs=9, **options)
    assert isinstance(model, InceptionFormer)
    return model.eval()


def test_stages_have_the_published_sizes_and_lengths() -> None:
    model = make()
    shapes: list[tuple[int, ...]] = []

    def note(_module: nn.Module, _inputs: Any, out: Tensor) -> None:
        shapes.append(tuple(out.shape[1:]))

    for module in (model.stem, *model.stages):
        module.register_forward_hook(note)
    with torch.no_grad():
        model(torch.randn(1, 12, 1000))
    assert shapes == [(64, 1000), (64, 1000), (128, 500), (256, 250), (512, 125)]
    assert f"{parameters(model.stem) / 1e3:.2f}" == "36.72"
    counts = [parameters(stage) for stage in model.stages]
    assert [f"{n / 1e3:.2f}" for n in counts[:2]] == ["35.07", "271.36"]
    assert [f"{n / 1e6:.2f}" for n in counts[2:]] == ["3.18", "8.41"]
    assert f"{parameters(model) / 1e6:.2f}" == "12.45"
    kinds = [[type(block) for block in stage] for stage in model.stages]  # type: ignore[attr-defined] # stages are Modules to mypy
    conv, attention = ConvolutionBlock, AttentionBlock
    assert kinds == [[conv] * 2, [conv] * 4, [conv, attention] * 4, [attention] * 4]


@pytest.mark.parametrize(
    ("options", "millions"),
    [
        ({"widths": (64, 128, 256), "depths": (2, 4, 8)}, "3.64"),
        ({"depths": (2, 4, 8, 2)}, "8.25"),
        ({"widths": (32, 64, 128, 256)}, "3.13"),
    ],
)
def test_variants_have_the_published_sizes(options: dict[str, Any], millions: str) -> None:
    assert f"{parameters(make(**options)) / 1e6:.2f}" == millions


def test_impossible_stages_are_refused() -> None:
    with pytest.raises(ValueError, match="equal number of stages"):
        make(widths=(64, 128))
    with pytest.raises(ValueError, match="multiples of 8"):
        make(widths=(64, 100, 256, 512))
