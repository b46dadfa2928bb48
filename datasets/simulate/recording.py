"""One synthetic recording from its plan: samples as whole microvolts, and the truth about them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from ...signals.preprocessing import resample
from .conditions import Plan
from .dipole import Heart, draw_heart, draw_leads
from .noise import NoiseTruth, draw_noise
from .rhythm import Beats, draw_beats

RATE_HZ = 500


@dataclass(frozen=True)
class Simulated:
    """`leads_mv` [8, T] (I, II, V1–V6) at 500 Hz, with the beats and the noise that are in it."""

    plan: Plan
    leads_mv: NDArray[np.float32]
    beats: Beats
    heart: Heart
    noise: NoiseTruth

    @property
    def inside(self) -> NDArray[np.bool_]:
        """Which beats lie inside the recording."""
        times_s = self.beats.time_s
        return np.asarray((times_s >= 0) & (times_s < self.plan.duration_s))


@lru_cache(maxsize=4096)
def heart_of(seed: int, subject: int, age: int, first_degree_block: bool) -> Heart:
    """A subject's heart: the same in each of their recordings."""
    return draw_heart(np.random.default_rng([seed, 1, subject]), age, first_degree_block)


def record(plan: Plan, seed: int) -> Simulated:
    """Make one recording from the seed and its own plan alone, so that order does not matter."""
    rng = np.random.default_rng([seed, 2, plan.index])
    subject, state = plan.subject, plan.state
    block = state.conduction == "first_degree_block"
    heart = heart_of(seed, subject.number, subject.age, block)
    beats = draw_beats(rng, state, plan.duration_s, heart.respiratory_arrhythmia)
    samples = round(plan.duration_s * RATE_HZ)
    leads_mv = draw_leads(rng, state, heart, beats, samples, RATE_HZ)
    noise_mv, noise = draw_noise(rng, plan.noise, samples, RATE_HZ)
    leads_mv += noise_mv
    return Simulated(plan, leads_mv, beats, heart, noise)


def microvolts(leads_mv: NDArray[np.float32], to_hz: float = RATE_HZ) -> NDArray[np.int16]:
    """All twelve leads [12, T] in µV from I, II, V1–V6 in mV, in the standard order.

    III, aVR, aVL and aVF come from the rounded I and II: III is exact, the halves round to even, so
    Einthoven's and Goldberger's relations hold to 1 µV in the file itself.
    """
    eight = np.rint(resample(leads_mv, RATE_HZ, to_hz) * 1000)
    one, two = eight[0], eight[1]
    twelve = np.empty((12, eight.shape[1]), np.float32)
    twelve[:2] = eight[:2]
    twelve[2] = two - one
    twelve[3] = np.rint(-(one + two) / 2)
    twelve[4] = np.rint(one - two / 2)
    twelve[5] = np.rint(two - one / 2)
    twelve[6:] = eight[2:]
    # −32768 means missing in format 16, so the scale stops one short of it.
    return np.clip(twelve, -32767, 32767).astype(np.int16)


def truth_of(made: Simulated, record_id: str) -> dict[str, object]:
    """The row of `truth.parquet` for a recording."""
    plan, subject, state = made.plan, made.plan.subject, made.plan.state
    times_s = made.beats.time_s[made.inside]
    fibrillating = state.rhythm == "af"
    return {
        "record": record_id,
        "subject": subject.number + 1,
        "age": subject.age,
        "sex": "female" if subject.female else "male",
        "fold": subject.fold,
        "duration_s": plan.duration_s,
        "rhythm": state.rhythm,
        "ectopy": state.ectopy,
        "conduction": state.conduction,
        "st": state.st,
        "structure": state.structure,
        "heart_rate_bpm": float(60 / np.mean(np.diff(times_s))),
        "pr_s": None if fibrillating else made.heart.pr_s,
        "r_peaks_s": [round(float(t), 4) for t in times_s],
        "beats": "".join(made.beats.code[made.inside]),
        "noise": plan.noise,
        "drift_uv": made.noise.drift_uv,
        "mains_uv": made.noise.mains_uv,
        "muscle_uv": made.noise.muscle_uv,
        "contacts": made.noise.contacts,
    }
