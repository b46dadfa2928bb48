"""The server's side of secure aggregation: a strategy's rounds, each by Flower's workflow for SecAgg+ (`secure`)."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

from flwr.app import Array, ArrayRecord, ConfigRecord
from flwr.common import (
    FitIns,
    FitRes,
    NDArrays,
    Parameters,
    Scalar,
    ndarrays_to_parameters,
    parameters_to_ndarrays,
)
from flwr.server import LegacyContext, SimpleClientManager
from flwr.server.client_manager import ClientManager
from flwr.server.client_proxy import ClientProxy
from flwr.server.compat.grid_client_proxy import GridClientProxy
from flwr.server.strategy import FedAvg
from flwr.server.workflow import SecAggPlusWorkflow
from flwr.server.workflow.constant import MAIN_CONFIGS_RECORD, MAIN_PARAMS_RECORD
from flwr.server.workflow.constant import Key as RoundKey
from flwr.server.workflow.secure_aggregation.secaggplus_workflow import WorkflowState
from flwr.serverapp import Grid

from .configuration import FederatedConfig, StrategyName
from .grids import Federation, Traffic
from .messages import TRAIN, empty_context
from .reality import asked
from .secure import CLIPPED, FEWEST, LEVELS, MODULUS, NAMES

SHARED = 2 / 3
"""Share of the clients that can make a key again: as many have to stay, and fewer learn nothing together."""


def secure_rounds(
    federation: Federation,
    config: FederatedConfig,
    name: StrategyName,
    arrays: ArrayRecord,
    members: Collection[int],
) -> ArrayRecord:
    """The parameters after all rounds. One in which too few answer leaves them as they are.

    Raises `ValueError` where there are more clients than sums can be counted of, or too few for a secret.
    """
    for number in range(1, config.rounds + 1):
        chosen = set(asked(config.reality, config.seed, number, members))
        there = [n for n in federation.get_node_ids() if federation.partition[n] in chosen]
        if not FEWEST <= len(there) < MODULUS // LEVELS:
            raise ValueError(
                f"secure_aggregation: a round asks {len(there)} clients, and it takes {FEWEST} or more, fewer than "
                f"{MODULUS // LEVELS}: choose another reality.participation, or leave it out"
            )
        arrays = _one_round(federation, config, name, arrays, there, number)
    return arrays


def _one_round(
    federation: Federation,
    config: FederatedConfig,
    name: StrategyName,
    arrays: ArrayRecord,
    there: Sequence[int],
    number: int,
) -> ArrayRecord:
    before = [array.numpy() for array in arrays.values()]
    terms: dict[str, Scalar] = {"strategy": name, "server-round": number, NAMES: " ".join(arrays)}
    told = FitIns(ndarrays_to_parameters(before), terms)
    sums = _Sum([(GridClientProxy(node, federation, 0), told) for node in there])
    context = LegacyContext(empty_context(), strategy=sums, client_manager=SimpleClientManager())
    context.state[MAIN_CONFIGS_RECORD] = ConfigRecord({RoundKey.CURRENT_ROUND: number})
    context.state[MAIN_PARAMS_RECORD] = ArrayRecord()
    workflow = _Workflow(
        num_shares=1.0,
        reconstruction_threshold=max(FEWEST, math.ceil(SHARED * len(there))) / len(there),
        max_weight=float(max(federation.windows[federation.partition[node]] for node in there)),
        clipping_range=CLIPPED,
        quantization_range=LEVELS,
        modulus_range=MODULUS,
        timeout=config.timeout_s,
    )
    first = len(federation.traffic)
    workflow(federation, context)
    federation.traffic[first:] = [_together(federation.traffic[first:])]
    if sums.change is None:
        return arrays
    return ArrayRecord(
        {
            key: Array((value + change).astype(value.dtype))
            for key, value, change in zip(arrays, before, sums.change, strict=True)
        }
    )


class _Sum(FedAvg):
    """Tells the workflow whom to ask, and is told the mean."""

    def __init__(self, instructions: list[tuple[ClientProxy, FitIns]]) -> None:
        super().__init__()
        self.instructions = instructions
        self.change: NDArrays | None = None

    def configure_fit(
        self, server_round: int, parameters: Parameters, client_manager: ClientManager
    ) -> list[tuple[ClientProxy, FitIns]]:
        """Those that were chosen."""
        return self.instructions

    def aggregate_fit(
        self,
        server_round: int,
        results: list[tuple[ClientProxy, FitRes]],
        failures: list[tuple[ClientProxy, FitRes] | BaseException],
    ) -> tuple[None, dict[str, Scalar]]:
        """Every result holds the same mean by now."""
        self.change = parameters_to_ndarrays(results[0][1].parameters)
        return None, {}


class _Workflow(SecAggPlusWorkflow):
    """Flower's, which ends a round without a sum where somebody is lost before the keys are shared out."""

    def share_keys_stage(self, grid: Grid, context: LegacyContext, state: WorkflowState) -> bool:
        """Who is lost by now is out: it shared no key, and nobody added a mask for it."""
        going = super().share_keys_stage(grid, context, state)
        state.sampled_node_ids = set(state.active_node_ids)
        state.nid_to_neighbours = {
            node: neighbours & state.active_node_ids
            for node, neighbours in state.nid_to_neighbours.items()
        }
        return going


def _together(stages: Sequence[Traffic]) -> Traffic:
    """The messages of a round as one exchange: as many answered as gave what is summed."""
    answered = stages[2].answered if len(stages) > 2 else 0
    down, up = sum(stage.down for stage in stages), sum(stage.up for stage in stages)
    return Traffic(TRAIN, down, up, stages[0].asked, answered)
