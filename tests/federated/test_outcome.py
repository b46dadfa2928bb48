"""The table of clients and its means, against scikit-learn and numpy, from files written by hand."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import polars as pl
import pytest
from flwr.app import ArrayRecord
from sklearn.metrics import accuracy_score, cohen_kappa_score, f1_score, mean_absolute_error

from biofm.evaluation.draws import draw_subjects
from biofm.evaluation.intervals import figures, mean_of
from biofm.evaluation.tasks import load_task
from biofm.federated.cohort import Cohort
from biofm.federated.configuration import (
    DivisionConfig,
    FederatedConfig,
    PersonalConfig,
    StrategyName,
)
from biofm.federated.encoders import Assigned
from biofm.federated.grids import Traffic
from biofm.federated.keeping import path_of
from biofm.federated.outcome import Outcome, encoder_names, figures_of, outcome
from biofm.federated.server import Run

STAGES = ("W", "light", "deep", "R")
BLOCK_S = 300.0
PER_BLOCK, BLOCKS = 6, 10
WINDOWS = PER_BLOCK * BLOCKS
MODELS = ("base", "common", "own")


def config(out: Path, strategies: Sequence[str], division: str = "blocks") -> FederatedConfig:
    return FederatedConfig(
        models=("runs/a/best", "runs/b/best"),
        shards=("shards",),
        task="sleep_watch_hr_4",
        strategies=cast(tuple[StrategyName, ...], tuple(strategies)),
        division=DivisionConfig(kind=cast(Any, division), block_s=2 * BLOCK_S, guard_s=30),
        personal=PersonalConfig(confidence=0.95),
        out=out,
    )


def assigned(folder: str, judged: Sequence[str], seen: Sequence[str] = ()) -> Assigned:
    cohort = cast(Cohort, SimpleNamespace(clients=dict.fromkeys(judged), left_out={}))
    return Assigned(Path(folder), cohort, tuple(judged), frozenset(seen))


def write(
    out: Path,
    subject: str,
    strategy: StrategyName,
    truth: Mapping[str, np.ndarray],
    said: Mapping[str, Mapping[str, np.ndarray]],
    learned: int = 40,
    step: int = 10,
) -> None:
    """A file as a client keeps it: `truth` by part, `said` by model and part; windows in blocks without a gap."""
    arrays: dict[str, np.ndarray] = {}
    for split, values in truth.items():
        arrays[f"{split}.truth"] = values
        arrays[f"{split}.onset_s"] = np.arange(len(values)) * BLOCK_S / PER_BLOCK
        arrays[f"{split}.records"] = np.full(len(values), f"record of {subject}")
        for model, parts in said.items():
            arrays[f"{split}.{model}"] = parts[split]
    path = path_of(out, subject, strategy)
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, learned=np.int64(learned), step=np.int64(step), **arrays)  # type: ignore[arg-type] # names of arrays


def stages(seed: int, count: int = WINDOWS) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, len(STAGES), count)


def saying(truth_N: np.ndarray, right: float, seed: int) -> np.ndarray:
    """Probabilities whose likeliest class is right in a share of the windows, evenly in every block."""
    random = np.random.default_rng([seed, len(truth_N)])
    wrong_N = np.arange(len(truth_N)) % PER_BLOCK >= round(right * PER_BLOCK)
    called_N = np.where(wrong_N, (truth_N + random.integers(1, 4, len(truth_N))) % 4, truth_N)
    found: np.ndarray = np.eye(4)[called_N] * 0.5 + random.uniform(0, 0.1, (len(truth_N), 4))
    return found


SHARES: dict[str, dict[str, tuple[float, float]]] = {
    # subject: model: share right on (validation, test). What the rule must make of it is in its name.
    "gains": {"base": (1 / 6, 1 / 6), "common": (3 / 6, 3 / 6), "own": (5 / 6, 5 / 6)},
    "harmed": {"base": (4 / 6, 4 / 6), "common": (2 / 6, 2 / 6), "own": (6 / 6, 2 / 6)},
    "keeps base": {"base": (5 / 6, 4 / 6), "common": (3 / 6, 3 / 6), "own": (5 / 6, 6 / 6)},
    "keeps common": {"base": (2 / 6, 2 / 6), "common": (4 / 6, 3 / 6), "own": (3 / 6, 1 / 6)},
}


def of_stages(out: Path) -> dict[str, dict[str, Any]]:
    """Writes four clients' Base and FedAvg; returns what was written by subject."""
    found: dict[str, dict[str, Any]] = {}
    for number, (subject, shares) in enumerate(SHARES.items()):
        truth = {"validation": stages(number), "test": stages(100 + number)}
        said = {
            model: {
                split: saying(truth[split], shares[model][place], number)
                for place, split in enumerate(truth)
            }
            for model in MODELS
        }
        write(out, subject, "base", truth, {"own": said["base"]}, step=20)
        write(out, subject, "fedavg", truth, {"common": said["common"], "own": said["own"]})
        found[subject] = {"truth": truth, "said": said}
    return found


def traffic(rounds: int, asked: int, answered: int) -> list[Traffic]:
    """Each of those asked gets 2 kB, and each answer has 1 kB."""
    rest = [Traffic("query.begin", 5, 5, 1, 1)]
    return rest + [
        Traffic("train", 2000 * asked, 1000 * answered, asked, answered) for _ in range(rounds)
    ]


def run(strategy: StrategyName, **others: Any) -> Run:
    terms = {"loss": {}, "traffic": [], "epsilon": None, **others}
    return Run(strategy, ArrayRecord(), **terms)


@pytest.fixture
def judged(tmp_path: Path) -> tuple[Outcome, dict[str, dict[str, Any]]]:
    written = of_stages(tmp_path)
    people = list(SHARES)
    found = outcome(
        tmp_path,
        load_task("sleep_watch_hr_4"),
        STAGES,
        [assigned("runs/a/best", people[:2]), assigned("runs/b/best", people[2:], ["keeps base"])],
        [
            (Path("runs/a/best"), run("fedavg", traffic=traffic(3, 4, 4), epsilon=2.0, loss={1: 1.0, 2: 0.5})),
            (Path("runs/b/best"), run("fedavg", traffic=traffic(3, 4, 2), epsilon=2.5, loss={1: 2.0, 2: 1.5})),
        ],
        config(tmp_path, ["base", "fedavg"]),
    )  # fmt: skip
    return found, written


def row(found: Outcome, subject: str, strategy: str) -> dict[str, Any]:
    rows = found.clients.filter((pl.col("subject") == subject) & (pl.col("strategy") == strategy))
    (one,) = rows.to_dicts()
    return one


@pytest.mark.parametrize("subject", SHARES)
def test_each_client_has_the_figures_of_scikit_learn(
    subject: str, judged: tuple[Outcome, dict[str, dict[str, Any]]]
) -> None:
    found, written = judged
    truth = written[subject]["truth"]["test"]
    one = row(found, subject, "fedavg")
    for model in MODELS:
        called = written[subject]["said"][model]["test"].argmax(axis=1)
        assert one[f"{model} accuracy"] == pytest.approx(accuracy_score(truth, called))
        assert one[f"{model} kappa"] == pytest.approx(cohen_kappa_score(truth, called))
        both = np.union1d(truth, called)
        expected = f1_score(truth, called, labels=both, average="macro", zero_division=0)
        assert one[f"{model} macro_f1"] == pytest.approx(expected)


def test_the_rule_chooses_and_harm_is_told(
    judged: tuple[Outcome, dict[str, dict[str, Any]]],
) -> None:
    found, _ = judged
    rows = {subject: row(found, subject, "fedavg") for subject in SHARES}
    told = {s: (r["fallback"], r["adopted"], r["harmed"]) for s, r in rows.items()}
    assert told == {
        "gains": ("common", True, False),
        "harmed": ("base", True, True),
        "keeps base": ("base", False, False),
        "keeps common": ("common", False, False),
    }
    uses = {"gains": "own", "harmed": "own", "keeps base": "base", "keeps common": "common"}
    for subject, model in uses.items():
        assert rows[subject]["used accuracy"] == rows[subject][f"{model} accuracy"]
    assert rows["harmed"]["test gain"] == pytest.approx(2 / 6 - 4 / 6)
    assert rows["gains"]["gain"] == pytest.approx(2 / 6)
    kept = rows["keeps base"]
    assert kept["test gain"] == kept["test gain low"] == kept["test gain high"] == 0
    base = row(found, "gains", "base")
    assert base["used accuracy"] == base["own accuracy"] == base["base accuracy"]
    assert base["adopted"] is None
    assert base["step"] == 20
    assert {r["seen"] for r in rows.values()} == {False, True}
    assert rows["keeps base"]["seen"]


def test_the_interval_of_a_gain_is_over_pieces_of_time(
    judged: tuple[Outcome, dict[str, dict[str, Any]]],
) -> None:
    """Against the bootstrap of single windows, each with the weight of its piece."""
    found, written = judged
    one, of = row(found, "gains", "fedavg"), written["gains"]
    truth = of["truth"]["test"]
    ahead = [
        (of["said"][model]["test"].argmax(axis=1) == truth).astype(float)
        for model in ("own", "common")
    ]
    piece = np.repeat(np.arange(BLOCKS), PER_BLOCK)
    draws = draw_subjects(piece, 0, "pieces of time")
    expected = figures(mean_of(ahead[0] - ahead[1]), draws)[0]
    assert one["test gain"] == pytest.approx(expected.value)
    assert one["test gain low"] == pytest.approx(expected.low)
    assert one["test gain high"] == pytest.approx(expected.high)


def test_means_and_differences_are_over_clients(
    judged: tuple[Outcome, dict[str, dict[str, Any]]],
) -> None:
    found, _ = judged
    base, fedavg = found.summary
    rows = [row(found, subject, "fedavg") for subject in SHARES]
    for key, values in {
        "own kappa": [r["own kappa"] for r in rows],
        "used accuracy": [r["used accuracy"] for r in rows],
        "own - base macro_f1": [r["own macro_f1"] - r["base macro_f1"] for r in rows],
        "own - common accuracy": [r["own accuracy"] - r["common accuracy"] for r in rows],
        "gain": [r["test gain"] for r in rows],
    }.items():
        figure = fedavg.figures[key]
        assert figure is not None
        assert figure.value == pytest.approx(np.mean(values))
        assert figure.subjects == 4
        assert min(values) <= figure.low <= figure.value <= figure.high <= max(values)
    assert (fedavg.adopted, fedavg.harmed, fedavg.harmed_share) == (2, 1, 0.25)
    assert base.adopted is base.harmed is base.harmed_share is None
    assert base.figures["common accuracy"] is None
    alone = base.figures["own accuracy"]
    assert alone is not None
    assert alone.value == pytest.approx(np.mean([r["base accuracy"] for r in rows]))


def test_bytes_are_of_a_client_and_a_round(
    judged: tuple[Outcome, dict[str, dict[str, Any]]],
) -> None:
    base, fedavg = judged[0].summary
    assert (fedavg.rounds, fedavg.asked, fedavg.answered) == (3, 24, 18)
    assert (fedavg.down_kb, fedavg.up_kb) == (2.0, 1.0)
    assert fedavg.epsilon == 2.5
    assert fedavg.loss == {1: 1.5, 2: 1.0}
    assert (base.rounds, base.down_kb, base.epsilon, base.loss) == (0, None, None, {})


def test_who_did_not_finish_is_named_and_left_out_of_means(tmp_path: Path) -> None:
    of_stages(tmp_path)
    path_of(tmp_path, "harmed", "fedavg").unlink()
    path_of(tmp_path, "gains", "base").unlink()
    found = outcome(
        tmp_path,
        load_task("sleep_watch_hr_4"),
        STAGES,
        [assigned("runs/a/best", list(SHARES))],
        [(Path("runs/a/best"), run("fedavg", refused=["no sensor"]))],
        config(tmp_path, ["base", "fedavg"]),
    )
    base, fedavg = found.summary
    assert base.absent == ("gains",)
    assert fedavg.absent == ("harmed",)
    assert fedavg.refused == ("no sensor",)
    assert fedavg.clients == 3
    # Without a Base, the model for all is what there is to fall back to.
    assert row(found, "gains", "fedavg")["fallback"] == "common"
    with pytest.raises(ValueError, match="kept an answer"):
        outcome(
            tmp_path / "nowhere",
            found.task,
            STAGES,
            found.federations,
            [],
            config(tmp_path, ["base"]),
        )


def test_without_a_fallback_the_personal_head_is_used_and_nobody_is_harmed(tmp_path: Path) -> None:
    truth = {"validation": stages(0), "test": stages(1)}
    said = {split: saying(values, 0.5, 0) for split, values in truth.items()}
    write(tmp_path, "one", "local", truth, {"own": said})
    found = outcome(
        tmp_path,
        load_task("sleep_watch_hr_4"),
        STAGES,
        [assigned("runs/a/best", ["one"])],
        [],
        config(tmp_path, ["local"]),
    )
    one = row(found, "one", "local")
    assert one["used accuracy"] == one["own accuracy"] == 0.5
    assert one["adopted"] is one["harmed"] is one["test gain"] is None
    # One client has no interval over clients.
    assert found.summary[0].figures["own accuracy"] is None
    assert found.summary[0].harmed is None


def test_a_single_piece_of_time_has_no_interval(tmp_path: Path) -> None:
    truth = {"validation": stages(0), "test": stages(1, PER_BLOCK)}
    worse = {split: saying(values, 1 / 6, 0) for split, values in truth.items()}
    better = {split: saying(values, 5 / 6, 1) for split, values in truth.items()}
    write(tmp_path, "one", "fedavg", truth, {"common": worse, "own": better})
    found = outcome(
        tmp_path,
        load_task("sleep_watch_hr_4"),
        STAGES,
        [assigned("runs/a/best", ["one"])],
        [],
        config(tmp_path, ["fedavg"]),
    )
    one = row(found, "one", "fedavg")
    assert one["adopted"]
    assert one["test gain"] == pytest.approx(4 / 6)
    assert one["test gain low"] is one["test gain high"] is None


def test_of_somebody_unseen_there_is_the_model_for_all_alone(tmp_path: Path) -> None:
    for number, subject in enumerate(("one", "other")):
        truth = {"validation": stages(0, 0), "test": stages(number)}
        said = {split: saying(values, 0.5, number) for split, values in truth.items()}
        write(tmp_path, subject, "fedavg", truth, {"common": said}, step=0)
    found = outcome(
        tmp_path,
        load_task("sleep_watch_hr_4"),
        STAGES,
        [assigned("runs/a/best", ["one", "other"])],
        [],
        config(tmp_path, ["fedavg"], "unseen"),
    )
    one = row(found, "one", "fedavg")
    assert one["used accuracy"] == one["common accuracy"] == 0.5
    assert one["own accuracy"] is one["base accuracy"] is one["adopted"] is None
    (summary,) = found.summary
    used = summary.figures["used accuracy"]
    assert used is not None
    assert used.value == 0.5
    assert summary.figures["own accuracy"] is None
    assert summary.adopted is None


def test_quantities_have_a_mean_absolute_error_of_what_is_stated(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    truth, noise = {}, {}
    for split in ("validation", "test"):
        truth[split] = random.normal([120, 80], [15, 10], (WINDOWS, 2))
        noise[split] = random.normal(0, 1, (WINDOWS, 2))
    truth["test"][::3, 1] = np.nan
    common = {s: np.nan_to_num(truth[s], nan=70) + 10 * noise[s] for s in truth}
    own = {s: np.nan_to_num(truth[s], nan=70) + 2 * noise[s] for s in truth}
    write(tmp_path, "one", "ditto", truth, {"common": common, "own": own})
    found = outcome(
        tmp_path,
        load_task("hemodynamics_pressure"),
        ("SBP", "DBP"),
        [assigned("runs/a/best", ["one"])],
        [],
        config(tmp_path, ["ditto"]),
    )
    one = row(found, "one", "ditto")
    assert one["adopted"]
    for k, quantity in enumerate(("SBP", "DBP")):
        stated = np.isfinite(truth["test"][:, k])
        for model, said in (("common", common), ("own", own), ("used", own)):
            expected = mean_absolute_error(truth["test"][stated, k], said["test"][stated, k])
            assert one[f"{model} mae {quantity}"] == pytest.approx(expected)
    # In deviations of the validation truth, each window the mean of what it states.
    wrong = [
        np.abs(said["test"] - truth["test"]) / truth["validation"].std(axis=0)
        for said in (common, own)
    ]
    expected = np.nanmean(wrong[0], axis=1).mean() - np.nanmean(wrong[1], axis=1).mean()
    assert one["test gain"] == pytest.approx(expected)
    nothing = figures_of(np.full((3, 2), np.nan), np.zeros((3, 2)), ("SBP", "DBP"))
    assert all(math.isnan(value) for value in nothing.values())


def test_encoders_are_called_by_as_much_of_their_folder_as_tells_them_apart() -> None:
    one, other = Path("runs/a/fold/best"), Path("runs/b/fold/best")
    assert encoder_names([one]) == {one: "fold/best"}
    assert encoder_names([one, other]) == {one: "a/fold/best", other: "b/fold/best"}
