"""NT-Xent against its formula, and batches gathered over two processes."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from biofm.pretrain.objectives.contrast import gathered, nt_xent


def slow_nt_xent(a_BD: Tensor, b_BD: Tensor, temperature: float) -> float:
    """The formula, written out."""
    both = [*a_BD.tolist(), *b_BD.tolist()]
    rows = len(a_BD)

    def alike(i: int, j: int) -> float:
        dot = sum(p * q for p, q in zip(both[i], both[j], strict=True))
        return math.exp(dot / math.hypot(*both[i]) / math.hypot(*both[j]) / temperature)

    losses = [
        -math.log(
            alike(i, (i + rows) % (2 * rows)) / sum(alike(i, k) for k in range(2 * rows) if k != i)
        )
        for i in range(2 * rows)
    ]
    return sum(losses) / len(losses)


@pytest.mark.parametrize("rows", [1, 2, 7])
@pytest.mark.parametrize("temperature", [0.1, 1.0])
def test_nt_xent_is_its_formula(rows: int, temperature: float) -> None:
    generator = torch.Generator().manual_seed(rows)
    a, b = torch.randn(2, rows, 5, dtype=torch.float64, generator=generator)
    expected = slow_nt_xent(a, b, temperature)
    assert float(nt_xent(a, b, temperature)) == pytest.approx(expected, abs=1e-9)


def test_equal_and_opposed_rows_have_known_losses() -> None:
    same = torch.ones(4, 3)
    assert float(nt_xent(same, same, 0.1)) == pytest.approx(math.log(7))
    apart = torch.eye(4)
    # Of seven others one has cosine 1, and six 0.
    assert float(nt_xent(apart, apart, 0.5)) == pytest.approx(math.log(1 + 6 * math.exp(-2)))


def test_gradients_are_finite_where_rows_are_zero_or_none_is_there() -> None:
    for rows in (0, 1, 3):
        a, b = (torch.zeros(rows, 4, requires_grad=True) for _ in range(2))
        loss = nt_xent(a, b, 0.1)
        loss.backward()  # type: ignore[no-untyped-call]
        assert loss.isfinite()
        assert all(x.grad is not None and x.grad.isfinite().all() for x in (a, b))


def test_half_precision_is_computed_in_float32() -> None:
    a, b = torch.randn(2, 6, 8).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        loss = nt_xent(a, b, 0.1)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, nt_xent(a.float(), b.float(), 0.1))


def test_one_process_is_its_own_batch() -> None:
    x = torch.randn(3, 2)
    assert gathered(x) is x
