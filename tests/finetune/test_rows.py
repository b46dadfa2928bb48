"""Rows of an evaluation: whose runs are gone on with, and how few labels are learned from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from biofm.evaluation.scores import Scores
from biofm.evaluation.tasks import load_task
from biofm.finetune import rows
from biofm.finetune.configuration import FinetuneConfig
from biofm.finetune.evaluate import shown_row, task_of
from biofm.finetune.evaluation_configuration import EvaluationConfig, Supervised
from biofm.finetune.rows import (
    Judged,
    first,
    groups,
    learned,
    supervised_runs,
    trained_cells,
    with_few,
)
from biofm.pretrain.configuration import OptimConfig, RunConfig
from biofm.signals.augmentations import AugmentConfig

ONE = Scores(np.zeros((2, 1)), np.zeros((2, 1)), 0.5)


def rounds(out: Path) -> list[FinetuneConfig]:
    return [
        FinetuneConfig(
            shards=("x",),
            tasks=("t",),
            model="mina",
            round=r,
            run=RunConfig(out=out / f"round-{r}"),
        )
        for r in range(2)
    ]


def test_runs_go_on_on_the_same_terms_and_begin_anew_on_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[bool] = []
    stopped: set[int] = {1}

    def learn(config: FinetuneConfig) -> dict[str, Scores] | None:
        found.append((config.run.out / "checkpoints" / "step").is_dir())
        (config.run.out / "checkpoints" / "step").mkdir(parents=True, exist_ok=True)
        return None if config.round in stopped else {"t": ONE}

    monkeypatch.setattr(rows, "learn", learn)
    out = tmp_path / "mina-0"
    with pytest.raises(KeyboardInterrupt):
        learned(rounds(out), out, {"model": "a"})
    # Another encoder at the same path: nothing of what the first one began is gone on with.
    with pytest.raises(KeyboardInterrupt):
        learned(rounds(out), out, {"model": "b"})
    assert found == [False] * 4
    stopped.clear()
    made = learned(rounds(out), out, {"model": "b"})
    assert found[4:] == [True, True]  # the finished round is not trained again either
    assert len(made["t"].test) == 4
    assert not list(out.glob("*/checkpoints"))
    (out / "round-0" / "checkpoints" / "step").mkdir(parents=True)  # a kill while they were removed
    learned(rounds(out), out, {"model": "b"})
    assert found[6:] == [False, False]


class Few(Judged):
    """Of so many training windows."""

    def __init__(self, windows: int) -> None:
        truth = type("Windows", (), {"__len__": lambda self: windows})()
        one = type("Round", (), {"truth": {"train": truth}})()
        object.__setattr__(self, "rounds", [one])


@pytest.mark.parametrize(("micro", "batch"), [(None, 25), (10, 20), (64, 25)])
def test_few_labels_make_batches_that_micro_batches_fill(micro: int | None, batch: int) -> None:
    found = with_few(OptimConfig(global_batch=64, micro_batch=micro, epochs=10), [Few(1000)], 0.1)
    assert (found.global_batch, found.epochs) == (batch, 40)
    assert found.micro_batch is None or batch % found.micro_batch == 0
    zoo = {"s4": Supervised(1, 8), "mina": Supervised()}
    assert first(zoo, 0.5) == {"s4": Supervised(1, 16)}
    assert first({"mina": Supervised()}, 0.5) == {"mina": Supervised()}


def test_the_challenges_table_decides_no_score_and_has_to_be_there(tmp_path: Path) -> None:
    config = EvaluationConfig(("x",), ("challenge_2021",), challenge_weights=tmp_path / "w.csv")
    with pytest.raises(FileNotFoundError, match="challenge_weights: no file"):
        task_of("challenge_2021", config)
    (tmp_path / "w.csv").write_text("")
    given = Judged("challenge_2021", task_of("challenge_2021", config), [])
    assert given.task.challenge_weights is not None
    assert given.terms() == Judged("challenge_2021", load_task("challenge_2021"), []).terms()


def test_tasks_of_other_data_sets_learn_apart() -> None:
    one = load_task("ptbxl_all")
    two = replace(one, datasets=("ptbxl", "cpsc2018"))
    each = [Judged(name, task, []) for name, task in (("a", one), ("b", two), ("c", one))]
    assert [[of.name for of in some] for some in groups(each)] == [["a", "c"], ["b"]]


def test_every_task_and_share_is_named_once() -> None:
    with pytest.raises(ValueError, match=r"tasks: each once.*all, all"):
        EvaluationConfig(("x",), ("mine/all.yaml", "yours/all.yaml"))
    with pytest.raises(ValueError, match=r"shares: each once.*0\.1, 0\.1"):
        EvaluationConfig(("x",), ("all",), shares=(0.1, 0.1))
    with pytest.raises(ValueError, match="shares must lie between 0 and 1"):
        EvaluationConfig(("x",), ("all",), shares=(2.0,))


def test_a_row_that_validation_cannot_judge_is_not_shown_first() -> None:
    unknown = replace(ONE, chosen=np.nan)
    found = shown_row({"m, as trained": [unknown], "pretrained, linear": [ONE, ONE]})
    assert found == "pretrained, linear"


class Bare(Judged):
    """A task of one round, without data."""

    def terms(self) -> dict[str, object]:
        return {}


def test_augmentations_are_trained_with_and_decide_scores() -> None:
    judged = Bare("t", None, [None])  # type: ignore[arg-type, list-item]
    plain = EvaluationConfig(shards=("x",), tasks=("t",), zoo={"mina": Supervised(1)})
    changing = replace(plain, augment=AugmentConfig(("flip", "scale")))
    for config, told in ((plain, []), (changing, ["flip", "scale"])):
        ((_, _, (run,)),) = supervised_runs(config, ("t",), [], 1)
        assert run.augment == config.augment
        (cell,) = trained_cells(config, [judged], [])
        assert cell.terms["augment"]["ops"] == told
