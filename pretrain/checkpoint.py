"""Checkpoints that survive a kill: written aside, renamed when whole, the last K kept.

A checkpoint is `checkpoints/step-0000200/` with `state/` (weights, optimizer: accelerate's own files),
`model/` (the folder `load_model` reads) and `progress.json` (epoch, step: all that the data order and
every random choice depend on). The state holds pickles by nature: it is loaded from the run's own
folder only.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path

from accelerate import Accelerator

from ..files import sync
from .strategy import check_state, note_state, read_state


@dataclasses.dataclass
class Progress:
    """Where a run stands; a few numbers are the whole state besides weights and optimizer.

    `best` is the lowest yet of the number that decides which model is kept, reached at `best_step`.
    """

    epoch: int = 0
    step_in_epoch: int = 0
    step: int = 0
    best: float = float("inf")
    best_step: int = 0
    mlflow_run: str | None = None


def checkpoints(run: Path) -> list[Path]:
    """The run's whole checkpoints, oldest first. Unfinished ones begin with a dot and are never listed."""
    return sorted(
        p for p in (run / "checkpoints").glob("step-*") if (p / "progress.json").is_file()
    )


def save(
    accelerator: Accelerator,
    run: Path,
    progress: Progress,
    write_model: Callable[[Path], None],
    keep_last: int,
) -> Path:
    """Write a checkpoint from all ranks; the folder gets its name only when it is whole."""
    final = run / "checkpoints" / f"step-{progress.step:07d}"
    if final in checkpoints(run):
        return final
    aside = final.with_name(f".{final.name}.partial")
    if accelerator.is_main_process:
        for left in [*final.parent.glob(".step-*"), final]:  # by a run that was killed here
            shutil.rmtree(left, ignore_errors=True)
        aside.mkdir(parents=True)
    accelerator.wait_for_everyone()
    accelerator.save_state(str(aside / "state"))
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        note_state(accelerator, aside / "state")
        write_model(aside / "model")
        (aside / "progress.json").write_text(json.dumps(dataclasses.asdict(progress)) + "\n")
        for path in aside.rglob("*"):
            sync(path)
        sync(aside)
        aside.rename(final)
        sync(final.parent)
        for old in checkpoints(run)[:-keep_last]:
            # Renamed first, so that one half-removed is never taken for whole.
            shutil.rmtree(old.rename(old.with_name(f".{old.name}.old")))
    accelerator.wait_for_everyone()
    return final


def stored_progress(checkpoint: Path) -> Progress:
    """Where a checkpoint stands, without its weights. Raises `ValueError` where that cannot be read."""
    try:
        return Progress(**json.loads((checkpoint / "progress.json").read_text()))
    except (OSError, ValueError, TypeError) as error:
        raise damaged(checkpoint, error) from error


def load_state(accelerator: Accelerator, checkpoint: Path) -> None:
    """Bring weights and optimizer back.

    Raises `ValueError` where the state cannot be read, or not by these processes.
    """
    check_state(accelerator, checkpoint / "state")
    try:
        read_state(accelerator, checkpoint / "state")
    except Exception as error:  # pickle, zip and safetensors each have their own
        raise damaged(checkpoint, error) from error
    accelerator.wait_for_everyone()


def damaged(checkpoint: Path, error: Exception) -> ValueError:
    """What to do about a checkpoint that cannot be read."""
    return ValueError(
        f"the checkpoint {checkpoint} is damaged ({type(error).__name__}: {error}); delete that folder, and the same "
        "command goes on from the one before it"
    )
