"""A bidirectional diagonal state-space classifier (S4D; Gu, Gupta, Goel & Ré, NeurIPS 2022), for ECG.

Width 512, 4 layers, state 8, gated linear output, norm after the residual: the shape that Mehari & Strodthoff
(2022) use for 12-lead ECG at 100 Hz, with S4's low-rank part left out, as S4D does. 2.2 M parameters.

- Every feature has its own linear system x' = A x + u, y = Re(C x) with diagonal complex A, sampled with a
  learned step (zero-order hold). Its impulse response is a sum of damped exponentials, written down at once for
  the whole window and applied by FFT; a test holds it against the recurrence.
- A second response reads the future: time t gets the past and the present from one, what follows from the other.

Shape suffixes: B batch, C channels, T time, H features (width), S half the state (conjugate pairs count once).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from .base import Classifier

STEP_MIN, STEP_MAX = 0.001, 0.1
"""Initial steps are log-uniform between these (Gu et al. 2022): memories of about 10 to 1,000 samples."""


class S4D(nn.Module):
    """H independent state spaces, in both directions of time, or where `causal` over the past alone."""

    def __init__(self, width: int, state: int, *, causal: bool = False) -> None:
        super().__init__()
        if state < 2 or state % 2:
            raise ValueError(f"the state is made of conjugate pairs: it must be even, not {state}")
        half = state // 2
        log_step = math.log(STEP_MIN) + torch.rand(width) * math.log(STEP_MAX / STEP_MIN)
        self.log_step = nn.Parameter(log_step)
        # S4D-Lin: A = −1/2 + iπn, a damped Fourier basis.
        self.log_decay = nn.Parameter(torch.full((width, half), math.log(0.5)))
        self.frequency = nn.Parameter(math.pi * torch.arange(half).float().repeat(width, 1))
        directions = 1 if causal else 2
        self.output = nn.Parameter(torch.randn(directions, width, half, 2) * math.sqrt(0.5))
        self.skip = nn.Parameter(torch.randn(width))

    def responses(self, samples: int) -> Tensor:
        """Impulse responses [2, H, T]: to the past and present, and to the future (lag −1 first); where causal,
        the first alone [1, H, T]."""
        a_HS = torch.complex(-self.log_decay.exp(), self.frequency)
        a_step_HS = a_HS * self.log_step.exp()[:, None]
        c_2HS = torch.view_as_complex(self.output) * torch.expm1(a_step_HS) / a_HS
        times_T = torch.arange(samples, device=a_HS.device)
        powers_HST = torch.exp(a_step_HS[..., None] * times_T)
        response_2HT: Tensor = 2 * torch.einsum("dhs,hst->dht", c_2HS, powers_HST).real
        return response_2HT

    def forward(self, x_BHT: Tensor) -> Tensor:
        """[B, H, T] → [B, H, T], float32 (the exponentials need it, also under autocast)."""
        with torch.autocast(x_BHT.device.type, enabled=False):
            x_BHT = x_BHT.float()
            T = x_BHT.shape[2]
            past_HT, *future = self.responses(T)
            # On a circle of 2T, lag −1 − j lies at 2T − 1 − j.
            circle = torch.cat([past_HT, *(response_HT.flip(-1) for response_HT in future)], dim=-1)
            spectrum = torch.fft.rfft(x_BHT, n=2 * T) * torch.fft.rfft(circle, n=2 * T)
            y_BHT: Tensor = torch.fft.irfft(spectrum, n=2 * T)[..., :T]
            return y_BHT + x_BHT * self.skip[:, None]


class S4Block(nn.Module):
    """State space, GELU, gated mixing of the features; residual; layer norm."""

    def __init__(self, width: int, state: int, dropout: float, *, causal: bool = False) -> None:
        super().__init__()
        self.space = S4D(width, state, causal=causal)
        self.mix = nn.Sequential(
            nn.GELU(),
            nn.Dropout1d(dropout),
            nn.Conv1d(width, 2 * width, 1),
            nn.GLU(dim=1),
            nn.Dropout1d(dropout),
        )
        self.norm = nn.LayerNorm(width)

    def forward(self, x_BHT: Tensor) -> Tensor:
        """[B, H, T] → [B, H, T]."""
        y_BHT = x_BHT + self.mix(self.space(x_BHT))
        out: Tensor = self.norm(y_BHT.transpose(1, 2)).transpose(1, 2)
        return out


class S4Classifier(Classifier):
    """Full resolution throughout; `state` counts real dimensions and is even."""

    shortest = 2

    def __init__(
        self,
        channels: int,
        outputs: int,
        *,
        width: int = 512,
        depth: int = 4,
        state: int = 8,
        dropout: float = 0.2,
    ) -> None:
        super().__init__(channels, outputs, width)
        self.encode = nn.Conv1d(channels, width, 1)
        self.blocks = nn.Sequential(*(S4Block(width, state, dropout) for _ in range(depth)))

    def embed(self, x_BCT: Tensor) -> Tensor:
        """[B, C, T] → [B, H], the mean over T."""
        map_BHT: Tensor = self.last_map(self.blocks(self.encode(x_BCT)))
        return map_BHT.mean(dim=2)
