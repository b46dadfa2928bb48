"""The electrical heart: a rotating dipole made of Gaussians in cardiac phase, seen by twelve leads.

- Every wave is a Gaussian around a point of the cardiac cycle with a vector (x to the left, y down,
  z to the back, in mV): McSharry et al., IEEE Trans. Biomed. Eng. 50 (2003); with three components,
  Sameni et al., EURASIP J. Adv. Signal Process. (2007), article 43407.
- The phase is warped so that the QRS complex keeps its duration while ST and T move with the square
  root of the interval (McSharry's own rule, after Bazett), and P keeps its distance to the QRS
  complex.
- The vector is projected to leads I, II and V1–V6 by Dower's matrix (Dower, Machado & Osborne,
  Clin. Cardiol. 3 (1980)). The other four leads follow from I and II when the samples are whole
  numbers.
- A subject's precordial leads see each wave a little stronger or weaker than the dipole says
  (nearby electrodes are not in the far field), so that twelve leads hold more than three
  dimensions.

Shapes: W waves, B beats, K waves of all beats, T time, 8 leads, 3 axes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from .conditions import State
from .rhythm import Beats, fibrillation

LEADS_8 = ("I", "II", "V1", "V2", "V3", "V4", "V5", "V6")
DOWER: NDArray[np.float64] = np.array(
    [
        [0.632, -0.235, 0.059],
        [0.235, 1.066, -0.132],
        [-0.515, 0.157, -0.917],
        [0.044, 0.164, -1.387],
        [0.882, 0.098, -1.277],
        [1.213, 0.127, -0.601],
        [1.125, 0.127, -0.086],
        [0.831, 0.076, 0.230],
    ]
)
"""[8, 3]: x (left), y (down) and z (back) of the dipole as the eight independent leads see them."""

FIBRILLATION_AXES = np.array([[-0.35, 0.50, -0.75], [0.15, 0.45, -0.20]])
"""[2, 3]: fibrillatory waves of the right atrium (V1 shows them best) and of the left, then II."""

Part = Literal["P", "QRS", "ST", "T"]


@dataclass(frozen=True)
class Wave:
    """One Gaussian: centre and width (standard deviation) in ms at an interval of 1 s, vector in
    mV.

    Centres count from the middle of the QRS complex, those of P from the middle of P.
    """

    part: Part
    centre_ms: float
    width_ms: float
    vector_mv: tuple[float, float, float]


NORMAL: dict[str, Wave] = {
    "right atrium": Wave("P", -12, 17, (0.03, 0.08, -0.04)),
    "left atrium": Wave("P", 14, 18, (0.06, 0.05, 0.04)),
    "septum": Wave("QRS", -22, 7, (-0.14, -0.06, -0.22)),
    "ventricles": Wave("QRS", 0, 9.5, (1.05, 0.74, 0.32)),
    "base": Wave("QRS", 21, 9, (-0.16, -0.16, 0.58)),
    "early T": Wave("T", 245, 50, (0.13, 0.10, -0.09)),
    "late T": Wave("T", 296, 31, (0.20, 0.15, -0.13)),
}
LBBB: dict[str, Wave] = {
    "septum": Wave("QRS", -34, 11, (0.22, 0.06, 0.02)),
    "ventricles": Wave("QRS", -6, 18, (0.74, 0.36, 0.86)),
    "base": Wave("QRS", 40, 18, (0.74, 0.06, 1.06)),
    "early T": Wave("T", 260, 56, (-0.22, -0.02, -0.34)),
    "late T": Wave("T", 320, 36, (-0.26, -0.02, -0.36)),
}
RBBB: dict[str, Wave] = {
    "base": Wave("QRS", 24, 9, (-0.16, -0.12, 0.42)),
    "right ventricle": Wave("QRS", 58, 16, (-0.58, -0.04, -0.62)),
    "early T": Wave("T", 262, 50, (0.16, 0.09, 0.06)),
    "late T": Wave("T", 312, 32, (0.22, 0.13, 0.10)),
}
INFERIOR_INFARCTION: dict[str, Wave] = {
    "septum": Wave("QRS", -24, 10, (-0.08, -0.62, -0.16)),
    "early T": Wave("T", 245, 50, (0.15, -0.10, -0.10)),
    "late T": Wave("T", 296, 31, (0.20, -0.18, -0.14)),
}
ANTEROSEPTAL_INFARCTION: dict[str, Wave] = {
    "septum": Wave("QRS", -22, 10, (0.04, -0.02, 0.46)),
    "ventricles": Wave("QRS", 0, 10, (0.80, 0.80, 0.72)),
    "early T": Wave("T", 250, 50, (0.04, 0.10, 0.14)),
    "late T": Wave("T", 300, 33, (0.03, 0.14, 0.24)),
}
LV_HYPERTROPHY: dict[str, Wave] = {
    "ventricles": Wave("QRS", 0, 11.5, (1.95, 0.85, 0.92)),
    "base": Wave("QRS", 24, 10, (-0.10, -0.14, 1.05)),
    "early T": Wave("T", 245, 52, (-0.14, 0.03, -0.18)),
    "late T": Wave("T", 296, 32, (-0.20, 0.04, -0.20)),
}
MORPHOLOGY: dict[str, dict[str, Wave]] = {
    "lbbb": LBBB,
    "rbbb": RBBB,
    "inferior_infarction": INFERIOR_INFARCTION,
    "anteroseptal_infarction": ANTEROSEPTAL_INFARCTION,
    "lv_hypertrophy": LV_HYPERTROPHY,
}
"""Condition → the waves that differ from the normal ones."""

SLOTS: tuple[str, ...] = (
    *NORMAL,
    "right ventricle",
    "early ST",
    "late ST",
    "ectopic P",
    "ectopic rise",
    "ectopic fall",
    "ectopic T",
)
"""Every wave there is: a subject draws its deviations for all of them, needed or not."""


@dataclass(frozen=True)
class Heart:
    """What makes a subject's ECG their own, drawn once per subject."""

    rotation: NDArray[np.float64]
    """[3, 3]: the heart's position in the chest."""
    gain: NDArray[np.float64]
    """[W] of `SLOTS`: factor on each wave's height."""
    width: NDArray[np.float64]
    """[W]: factor on each wave's width."""
    shift_ms: NDArray[np.float64]
    """[W]: displacement of each wave's centre."""
    near_field: NDArray[np.float64]
    """[8, W]: how much stronger a lead sees a wave than the dipole says; 1 for limb leads."""
    pr_s: float
    """From the onset of P to the onset of QRS."""
    qt_factor: float
    respiratory_arrhythmia: float
    from_right_ventricle: bool
    """Where this subject's premature ventricular beats begin."""


def draw_heart(rng: np.random.Generator, age: int, first_degree_block: bool) -> Heart:
    """Draw a subject's heart; respiratory arrhythmia fades with age."""
    count = len(SLOTS)
    near_field = np.ones((8, count))
    near_field[2:] += 0.08 * rng.standard_normal((6, count))
    return Heart(
        rotation=rotation(*np.radians(np.clip(rng.normal((-5, 0), (14, 6)), (-32, -13), (26, 13)))),
        gain=np.exp(
            0.16 * np.clip(rng.standard_normal(count), -2, 2) + 0.1 * rng.standard_normal()
        ),
        width=np.exp(0.07 * np.clip(rng.standard_normal(count), -2, 2)),
        shift_ms=2.0 * np.clip(rng.standard_normal(count), -2, 2),
        near_field=near_field,
        pr_s=rng.uniform(0.225, 0.32) if first_degree_block else rng.uniform(0.125, 0.185),
        qt_factor=rng.uniform(0.92, 1.08),
        respiratory_arrhythmia=float(np.clip(rng.normal(0.07 - 0.0007 * age, 0.015), 0.005, 0.12)),
        from_right_ventricle=bool(rng.random() < 0.6),
    )


def rotation(frontal_rad: float, horizontal_rad: float) -> NDArray[np.float64]:
    """[3, 3]: turn by `frontal_rad` from left to down, then `horizontal_rad` from left to back."""
    c, s = np.cos(frontal_rad), np.sin(frontal_rad)
    frontal = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
    c, s = np.cos(horizontal_rad), np.sin(horizontal_rad)
    horizontal = np.array([[c, 0, -s], [0, 1, 0], [s, 0, c]])
    return np.asarray(horizontal @ frontal)


def waves_of(rng: np.random.Generator, state: State, heart: Heart) -> dict[str, Wave]:
    """The waves of this recording's beats by name in `SLOTS`, premature ones included."""
    waves = {
        **NORMAL,
        **MORPHOLOGY.get(state.structure, {}),
        **MORPHOLOGY.get(state.conduction, {}),
    }
    if state.st != "none":
        waves |= st_waves(rng, state.st)
    if state.ectopy == "pac":
        # The ectopic focus lies elsewhere in the atria, so its P points elsewhere: here low and
        # left.
        waves["ectopic P"] = Wave("P", 0, 19, (-0.06, -0.08, 0.05))
    if state.ectopy == "pvc":
        v = np.array([0.95, 0.75, 0.85] if heart.from_right_ventricle else [-0.85, 0.45, -0.95])
        waves["ectopic rise"] = Wave("QRS", -8, 24, vector(1.15 * v))
        waves["ectopic fall"] = Wave("QRS", 52, 26, vector(0.65 * v * [1, -0.4, 1.2]))
        waves["ectopic T"] = Wave("T", 310, 58, vector(-0.5 * v))
    return waves


def st_waves(rng: np.random.Generator, direction: str) -> dict[str, Wave]:
    """A plateau from the J point into T. The vector points to where the current of injury does."""
    if direction == "depression":
        v = rng.uniform(0.15, 0.28) * np.array([-0.85, -0.60, 0.15])
    elif rng.random() < 0.5:
        v = rng.uniform(0.16, 0.30) * np.array([0.35, -0.10, -0.95])  # anterior
    else:
        v = rng.uniform(0.20, 0.34) * np.array([-0.30, 0.95, 0.05])  # inferior
    return {
        "early ST": Wave("ST", 78, 24, vector(0.8 * v)),
        "late ST": Wave("ST", 140, 42, vector(v)),
    }


def vector(v: NDArray[np.float64]) -> tuple[float, float, float]:
    """Three numbers as a tuple."""
    return (float(v[0]), float(v[1]), float(v[2]))


def individual(name: str, wave: Wave, heart: Heart) -> Wave:
    """The wave as this subject has it: turned, scaled, widened and displaced."""
    i = SLOTS.index(name)
    v = np.array(wave.vector_mv) * heart.gain[i]
    # The atria keep their place: their axis varies far less than the ventricles'.
    turned = v if wave.part == "P" else heart.rotation @ v
    return replace(
        wave,
        centre_ms=wave.centre_ms + heart.shift_ms[i],
        width_ms=wave.width_ms * heart.width[i],
        vector_mv=vector(turned),
    )


def beats_with(name: str, beats: Beats, rhythm: str) -> NDArray[np.bool_]:
    """Which beats have the wave of that name, [B]."""
    if name == "ectopic P":
        codes = "A"
    elif name.startswith("ectopic"):
        codes = "V"
    elif name.endswith("atrium"):
        codes = "" if rhythm == "af" else "N"
    else:
        codes = "NA"
    return np.isin(beats.code, list(codes))


def draw_leads(
    rng: np.random.Generator, state: State, heart: Heart, beats: Beats, samples: int, rate_hz: float
) -> NDArray[np.float32]:
    """The noiseless leads I, II, V1–V6, [8, T] in mV."""
    # QT follows the rate of the last many beats more than the last interval.
    interval_s = 0.7 * np.median(beats.interval_s) + 0.3 * beats.interval_s
    stretch = heart.qt_factor * np.sqrt(np.clip(interval_s, 0.35, 1.5))
    # Breathing turns the heart and moves it from the electrodes: a few percent of height.
    breathing = 1 + 0.05 * beats.breath + 0.01 * rng.standard_normal(len(beats.breath))
    centres, widths, weights = [], [], []
    for name, general in waves_of(rng, state, heart).items():
        wave = individual(name, general, heart)
        has = beats_with(name, beats, state.rhythm)
        warp = stretch[has] if wave.part in ("ST", "T") else np.ones(int(has.sum()))
        # P begins pr_s before QRS, which begins 40 ms before its middle; half of P lasts 55 ms.
        start_s = 0.015 - heart.pr_s if wave.part == "P" else 0.0
        centres.append(beats.time_s[has] + start_s + warp * wave.centre_ms / 1000)
        widths.append(warp * wave.width_ms / 1000)
        seen_8 = (DOWER @ np.array(wave.vector_mv)) * heart.near_field[:, SLOTS.index(name)]
        weights.append(seen_8[:, None] * breathing[has])
    leads = sum_gaussians(
        np.concatenate(centres),
        np.concatenate(widths),
        np.concatenate(weights, axis=1),
        samples,
        rate_hz,
    )
    if state.rhythm == "af":
        axes = (DOWER @ FIBRILLATION_AXES.T).astype(np.float32)
        leads += axes @ fibrillation(rng, samples, rate_hz)
    return leads


def sum_gaussians(
    centres_s: NDArray[np.float64],
    widths_s: NDArray[np.float64],
    weights: NDArray[np.float64],
    samples: int,
    rate_hz: float,
) -> NDArray[np.float32]:
    """Sum of K Gaussians with weights [8, K], as float32 [8, T].

    Two seconds at a time, with the waves that reach into them (5.5 widths: below 1 nV): all beats
    of a block at once, and the cost grows with the length, not with its square.
    """
    leads = np.empty((8, samples), np.float32)
    block = round(2 * rate_hz)
    for start in range(0, samples, block):
        stop = min(start + block, samples)
        reach_s = 5.5 * widths_s
        near = (centres_s + reach_s > start / rate_hz) & (centres_s - reach_s < stop / rate_hz)
        grid = np.arange(stop - start, dtype=np.float32) / np.float32(rate_hz)
        offset_s = (centres_s[near] - start / rate_hz).astype(np.float32)
        z = (grid - offset_s[:, None]) * (1 / widths_s[near]).astype(np.float32)[:, None]
        np.square(z, out=z)
        z *= np.float32(-0.5)
        np.maximum(z, np.float32(-40), out=z)  # smaller numbers are denormal, and slow
        np.exp(z, out=z)
        leads[:, start:stop] = weights[:, near].astype(np.float32) @ z
    return leads
