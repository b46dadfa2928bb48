"""Random numbers by position, not by state: the same for any number of ranks, workers or restarts.

Every random choice about a sample (crop, mask, augmentation, noise) is a pure function of (seed,
epoch, position, purpose, index), so there is nothing to save and nothing to synchronise. The mixing
function is the finaliser of SplitMix64 (Steele, Lea & Flood, OOPSLA 2014), in int64 arithmetic that
wraps, so that CPU and GPU agree bit for bit.

Shapes: B positions, N numbers a position.
"""

from __future__ import annotations

import zlib

import torch
from torch import Tensor

_GOLDEN = 0x9E3779B97F4A7C15
_MIX_1 = 0xBF58476D1CE4E5B9
_MIX_2 = 0x94D049BB133111EB


def uniform(seed: int, epoch: int, positions_B: Tensor, purpose: str, numbers: int) -> Tensor:
    """Uniform float32 numbers in [0, 1), [B, N], on the device of `positions_B` (int64).

    `purpose` names what they decide ("mask", "phase"): different purposes are independent.
    """
    bits_BN = random_bits(seed, epoch, positions_B, purpose, numbers)
    # The upper 24 bits are exactly what a float32 in [0, 1) can hold.
    return ((bits_BN >> 40) & 0xFFFFFF).to(torch.float32) / (1 << 24)


def normal(seed: int, epoch: int, positions_B: Tensor, purpose: str, numbers: int) -> Tensor:
    """Standard normal float32 numbers [B, N] (Box–Muller)."""
    half = (numbers + 1) // 2
    u_BN = uniform(seed, epoch, positions_B, purpose, 2 * half)
    radius = torch.sqrt(-2 * torch.log1p(-u_BN[:, :half]))
    angle = 2 * torch.pi * u_BN[:, half:]
    return torch.cat([radius * angle.cos(), radius * angle.sin()], dim=1)[:, :numbers]


def random_bits(seed: int, epoch: int, positions_B: Tensor, purpose: str, numbers: int) -> Tensor:
    """int64 [B, N] whose 64 bits are all random."""
    key = _mix_int(
        _mix_int(seed + _GOLDEN) ^ _mix_int(epoch + 2 * _GOLDEN) ^ zlib.crc32(purpose.encode())
    )
    start_B = _mix(positions_B + _signed(key))
    index_N = torch.arange(1, numbers + 1, device=positions_B.device, dtype=torch.int64)
    return _mix(start_B[:, None] + index_N * _signed(_GOLDEN))


def _mix(x: Tensor) -> Tensor:
    x = (x ^ _shift_right(x, 30)) * _signed(_MIX_1)
    x = (x ^ _shift_right(x, 27)) * _signed(_MIX_2)
    return x ^ _shift_right(x, 31)


def _shift_right(x: Tensor, bits: int) -> Tensor:
    """Logical shift: int64's own shift copies the sign."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)


def _mix_int(x: int) -> int:
    mask = (1 << 64) - 1
    x &= mask
    x = (x ^ (x >> 30)) * _MIX_1 & mask
    x = (x ^ (x >> 27)) * _MIX_2 & mask
    return x ^ (x >> 31)


def _signed(x: int) -> int:
    """A 64-bit pattern as the Python int that int64 shows for it."""
    x &= (1 << 64) - 1
    return x - (1 << 64) if x >> 63 else x
