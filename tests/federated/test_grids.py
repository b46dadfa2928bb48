"""Who takes part, whatever the network does: places, refusals, and nodes that are gone."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from unittest import mock

import pytest
from flwr.app import ConfigRecord, Error, Message, RecordDict
from flwr.common.constant import ErrorCode
from flwr.serverapp import Grid
from flwr.supercore.task_identity import TaskIdentity

from biofm.federated.answering import IMPOSSIBLE, REFUSED
from biofm.federated.grids import Federation
from biofm.federated.messages import ARRAYS, CONFIG, DESCRIBE, sums_to_record

Say = Callable[[Message], RecordDict | Error]
SUPERLINK = 1


def place(number: int) -> RecordDict:
    """What a node says that is this partition."""
    return RecordDict(
        {ARRAYS: sums_to_record({}), CONFIG: ConfigRecord({"partition": number, "windows": 10})}
    )


def network(say: dict[int, Say]) -> mock.Mock:
    """Flower's grid with these nodes; replies come in the opposite order."""
    TaskIdentity.task_id = TaskIdentity.run_id = TaskIdentity.node_id = 0

    def exchange(messages: Iterable[Message], *, timeout: float | None) -> list[Message]:
        found = []
        for message in messages:
            said = say[message.metadata.dst_node_id](message)
            if isinstance(said, Error):
                found.append(Message(said, reply_to=message))
                if said.code == ErrorCode.NODE_UNAVAILABLE:
                    found[-1].metadata.__dict__["_src_node_id"] = SUPERLINK
            else:
                found.append(Message(said, reply_to=message))
        return found[::-1]

    grid = mock.Mock(spec=Grid)
    grid.get_node_ids.side_effect = lambda: list(say)
    grid.send_and_receive.side_effect = exchange
    return grid


def test_replies_come_by_partition_and_those_for_nodes_that_are_gone_last() -> None:
    def gone_later(message: Message) -> RecordDict | Error:
        if message.metadata.message_type == DESCRIBE:
            return place(0)
        return Error(ErrorCode.NODE_UNAVAILABLE)

    federation = Federation(
        network({7: lambda _: place(2), 8: gone_later, 9: lambda _: place(1)}), 1, 3
    )
    assert federation.get_node_ids() == [8, 9, 7]
    replies = federation.ask("train", RecordDict(), [7, 8, 9])
    assert [reply.metadata.src_node_id for reply in replies] == [9, 7, SUPERLINK]
    assert (federation.traffic[-1].asked, federation.traffic[-1].answered) == (3, 2)


def test_a_client_that_refuses_is_asked_once_and_one_that_was_not_reached_again() -> None:
    asked = []

    def refuses(message: Message) -> Error:
        asked.append("refuses")
        return Error(REFUSED, "another encoder")

    def comes_late(message: Message) -> RecordDict | Error:
        asked.append("late")
        late = asked.count("late") < 2
        return Error(ErrorCode.NODE_UNAVAILABLE) if late else place(1)

    federation = Federation(network({7: refuses, 8: comes_late}), 5, 1)
    assert federation.get_node_ids() == [8]
    assert asked == ["refuses", "late", "late"]


def test_too_few_clients_are_an_error_that_says_why_others_refused() -> None:
    grid = network({7: lambda _: Error(REFUSED, "another encoder"), 8: lambda _: place(0)})
    with pytest.raises(TimeoutError, match=r"1 of 2 clients .*refused: another encoder"):
        Federation(grid, 0, 2)


def test_where_waiting_is_of_no_use_nobody_waits() -> None:
    with pytest.raises(RuntimeError, match="num-supernodes=4"):
        Federation(network({7: lambda _: Error(IMPOSSIBLE, "num-supernodes=4")}), 600, 1)


def test_of_two_nodes_with_one_number_the_second_takes_part() -> None:
    federation = Federation(network({7: lambda _: place(0), 8: lambda _: place(0)}), 1, 1)
    (taking_part,) = federation.get_node_ids()
    assert set(federation.refused) == {7, 8} - {taking_part}
    assert federation.get_node_ids() == [taking_part]
