"""MINA (Hong et al., IJCAI 2019): attention over beats, rhythm and frequency, guided by what is known of each.

The window is split into four bands; in each, segments of 50 samples are convolved and summed by beat attention
(guided by the steepness of the signal), a bidirectional LSTM runs over the segments, and rhythm attention (guided by
each segment's deviation) sums them; frequency attention (guided by each band's power) sums the bands. 115,274
parameters with one lead and two outputs.

- Published for one lead at 300 Hz, 3,000 samples. With several leads the first convolutions read all of them, and
  the guides of rhythm and frequency are means over leads.
- Bands (first-order Butterworth, forward only): raw; 0.001–0.5 Hz; 0.5–50 Hz; above 50 Hz. Below 150 Hz, where
  50 Hz is not in the lower two thirds of the spectrum, the last border is a third of the rate.
- The guides are computed here, from the window; no gradient flows through them.
- Logits come out: the released code applies a softmax twice.

Shape suffixes: B batch, C leads, T time, Q bands, N segments, S samples of a segment, P positions in one,
K maps, H hidden.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from scipy.signal import butter, lfilter
from torch import Tensor, nn

from .base import Classifier

BANDS = 4
SEGMENT = 50
MAPS, KERNEL, STRIDE = 64, 32, 2
HIDDEN, SUMMARY = 32, 8
ATTENTION, FREQUENCY_ATTENTION = 8, 2


@lru_cache(maxsize=8)
def impulse_responses(rate_hz: float, samples: int) -> Tensor:
    """Of the three filters, float32 [3, T]: convolving with them is what `lfilter` does to T samples."""
    border_hz = min(50.0, rate_hz / 3)
    filters = (
        butter(1, [0.001, 0.5], "bandpass", fs=rate_hz),
        butter(1, [0.5, border_hz], "bandpass", fs=rate_hz),
        butter(1, border_hz, "highpass", fs=rate_hz),
    )
    impulse = np.zeros(samples)
    impulse[0] = 1.0
    return torch.from_numpy(np.stack([lfilter(b, a, impulse) for b, a in filters])).float()


def split_bands(x_BCT: Tensor, rate_hz: float) -> Tensor:
    """[B, C, T] → [B, 4, C, T], the raw signal first."""
    T = x_BCT.shape[2]
    response_QT = impulse_responses(rate_hz, T).to(x_BCT.device)
    with torch.autocast(x_BCT.device.type, enabled=False):
        x_BCT = x_BCT.float()
        spectrum = (
            torch.fft.rfft(x_BCT, n=2 * T)[:, None] * torch.fft.rfft(response_QT, n=2 * T)[:, None]
        )
        return torch.cat([x_BCT[:, None], torch.fft.irfft(spectrum, n=2 * T)[..., :T]], dim=1)


def cut(x: Tensor) -> Tensor:
    """[…, T] → segments […, N, 50]."""
    return x.reshape(*x.shape[:-1], -1, SEGMENT)


class GuidedAttention(nn.Module):
    """Weights from the values and one number of knowledge beside each."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.score = nn.Sequential(
            nn.Linear(width + 1, hidden, bias=False), nn.Tanh(), nn.Linear(hidden, 1, bias=False)
        )

    def forward(self, x: Tensor, guide: Tensor) -> Tensor:
        """Values [B, N, D] and guides [B, N] → the weighted sum [B, D]."""
        weight: Tensor = self.score(torch.cat([x, guide[..., None]], dim=-1)).softmax(dim=1)
        return (weight * x).sum(dim=1)


class BandStates(nn.Module):
    """One band: samples to beats by convolution and attention, segments to hidden states."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(channels, MAPS, KERNEL, STRIDE)
        self.conv_guide = nn.Conv1d(channels, 1, KERNEL, STRIDE)
        self.beat = GuidedAttention(MAPS, ATTENTION)
        self.lstm = nn.LSTM(MAPS, HIDDEN, batch_first=True, bidirectional=True)

    def forward(self, x_BCNS: Tensor, steepness_BCNS: Tensor) -> Tensor:
        """Segments and their steepness → hidden states [B, N, 64]."""
        B, _, N, _ = x_BCNS.shape
        maps = self.conv(x_BCNS.transpose(1, 2).flatten(0, 1)).relu()
        guide = self.conv_guide(steepness_BCNS.transpose(1, 2).flatten(0, 1)).relu()
        beats = self.beat(maps.transpose(1, 2), guide[:, 0])
        states_BNH: Tensor = self.lstm(beats.view(B, N, MAPS))[0]
        return states_BNH


class BandSummary(nn.Module):
    """One band: hidden states to eight numbers, by rhythm attention."""

    def __init__(self) -> None:
        super().__init__()
        self.rhythm = GuidedAttention(2 * HIDDEN, ATTENTION)
        self.narrow = nn.Sequential(
            nn.Linear(2 * HIDDEN, SUMMARY), nn.ReLU(inplace=True), nn.Dropout(0.5)
        )

    def forward(self, states_BNH: Tensor, deviation_BN: Tensor) -> Tensor:
        """Hidden states and the segments' deviations → [B, 8]."""
        summary: Tensor = self.narrow(self.rhythm(states_BNH, deviation_BN))
        return summary


class Guides(NamedTuple):
    """What is known of beats [B, Q, C, T], rhythm [B, Q, N] and frequency [B, Q]."""

    steepness: Tensor
    deviation: Tensor
    power: Tensor


@torch.no_grad()
def guides(x_BQCT: Tensor, rate_hz: float) -> Guides:
    """Absolute first difference; deviation of each segment; the periodogram summed over its frequencies."""
    steepness_BQCT = nn.functional.pad(x_BQCT.diff(dim=-1).abs(), (1, 0))
    segments = cut(x_BQCT)
    deviation_BQN = segments.std(dim=-1, correction=0).mean(dim=2)
    # By Parseval, the sum of a density is the variance times the duration.
    seconds = x_BQCT.shape[-1] / rate_hz
    power_BQ = x_BQCT.var(dim=-1, correction=0).mean(dim=2) * seconds
    return Guides(steepness_BQCT, deviation_BQN, power_BQ)


class MINA(Classifier):
    """A tail shorter than a segment is left out."""

    shortest = SEGMENT

    def __init__(self, channels: int, outputs: int, *, rate_hz: float) -> None:
        super().__init__(channels, outputs, width=SUMMARY)
        if rate_hz <= 2:
            raise ValueError(f"the bands need a rate above 2 Hz, not {rate_hz:g}")
        self.rate_hz = float(rate_hz)
        self.states = nn.ModuleList(BandStates(channels) for _ in range(BANDS))
        self.summaries = nn.ModuleList(BandSummary() for _ in range(BANDS))
        self.frequency = GuidedAttention(SUMMARY, FREQUENCY_ATTENTION)

    def embed(self, x_BCT: Tensor) -> Tensor:
        """[B, C, T] → [B, 8]; the last map is the hidden states, [B, 4 · 64, T / 50]."""
        x_BCT = x_BCT[..., : x_BCT.shape[2] // SEGMENT * SEGMENT]
        x_BQCT = split_bands(x_BCT, self.rate_hz)
        known = guides(x_BQCT, self.rate_hz)
        x_BQCNS, steepness_BQCNS = cut(x_BQCT), cut(known.steepness)
        states = [
            states(x_BQCNS[:, q], steepness_BQCNS[:, q]).transpose(1, 2)
            for q, states in enumerate(self.states)
        ]
        parts = self.last_map(torch.cat(states, dim=1)).chunk(BANDS, dim=1)
        summaries = [
            summary(part.transpose(1, 2), known.deviation[:, q])
            for q, (summary, part) in enumerate(zip(self.summaries, parts, strict=True))
        ]
        out: Tensor = self.frequency(torch.stack(summaries, dim=1), known.power)
        return out
