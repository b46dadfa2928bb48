"""Rounds in which the server sees the sum of the clients' updates and none of them: Flower's SecAgg+.

- Bell et al., CCS 2020. Each pair of clients agrees on a mask that one adds and the other takes away, and each adds
  one of its own. Keys are shared out, so that the masks of who drops out can be made again by those who are left.
- Flower has it in its older interface alone: parameters without names, and a workflow for a round. Here both are
  called round by round among the other messages; what a client does in a round is the same as without.
- What is masked is the change of the parameters, so that nothing is clipped at ±`CLIPPED`. It is rounded at random to
  one of `LEVELS` values: the mean of n clients is off by at most `rounding`.
- The server does see how many windows each client learned from, by which the mean is weighted; no losses.
- Flower draws each mask from a seed of 32 bits (`pseudo_rand_gen`). Of two clients the server could find the one mask
  between them by trying all seeds, so that a round needs `FEWEST` answers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Error, Message, RecordDict
from flwr.client.mod import secaggplus_mod
from flwr.common import Code, FitRes, Status, ndarrays_to_parameters, parameters_to_ndarrays
from flwr.common.secure_aggregation.secaggplus_constants import RECORD_KEY_CONFIGS, Key, Stage
from flwr.compat.common import recorddict_compat as compat

from .messages import ARRAYS, CONFIG, METRICS

CLIPPED = 8.0
"""Largest change of a parameter in a round, weighted by the client's share of the most windows."""
LEVELS = 1 << 22
"""Values that a change is rounded to."""
MODULUS = 1 << 32
"""Masked numbers are counted up to this, so that sums of `MODULUS // LEVELS` clients fit."""
FEWEST = 3
"""Fewer answers give no sum."""
NAMES = "names"
"""Under which a round's terms say the names of the parameters, which have none themselves."""


def rounding(windows: Sequence[int]) -> float:
    """How far the mean of the changes can be off where clients learned from so many windows each."""
    return len(windows) * 2 * CLIPPED / LEVELS * max(windows) / sum(windows)


def secured(
    message: Message, context: Context, train: Callable[[RecordDict], RecordDict | Error]
) -> Message:
    """A client's reply to one of the four messages of a round; `train` answers as without secure aggregation."""
    if (
        message.content.config_records[RECORD_KEY_CONFIGS][Key.STAGE]
        != Stage.COLLECT_MASKED_VECTORS
    ):
        return secaggplus_mod(message, context, _nothing)
    told = compat.recorddict_to_fitins(message.content, keep_input=True)
    names = str(told.config[NAMES]).split()
    before = parameters_to_ndarrays(told.parameters)
    arrays = {name: Array(value) for name, value in zip(names, before, strict=True)}
    terms = ConfigRecord({key: told.config[key] for key in ("strategy", "server-round")})
    said = train(RecordDict({ARRAYS: ArrayRecord(arrays), CONFIG: terms}))
    if isinstance(said, Error):
        return Message(said, reply_to=message)
    after = said.array_records[ARRAYS]
    # In float64, so that nothing is lost before it is rounded.
    change = [
        after[name].numpy().astype(np.float64) - value
        for name, value in zip(names, before, strict=True)
    ]
    windows = said.metric_records[METRICS]["num-examples"]
    assert isinstance(windows, int)
    result = FitRes(Status(Code.OK, ""), ndarrays_to_parameters(change), windows, {})

    def reply(asked: Message, _context: Context) -> Message:
        return Message(compat.fitres_to_recorddict(result, keep_input=False), reply_to=asked)

    return secaggplus_mod(message, context, reply)


def _nothing(message: Message, _context: Context) -> Message:
    raise AssertionError(f"SecAgg+ asked for training in the wrong stage: {message.metadata}")
