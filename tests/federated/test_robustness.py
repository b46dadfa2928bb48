"""One poisoned client of six: the mean goes where it wants, what is robust stays near the clean one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from biofm.federated.cohort import Cohort
from biofm.federated.configuration import Aggregation, FederatedConfig, LocalConfig, RealityConfig
from biofm.federated.keeping import kept
from biofm.federated.reality import poisoned
from biofm.federated.server import Run

Federate = Callable[..., list[Run]]
Easy = Callable[[FederatedConfig], Cohort]


@pytest.fixture
def config(small_config: FederatedConfig) -> FederatedConfig:
    local = LocalConfig(steps=5, batch=16)
    return replace(small_config, excluded=(), rounds=8, local=local, strategies=("fedavg",))


def accuracy(config: FederatedConfig, cohort: Cohort, federate: Federate) -> float:
    """Of the model for all, on the test windows of those who are not poisoned in any of the runs."""
    federate(config, cohort)
    honest = [s for s in cohort.clients if not _worst(config, s, cohort)]
    right = []
    for subject in honest:
        said = kept(config.out, subject, "fedavg")
        assert said.common is not None
        right.append((said.common["test"].argmax(axis=1) == said.truth["test"]).mean())
    assert len(right) == 5
    return float(np.mean(right))


def _worst(config: FederatedConfig, subject: str, cohort: Cohort) -> bool:
    return subject in poisoned(RealityConfig(poisoned=1), config.seed, list(cohort.clients))


@pytest.mark.parametrize("way", ["median", "trimmed_mean", "krum"])
def test_a_poisoned_client_does_not_move_a_robust_federation(
    way: Aggregation, config: FederatedConfig, easy: Easy, federate: Federate
) -> None:
    poisoned = replace(config, reality=RealityConfig(poisoned=1))
    clean = accuracy(config, easy(config), federate)
    broken = accuracy(poisoned, easy(poisoned), federate)
    robust = replace(poisoned, aggregation=way)
    held = accuracy(robust, easy(robust), federate)
    assert clean > 0.9
    assert broken < 0.6
    assert held > clean - 0.05
