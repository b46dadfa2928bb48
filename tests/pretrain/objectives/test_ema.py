"""A copy that follows slowly, against the average written out."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from biofm.pretrain.objectives.ema import SlowCopy, check_momentum, momentum_at, standardised


def net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))


def test_it_is_the_moving_average_of_the_weights_and_takes_statistics_as_they_are() -> None:
    source = net()
    slow = SlowCopy(source)
    expected = {n: p.detach().clone() for n, p in source.named_parameters()}
    for step, momentum in enumerate((0.9, 0.5, 0.996)):
        for parameter in source.parameters():
            torch.nn.init.normal_(parameter)
        source(torch.randn(5, 3) + step)
        slow.follow(source, momentum)
        for name, parameter in source.named_parameters():
            expected[name] = momentum * expected[name] + (1 - momentum) * parameter.detach()
    for name, parameter in slow.module.named_parameters():
        torch.testing.assert_close(parameter, expected[name])
    for own, other in zip(slow.module.buffers(), source.buffers(), strict=True):
        assert torch.equal(own, other)
        assert own.data_ptr() != other.data_ptr()


def test_it_begins_as_its_source_and_takes_no_gradient() -> None:
    source = net()
    slow = SlowCopy(source)
    assert all(not p.requires_grad for p in slow.parameters())
    assert all(p.requires_grad for p in source.parameters())
    before, other = slow.state_dict(), source.state_dict()
    assert all(torch.equal(before[f"module.{key}"], other[key]) for key in other)
    source(torch.randn(5, 3)).sum().backward()
    slow.follow(source, 0.5)
    assert all(p.grad is None and not p.requires_grad for p in slow.parameters())


@pytest.mark.parametrize(("momentum", "kept"), [(1.0, True), (0.0, False)])
def test_at_one_it_stays_and_at_zero_it_is_its_source(momentum: float, kept: bool) -> None:
    source = net()
    slow = SlowCopy(source)
    before = [p.clone() for p in source.parameters()]
    with torch.no_grad():
        for parameter in source.parameters():
            parameter.add_(1)
    slow.follow(source, momentum)
    wanted = before if kept else list(source.parameters())
    assert all(torch.equal(a, b) for a, b in zip(slow.parameters(), wanted, strict=True))


def test_momentum_grows_to_one_in_a_straight_line() -> None:
    assert momentum_at(0.996, 0.0) == pytest.approx(0.996)
    assert momentum_at(0.996, 0.5) == pytest.approx(0.998)
    assert momentum_at(0.996, 1.0) == 1.0


@pytest.mark.parametrize("momentum", [-0.1, 1.1, float("nan")])
def test_a_momentum_that_is_no_share_is_refused(momentum: float) -> None:
    with pytest.raises(ValueError, match=r"momentum must lie in \[0, 1\]"):
        check_momentum(momentum)


def test_answers_that_are_all_alike_are_no_target_that_is_easily_said() -> None:
    """What all tokens share is taken out, and what is left is brought to size: a collapse does not pay."""
    generator = torch.Generator().manual_seed(0)
    shared, own = (
        torch.randn(1, 1, 8, generator=generator),
        torch.randn(5, 30, 8, generator=generator),
    )
    there = torch.rand(5, 30, generator=generator) < 0.8
    apart, alike = (standardised(shared + s * own, there, together=False) for s in (1.0, 0.1))
    for target in (apart, alike):
        assert float(target[there].mean(dim=0).abs().max()) < 1e-4
        torch.testing.assert_close(target[there].std(dim=0), torch.ones(8), rtol=0, atol=0.02)
    torch.testing.assert_close(alike, apart, rtol=0, atol=0.05)
    nothing = standardised(shared.expand(5, 30, 8), there, together=False)
    assert float(nothing.abs().max()) < 1e-2
    assert standardised(own, torch.zeros_like(there), together=False).isfinite().all()
