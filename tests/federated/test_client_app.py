"""Whose data a node has: in a simulation by its number, in a deployment by what it says itself."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from flwr.app import Context, Message, RecordDict, UserConfig
from flwr.supercore.task_identity import TaskIdentity

from biofm.configuration import write_config
from biofm.federated.answering import IMPOSSIBLE, REFUSED
from biofm.federated.client_app import app
from biofm.federated.cohort import cohort_of
from biofm.federated.configuration import FederatedConfig
from biofm.federated.messages import ARRAYS, CONFIG, DESCRIBE, record_to_sums
from biofm.federated.participants import Participants
from biofm.models.pretrained import load_model


@pytest.fixture
def config(small_config: FederatedConfig) -> FederatedConfig:
    """Four subjects, who tell sums."""
    return replace(small_config, standardise="population")


def described(config: FederatedConfig, tmp_path: Path, **node: str | int) -> Message:
    """What a node with such a --node-config says of itself."""
    write_config(config, tmp_path / "run.yaml")
    said: UserConfig = {name.replace("_", "-"): value for name, value in node.items()}
    context = Context(
        run_id=0,
        node_id=1,
        node_config=said,
        state=RecordDict(),
        run_config={"config": str(tmp_path / "run.yaml")},
    )
    TaskIdentity.task_id = TaskIdentity.run_id = TaskIdentity.node_id = 0
    return app(Message(RecordDict(), 1, DESCRIBE), context)


def place_and_sums(reply: Message) -> tuple[object, dict[str, list[float]]]:
    sums = record_to_sums(reply.content.array_records[ARRAYS])
    return reply.content.config_records[CONFIG]["partition"], {
        k: v.tolist() for k, v in sums.items()
    }


def sums_of(config: FederatedConfig, subject: str) -> dict[str, list[float]]:
    cohort = cohort_of(config, load_model(config.models[0]))
    return {k: v.tolist() for k, v in Participants(cohort, {subject: 0}).sums(subject).items()}


def test_a_simulated_node_has_the_subject_of_its_number(
    config: FederatedConfig, subjects: list[str], tmp_path: Path
) -> None:
    reply = described(config, tmp_path, partition_id=2, num_partitions=4)
    assert place_and_sums(reply) == (2, sums_of(config, subjects[2]))


def test_a_simulation_of_another_number_is_impossible(
    config: FederatedConfig, tmp_path: Path
) -> None:
    reply = described(config, tmp_path, partition_id=0, num_partitions=10)
    assert reply.error.code == IMPOSSIBLE
    assert "num-supernodes=4" in str(reply.error.reason)


def test_a_deployed_node_says_whose_data_it_has(
    config: FederatedConfig, subjects: list[str], tmp_path: Path
) -> None:
    """Though it may say of how many it is one, as Flower's examples do."""
    reply = described(config, tmp_path, partition_id=7, num_partitions=9, subject=subjects[1])
    assert place_and_sums(reply) == (7, sums_of(config, subjects[1]))


@pytest.mark.parametrize(
    ("node", "why"),
    [
        ({"partition_id": 0}, "its shards hold 4: say whose"),
        ({"subject": "somebody"}, "partition-id=0"),
    ],
)
def test_a_deployed_node_refuses_alone(
    node: dict[str, str | int], why: str, config: FederatedConfig, tmp_path: Path
) -> None:
    reply = described(config, tmp_path, **node)
    assert reply.error.code == REFUSED
    assert why in str(reply.error.reason)
