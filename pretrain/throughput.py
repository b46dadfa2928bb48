"""Samples/s, tokens/s, the share of time spent waiting for data, and model-FLOPs utilisation."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

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
    """FLOPs of one training step for one window, forward and backward, counted as the step is made.

    So what has no gradient, such as a slow copy of the encoder, counts once. Products are counted and no
    element-wise work. What does not depend on the batch, such as the impulse responses of state spaces, is shared
    by the windows of this one. Buffers and gradients are left as they were.
    """
    buffers = [buffer.clone() for buffer in objective.buffers()]
    # The counter knows the attention of this backend on every device; the fused ones only on some.
    with (
        FlopCounterMode(display=False, custom_mapping=UNCOUNTED) as counter,
        sdpa_kernel(SDPBackend.MATH),
    ):
        objective(batch).loss_sum.backward()
    for parameter in objective.parameters():
        parameter.grad = None
    with torch.no_grad():
        for buffer, before in zip(objective.buffers(), buffers, strict=True):
            buffer.copy_(before)
    return float(counter.get_total_flops()) / max(1, len(batch))


def _real_fft(shape: list[int], dims: list[int], *more: Any, **rest: Any) -> int:
    return _fft_flops(shape, dims) // 2


def _inverse_real_fft(
    _: list[int], dims: list[int], *more: Any, out_shape: list[int], **rest: Any
) -> int:
    return _fft_flops(out_shape, dims) // 2


def _complex_fft(shape: list[int], dims: list[int], *more: Any, **rest: Any) -> int:
    return _fft_flops(shape, dims)


def _fft_flops(shape: Sequence[int], dims: Sequence[int]) -> int:
    """5 n log2 n for each complex transform, as is the custom (fftw.org/speed); half of it where one side is real."""
    length = math.prod(shape[dim] for dim in dims)
    flops: float = 5 * math.prod(shape) * math.log2(length)
    return round(flops)


def _recurrent(shape: list[int], *weights: Any, **rest: Any) -> int:
    """A layer of oneDNN: its weights of the input and of the state, at each step of each sequence."""
    flops: int = 2 * math.prod(shape[:-1]) * (math.prod(weights[0]) + math.prod(weights[1]))
    return flops


def _cudnn_recurrent(shape: list[int], weights: list[list[int]], *more: Any, **rest: Any) -> int:
    """All layers of cuDNN at once; biases, which have one dimension, are no products."""
    return 2 * math.prod(shape[:-1]) * sum(math.prod(w) for w in weights if len(w) == 2)


def _twice(formula: Callable[..., int]) -> Callable[..., int]:
    """Of a backward pass: the gradients of the input and of the weights."""

    def backward(*shapes: Any, **rest: Any) -> int:
        return 2 * formula(*shapes, **rest)

    return backward


_aten = torch.ops.aten
UNCOUNTED: dict[Any, Callable[..., int]] = {
    _aten._fft_r2c: _real_fft,
    _aten._fft_c2r: _inverse_real_fft,
    _aten._fft_c2c: _complex_fft,
    _aten.mkldnn_rnn_layer: _recurrent,
    _aten.mkldnn_rnn_layer_backward: _twice(_recurrent),
    _aten._cudnn_rnn: _cudnn_recurrent,
    _aten._cudnn_rnn_backward: _twice(_cudnn_recurrent),
}
"""What torch's counter passes over, as functions of shapes: Fourier transforms, and recurrent layers in one kernel
(oneDNN's on CPUs, cuDNN's on GPUs; where there is neither, their products are counted one by one)."""


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
