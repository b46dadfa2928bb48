"""What a run leaves for people: `metrics.jsonl` in its folder, and an MLflow run. Main process only."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

from ..files import write_aside

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")


class Tracker:
    """Metrics by step, batched; parameters and pictures.

    On resume, lines after the checkpoint's step are dropped from `metrics.jsonl`: they are made again.
    """

    def __init__(
        self,
        run: Path,
        uri: str | None,
        params: dict[str, Any],
        tags: dict[str, str],
        resume_run: str | None,
        step: int,
    ) -> None:
        self.file = run / "metrics.jsonl"
        self.lines: list[str] = []
        self.mlflow = None if uri is None else _Mlflow(uri, run.name, params, tags, resume_run)
        kept = [line for line in read_metrics(run) if line["step"] <= step]
        with write_aside(self.file) as aside:
            aside.write_text("".join(json.dumps(line) + "\n" for line in kept))

    @property
    def mlflow_run(self) -> str | None:
        """The MLflow run's id, to go on with after a restart."""
        return None if self.mlflow is None else self.mlflow.run_id

    def log(self, step: int, figures: dict[str, float]) -> None:
        """Keep figures of a step until `flush`."""
        self.lines.append(json.dumps({"step": step, **figures}) + "\n")
        if self.mlflow is not None:
            self.mlflow.add(step, figures)

    def flush(self) -> None:
        """Write what was kept."""
        with self.file.open("a") as file:
            file.writelines(self.lines)
        self.lines.clear()
        if self.mlflow is not None:
            self.mlflow.flush()

    def picture(self, path: Path) -> None:
        """Attach a picture of the run's folder."""
        if self.mlflow is not None:
            self.mlflow.client.log_artifact(self.mlflow.run_id, str(path), "figures")

    def finish(self, status: str) -> None:
        """Flush, and end the MLflow run as FINISHED or KILLED."""
        self.flush()
        if self.mlflow is not None:
            self.mlflow.client.set_terminated(self.mlflow.run_id, status)


class _Mlflow:
    """One MLflow run through the client: no global state, metrics in batches."""

    def __init__(
        self, uri: str, name: str, params: dict[str, Any], tags: dict[str, str], run_id: str | None
    ) -> None:
        from mlflow.entities import Param, RunTag
        from mlflow.exceptions import MlflowException
        from mlflow.tracking import MlflowClient

        if uri.startswith("sqlite:///"):
            Path(uri.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
        self.client = MlflowClient(uri)
        self.metrics: list[Any] = []
        if run_id is not None:
            try:
                self.client.update_run(run_id, status="RUNNING")
                self.run_id: str = run_id
                return
            except MlflowException:
                pass  # the store was moved or emptied: a fresh run takes over
        experiment = self.client.get_experiment_by_name(tags["stage"])
        if experiment is None:
            artifacts = None
            if uri.startswith("sqlite:///"):
                artifacts = (
                    (Path(uri.removeprefix("sqlite:///")).parent / "mlartifacts").resolve().as_uri()
                )
            experiment_id = self.client.create_experiment(
                tags["stage"], artifact_location=artifacts
            )
        else:
            experiment_id = experiment.experiment_id
        self.run_id = self.client.create_run(experiment_id, run_name=name).info.run_id
        entries = [Param(k, str(v)[:6000]) for k, v in flatten(params).items()]
        for first in range(0, len(entries), 100):
            self.client.log_batch(self.run_id, params=entries[first : first + 100])
        self.client.log_batch(self.run_id, tags=[RunTag(k, v) for k, v in tags.items()])

    def add(self, step: int, figures: dict[str, float]) -> None:
        from mlflow.entities import Metric

        now_ms = int(time.time() * 1000)
        self.metrics += [Metric(k, float(v), now_ms, step) for k, v in figures.items()]

    def flush(self) -> None:
        for first in range(0, len(self.metrics), 1000):
            self.client.log_batch(self.run_id, metrics=self.metrics[first : first + 1000])
        self.metrics.clear()


def read_metrics(run: Path) -> list[dict[str, Any]]:
    """The lines of a run's `metrics.jsonl`; a line torn by a kill is left out."""
    path = run / "metrics.jsonl"
    lines = []
    for line in path.read_text().splitlines() if path.is_file() else []:
        try:
            lines.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return lines


def flatten(params: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested dictionaries as dotted keys."""
    flat: dict[str, Any] = {}
    for key, value in params.items():
        flat |= (
            flatten(value, f"{prefix}{key}.")
            if isinstance(value, dict)
            else {f"{prefix}{key}": value}
        )
    return flat
