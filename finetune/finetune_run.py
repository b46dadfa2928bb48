"""A supervised run: `main`, which `finetune/finetune.py` calls, and `finetune`, the verb."""

from __future__ import annotations

from accelerate import PartialState

from ..configuration import USER_ERRORS, parse, tell
from ..evaluation.scores import save_scores
from .configuration import FinetuneConfig
from .learning import learn


def finetune(config: FinetuneConfig) -> None:
    """Train a model for one task or several, from a pretrained encoder, its architecture, or the zoo.

    The run folder gets checkpoints, the model that is best on validation (`best`), and what that one says
    of validation and test (`scores`). A run that was stopped goes on by the same command.
    """
    scores = learn(config)
    if not PartialState().is_main_process:
        return
    for task, found in (scores or {}).items():
        save_scores(config.run.out / "scores" / f"{task}.npz", found, {})
        print(f"{task}: {found.chosen:.4f} on validation")
    if scores:
        print(f"model      {config.run.out / 'best'}   (biofm evaluate)")


def main() -> None:
    """Parse the command line and train."""
    config = parse(FinetuneConfig, description="Supervised learning of tasks on biosignals.")
    try:
        finetune(config)
    except USER_ERRORS as error:
        tell(error)
        raise SystemExit(1) from None
