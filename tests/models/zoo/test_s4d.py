"""The state space's FFT form against its recurrence, step by step, in both directions of time."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from biofm.models.zoo.s4d import S4D


def recurrence(space: S4D, x_BHT: Tensor, direction: int) -> Tensor:
    """y_t = 2 Re(C s_t), s_t = Ā s_{t−1} + B̄ x_t (zero-order hold, B = 1), in double precision."""
    a = torch.complex(-space.log_decay.exp(), space.frequency).to(torch.complex128)
    step = space.log_step.exp().double()[:, None]
    a_bar = torch.exp(a * step)
    b_bar = (a_bar - 1) / a
    c = torch.view_as_complex(space.output)[direction].to(torch.complex128)
    state = torch.zeros(len(x_BHT), *a.shape, dtype=torch.complex128)
    out = []
    for x_BH in x_BHT.double().unbind(dim=2):
        state = a_bar * state + b_bar * x_BH[..., None]
        out.append(2 * (c * state).sum(dim=-1).real)
    return torch.stack(out, dim=2)


@pytest.mark.parametrize("samples", [1, 77, 1000])
def test_equals_the_recurrence(samples: int) -> None:
    torch.manual_seed(0)
    space = S4D(width=6, state=8)
    x = torch.randn(2, 6, samples)
    with torch.no_grad():
        past = recurrence(space, x, 0)
        # The other direction sees what is strictly later: the reversed recurrence, one step behind.
        future = recurrence(space, x.flip(2), 1).flip(2)
        future = torch.cat([future[..., 1:], torch.zeros(2, 6, 1)], dim=2)
        expected = past + future + space.skip.double()[:, None] * x.double()
        torch.testing.assert_close(space(x).double(), expected, rtol=1e-4, atol=1e-4)
    if samples > 1:
        assert past.abs().mean() > 0.01
        assert future.abs().mean() > 0.01


def test_stays_in_float32_under_autocast() -> None:
    space = S4D(width=4, state=4)
    x = torch.randn(1, 4, 64)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = space(x.bfloat16())
    assert y.dtype == torch.float32
    torch.testing.assert_close(y, space(x.bfloat16().float()))


def test_state_is_even() -> None:
    with pytest.raises(ValueError, match="must be even, not 5"):
        S4D(width=4, state=5)
