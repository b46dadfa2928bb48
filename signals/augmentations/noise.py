"""Operations that add noise: ST-MEM's, in deviations of the window, and that of electrodes, in mV.

`sine`, `partial_sine` and `partial_white_noise` are those of ST-MEM's downstream recipe at its level 10 (Na et al.,
ICLR 2024, arXiv 2402.09450; definitions as released): the sine always has two periods a window and begins at 0.

Noise of electrodes is drawn at each of them and goes through the leads' differences (`electrodes.py`). Where
the modality is no ECG every channel has an electrode of its own, and 0.25 mV stand for a deviation of the window. Its
sizes at strength 1 were chosen by what is in raw ECGs: 192 records of PTB-XL at 500 Hz, before any filter.

Shapes: B batch, C channels, T time, E electrodes, K frequencies or events.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .base import About, Draws
from .masking import stretch

AMPLITUDE = 0.3
"""Of ST-MEM's noise, in deviations of the window."""
PERIODS = 2.0
"""Of a sine in a window; fewer at less strength, as published."""

WANDER_MV = 0.3
"""Largest root mean square of the wander at an electrode. Below 0.5 Hz 95 % of the leads of PTB-XL have less
than 0.15 mV, 99 % of the limb leads less than 0.27 mV, of the chest leads less than 0.55 mV."""
WANDER_STEP_HZ, WANDER_TOP_HZ = 0.01, 0.5
"""Cosines of this distance, up to there, of random size and phase (Lenis et al., Comput Math Methods Med
2017:9295029)."""

MAINS_HZ = (50.0, 60.0)
MAINS_MV = 0.1
"""Largest amplitude of the mains at an electrode: the largest in a lead of PTB-XL; 99 % have less than 0.006 mV."""

MOTION_MV = (0.15, 1.0)
"""Height of a jump: up to a usual R wave, because this noise is feared for looking like ectopic beats (Moody et
al., Computers in Cardiology 1984)."""
MOTION_EVENTS = 3
"""Most jumps in a window."""
MOTION_RISE_S = 0.02
MOTION_DECAY_S = (0.1, 1.0)
"""Time constant with which an electrode comes back."""


def sine(x_BCT: Tensor, missing_BCT: Tensor, about: About, draws: Draws) -> tuple[Tensor, Tensor]:
    """A sine over the whole window, the same in all channels."""
    T = x_BCT.shape[2]
    return x_BCT + _sine(about, torch.arange(T, device=x_BCT.device), x_BCT), missing_BCT


def partial_sine(
    x_BCT: Tensor, missing_BCT: Tensor, about: About, draws: Draws
) -> tuple[Tensor, Tensor]:
    """The same during a stretch."""
    since_BT, inside_BT = stretch(about, draws, x_BCT.shape[2])
    return x_BCT + _sine(about, since_BT[:, None], x_BCT) * inside_BT[:, None], missing_BCT


def partial_white_noise(
    x_BCT: Tensor, missing_BCT: Tensor, about: About, draws: Draws
) -> tuple[Tensor, Tensor]:
    """White noise during a stretch, another one in each channel."""
    _, C, T = x_BCT.shape
    _, inside_BT = stretch(about, draws, T)
    noise_BCT = draws.normal("noise", C * T).view(-1, C, T).to(x_BCT.dtype)
    size_B11 = AMPLITUDE * about.strength * about.deviation_B11
    return x_BCT + noise_BCT * size_B11 * inside_BT[:, None], missing_BCT


def wander(x_BCT: Tensor, missing_BCT: Tensor, about: About, draws: Draws) -> tuple[Tensor, Tensor]:
    """The baseline wanders with breathing and movement, at no more than 0.5 Hz."""
    B, _, T = x_BCT.shape
    top_hz = min(WANDER_TOP_HZ, 0.5 * about.rate_hz)
    K = int(top_hz / WANDER_STEP_HZ + 1e-9)
    E = about.electrodes_CE.shape[1]
    step_T = _seconds(T, about, x_BCT) * (2 * math.pi * WANDER_STEP_HZ)
    angle_KT = torch.arange(1, K + 1, device=x_BCT.device)[:, None] * step_T
    waves_KT = torch.cat([angle_KT.cos(), angle_KT.sin()]).to(x_BCT.dtype)
    size_BEK = draws.uniform("size", E * K).view(B, E, K)
    phase_BEK = draws.uniform("phase", E * K).view(B, E, K) * (2 * math.pi)
    level_B11 = draws.uniform("level")[..., None] * (WANDER_MV * about.strength)
    # The mean square of a cosine is half the square of its size.
    size_BEK = size_BEK * level_B11 / (size_BEK.square().sum(2, keepdim=True) / 2).sqrt()
    parts_BEK = torch.cat([size_BEK * phase_BEK.cos(), -size_BEK * phase_BEK.sin()], dim=2)
    noise_BCT = about.electrodes_CE @ parts_BEK.to(x_BCT.dtype) @ waves_KT
    return x_BCT + noise_BCT * about.millivolt_B11, missing_BCT


def powerline(
    x_BCT: Tensor, missing_BCT: Tensor, about: About, draws: Draws
) -> tuple[Tensor, Tensor]:
    """Mains hum of 50 or 60 Hz, of one phase and another size at each electrode; none at rates that cannot hold it."""
    T = x_BCT.shape[2]
    lines_hz = [line_hz for line_hz in MAINS_HZ if line_hz < 0.5 * about.rate_hz]
    if not lines_hz:
        return x_BCT, missing_BCT
    E = about.electrodes_CE.shape[1]
    seconds_T = _seconds(T, about, x_BCT)
    angle_KT = torch.stack([2 * math.pi * line_hz * seconds_T for line_hz in lines_hz])
    waves_KT = torch.cat([angle_KT.sin(), angle_KT.cos()]).to(x_BCT.dtype)
    line_B1 = (draws.together("line") * len(lines_hz)).long().clamp_max(len(lines_hz) - 1)
    chosen_BK = line_B1 == torch.arange(len(lines_hz), device=x_BCT.device)
    phase_B1 = draws.together("phase") * (2 * math.pi)
    parts_BK = torch.cat([chosen_BK * phase_B1.cos(), chosen_BK * phase_B1.sin()], dim=1)
    hum_B1T = (parts_BK.to(x_BCT.dtype) @ waves_KT)[:, None]
    size_BE = (draws.uniform("size", E) * (MAINS_MV * about.strength)).to(x_BCT.dtype)
    size_BC1 = (size_BE @ about.electrodes_CE.T)[..., None]
    return x_BCT + size_BC1 * hum_B1T * about.millivolt_B11, missing_BCT


def electrode_motion(
    x_BCT: Tensor, missing_BCT: Tensor, about: About, draws: Draws
) -> tuple[Tensor, Tensor]:
    """One to three times an electrode jumps and comes back."""
    T = x_BCT.shape[2]
    K, E = MOTION_EVENTS, about.electrodes_CE.shape[1]
    begin_BK, low_BK, high_BK, way_BK, which_BK = (
        draws.uniform(what, K) for what in ("begin", "decay", "height", "way", "electrode")
    )
    happens_BK = torch.arange(K, device=x_BCT.device) <= draws.uniform("events") * K
    least_mv, most_mv = MOTION_MV
    height_BK = (least_mv + (most_mv - least_mv) * high_BK) * about.strength * happens_BK
    height_BK = torch.where(way_BK < 0.5, -height_BK, height_BK).to(x_BCT.dtype)
    shortest_s, longest_s = MOTION_DECAY_S
    decay_s_BK = shortest_s * (longest_s / shortest_s) ** low_BK
    begin_s_BK = begin_BK.double() * (T / about.rate_hz)
    since_s_BKT = (_seconds(T, about, x_BCT) - begin_s_BK[..., None]).clamp_min(0).to(x_BCT.dtype)
    rise_BKT = (since_s_BKT / MOTION_RISE_S).clamp_max(1)
    wave_BKT = rise_BKT * (-since_s_BKT / decay_s_BK[..., None]).exp()
    electrode_BK = (which_BK * E).long().clamp_max(E - 1)
    weight_BKC = about.electrodes_CE.T[electrode_BK] * height_BK[..., None]
    return x_BCT + (weight_BKC.mT @ wave_BKT) * about.millivolt_B11, missing_BCT


def _sine(about: About, since: Tensor, x_BCT: Tensor) -> Tensor:
    """A sine [B, 1, T] that begins where `since`, in samples, is 0."""
    angle = since.double() * (2 * math.pi * PERIODS * about.strength / x_BCT.shape[2])
    return angle.sin().to(x_BCT.dtype) * (AMPLITUDE * about.strength) * about.deviation_B11


def _seconds(length: int, about: About, x_BCT: Tensor) -> Tensor:
    """Times [T] of the samples, exact enough for a fast wave in a long window."""
    return torch.arange(length, device=x_BCT.device, dtype=torch.float64) / about.rate_hz
