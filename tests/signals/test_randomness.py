"""Random numbers by position: even, independent, and the same however the rows are dealt out."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from biofm.signals.randomness import normal, random_bits, uniform

seeds = st.integers(-(2**63), 2**63 - 1)


def test_the_stream_of_a_position_is_splitmix64() -> None:
    # The state before the first number is recovered from it, because the mixing is invertible.
    golden, m1, m2 = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
    wrap = (1 << 64) - 1

    def mix(z: int) -> int:
        z = (z ^ (z >> 30)) * m1 & wrap
        z = (z ^ (z >> 27)) * m2 & wrap
        return z ^ (z >> 31)

    def unshift(z: int, bits: int) -> int:
        result = z
        for _ in range(64 // bits):
            result = z ^ (result >> bits)
        return result

    def unmix(z: int) -> int:
        z = unshift(z, 31) * pow(m2, -1, 1 << 64) & wrap
        z = unshift(z, 27) * pow(m1, -1, 1 << 64) & wrap
        return unshift(z, 30)

    # SplitMix64 seeded with 1234567, as published with the generator.
    assert mix((1234567 + golden) & wrap) == 6457827717110365317
    numbers = [int(x) & wrap for x in random_bits(3, 5, torch.tensor([17]), "mask", 9)[0]]
    state = unmix(numbers[0])
    assert numbers == [mix((state + i * golden) & wrap) for i in range(9)]


def test_the_numbers_never_change() -> None:
    # Masks of started runs are drawn from these: a change breaks resuming and every golden curve.
    bits = random_bits(0, 0, torch.arange(2), "mask", 2)
    assert bits.tolist() == [
        [-7876375063594707555, 782540615755647880],
        [3600928679167027584, 4227484714762324459],
    ]


@given(seeds, st.integers(0, 10_000), st.integers(1, 4), st.integers(0, 2**62))
def test_rows_may_be_dealt_out_in_any_way(seed: int, epoch: int, ranks: int, first: int) -> None:
    positions = first + torch.arange(12)
    whole = uniform(seed, epoch, positions, "mask", 5)
    dealt = torch.empty_like(whole)
    for rank in range(ranks):
        dealt[rank::ranks] = uniform(seed, epoch, positions[rank::ranks], "mask", 5)
    assert torch.equal(dealt, whole)
    # More numbers of a row begin with the same ones.
    assert torch.equal(uniform(seed, epoch, positions, "mask", 9)[:, :5], whole)


@given(seeds)
def test_uniform_numbers_lie_in_the_half_open_interval(seed: int) -> None:
    numbers = uniform(seed, 1, torch.arange(100), "phase", 100)
    assert numbers.dtype == torch.float32
    assert numbers.min() >= 0
    assert numbers.max() < 1


@pytest.mark.parametrize("seed", [0, 1, 2**40])
def test_uniform_numbers_are_even(seed: int) -> None:
    numbers = uniform(seed, 0, torch.arange(2000), "mask", 50).numpy().astype(np.float64)
    assert stats.kstest(numbers.ravel(), "uniform").pvalue > 1e-3
    # Each column and each row on its own, too: the first number of every row, all of one row.
    columns = [stats.kstest(numbers[:, i], "uniform").pvalue for i in range(50)]
    rows = [stats.kstest(numbers[i], "uniform").pvalue for i in range(200)]
    assert stats.kstest(columns, "uniform").pvalue > 1e-3
    assert stats.kstest(rows, "uniform").pvalue > 1e-3


def test_every_bit_is_even() -> None:
    bits = random_bits(0, 0, torch.arange(20_000), "mask", 1).numpy().view(np.uint64)[:, 0]
    for bit in range(64):
        share = ((bits >> np.uint64(bit)) & np.uint64(1)).mean()
        assert abs(share - 0.5) < 4.5 * 0.5 / np.sqrt(20_000), bit


def test_purpose_epoch_seed_and_position_are_independent() -> None:
    base = uniform(0, 0, torch.arange(20_000), "mask", 1)
    others = {
        "purpose": uniform(0, 0, torch.arange(20_000), "phase", 1),
        "epoch": uniform(0, 1, torch.arange(20_000), "mask", 1),
        "seed": uniform(1, 0, torch.arange(20_000), "mask", 1),
        "seed and epoch swapped": uniform(1, 0, torch.arange(20_000), "mask", 1)
        - uniform(0, 1, torch.arange(20_000), "mask", 1),
        "next position": uniform(0, 0, torch.arange(1, 20_001), "mask", 1),
        "next number": uniform(0, 0, torch.arange(20_000), "mask", 2)[:, 1:],
    }
    for name, numbers in others.items():
        correlation = np.corrcoef(base[:, 0].numpy(), numbers[:, 0].numpy())[0, 1]
        assert abs(correlation) < 4.5 / np.sqrt(20_000), name
        assert not torch.equal(base, numbers), name


def test_normal_numbers_are_normal() -> None:
    numbers = normal(0, 0, torch.arange(5000), "noise", 21)
    assert numbers.shape == (5000, 21)
    assert torch.isfinite(numbers).all()
    assert stats.kstest(numbers.numpy().ravel().astype(np.float64), "norm").pvalue > 1e-3
    correlation = np.corrcoef(numbers.numpy(), rowvar=False) - np.eye(21)
    assert np.abs(correlation).max() < 5 / np.sqrt(5000)


def test_no_rows_and_no_numbers_are_empty() -> None:
    assert uniform(0, 0, torch.arange(0), "mask", 3).shape == (0, 3)
    assert uniform(0, 0, torch.arange(3), "mask", 0).shape == (3, 0)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no CUDA device")
def test_a_gpu_gives_the_same_bits() -> None:
    positions = torch.arange(1000)
    on_gpu = random_bits(7, 3, positions.cuda(), "mask", 50)
    assert torch.equal(on_gpu.cpu(), random_bits(7, 3, positions, "mask", 50))
    assert torch.equal(
        uniform(7, 3, positions.cuda(), "mask", 50).cpu(), uniform(7, 3, positions, "mask", 50)
    )
