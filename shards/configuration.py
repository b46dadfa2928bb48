"""How shards are built: the fields of a build's config."""

from __future__ import annotations

from dataclasses import dataclass

from ..signals import Preprocessing
from .index import SPLITS


@dataclass(frozen=True)
class Modalities:
    """How each modality is brought to the rate and band that models read."""

    ecg: Preprocessing = Preprocessing(rate_hz=100.0, highpass_hz=0.5, lowpass_hz=40.0)
    """Electrocardiogram."""


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


@dataclass(frozen=True)
class BuildConfig:
    """What a build does to recordings; all but `max_bad` decides the bytes it writes."""

    preprocessing: Modalities = Modalities()
    """Rate and filters by modality; a modality that is not named here is left out."""
    segment_s: float = 60.0
    """Length of a segment in seconds; a shorter recording, or what is left at its end, is one."""
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

    def __post_init__(self) -> None:
        if not self.segment_s > 0:
            raise ValueError(f"segment_s must be above 0 s, not {self.segment_s}")
        if self.records_per_shard < 1:
            raise ValueError(f"records_per_shard must be at least 1, not {self.records_per_shard}")
        if self.max_bad < 0:
            raise ValueError(f"max_bad must be 0 or more, not {self.max_bad}")
