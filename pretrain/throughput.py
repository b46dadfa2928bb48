"""Samples/s, tokens/s, the share of time spent waiting for data, and model-FLOPs utilisation."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from ..signals.windows import Batch

PEAK_BF16 = {
    "H200": 989e12,
    "H100": 989e12,
    "A100": 312e12,
    "L40S": 362e12,
    "L40": 181e12,
    "A10": 125e12,
}
"""Dense bf16 FLOP/s in the makers' data sheets, by a word of the device's name."""


def flops_per_window(objective: nn.Module, batch: Batch) -> float:
    """FLOPs of one training step for one window: the forward pass counted, the backward pass twice that."""
    # The counter knows the attention of this backend on every device; the fused ones only on some.
    with FlopCounterMode(display=False) as counter, torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
        objective(batch)
    return 3.0 * float(counter.get_total_flops()) / max(1, len(batch))


def peak_flops(device: torch.device, dtype: torch.dtype) -> tuple[float, str]:
    """FLOP/s the device can reach, and where the figure is from.

    Known GPUs in bf16 have their data sheet's figure. Elsewhere a large matrix product is timed: the
    utilisation is then relative to what this machine's own library reaches, at the moment of the test.
    """
    if device.type == "cuda" and dtype == torch.bfloat16:
        name = torch.cuda.get_device_name(device)
        for word, peak in PEAK_BF16.items():
            if word in name.replace("-", " ").split():
                return peak, f"data sheet, {name}"
    size = 4096 if device.type == "cuda" else 1024
    a = torch.randn(size, size, device=device, dtype=dtype)
    best = float("inf")
    for _ in range(10):
        synchronise(device)
        start = time.perf_counter()
        torch.mm(a, a)
        synchronise(device)
        best = min(best, time.perf_counter() - start)
    return 2 * size**3 / best, f"matrix product of {size}, timed"


def synchronise(device: torch.device) -> None:
    """Wait for the device, so that a clock can be read."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


@dataclass
class Meter:
    """Adds up windows, time and waiting between two readings."""

    device: torch.device
    flops_per_window: float
    tokens_per_window: float
    peak_flops: float
    processes: int
    windows: int = 0
    waited_s: float = 0.0
    started_s: float = field(default_factory=time.perf_counter)

    def read(self) -> dict[str, float]:
        """Figures since the last reading; starts the next interval."""
        synchronise(self.device)
        now = time.perf_counter()
        elapsed_s = max(now - self.started_s, 1e-9)
        rate = self.windows / elapsed_s
        figures = {
            "samples_per_s": rate,
            "tokens_per_s": rate * self.tokens_per_window,
            "data_wait_share": self.waited_s / elapsed_s,
            "mfu": rate * self.flops_per_window / (self.peak_flops * self.processes),
        }
        self.windows, self.waited_s, self.started_s = 0, 0.0, now
        return figures

    def restart(self) -> None:
        """Forget the interval: something that is not training (validation, a checkpoint) took time."""
        self.windows, self.waited_s, self.started_s = 0, 0.0, time.perf_counter()
