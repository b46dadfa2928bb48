"""Flower's grid twice over: one that orders and counts what passes, and one that answers in this process.

The server's program is the same on Flower's own grid (Ray, or SuperNodes) and on `InProcessGrid`, which trains all
clients of a round as one batch.
"""

from __future__ import annotations

import copy
import functools
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from flwr.app import ArrayRecord, Context, Error, Message, RecordDict
from flwr.common.constant import ErrorCode
from flwr.serverapp import Grid
from flwr.supercore.run import Run
from flwr.supercore.task_identity import TaskIdentity

from .answering import IMPOSSIBLE, Keep, answer
from .messages import ARRAYS, CONFIG, DESCRIBE, TRAIN, array_bytes, empty_context, replying
from .participants import Participants
from .privacy import protected
from .secure import secured

UNREACHED = (
    ErrorCode.MESSAGE_UNAVAILABLE,
    ErrorCode.REPLY_MESSAGE_UNAVAILABLE,
    ErrorCode.NODE_UNAVAILABLE,
    ErrorCode.CLIENT_APP_CRASHED,
)
"""Flower's codes where the network or a node failed, not its app: one that is too busy counts as crashed."""


@dataclass
class Traffic:
    """Bytes of arrays sent to clients and back, and how many were asked and answered, of one exchange."""

    kind: str
    down: int
    up: int
    asked: int
    answered: int


class Federation(Grid):
    """A grid whose clients are known by partition: replies come in that order, whatever the network's was.

    Flower's node ids and the order of replies are drawn anew in each run; sums of floating-point numbers depend on it.
    """

    def __init__(self, inner: Grid, wait_s: float, minimum: int) -> None:
        """Raises `TimeoutError` where fewer than `minimum` clients are there after `wait_s` seconds, and
        `RuntimeError` where a client says that it is of no use to wait."""
        self.inner, self.wait_s = inner, wait_s
        self.partition: dict[int, int] = {}
        self.refused: dict[int, str] = {}
        self.sums: dict[int, ArrayRecord] = {}
        self.windows: dict[int, int] = {}
        self.traffic: list[Traffic] = []
        self.scaling: dict[str, ArrayRecord] = {}
        """What every message says of how to scale: a client that comes late, or again, has nothing of before."""
        until = time.monotonic() + wait_s
        while len(self.get_node_ids()) < minimum:
            if time.monotonic() > until:
                refused = "".join(f"; a client refused: {why}" for why in self.refused.values())
                raise TimeoutError(
                    f"{len(self.partition)} of {minimum} clients were there after {wait_s:g} s: start the "
                    f"SuperNodes first (their logs say why one did not get in), or lower `minimum`{refused}"
                )
            time.sleep(1)

    def get_node_ids(self) -> list[int]:
        """The nodes that are there, by partition; new ones are asked who they are."""
        there = list(self.inner.get_node_ids())
        new = [node for node in there if node not in self.partition and node not in self.refused]
        if new:
            asked = [Message(RecordDict(), node, DESCRIBE) for node in new]
            for reply in self._exchange(asked, DESCRIBE, self.wait_s):
                node = reply.metadata.src_node_id
                if reply.has_error():
                    self._turned_away(node, reply.error)
                    continue
                place = _whole(reply, "partition")
                # A client that comes back under another id takes its place.
                for old in [n for n, p in self.partition.items() if p == place]:
                    del self.partition[old]
                    self.refused[old] = f"another client came as partition {place}"
                self.partition[node] = place
                self.sums[place] = reply.content.array_records[ARRAYS]
                self.windows[place] = _whole(reply, "windows")
        known = [node for node in there if node in self.partition]
        return sorted(known, key=lambda node: self.partition[node])

    def _turned_away(self, node: int, error: Error) -> None:
        """A client whose app failed is not asked again; one that could not be reached is."""
        if error.code == IMPOSSIBLE:
            raise RuntimeError(error.reason)
        if error.code not in UNREACHED:
            self.refused[node] = str(error.reason)

    def ask(self, kind: str, content: RecordDict, nodes: Sequence[int]) -> list[Message]:
        """One message to several nodes, and their replies by partition."""
        return self.send_and_receive(
            [Message(content, node, kind) for node in nodes], timeout=self.wait_s
        )

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> list[Message]:
        """Replies by partition; those that do not come in time are missing."""
        sent = list(messages)
        if not sent:
            return []
        replies = self._exchange(sent, sent[0].metadata.message_type, timeout)
        # The SuperLink answers for a node that is gone, and is none itself: such errors come last.
        last = len(self.partition)
        return sorted(replies, key=lambda r: self.partition.get(r.metadata.src_node_id, last))

    def _exchange(self, sent: list[Message], kind: str, timeout: float | None) -> list[Message]:
        replies = list(self.inner.send_and_receive(sent, timeout=timeout))
        answered = sum(reply.has_content() for reply in replies)
        self.traffic.append(
            Traffic(kind, array_bytes(sent), array_bytes(replies), len(sent), answered)
        )
        return replies

    def set_run(self, run: Run) -> None:
        """Passed on."""
        self.inner.set_run(run)

    @property
    def run(self) -> Run:
        """Passed on."""
        return self.inner.run

    def create_message(
        self,
        content: RecordDict,
        message_type: str,
        dst_node_id: int,
        group_id: str,
        ttl: float | None = None,
    ) -> Message:
        """Passed on."""
        return self.inner.create_message(content, message_type, dst_node_id, group_id, ttl)

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Passed on."""
        return self.inner.push_messages(messages)

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Passed on."""
        return self.inner.pull_messages(message_ids)


class InProcessGrid(Grid):
    """All clients in this process. Messages of one content are answered together."""

    def __init__(self, participants: Participants, keep: Keep) -> None:
        self.participants, self.keep = participants, keep
        self.contexts: dict[str, Context] = {}
        # Flower's messages say which task of which run they are of; here it is the one there is.
        TaskIdentity.task_id = TaskIdentity.run_id = TaskIdentity.node_id = 0
        self._run = Run.create_empty(0)

    def get_node_ids(self) -> list[int]:
        """The places of the subjects, from 1: Flower keeps 0 for itself."""
        return list(range(1, len(self.participants.subjects) + 1))

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> list[Message]:
        """The replies, in the order of the messages."""
        groups: dict[tuple[str, int], list[Message]] = {}
        for message in messages:
            key = (message.metadata.message_type, id(message.content))
            groups.setdefault(key, []).append(message)
        return [reply for group in groups.values() for reply in self._together(group)]

    def _together(self, group: list[Message]) -> list[Message]:
        kind, content = group[0].metadata.message_type, group[0].content
        subjects = [self.participants.subjects[m.metadata.dst_node_id - 1] for m in group]
        config = self.participants.config
        if kind == TRAIN and config.privacy.secure_aggregation:
            return [self._secured(message, s) for message, s in zip(group, subjects, strict=True)]
        answers = answer(self.participants, kind, content, subjects, self.keep)
        return [
            protected(config, message, functools.partial(replying, said))
            for message, said in zip(group, answers, strict=True)
        ]

    def _secured(self, message: Message, subject: str) -> Message:
        """A client's own reply, from a copy of what others get too: Flower's modifier takes parts out of it."""

        def train(content: RecordDict) -> RecordDict | Error:
            return answer(self.participants, TRAIN, content, [subject], self.keep)[0]

        context = self.contexts.setdefault(subject, empty_context())
        return secured(copy.deepcopy(message), context, train)

    def set_run(self, run: Run) -> None:
        """There is but one."""

    @property
    def run(self) -> Run:
        """An empty one."""
        return self._run

    def create_message(
        self,
        content: RecordDict,
        message_type: str,
        dst_node_id: int,
        group_id: str,
        ttl: float | None = None,
    ) -> Message:
        """A message to a place."""
        return Message(content, dst_node_id, message_type, ttl=ttl, group_id=group_id)

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Not offered: answers come at once."""
        raise NotImplementedError("send_and_receive answers at once")

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Not offered: answers come at once."""
        raise NotImplementedError("send_and_receive answers at once")


def _whole(reply: Message, name: str) -> int:
    value = reply.content.config_records[CONFIG][name]
    assert isinstance(value, int)
    return value
