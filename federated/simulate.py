"""`biofm federated simulate`: every subject of a shard set as a client, on this machine."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

from tqdm import tqdm

from ..configuration import write_config
from ..evaluation.report.provenance import provenance
from .client_app import Node, client_app
from .configuration import FederatedConfig, StrategyName
from .encoders import Assigned, assigned
from .grids import InProcessGrid
from .keeping import keep, path_of
from .outcome import outcome
from .participants import Answers, Participants
from .report import federated_report, overview
from .server import Run, serve
from .server_app import told
from .twin import ensure_clients

CONFIG = "federated.yaml"


def simulate(config: FederatedConfig) -> None:
    """Personalise a frozen encoder for each subject, by every strategy, and report who gains and who is harmed.

    With no arguments it runs on synthetic people (`--config federated/twin`), whose shards and encoder it makes.
    """
    ensure_clients(config.models, config.shards)
    found = assigned(config)
    _introduce(config, found)
    runs = [(one.folder, run) for one in found for run in _run(config, one)]
    write_config(config, config.out / CONFIG)
    first = found[0].cohort
    table = outcome(config.out, first.task, first.truth.classes, found, runs, config)
    named = {one.folder.parent.name: one.cohort.model for one in found}
    words = ["biofm", *sys.argv[1:]]
    made = provenance(words, first.task, [first.reader], named)
    page, _ = federated_report(config.out, table, [made])
    print(overview(table))
    print(f"report     {page}")


def _introduce(config: FederatedConfig, found: list[Assigned]) -> None:
    """Who takes part, and with which encoder."""
    cohort = found[0].cohort
    print(f"task       {cohort.task.title}: {', '.join(cohort.truth.classes)}")
    print(f"clients    {len(cohort.clients)}, {len(cohort.truth)} windows with a label")
    for subject, why in cohort.left_out.items():
        print(f"left out   {subject}: {why}")
    for one in found:
        seen = f"; it saw {', '.join(sorted(one.seen))}" if one.seen else ""
        print(f"encoder    {one.folder} judges {len(one.judged)}{seen}")
    print(f"division   {config.division.kind}; seed {config.seed}", flush=True)


def _run(config: FederatedConfig, one: Assigned) -> list[Run]:
    """All strategies with one encoder. What its clients kept of earlier runs goes first."""
    partition = {subject: place for place, subject in enumerate(one.cohort.clients)}
    for subject in one.judged:
        for name in config.strategies:
            path_of(config.out, subject, name).unlink(missing_ok=True)
    judged = [partition[subject] for subject in one.judged]
    if config.engine == "flower":
        return _by_flower(config, one, partition, judged)

    def kept(name: StrategyName, subject: str, answers: Answers) -> None:
        keep(config.out, one.cohort, name, subject, answers)

    grid = InProcessGrid(Participants(one.cohort, partition), kept)
    return _said(serve(grid, config, judged, _shown(one.folder)))


def _by_flower(
    config: FederatedConfig, one: Assigned, partition: dict[str, int], judged: list[int]
) -> list[Run]:
    """The same by Flower's simulation on Ray, one process a core."""
    from flwr.app import Context
    from flwr.server.superlink.fleet.vce.backend import BackendConfig
    from flwr.serverapp import Grid, ServerApp
    from flwr.simulation import run_simulation

    # Computed here, so that not every process begins with the same.
    _ = one.cohort.embeddings
    node = Node(_absolute(config), str(one.folder.resolve()), partition, one.judged)
    clients = client_app(lambda _context: node)
    server, runs = ServerApp(), list[Run]()

    @server.main()
    def main(grid: Grid, _context: Context) -> None:
        expecting = replace(config, minimum=len(partition))
        runs.extend(_said(serve(grid, expecting, judged, _shown(one.folder))))

    resources: BackendConfig = {"client_resources": {"num_cpus": 1, "num_gpus": 0.0}}
    run_simulation(server, clients, len(partition), backend_config=resources)
    return runs


def _absolute(config: FederatedConfig) -> FederatedConfig:
    """The same for processes that work in another folder."""
    return replace(
        config,
        shards=tuple(str(Path(folder).resolve()) for folder in config.shards),
        out=config.out.resolve(),
        cache=config.cache.resolve(),
    )


def _shown(
    encoder: Path,
) -> Callable[[Iterable[StrategyName]], Iterable[StrategyName]]:
    """A progress bar over strategies."""
    return lambda names: tqdm(list(names), desc=f"strategies, {encoder.parent.name}")


def _said(runs: Iterable[Run]) -> list[Run]:
    """The runs, each told when it is done."""
    found = []
    for run in runs:
        tqdm.write(told(run))
        found.append(run)
    return found
