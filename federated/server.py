"""The server's program: the same on Flower's simulation and deployment, and on the in-process grid."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Message, RecordDict
from flwr.serverapp import Grid
from flwr.serverapp.strategy import (
    FedAvg,
    FedMedian,
    FedProx,
    FedTrimmedAvg,
    Krum,
)

from .configuration import FederatedConfig, StrategyName
from .grids import Federation, InProcessGrid, Traffic
from .messages import (
    ARRAYS,
    BEGIN,
    CONFIG,
    FINISH,
    SCALING,
    TRAIN,
    record_to_sums,
    scaling_to_record,
)
from .privacy import local_epsilon, with_noise
from .reality import asked
from .scaling import scaling_of
from .secure_rounds import secure_rounds
from .strategies import STRATEGIES


@dataclass(frozen=True)
class Run:
    """What one strategy's rounds came to: `loss` by round, bytes of each exchange, ε if anything was protected."""

    strategy: StrategyName
    arrays: ArrayRecord
    loss: dict[int, float]
    traffic: list[Traffic]
    epsilon: float | None
    refused: list[str] = field(default_factory=list)


class Asking(FedAvg):
    """Flower's FedAvg, which asks those whom (seed, round) choose by partition, not by Python's global generator."""

    config: FederatedConfig
    members: frozenset[int]
    """The partitions that take part."""

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """The messages of a round, to those of the chosen that are there."""
        assert isinstance(grid, Federation)
        nodes = grid.get_node_ids()
        members = self.members or set(grid.partition.values())
        chosen = asked(self.config.reality, self.config.seed, server_round, members)
        config["server-round"] = server_round
        content = RecordDict(
            {self.arrayrecord_key: arrays, self.configrecord_key: config, **grid.scaling}
        )
        there = [node for node in nodes if grid.partition[node] in chosen]
        if self.config.privacy.central_noise and len(there) < len(chosen):
            # The noise is for so many: with fewer it would protect less than is counted, so that there is no round.
            return []
        return self._construct_messages(content, there, TRAIN)


class AskingProx(FedProx, Asking):
    """FedProx, likewise."""


class AskingMedian(FedMedian, Asking):
    """FedMedian, likewise."""


class AskingTrimmed(FedTrimmedAvg, Asking):
    """FedTrimmedAvg, likewise."""


class AskingKrum(Krum, Asking):
    """Krum, likewise."""


def serve(
    grid: Grid,
    config: FederatedConfig,
    judged: Collection[int] = (),
    shown: Callable[[Iterable[StrategyName]], Iterable[StrategyName]] = iter,
) -> Iterator[Run]:
    """Run every strategy of the config; after each, each of `judged` (partitions; none for all) judges on its own.

    Where they are to be unseen, they take no part. Raises `TimeoutError` where too few clients come.
    """
    # Flower tells every round in many lines; what a run came to is told by its `Run`.
    logging.getLogger("flwr").setLevel(logging.ERROR)
    federation = Federation(grid, config.timeout_s, config.minimum)
    everybody = set(federation.partition.values())
    unseen = config.division.kind == "unseen"
    members = everybody - set(judged) if unseen else everybody
    if not members:
        raise ValueError(
            "division unseen: nobody is left to learn from; name several encoders, each of which leaves out others"
        )
    federation.scaling = _scaling(federation, members)
    for name in shown(config.strategies):
        yield run_one(federation, config, name, members, judged or everybody)


def run_one(
    federation: Federation,
    config: FederatedConfig,
    name: StrategyName,
    members: Collection[int],
    judged: Collection[int],
) -> Run:
    """One strategy from its beginning to what each client makes of it."""
    federation.traffic.clear()
    terms = ConfigRecord({"strategy": name})
    arrays, loss, epsilon = ArrayRecord(), dict[int, float](), None
    if STRATEGIES[name].exchanged != "none":
        arrays = _begin(federation, terms)
        if config.privacy.promised and isinstance(federation.inner, InProcessGrid):
            # Flower draws noise from numpy's global generator. Only where nobody is protected may it be known.
            np.random.seed(config.seed)  # noqa: NPY002
        if config.privacy.secure_aggregation:
            arrays = secure_rounds(federation, config, name, arrays, members)
        else:
            arrays, loss, epsilon = _rounds(federation, config, name, arrays, members)
    here = [node for node in federation.get_node_ids() if federation.partition[node] in judged]
    content = RecordDict({ARRAYS: arrays, CONFIG: terms, **federation.scaling})
    done = federation.ask(FINISH, content, here)
    refused = [str(reply.error.reason) for reply in done if reply.has_error()]
    return Run(name, arrays, loss, list(federation.traffic), epsilon, refused)


def _rounds(
    federation: Federation,
    config: FederatedConfig,
    name: StrategyName,
    arrays: ArrayRecord,
    members: Collection[int],
) -> tuple[ArrayRecord, dict[int, float], float | None]:
    """All rounds by Flower's strategy: (the parameters, loss by round, ε)."""
    share = len(asked(config.reality, config.seed, 1, members))
    inner = _strategy(config, name, members)
    strategy = with_noise(inner, config.privacy, len(members), share)
    result = strategy.start(
        federation,
        arrays,
        num_rounds=config.rounds,
        timeout=config.timeout_s,
        train_config=ConfigRecord({"strategy": name}),
    )
    told = result.train_metrics_clientapp
    loss = {number: _number(of["loss"]) for number, of in told.items() if "loss" in of}
    return result.arrays or arrays, loss, _epsilon(strategy, config)


def _strategy(config: FederatedConfig, name: StrategyName, members: Collection[int]) -> Asking:
    """Flower's strategy for what clients send."""
    found: Asking
    if config.aggregation == "median":
        found = AskingMedian(fraction_evaluate=0.0)
    elif config.aggregation == "trimmed_mean":
        found = AskingTrimmed(fraction_evaluate=0.0)
    elif config.aggregation == "krum":
        found = AskingKrum(fraction_evaluate=0.0, num_malicious_nodes=config.reality.poisoned)
    elif name == "fedprox":
        found = AskingProx(fraction_evaluate=0.0, proximal_mu=config.local.proximal)
    else:
        found = Asking(fraction_evaluate=0.0)
    found.config, found.members = config, frozenset(members)
    return found


def _scaling(federation: Federation, members: Collection[int]) -> dict[str, ArrayRecord]:
    """How all clients are to scale, by the sums of those that take part; empty where each scales by itself."""
    sums = [record_to_sums(federation.sums[place]) for place in sorted(members)]
    if not any(value.size for one in sums for value in one.values()):
        return {}
    return {SCALING: scaling_to_record(scaling_of(sums))}


def _begin(federation: Federation, terms: ConfigRecord) -> ArrayRecord:
    """The parameters that everybody begins with, said by the first client that can.

    Raises `RuntimeError` where none does, with what the last one said.
    """
    why = "look at the clients' logs"
    for node in federation.get_node_ids():
        for reply in federation.ask(BEGIN, RecordDict({CONFIG: terms}), [node]):
            if reply.has_content():
                return reply.content.array_records[ARRAYS]
            why = str(reply.error.reason)
    raise RuntimeError(f"no client could say what to begin with: {why}")


def _number(value: object) -> float:
    assert isinstance(value, int | float)
    return float(value)


def _epsilon(strategy: object, config: FederatedConfig) -> float | None:
    if config.privacy.local_epsilon:
        return local_epsilon(config.privacy, config.rounds)
    spent = getattr(strategy, "privacy_spent", lambda: None)()
    return None if spent is None else float(spent.epsilon)
