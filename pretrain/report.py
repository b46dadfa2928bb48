"""What a run says and shows: what was chosen and why, what it has to beat, pictures, where things lie."""

from __future__ import annotations

import json
from pathlib import Path

from ..files import write_aside
from ..shards.reader import WindowReader
from .checkpoint import Progress
from .configuration import PretrainConfig
from .figures import draw_curve
from .objectives.base import Objective
from .provenance import Provenance
from .tracking import Tracker, read_metrics


def about(
    config: PretrainConfig,
    train: WindowReader,
    validation: WindowReader,
    objective: Objective,
    origin: Provenance,
) -> list[str]:
    """What is trained on what, in lines for people; first what must stand beside every figure."""
    parameters = sum(p.numel() for p in objective.parameters())
    encoder = sum(p.numel() for p in objective.encoder.parameters())
    return [
        *origin.notices,
        f"data       {origin.title}: {train.windows} training windows of {config.data.window_s:g} s at "
        f"{train.rate_hz:g} Hz, {validation.windows} for validation",
        f"model      {type(objective).__name__}, {parameters / 1e6:.2f} M parameters, "
        f"{encoder / 1e6:.2f} M of them the encoder",
    ]


def keep_baselines(out: Path, found: dict[str, float], tracker: Tracker) -> None:
    """What the validation loss has to beat, printed and kept in `baselines.json`."""
    with write_aside(out / "baselines.json") as aside:
        aside.write_text(json.dumps(found, indent=1) + "\n")
    for name, value in found.items():
        tracker.log(0, {f"baseline_{name.replace(' ', '_')}": value})
    told = ", ".join(f"{name} {value:.4f}" for name, value in found.items())
    print(f"to beat    {told}", flush=True)


def stored_baselines(out: Path) -> dict[str, float]:
    """The trivial predictors' losses on this run's validation masks."""
    path = out / "baselines.json"
    found: dict[str, float] = json.loads(path.read_text()) if path.is_file() else {}
    return found


def draw_loss(out: Path, marks: str) -> Path:
    """The loss curve so far, with the marks."""
    curve = out / "figures" / "loss.png"
    draw_curve(read_metrics(out), stored_baselines(out), curve, marks)
    return curve


def tell_results(config: PretrainConfig, progress: Progress) -> None:
    """Where everything lies, and how to open it."""
    out, known = config.run.out, stored_baselines(config.run.out)
    print(
        f"done       {progress.step} steps; validation loss of the model kept {progress.best:.4f}, at step "
        f"{progress.best_step}"
    )
    for name, value in known.items():
        print(f"           {progress.best / value:.2f} of {name} ({value:.4f})")
    print(f"model      {out / 'best'}   (biofm.load_model)")
    print(f"pictures   {out / 'figures'}")
    if config.run.tracking:
        print(f"MLflow     mlflow ui --workers 1 --backend-store-uri {config.run.tracking}")
