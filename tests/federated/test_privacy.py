"""The noise is there, its ε is what the theory says, and what would break the promise is refused."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import replace

import numpy as np
import pytest
from flwr.app import Message
from numpy.typing import NDArray
from scipy.optimize import brentq, minimize_scalar
from scipy.stats import norm

from biofm.federated.answering import numbers_of
from biofm.federated.cohort import cohort_of
from biofm.federated.configuration import FederatedConfig, PrivacyConfig, RealityConfig
from biofm.federated.grids import InProcessGrid
from biofm.federated.messages import TRAIN
from biofm.federated.privacy import local_epsilon
from biofm.federated.server import Run
from biofm.federated.strategies import STRATEGIES
from biofm.models.pretrained import load_model

Federate = Callable[..., list[Run]]

SENT = tuple(name for name, strategy in STRATEGIES.items() if strategy.exchanged != "none")
DELTA = 1e-5


def renyi_epsilon(multiplier: float, releases: int, delta: float = DELTA) -> float:
    """Of so many Gaussian releases: the least bound over all orders, turned into ε by Canonne et al. (2020)."""

    def bound(order: float) -> float:
        renyi = releases * order / (2 * multiplier**2)
        return renyi + math.log1p(-1 / order) - math.log(delta * order) / (order - 1)

    found = minimize_scalar(bound, bounds=(1.0001, 500), method="bounded", options={"xatol": 1e-6})
    return float(found.fun)


def exact_epsilon(multiplier: float, releases: int, delta: float = DELTA) -> float:
    """The least ε of the same that there is (Balle and Wang, ICML 2018, theorem 8)."""
    mu = math.sqrt(releases) / multiplier

    def left(epsilon: float) -> float:
        tail = norm.cdf(mu / 2 - epsilon / mu) - math.exp(epsilon) * norm.cdf(
            -mu / 2 - epsilon / mu
        )
        return float(tail) - delta

    return float(brentq(left, 0.0, 200.0))


def numbers(run: Run) -> NDArray[np.float64]:
    return np.concatenate([run.arrays[key].numpy().ravel() for key in run.arrays]).astype(
        np.float64
    )


@pytest.mark.parametrize(("multiplier", "rounds"), [(1.0, 2), (4.0, 3)])
def test_epsilon_of_noise_at_the_server_is_that_of_gaussian_releases(
    multiplier: float, rounds: int, small_config: FederatedConfig, federate: Federate
) -> None:
    privacy = PrivacyConfig(central_noise=multiplier, delta=DELTA)
    config = replace(small_config, privacy=privacy, rounds=rounds, strategies=("base", *SENT))
    runs = {run.strategy: run for run in federate(config)}
    assert runs.pop("base").epsilon is None
    for run in runs.values():
        assert run.epsilon is not None
        # The accountant looks at some orders only: a little above the least bound, never below what is true.
        assert run.epsilon == pytest.approx(renyi_epsilon(multiplier, rounds), rel=0.01)
        assert run.epsilon > exact_epsilon(multiplier, rounds)
        assert not run.loss, "the mean of the losses has no noise"


@pytest.mark.parametrize("epsilon", [0.5, 2.0, 8.0])
def test_epsilon_of_noise_at_the_clients(
    epsilon: float, small_config: FederatedConfig, federate: Federate
) -> None:
    privacy = PrivacyConfig(local_epsilon=epsilon, delta=DELTA)
    config = replace(small_config, privacy=privacy, strategies=("fedavg",))
    run = federate(config)[0]
    # Noise over sensitivity, as the Gaussian mechanism has it (Dwork and Roth, 2014, theorem 3.22).
    multiplier = math.sqrt(2 * math.log(1.25 / DELTA)) / epsilon
    assert run.epsilon == pytest.approx(renyi_epsilon(multiplier, 2), rel=0.01)
    assert run.epsilon is not None
    assert run.epsilon > exact_epsilon(multiplier, 2)
    if epsilon < 1:
        # The theorem is of ε below 1: one release then costs no more than was asked for.
        assert exact_epsilon(multiplier, 1) < epsilon
    assert local_epsilon(privacy, 2) < local_epsilon(privacy, 3)
    assert not run.loss


@pytest.mark.parametrize("where", ["central", "local"])
def test_the_noise_is_there_and_as_large_as_is_said(
    where: str, small_config: FederatedConfig, federate: Federate
) -> None:
    config = replace(small_config, rounds=1, strategies=("fedavg",))
    clip = 0.5
    none = PrivacyConfig(central_noise=1e-9, clip=clip)
    some = PrivacyConfig(central_noise=2.0, clip=clip)
    expected = 2.0 * clip / 4
    if where == "local":
        some = PrivacyConfig(local_epsilon=4.0, clip=clip, delta=DELTA)
        # An update differs from any other by 2 × clip at most; four clients' noise is averaged.
        expected = 2 * clip * math.sqrt(2 * math.log(1.25 / DELTA)) / 4.0 / math.sqrt(4)
    clean, noisy, again, other = (
        numbers(federate(replace(config, privacy=privacy, seed=seed))[0])
        for privacy, seed in ((none, 0), (some, 0), (some, 0), (some, 1))
    )
    noise = noisy - clean
    assert len(noise) > 1000
    assert noise.std() == pytest.approx(expected, rel=0.1)
    assert abs(noise.mean()) < 5 * expected / math.sqrt(len(noise))
    assert np.array_equal(noisy, again), "in a simulation the seed decides the noise too"
    assert not np.allclose(noisy, other, atol=expected / 10)


def test_updates_are_clipped(small_config: FederatedConfig, federate: Federate) -> None:
    config = replace(small_config, rounds=1, strategies=("fedavg",))
    begun = numbers(federate(replace(config, local=replace(config.local, rate=1e-12)))[0])
    free = np.linalg.norm(numbers(federate(config)[0]) - begun)
    for clip in (free / 10, free / 100):
        privacy = PrivacyConfig(central_noise=1e-9, clip=float(clip))
        moved = np.linalg.norm(numbers(federate(replace(config, privacy=privacy))[0]) - begun)
        # The mean of four updates of this norm, which do not all point the same way.
        assert 0.2 * clip < moved <= clip * (1 + 1e-4)


def test_a_round_in_which_somebody_drops_out_is_not_released_and_costs_nothing(
    small_config: FederatedConfig, federate: Federate
) -> None:
    config = replace(
        small_config,
        rounds=8,
        strategies=("fedavg",),
        reality=RealityConfig(dropout=0.2),
        privacy=PrivacyConfig(central_noise=2.0, delta=DELTA),
    )
    run = federate(config)[0]
    whole = sum(t.kind == "train" and t.answered == 4 for t in run.traffic)
    assert 0 < whole < 8, "choose another seed"
    assert run.epsilon == pytest.approx(renyi_epsilon(2.0, whole), rel=0.01)


def test_without_all_of_its_clients_there_is_no_round(
    small_config: FederatedConfig, federate: Federate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A node that is gone for good: the noise would be too little for those who are left."""
    privacy = PrivacyConfig(central_noise=2.0, delta=DELTA)
    config = replace(small_config, rounds=5, strategies=("fedavg",), privacy=privacy)
    sent = 0
    plain = InProcessGrid.send_and_receive

    def counting(
        grid: InProcessGrid, messages: Iterable[Message], *, timeout: float | None = None
    ) -> list[Message]:
        nonlocal sent
        asked = list(messages)
        sent += asked[0].metadata.message_type == TRAIN
        return plain(grid, asked, timeout=timeout)

    monkeypatch.setattr(InProcessGrid, "send_and_receive", counting)
    monkeypatch.setattr(
        InProcessGrid, "get_node_ids", lambda _grid: [1, 2, 3, 4] if sent < 2 else [1, 2, 3]
    )
    run = federate(config)[0]
    assert [t.asked for t in run.traffic if t.kind == "train"] == [4, 4]
    assert run.epsilon == pytest.approx(renyi_epsilon(2.0, 2), rel=0.01)


def test_under_noise_clients_say_nothing_exact(small_config: FederatedConfig) -> None:
    noisy = replace(small_config, privacy=PrivacyConfig(local_epsilon=1.0))
    assert numbers_of(noisy, 31, loss=0.5) == {"num-examples": 1}
    masked = replace(small_config, privacy=PrivacyConfig(secure_aggregation=True))
    assert numbers_of(masked, 31, loss=0.5) == {"num-examples": 31}
    assert numbers_of(small_config, 31, loss=0.5) == {"num-examples": 31, "loss": 0.5}


@pytest.mark.parametrize(
    "privacy",
    [
        PrivacyConfig(central_noise=1.0),
        PrivacyConfig(local_epsilon=1.0),
        PrivacyConfig(secure_aggregation=True),
    ],
)
def test_what_would_break_the_promise_is_refused(
    privacy: PrivacyConfig, small_config: FederatedConfig
) -> None:
    with pytest.raises(ValueError, match=r"standardise: exact sums .* choose subject"):
        replace(small_config, privacy=privacy, standardise="population")
    with pytest.raises(ValueError, match=r"aggregation: .* the mean, not median"):
        replace(small_config, privacy=privacy, aggregation="median")
    quantities = replace(small_config, privacy=privacy, task="hr_wesad")
    with pytest.raises(ValueError, match=r"hr_wesad: .*exact sums .* choose a task of classes"):
        cohort_of(quantities, load_model(small_config.models[0]))


def test_one_way_at_a_time() -> None:
    with pytest.raises(ValueError, match="choose one of"):
        PrivacyConfig(central_noise=1.0, secure_aggregation=True)
    with pytest.raises(ValueError, match="delta lies between 0 and 1, not 1"):
        PrivacyConfig(delta=1.0)
    with pytest.raises(ValueError, match="clip above 0"):
        PrivacyConfig(clip=0)
