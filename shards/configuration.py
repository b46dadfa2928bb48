"""How shards are built: the fields of a build's config."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ..configuration import CONFIGS, parse
from ..signals import Preprocessing
from .index import SPLITS


@dataclass(frozen=True)
class Modalities:
    """How each modality is brought to the rate and band that models read.

    All signals of a modality become one stream of this rate, channels side by side. `null` leaves a
    modality out.
    """

    ecg: Preprocessing | None = Preprocessing(rate_hz=100.0, highpass_hz=0.5, lowpass_hz=40.0)
    """Electrocardiogram, in mV."""
    ppg: Preprocessing | None = Preprocessing(
        rate_hz=32.0, highpass_hz=0.4, lowpass_hz=8.0, order=3
    )
    """Photoplethysmogram, in arbitrary units."""
    acc: Preprocessing | None = Preprocessing(rate_hz=32.0)
    """Acceleration with gravity, in g."""
    hr: Preprocessing | None = Preprocessing(rate_hz=1.0, longest_gap_s=30.0)
    """Heart rate as a device reports it, in bpm."""
    resp: Preprocessing | None = Preprocessing(rate_hz=8.0)
    """Breathing belts and airflow, in arbitrary units."""
    spo2: Preprocessing | None = Preprocessing(rate_hz=1.0, longest_gap_s=30.0)
    """Oxygen saturation, in %."""
    eeg: Preprocessing | None = Preprocessing(rate_hz=100.0, highpass_hz=0.3, lowpass_hz=35.0)
    """Electroencephalogram, in µV."""
    eog: Preprocessing | None = Preprocessing(rate_hz=50.0, highpass_hz=0.3, lowpass_hz=15.0)
    """Electrooculogram, in µV."""
    emg: Preprocessing | None = Preprocessing(rate_hz=100.0, highpass_hz=10.0)
    """Electromyogram, in µV."""
    bp: Preprocessing | None = Preprocessing(rate_hz=100.0, lowpass_hz=20.0)
    """Arterial pressure, in mmHg."""
    counts: Preprocessing | None = Preprocessing(rate_hz=1 / 30)
    """Activity counts and steps in an interval; resampled as totals where they come as such."""
    eda: Preprocessing | None = Preprocessing(rate_hz=4.0)
    """Electrodermal activity, in µS."""
    temp: Preprocessing | None = Preprocessing(rate_hz=4.0)
    """Skin temperature, in °C."""


@dataclass(frozen=True)
class Folds:
    """Which of a source's official folds make up each split; a fold named in none is left out."""

    train: tuple[int, ...] = (1, 2, 3, 4, 5, 6, 7, 8)
    """Folds to learn from."""
    validation: tuple[int, ...] = (9,)
    """Folds on which every choice is made."""
    test: tuple[int, ...] = (10,)
    """Folds that are looked at once."""

    def __post_init__(self) -> None:
        named = [fold for split in SPLITS for fold in getattr(self, split)]
        twice = sorted({fold for fold in named if named.count(fold) > 1})
        if twice:
            raise ValueError(f"folds: {twice} named more than once; a fold belongs to one split")
        if not named:
            raise ValueError("folds: name at least one fold in train, validation or test")


@dataclass(frozen=True)
class Fractions:
    """Share of subjects in each split, for sources without official folds."""

    train: float = 0.8
    """Share to learn from."""
    validation: float = 0.1
    """Share on which every choice is made."""
    test: float = 0.1
    """Share that is looked at once."""

    def __post_init__(self) -> None:
        shares = [getattr(self, split) for split in SPLITS]
        if min(shares) < 0 or abs(sum(shares) - 1) > 1e-9:
            raise ValueError(f"fractions must be 0 or more and sum to 1, not {shares}")


def shipped(source: str) -> BuildConfig:
    """The config that ships for a source (`configs/shards/<source>.yaml`), or the defaults."""
    if not (CONFIGS / "shards" / f"{source}.yaml").is_file():
        return BuildConfig()
    return parse(BuildConfig, ["--config", f"shards/{source}"])


@dataclass(frozen=True)
class BuildConfig:
    """What a build does to recordings; all but `max_bad` decides the bytes it writes."""

    preprocessing: Modalities = Modalities()
    """Rate and filters by modality; `--preprocessing.emg null` leaves one out."""
    segment_s: float = 60.0
    """Length of a segment in seconds, cut at its multiples; what is left at either end is one."""
    folds: Folds = Folds()
    """Splits by official fold, for sources that have them."""
    fractions: Fractions = Fractions()
    """Splits by a seeded hash of the subject, for sources that have no folds."""
    records_per_shard: int = 256
    """At most so many recordings in a shard."""
    seed: int = 0
    """Decides which record goes into which shard and, without folds, which subject into which
    split."""
    max_bad: int = 10
    """More unusable records than this fail the build."""
    unknown_subjects: Literal["refuse", "may_leak"] = "refuse"
    """Where the source does not say whose recordings these are: refuse to split them, or split them
    one by one, so that a person may be in several splits; manifest, report and card then say so."""
    accepted_leaks: tuple[str, ...] = ()
    """Subjects that a published split has on both sides: verify names them and does not fail."""
    pseudonym_key: Path | None = None
    """File with at least 16 random bytes: subjects and records are then named by keyed hashes
    (HMAC-SHA-256), the same for the same key in every build; null keeps the source's names. The
    manifest tells which key it was by 16 digits, not where it lies."""

    def __post_init__(self) -> None:
        if not self.segment_s > 0:
            raise ValueError(f"segment_s must be above 0 s, not {self.segment_s}")
        if self.records_per_shard < 1:
            raise ValueError(f"records_per_shard must be at least 1, not {self.records_per_shard}")
        if self.max_bad < 0:
            raise ValueError(f"max_bad must be 0 or more, not {self.max_bad}")
