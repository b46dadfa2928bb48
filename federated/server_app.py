"""The server's program for Flower: `flwr run` starts it."""

from __future__ import annotations

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from .server import Run, serve
from .settings import settings

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Every strategy of the run's config; the clients keep what comes of it."""
    config = settings(context.run_config, context.node_config)
    for run in serve(grid, config):
        print(told(run))


def told(run: Run) -> str:
    """One line on a strategy's run."""
    rounds = [one for one in run.traffic if one.kind == "train"]
    asked, answered = (sum(getattr(one, k) for one in rounds) for k in ("asked", "answered"))
    down, up = (sum(getattr(one, k) for one in rounds) / 1e3 for k in ("down", "up"))
    epsilon = "" if run.epsilon is None else f", ε {run.epsilon:.2f}"
    refused = f", {len(run.refused)} could not finish: {run.refused[0]}" if run.refused else ""
    return (
        f"{run.strategy}: {len(rounds)} rounds, {answered} of {asked} answers, {down:.0f} kB down, {up:.0f} kB up"
        f"{epsilon}{refused}"
    )
