"""Rounds of federated averaging of a linear head: all clients as one batch, one after another, and Flower's simulation.

    python benchmarks/federated.py [CLIENTS ROUNDS]

Made-up embeddings (192 numbers, four classes, 200 windows a client). The three run the same local update on the same
windows and are aggregated by the same strategy of Flower; that what comes of them agrees is checked first, on four
clients. Flower's (Ray, two processes) is timed on fewer clients and rounds, its start apart, because all would take
hours. Figures are wall-clock time for a client's round.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl

from biofm.evaluation.targets import Targets
from biofm.evaluation.tasks import load_task
from biofm.federated.cohort import Client, Cohort
from biofm.federated.configuration import FederatedConfig, PersonalConfig
from biofm.federated.grids import InProcessGrid
from biofm.federated.learners import Params
from biofm.federated.messages import to_params
from biofm.federated.participants import Answers, Participants
from biofm.federated.server import serve

WIDTH, CLASSES, WINDOWS = 192, 4, 200
FEW_CLIENTS, FEW_ROUNDS = 20, 4
SOME_CLIENTS = 200


def cohort_of(clients: int, rounds: int) -> Cohort:
    """Clients whose classes are planted in their embeddings, each with a turn of its own."""
    config = FederatedConfig(
        models=("made up",),
        shards=("made up",),
        task="sleep_watch_hr_4",
        strategies=("fedavg",),
        rounds=rounds,
        hidden=0,
        # What clients do afterwards on their own is no part of a round.
        personal=PersonalConfig(steps=1, every=1),
    )
    random = np.random.default_rng(0)
    number = clients * WINDOWS
    values = random.integers(0, CLASSES, number)
    centres = random.standard_normal((CLASSES, WIDTH))
    x = (centres[values] + 2 * random.standard_normal((number, WIDTH))).astype(np.float32)
    names = [f"subject-{client:05d}" for client in range(clients)]
    subjects = np.repeat(np.array(names), WINDOWS)
    truth = Targets(
        values=values,
        classes=tuple("abcd"),
        windows=np.arange(number),
        rows=np.arange(number),
        subjects=subjects,
        records=subjects,
        facts=pl.DataFrame({"onset_s": np.tile(30.0 * np.arange(WINDOWS), clients)}),
        left_out=0,
        place=np.arange(number),
    )
    part = np.tile(np.array([0, 1, 0, 2], np.int8), WINDOWS // 4)
    each = {
        name: Client(name, np.arange(WINDOWS) + WINDOWS * place, part, lacking=False)
        for place, name in enumerate(names)
    }
    nothing: Any = None
    model: Any = SimpleNamespace(dim=WIDTH)
    cohort = Cohort(config, load_task(config.task), model, nothing, truth, each, {})
    cohort.__dict__["embeddings"] = x
    return cohort


class OneAtATime(InProcessGrid):
    """The same, but each message is answered alone."""

    def _together(self, group: list[Any]) -> list[Any]:
        return [
            reply for message in group for reply in super(OneAtATime, self)._together([message])
        ]


def timed(grid: type[InProcessGrid], cohort: Cohort, rounds: int) -> tuple[float, Params]:
    """(seconds of so many rounds with what begins and ends them, the head)."""
    partition = {name: place for place, name in enumerate(cohort.clients)}
    started = time.perf_counter()
    at_work = grid(Participants(cohort, partition), _kept)
    run = next(serve(at_work, replace(cohort.config, rounds=rounds)))
    return time.perf_counter() - started, to_params(run.arrays)


def flower(cohort: Cohort, rounds: int) -> tuple[float, Params]:
    """(seconds of so many rounds by Flower's simulation without its start, the head)."""
    from flwr.app import Context, Message
    from flwr.clientapp import ClientApp
    from flwr.server.superlink.fleet.vce.backend import BackendConfig
    from flwr.serverapp import Grid, ServerApp
    from flwr.simulation import run_simulation

    from biofm.federated.answering import answer

    partition = {name: place for place, name in enumerate(cohort.clients)}
    config = replace(cohort.config, rounds=rounds, minimum=len(partition))
    names = list(partition)
    found: dict[str, Any] = {}
    server, clients = ServerApp(), ClientApp()

    def handle(message: Message, context: Context) -> Message:
        subject = names[int(str(context.node_config["partition-id"]))]
        at_work = Participants(cohort, partition, [subject])
        said = answer(at_work, message.metadata.message_type, message.content, [subject], _kept)[0]
        return Message(said, reply_to=message)

    clients.train()(handle)
    clients.evaluate()(handle)
    for action in ("begin", "describe"):
        clients.query(action)(handle)

    @server.main()
    def main(grid: Grid, _context: Context) -> None:
        started = time.perf_counter()
        run = next(serve(grid, config))
        found["seconds"], found["head"] = time.perf_counter() - started, to_params(run.arrays)

    resources: BackendConfig = {"client_resources": {"num_cpus": 1, "num_gpus": 0.0}}
    run_simulation(server, clients, len(partition), backend_config=resources)
    return found["seconds"], found["head"]


def furthest(one: Params, other: Params) -> float:
    """The largest difference of two heads."""
    return max(float((one[name] - other[name]).abs().max()) for name in one)


def _kept(_name: object, _subject: str, _answers: Answers) -> None:
    """Nothing is kept."""


def main() -> None:
    """Print the table."""
    os.environ["FLWR_TELEMETRY_ENABLED"] = "0"
    logging.getLogger("flwr").setLevel(logging.ERROR)
    clients, rounds = (int(word) for word in (*sys.argv[1:], "1000", "100")[:2])
    few = cohort_of(4, 2)
    heads = [timed(InProcessGrid, few, 2)[1], timed(OneAtATime, few, 2)[1], flower(few, 2)[1]]
    print(
        f"heads of 4 clients after 2 rounds differ by at most {max(furthest(heads[0], h) for h in heads[1:]):.1e}"
    )

    large, small = cohort_of(clients, rounds), cohort_of(FEW_CLIENTS, FEW_ROUNDS)
    middle = cohort_of(SOME_CLIENTS, 5)
    rows = {
        "as one batch": (timed(InProcessGrid, large, rounds)[0], clients, rounds),
        "one after another": (timed(OneAtATime, middle, 5)[0], SOME_CLIENTS, 5),
        "Flower's simulation": (flower(small, FEW_ROUNDS)[0], FEW_CLIENTS, FEW_ROUNDS),
    }
    first = rows["as one batch"]
    print("\n| | clients × rounds | s | ms a client's round | ratio |\n|---|---|---|---|---|")
    for name, (seconds, of, times) in rows.items():
        each = 1e3 * seconds / (of * times)
        ratio = each / (1e3 * first[0] / (first[1] * first[2]))
        print(f"| {name} | {of} × {times} | {seconds:.1f} | {each:.3f} | {ratio:.0f} |")


if __name__ == "__main__":
    main()
