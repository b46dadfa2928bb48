"""What a client answers to a message: the one place that both engines go through.

A node of Flower has one client and gets one message at a time. The in-process engine hands over a round's messages
together, and their clients are trained as one batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from flwr.app import ArrayRecord, ConfigRecord, Error, MetricRecord, RecordDict

from .configuration import FederatedConfig, StrategyName
from .division import TEST
from .division import TRAIN as TRAINED
from .messages import (
    ARRAYS,
    BEGIN,
    CONFIG,
    DESCRIBE,
    FINISH,
    METRICS,
    SCALING,
    TRAIN,
    record_to_scaling,
    sums_to_record,
    to_params,
    to_record,
)
from .participants import Answers, Participants
from .strategies import STRATEGIES, part_of

DROPPED_OUT = 1001
"""Code of the error that a client which drops out is taken for."""
REFUSED = 1002
"""Code of the error of a client that cannot do what it is asked."""
IMPOSSIBLE = 1003
"""Code of the error of one whose federation cannot go on at all."""
Keep = Callable[[StrategyName, str, Answers], None]
"""(strategy, subject, what its models say): what a client keeps for itself, and its report."""


def answer(
    participants: Participants, kind: str, content: RecordDict, subjects: Sequence[str], keep: Keep
) -> list[RecordDict | Error]:
    """The answers of these clients to one message that all of them got."""
    if kind == DESCRIBE:
        return [_described(participants, subject) for subject in subjects]
    if SCALING in content.array_records:
        participants.scaling = record_to_scaling(content.array_records[SCALING])
    config = content.config_records[CONFIG]
    name: StrategyName = config["strategy"]  # type: ignore[assignment] # a config's values are of any type
    if kind == BEGIN:
        begin = participants.learner(name).initial(participants.config.seed)
        sent = to_record(part_of(begin, STRATEGIES[name].exchanged))
        return [RecordDict({ARRAYS: sent}) for _ in subjects]
    received = to_params(_arrays(content))
    if kind == TRAIN:
        round_ = config["server-round"]
        assert isinstance(round_, int)
        return [
            Error(DROPPED_OUT, "dropped out (simulated)")
            if sent is None
            else RecordDict(
                {
                    ARRAYS: to_record(sent.params),
                    METRICS: numbers_of(participants.config, sent.windows, loss=sent.loss),
                }
            )
            for sent in participants.train(name, round_, received, subjects)
        ]
    assert kind == FINISH
    replies: list[RecordDict | Error] = []
    for subject, answers in zip(
        subjects, participants.finish(name, received, subjects), strict=True
    ):
        keep(name, subject, answers)
        windows = len(participants.cohort.clients[subject].of(TEST))
        numbers = numbers_of(participants.config, windows)
        replies.append(RecordDict({METRICS: numbers}))
    return replies


def numbers_of(config: FederatedConfig, windows: int, **others: float) -> MetricRecord:
    """What a client says beside its parameters. Under differential privacy nothing: these numbers have no noise.

    Beside secure aggregation the windows alone, by which Flower weighs the sum.
    """
    if config.privacy.noisy:
        return MetricRecord({"num-examples": 1})
    if config.privacy.secure_aggregation:
        return MetricRecord({"num-examples": windows})
    return MetricRecord({"num-examples": windows, **others})


def _described(participants: Participants, subject: str) -> RecordDict:
    sums = sums_to_record(participants.sums(subject))
    place = participants.partition[subject]
    numbers = numbers_of(participants.config, len(participants.cohort.clients[subject].of(TRAINED)))
    terms = ConfigRecord({"partition": place, "windows": numbers["num-examples"]})
    return RecordDict({ARRAYS: sums, CONFIG: terms})


def _arrays(content: RecordDict) -> ArrayRecord:
    return content.array_records[ARRAYS]
