"""`biofm probe`: what a frozen encoder is worth for a task, beside what needs no training.

Three rows on exactly the same windows: a logistic regression on the pretrained encoder's mean-pooled
embeddings, the same on that encoder untrained, and random convolution kernels with ridge regression.
The encoder is never changed, every choice is made on validation, and the test split is scored once.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from accelerate import PartialState

from ..configuration import USER_ERRORS, tell
from ..evaluation.comparison import compare, counted_columns
from ..evaluation.leakage import leakage_section
from ..evaluation.probes import Head
from ..evaluation.report.markdown import markdown
from ..evaluation.report.results import comparison_plain, results_section
from ..evaluation.rounds import Round, notices, rounds_of, truth_of
from ..evaluation.tasks import load_task
from ..files import write_aside
from ..shards.index import SPLITS
from ..verbs import call
from .encoders import Encoders, marked
from .frozen import Features, convolved, embedded, linear_scores, untrained_like


def probe(
    models: list[Path],
    *,
    shards: list[Path],
    task: str,
    out: Path | None = None,
    seeds: int = 3,
    layers: tuple[int, ...] = (),
    cache: Path = Path("data/cache/embeddings"),
) -> None:
    """Judge frozen encoders on a task by a linear head, beside the same encoder untrained.

    Prints a table with 95 % intervals over subjects, and the paired differences between the rows. Choices
    are made on validation; the test split is scored once.

    Args:
        models: model folders, such as RUN/best: seeds of one configuration.
        shards: shard folders of the task's data set.
        task: a shipped task, such as ptbxl_superdiagnostic, or one's own YAML file.
        out: folder for the table (Markdown) and all figures (JSON).
        seeds: untrained encoders and sets of random kernels to average over.
        layers: blocks whose outputs the head reads side by side, from 0, or from −1 backwards; none for the last.
        cache: folder in which embeddings are kept, to be computed once.
    """
    wanted, encoders = load_task(task), Encoders.of(models)
    if seeds < 1:
        raise ValueError(f"seeds must be 1 or more, not {seeds}")
    rounds = rounds_of(wanted, [str(folder) for folder in shards])
    own = encoders.seeds(rounds)
    untrained = [
        [untrained_like(own[0].models[0], seed, one.readers["train"]) for one in rounds]
        for seed in range(seeds)
    ]
    lines: dict[str, tuple[Head, list[list[Features]]]] = {
        "pretrained, linear": (
            "logistic",
            [[embedded(m, cache, layers) for m in s.models] for s in own],
        ),
        "untrained, linear": (
            "logistic",
            [[embedded(m, cache, layers) for m in each] for each in untrained],
        ),
        "random kernels, ridge": (
            "ridge",
            [[convolved(seed, cache)] * len(rounds) for seed in range(seeds)],
        ),
    }
    test, validation = truth_of(rounds, "test"), truth_of(rounds, "validation")
    columns, told = counted_columns(wanted, truth_of(rounds, "train"), test)
    rows = {
        name: [linear_scores(wanted, rounds, head, make) for make in each]
        for name, (head, each) in lines.items()
    }
    seen = encoders.overlaps(own, rounds)
    found = compare(wanted, test, validation, marked(rows, seen, {}), columns)
    sections = [results_section(wanted, found, about(rounds, told)), leakage_section(seen)]
    text = markdown(wanted.title, sections, notices(rounds))
    print(text)
    if out is not None:
        said = {"task": wanted.title, **comparison_plain(found)}
        with write_aside(out / "probe.json") as aside:
            aside.write_text(json.dumps(said, indent=1, allow_nan=False) + "\n")
        with write_aside(out / "probe.md") as aside:
            aside.write_text(text)


def about(rounds: Sequence[Round], told: str) -> list[str]:
    """What stands above the table: windows of each split, and which classes count."""
    sizes = [
        f"{split}{f', round {number}' if len(rounds) > 1 else ''}: {one.truth[split]}"
        for number, one in enumerate(rounds)
        for split in SPLITS
    ]
    return [*sizes, told]


def main() -> None:
    """`finetune/linear_probe.py`: the same from a script that `accelerate launch` may have started.

    Of several processes one works: a frozen encoder passes over the data once.
    """
    state = PartialState()
    try:
        if state.is_main_process:
            call(probe, "finetune/linear_probe.py", sys.argv[1:])
    except USER_ERRORS as error:
        tell(error)
        raise SystemExit(1) from None
    finally:
        if state.num_processes > 1:
            state.wait_for_everyone()
            state.destroy_process_group()
