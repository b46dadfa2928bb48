"""Every operation against a slow reference that knows one row at a time, and what it does to a signal.

Shapes: B batch, C channels, T time.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from biofm.signals import LEADS_12
from biofm.signals.augmentations import OPERATIONS
from biofm.signals.augmentations.base import About, Draws, rest_and_deviation

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
Row = Callable[[str, int], Floats]
"""(what, how many) → the row's uniform numbers."""

B = 24


def windows(
    modality: str, rate_hz: float, T: int, seed: int = 0, gaps: bool = True
) -> tuple[Tensor, Tensor, tuple[str, ...]]:
    """Signals with channels that rest at other levels; some samples and one channel are missing."""
    channels = {"ecg": LEADS_12, "acc": ("x", "y", "z"), "hr": ("hr",)}[modality]
    made = torch.Generator().manual_seed(seed)
    level_C1 = 0.1 * torch.arange(len(channels))[:, None]
    x_BCT = torch.randn(B, len(channels), T, generator=made) * 0.2 + level_C1
    missing_BCT = torch.rand(x_BCT.shape, generator=made) < (0.05 if gaps else 0.0)
    if gaps:
        missing_BCT[1, 0] = True
        missing_BCT[2] = True
    return x_BCT.masked_fill(missing_BCT, 0.0), missing_BCT, channels


def about_of(
    modality: str, rate_hz: float, T: int, strength: float = 1.0, gaps: bool = True
) -> tuple[Tensor, Tensor, About]:
    x_BCT, missing_BCT, channels = windows(modality, rate_hz, T, gaps=gaps)
    rest_BC1, deviation_B11 = rest_and_deviation(x_BCT, missing_BCT)
    return (
        x_BCT,
        missing_BCT,
        About(modality, channels, rate_hz, rest_BC1, deviation_B11, strength),
    )


def draws_of(positions: list[int] | None = None) -> Draws:
    at = torch.arange(B) if positions is None else torch.tensor(positions)
    return Draws(3, 1, at, "ecg-100hz", "test")


def row_of(number: int) -> tuple[Row, Row]:
    """A row's own numbers, and those that it shares with its other streams."""
    draws = draws_of([number])
    return (
        lambda what, n=1: draws.uniform(what, n)[0].double().numpy(),
        lambda what, n=1: draws.together(what, n)[0].double().numpy(),
    )


def part(together: Row, T: int, strength: float) -> range:
    count = int(together("length", 1)[0] * 0.3 * strength * T)
    start = int(together("start", 1)[0] * (T - count))
    return range(start, start + count)


def electrodes(
    modality: str, channels: tuple[str, ...]
) -> tuple[list[str], list[dict[str, float]]]:
    """From the definition of the leads: potentials against each other, against Goldberger's and Wilson's terminals."""
    weights: list[dict[str, float]] = []
    for name in channels:
        if modality != "ecg":
            weights.append({name: 1.0})
        elif name in ("I", "II", "III"):
            plus, minus = {"I": ("LA", "RA"), "II": ("LL", "RA"), "III": ("LL", "LA")}[name]
            weights.append({plus: 1.0, minus: -1.0})
        elif name.startswith("aV"):
            limb = {"aVR": "RA", "aVL": "LA", "aVF": "LL"}[name]
            weights.append({e: 1.0 if e == limb else -0.5 for e in ("RA", "LA", "LL")})
        else:
            weights.append({name: 1.0, "RA": -1 / 3, "LA": -1 / 3, "LL": -1 / 3})
    names = list(dict.fromkeys(e for of in weights for e in of))
    # The numbers of a row are dealt to electrodes in the order of their first lead.
    return names, weights


def reference(
    name: str, x_CT: Floats, gone_CT: Flags, about: About, b: int
) -> tuple[Floats, Flags]:
    """What an operation makes of one row, sample by sample."""
    own, together = row_of(b)
    s, rate_hz = about.strength, about.rate_hz
    C, T = x_CT.shape
    rest = [x_CT[c][~gone_CT[c]].mean() if (~gone_CT[c]).any() else 0.0 for c in range(C)]
    apart = [v - rest[c] for c in range(C) for v in x_CT[c][~gone_CT[c]]]
    deviation = float(np.sqrt(np.mean(np.square(apart)))) if apart else 0.0
    mv = 1.0 if about.modality == "ecg" else deviation / 0.25
    there = [c for c in range(C) if not gone_CT[c].all()]
    x, gone = x_CT.copy(), gone_CT.copy()
    if name == "shift":
        by = int(together("by", 1)[0] * 0.3 * s * T) * (-1 if together("way", 1)[0] < 0.5 else 1)
        for c in range(C):
            for t in range(T):
                inside = 0 <= t - by < T
                x[c, t] = x_CT[c, t - by] if inside else rest[c]
                gone[c, t] = gone_CT[c, t - by] if inside else False
    elif name == "cutout":
        for t in part(together, T, s):
            x[:, t] = rest
    elif name == "drop":
        count = int(together("count", 1)[0] * int(0.3 * s * T))
        for t in np.argsort(own("order", T), kind="stable")[:count]:
            x[:, t] = rest
    elif name == "flip":
        for c in range(C):
            x[c] = rest[c] - (x[c] - rest[c])
    elif name == "erase" and len(there) > 1:
        luck = own("channel", C)
        c = max(there, key=lambda c: luck[c])
        x[c] = rest[c]
    elif name == "lead_dropout":
        luck = own("channel", C)
        stays = max(there, key=lambda c: luck[c]) if there else 0
        for c in range(C):
            gone[c] |= c != stays and luck[c] < 0.5 * s
    elif name == "scale":
        gain = 1.3 ** (s * (2 * own("gain", 1)[0] - 1))
        for c in range(C):
            x[c] = rest[c] + gain * (x[c] - rest[c])
    elif name == "sine":
        for t in range(T):
            x[:, t] += 0.3 * s * deviation * np.sin(2 * np.pi * 2 * s * t / T)
    elif name == "partial_sine":
        for since, t in enumerate(part(together, T, s)):
            x[:, t] += 0.3 * s * deviation * np.sin(2 * np.pi * 2 * s * since / T)
    elif name == "partial_white_noise":
        noise = draws_of([b]).normal("noise", C * T)[0].double().numpy().reshape(C, T)
        for t in part(together, T, s):
            x[:, t] += 0.3 * s * deviation * noise[:, t]
    else:
        x += mv * electrode_noise(name, about, own, together, T, rate_hz)
    return x, gone


def electrode_noise(
    name: str, about: About, own: Row, together: Row, T: int, rate_hz: float
) -> Floats:
    """Potentials in mV at each electrode, then lead by lead."""
    names, weights = electrodes(about.modality, about.channels)
    s, t_s = about.strength, np.arange(T) / rate_hz
    E = len(names)
    at = {e: np.zeros(T) for e in names}
    if name == "wander":
        K = int(min(0.5, rate_hz / 2) * 100 + 1e-9)
        sizes, phases = own("size", E * K).reshape(E, K), own("phase", E * K).reshape(E, K)
        level = 0.3 * s * own("level", 1)[0]
        for e, size_K, phase_K in zip(names, sizes, phases, strict=True):
            mean_square = sum(size**2 / 2 for size in size_K)
            for k in range(K):
                wave = np.cos(2 * np.pi * (k + 1) / 100 * t_s + 2 * np.pi * phase_K[k])
                at[e] += level * size_K[k] / np.sqrt(mean_square) * wave
    elif name == "powerline":
        lines = [hz for hz in (50, 60) if hz < rate_hz / 2]
        if lines:
            hz = lines[int(together("line", 1)[0] * len(lines))]
            phase = 2 * np.pi * together("phase", 1)[0]
            for e, u in zip(names, own("size", E), strict=True):
                at[e] = 0.1 * s * u * np.sin(2 * np.pi * hz * t_s + phase)
    elif name == "electrode_motion":
        events = 1 + int(3 * own("events", 1)[0])
        for k in range(events):
            begin_s = own("begin", 3)[k] * T / rate_hz
            decay_s = 0.1 * 10 ** own("decay", 3)[k]
            height = (0.15 + 0.85 * own("height", 3)[k]) * (-s if own("way", 3)[k] < 0.5 else s)
            electrode = names[int(own("electrode", 3)[k] * E)]
            for t in range(T):
                since_s = t / rate_hz - begin_s
                if since_s > 0:
                    rise = min(1.0, since_s / 0.02)
                    at[electrode][t] += height * rise * np.exp(-since_s / decay_s)
    return np.stack([sum(w * at[e] for e, w in of.items()) for of in weights])


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize(
    ("modality", "rate_hz", "T", "strength"),
    [("ecg", 250.0, 500, 1.0), ("acc", 50.0, 333, 0.7), ("hr", 1.0, 60, 2.0)],
)
def test_all_rows_at_once_are_the_rows_one_by_one(
    name: str, modality: str, rate_hz: float, T: int, strength: float
) -> None:
    x_BCT, missing_BCT, about = about_of(modality, rate_hz, T, strength)
    found_BCT, gone_BCT = OPERATIONS[name](x_BCT, missing_BCT, about, draws_of())
    assert found_BCT.dtype == torch.float32
    for b in range(8):
        x_CT, gone_CT = x_BCT[b].double().numpy(), missing_BCT[b].numpy()
        expected_CT, expected_gone_CT = reference(name, x_CT, gone_CT, about, b)
        assert np.array_equal(gone_BCT[b].numpy(), expected_gone_CT), b
        there = ~expected_gone_CT
        np.testing.assert_allclose(
            found_BCT[b].numpy()[there], expected_CT[there], rtol=1e-4, atol=2e-5
        )


def added(name: str, strength: float = 1.0, rate_hz: float = 250.0, T: int = 2500) -> Tensor:
    """What an operation adds to an ECG without gaps [B, C, T]."""
    x_BCT, missing_BCT, about = about_of("ecg", rate_hz, T, strength, gaps=False)
    return OPERATIONS[name](x_BCT, missing_BCT, about, draws_of())[0] - x_BCT


def test_the_mains_have_one_line_and_both_are_met() -> None:
    hum_BCT = added("powerline")
    spectrum_BF = torch.fft.rfft(hum_BCT.double()).abs().square().sum(dim=1)
    hz_F = torch.fft.rfftfreq(2500, 1 / 250)
    peak_B = spectrum_BF.argmax(dim=1)
    assert {round(float(hz_F[at])) for at in peak_B} == {50, 60}
    assert (spectrum_BF.gather(1, peak_B[:, None])[:, 0] / spectrum_BF.sum(dim=1)).min() > 0.999
    assert 0.05 < float(hum_BCT.abs().max()) <= 0.2  # mV: two electrodes of at most 0.1
    assert not added("powerline", rate_hz=100.0).any()
    slow_BF = torch.fft.rfft(added("powerline", rate_hz=110.0, T=1100)).abs().sum(dim=1)
    assert (slow_BF.argmax(dim=1) == 500).all()  # 60 Hz would be an alias


def test_the_wander_is_slow_and_of_the_size_that_is_told() -> None:
    noise_BCT = added("wander", rate_hz=50.0, T=5000).double()  # 100 s: no leakage
    power_F = torch.fft.rfft(noise_BCT).abs().square().sum(dim=(0, 1))
    hz_F = torch.fft.rfftfreq(5000, 1 / 50)
    assert float(power_F[hz_F > 0.505].sum() / power_F.sum()) < 1e-6
    assert float(power_F[(hz_F > 0.25)].sum() / power_F.sum()) > 0.3
    # In lead I are two electrodes, each of the row's level: up to 0.3 mV.
    rms_B = noise_BCT[:, 0].square().mean(dim=1).sqrt()
    level_B = draws_of().uniform("level")[:, 0].double() * 0.3
    np.testing.assert_allclose(rms_B, level_B * 2**0.5, rtol=0.35)
    assert float((rms_B / level_B).mean()) == pytest.approx(2**0.5, rel=0.05)


@pytest.mark.parametrize("name", ["wander", "powerline", "electrode_motion"])
def test_noise_of_electrodes_obeys_einthoven_and_goldberger(name: str) -> None:
    leads = dict(zip(LEADS_12, added(name).unbind(1), strict=True))
    for total, parts in (
        (leads["II"], leads["I"] + leads["III"]),
        (leads["aVR"], -(leads["I"] + leads["II"]) / 2),
        (leads["aVL"], (leads["I"] - leads["III"]) / 2),
        (leads["aVF"], (leads["II"] + leads["III"]) / 2),
    ):
        torch.testing.assert_close(total, parts, rtol=0, atol=2e-6)
    assert float(leads["I"].abs().max()) > 0.05


def test_an_electrode_jumps_and_comes_back() -> None:
    noise_BCT = added("electrode_motion").abs()
    top_B = noise_BCT.amax(dim=(1, 2))
    assert float(top_B.min()) > 0.08
    assert float(top_B.max()) < 3.1
    # A second after its last beginning, with a time constant of at most one, little is left.
    last_s_B = draws_of().uniform("begin", 3).amax(dim=1) * 10
    early = last_s_B < 6
    assert early.any()
    assert float((noise_BCT[early, :, -1].amax(dim=1) / top_B[early]).max()) < 0.05


def hidden(name: str, strength: float) -> Tensor:
    """How much an operation changes in each row: share of missing samples, else the mean square of the change."""
    x_BCT, missing_BCT, about = about_of("ecg", 250.0, 1000, strength, gaps=False)
    new_BCT, gone_BCT = OPERATIONS[name](x_BCT, missing_BCT, about, draws_of())
    if name == "lead_dropout":
        return gone_BCT.float().mean(dim=(1, 2))
    if name == "shift":  # a little shift changes noise as much as a large one: what rests is told
        return (new_BCT == about.rest_BC1).float().mean(dim=(1, 2))
    return (new_BCT - x_BCT).square().mean(dim=(1, 2))


@pytest.mark.parametrize("name", OPERATIONS)
def test_more_strength_changes_more(name: str) -> None:
    each = [float(hidden(name, strength).mean()) for strength in (0.25, 0.5, 1.0, 2.0)]
    if name in ("flip", "erase"):
        assert len(set(each)) == 1
        assert each[0] > 0
    else:
        assert all(b > 1.2 * a for a, b in pairwise(each)), each


def test_lead_dropout_loses_half_of_the_leads_and_never_all() -> None:
    x_BCT, missing_BCT, about = about_of("ecg", 250.0, 100, gaps=False)
    lost = [
        OPERATIONS["lead_dropout"](x_BCT, missing_BCT, about, draws)[1]
        for draws in (draws_of(list(range(first, first + B))) for first in range(0, 50 * B, B))
    ]
    lost_NC = torch.cat(lost).all(dim=2)
    assert torch.equal(lost_NC, torch.cat(lost).any(dim=2))  # whole leads
    assert float(lost_NC.float().mean()) == pytest.approx(0.5, abs=0.02)
    assert int(lost_NC.sum(dim=1).max()) <= 11
    all_but_one, *_ = OPERATIONS["lead_dropout"](x_BCT, missing_BCT, about, draws_of())
    assert torch.equal(all_but_one, x_BCT)
    *_, strong = about_of("ecg", 250.0, 100, 2.0, gaps=False)
    *_, gone_BCT = OPERATIONS["lead_dropout"](x_BCT, missing_BCT, strong, draws_of())
    assert (gone_BCT.all(dim=2).sum(dim=1) == 11).all()


def test_the_only_channel_is_neither_erased_nor_lost() -> None:
    x_BCT, missing_BCT, about = about_of("hr", 1.0, 60, 2.0)
    for name in ("erase", "lead_dropout"):
        new_BCT, gone_BCT = OPERATIONS[name](x_BCT, missing_BCT, about, draws_of())
        assert torch.equal(new_BCT, x_BCT)
        assert torch.equal(gone_BCT, missing_BCT)


@pytest.mark.parametrize("name", OPERATIONS)
def test_doubles_stay_doubles(name: str) -> None:
    x_BCT, missing_BCT, about = about_of("acc", 50.0, 200)
    rest_BC1, deviation_B11 = rest_and_deviation(x_BCT.double(), missing_BCT)
    exact = About("acc", about.channels, 50.0, rest_BC1, deviation_B11, 1.0)
    new_BCT, _ = OPERATIONS[name](x_BCT.double(), missing_BCT, exact, draws_of())
    assert new_BCT.dtype == torch.float64
    near_BCT, _ = OPERATIONS[name](x_BCT, missing_BCT, about, draws_of())
    torch.testing.assert_close(new_BCT.float(), near_BCT, rtol=1e-4, atol=1e-5)
