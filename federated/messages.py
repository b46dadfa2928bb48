"""What travels, as Flower's records: parameters, sums, and numbers about a round."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import torch
from flwr.app import Array, ArrayRecord, Context, Error, Message, RecordDict
from numpy.typing import NDArray

from ..evaluation.arrays import Floats
from .learners import Params
from .scaling import Scaling

BEGIN, DESCRIBE = "query.begin", "query.describe"
TRAIN, FINISH = "train", "evaluate"
ARRAYS, SCALING, CONFIG, METRICS = "arrays", "scaling", "config", "metrics"


def empty_context() -> Context:
    """What Flower wants of a node or a server where there is nothing to say."""
    return Context(run_id=0, node_id=0, node_config={}, state=RecordDict(), run_config={})


def replying(said: RecordDict | Error, message: Message) -> Message:
    """A client's answer, or its error, as the reply to a message."""
    if isinstance(said, Error):
        return Message(said, reply_to=message)
    return Message(said, reply_to=message)


def to_record(params: Params) -> ArrayRecord:
    """Parameters by name."""
    return ArrayRecord({name: Array(value.detach().numpy()) for name, value in params.items()})


def to_params(record: ArrayRecord) -> Params:
    """The same back, as copies that may be written to."""
    return {name: torch.from_numpy(array.numpy().copy()) for name, array in record.items()}


def sums_to_record(sums: Mapping[str, Floats]) -> ArrayRecord:
    """A client's sums by name."""
    return ArrayRecord({name: Array(value) for name, value in sums.items()})


def record_to_sums(record: ArrayRecord) -> dict[str, NDArray[np.float64]]:
    """The same back."""
    return {name: array.numpy() for name, array in record.items()}


def scaling_to_record(scaling: Scaling) -> ArrayRecord:
    """A scaling by the names of its parts."""
    return to_record(vars(scaling))


def record_to_scaling(record: ArrayRecord) -> Scaling:
    """The same back."""
    return Scaling(**to_params(record))


def array_bytes(messages: Iterable[Message]) -> int:
    """Bytes of all arrays in messages, masked ones and keys (lists of bytes) included."""
    contents = [message.content for message in messages if message.has_content()]
    plain = sum(
        len(array.data)
        for content in contents
        for record in content.array_records.values()
        for array in record.values()
    )
    masked = sum(
        len(part)
        for content in contents
        for record in content.config_records.values()
        for value in record.values()
        for part in (value if isinstance(value, list) else [value])
        if isinstance(part, bytes)
    )
    return plain + masked
