"""The clients' program for Flower: one subject a node, in simulation and deployment alike.

- A node of a **deployment** says by `--node-config` which partition it is, where its own shards and the encoder lie,
  and whose data it holds where the shards hold several people's:
  `partition-id=0 shards='/data/shards' models='/data/encoder' subject='…'`.
- A node of a **simulation** (`flwr run`) is told by Flower which of how many partitions it is. All have the same
  shards, and the partitions are their subjects in order.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace

from flwr.app import Context, Error, Message
from flwr.clientapp import ClientApp

from ..configuration import USER_ERRORS
from ..models.pretrained import load_model
from .answering import IMPOSSIBLE, REFUSED, answer
from .cohort import Cohort, cohort_of
from .configuration import FederatedConfig, StrategyName
from .keeping import keep
from .messages import TRAIN, replying, to_params, to_record
from .participants import Answers, Participants
from .privacy import protected
from .secure import secured
from .settings import settings


@dataclass(frozen=True)
class Node:
    """Whose data a node holds, among whom, and who is judged (no partition: everybody)."""

    config: FederatedConfig
    model: str
    partition: dict[str, int] | None = None
    judged: tuple[str, ...] = ()


def client_app(node_of: Callable[[Context], Node]) -> ClientApp:
    """An app whose clients' data `node_of` tells from a node's context."""
    app = ClientApp()

    def handle(message: Message, context: Context) -> Message:
        try:
            return _handle(message, context, node_of(context))
        except USER_ERRORS as error:
            # In a simulation nobody mends a client while it runs.
            code = IMPOSSIBLE if _simulated(context) else REFUSED
            return Message(Error(code, str(error)), reply_to=message)

    app.train()(handle)
    app.evaluate()(handle)
    for action in ("begin", "describe"):
        app.query(action)(handle)
    return app


def _handle(message: Message, context: Context, node: Node) -> Message:
    participants, subject = _client(node, context)
    _restore(participants, context)

    def kept(name: StrategyName, who: str, answers: Answers) -> None:
        keep(node.config.out, participants.cohort, name, who, answers)

    kind = message.metadata.message_type
    if kind == TRAIN and node.config.privacy.secure_aggregation:
        secret = secured(
            message, context, lambda asked: answer(participants, kind, asked, [subject], kept)[0]
        )
        _store(participants, context)
        return secret
    said = answer(participants, kind, message.content, [subject], kept)
    _store(participants, context)
    return protected(node.config, message, functools.partial(replying, said[0]))


def _client(node: Node, context: Context) -> tuple[Participants, str]:
    """The one client of a node, and its subject."""
    place = context.node_config.get("partition-id")
    if not isinstance(place, int):
        raise ValueError(
            "a node says its number, another for each, by `partition-id=0` in --node-config"
        )
    if node.partition is not None:
        cohort = _cohort(node.config, node.model, None, node.judged)
        subject = next(s for s, p in node.partition.items() if p == place)
        return Participants(cohort, node.partition, [subject]), subject
    own = context.node_config.get("subject")
    cohort = _cohort(node.config, node.model, None if own is None else str(own), ())
    if len(cohort.clients) != 1:
        raise ValueError(
            f"a node has one subject, and its shards hold {len(cohort.clients)}: say whose by `subject='…'` in "
            "--node-config"
        )
    subject = next(iter(cohort.clients))
    return Participants(cohort, {subject: place}), subject


@functools.lru_cache(maxsize=4)
def _cohort(
    config: FederatedConfig, model: str, only: str | None, judged: tuple[str, ...]
) -> Cohort:
    """Read once in each process, which serves many messages in a simulation."""
    return cohort_of(
        config, load_model(model), only=None if only is None else [only], judged=judged
    )


def _restore(participants: Participants, context: Context) -> None:
    """What the client kept of earlier messages."""
    for name, record in context.state.array_records.items():
        participants.personal[name] = to_params(record)  # type: ignore[index] # `_store` wrote strategies


def _store(participants: Participants, context: Context) -> None:
    for name, params in participants.personal.items():
        if params:
            context.state[name] = to_record(params)


def _node_of(context: Context) -> Node:
    config = settings(context.run_config, context.node_config)
    node = Node(config, config.models[0])
    if not _simulated(context):
        return node
    cohort = _cohort(config, node.model, None, ())
    if context.node_config["num-partitions"] != len(cohort.clients):
        left = "".join(f"; without {subject}: {why}" for subject, why in cohort.left_out.items())
        raise ValueError(
            f"a simulation has as many nodes as subjects, {len(cohort.clients)} of {', '.join(config.shards)}{left}; "
            f"there are {context.node_config['num-partitions']}: say --federation-config "
            f"'num-supernodes={len(cohort.clients)}'"
        )
    return replace(node, partition={s: place for place, s in enumerate(cohort.clients)})


def _simulated(context: Context) -> bool:
    """Flower numbers the nodes of a simulation; those of a deployment may be numbered too, and say what they have."""
    said = context.node_config
    return "num-partitions" in said and "shards" not in said and "subject" not in said


app = client_app(_node_of)
"""What `flwr run` and a SuperNode start."""
