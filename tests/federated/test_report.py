"""The report of a federation is one well-formed page that says what was done, who gained, and what each client got."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import polars as pl
import pytest
from flwr.app import ArrayRecord

from biofm.evaluation.report.section import Section
from biofm.evaluation.tasks import Task, load_task
from biofm.federated.cohort import Cohort
from biofm.federated.configuration import (
    DivisionConfig,
    FederatedConfig,
    PersonalConfig,
    PrivacyConfig,
    RealityConfig,
    StrategyName,
)
from biofm.federated.encoders import Assigned
from biofm.federated.grids import Traffic
from biofm.federated.keeping import path_of
from biofm.federated.outcome import Outcome, outcome
from biofm.federated.report import federated_report, overview
from biofm.federated.report_about import division_words, names, privacy_words, reality_words
from biofm.federated.report_clients import MOST_CLIENTS, best_on_validation, shown_clients
from biofm.federated.server import Run

EVIL = "<script>alert('x') & {{ 7 * 7 }}"
STAGES = ("W", "light", "deep", "R")
WINDOWS, STEP_S, BLOCK_S = 60, 30.0, 300.0


def config(out: Path, strategies: Sequence[str], division: str = "blocks") -> FederatedConfig:
    return FederatedConfig(
        models=("/somewhere/private/a/best", "/somewhere/private/b/best"),
        shards=("/somewhere/private/shards",),
        task="sleep_watch_hr_4",
        strategies=cast(tuple[StrategyName, ...], tuple(strategies)),
        division=DivisionConfig(kind=cast(Any, division), block_s=2 * BLOCK_S, guard_s=30),
        personal=PersonalConfig(confidence=0.95),
        out=out,
    )


def assigned(name: str, judged: Sequence[str], seen: Sequence[str] = ()) -> Assigned:
    clients = {subject: SimpleNamespace(lacking=False) for subject in judged}
    reader = SimpleNamespace(manifests=[{"notices": ["These people are synthetic."]}])
    cohort = SimpleNamespace(
        clients=clients, left_out={"short": "no window of test"}, reader=reader
    )
    folder = Path("/somewhere/private") / name / "best"
    return Assigned(folder, cast(Cohort, cohort), tuple(judged), frozenset(seen))


def write(
    out: Path,
    subject: str,
    strategy: StrategyName,
    truth: Mapping[str, np.ndarray],
    said: Mapping[str, Mapping[str, np.ndarray]],
) -> None:
    """A file as a client keeps it: `truth` by part, `said` by model and part."""
    arrays: dict[str, np.ndarray] = {}
    for split, values in truth.items():
        arrays[f"{split}.truth"] = values
        arrays[f"{split}.onset_s"] = np.arange(len(values)) * STEP_S
        arrays[f"{split}.records"] = np.full(len(values), "night")
        for model, parts in said.items():
            arrays[f"{split}.{model}"] = parts[split]
    path = path_of(out, subject, strategy)
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, learned=np.int64(40), step=np.int64(10), **arrays)  # type: ignore[arg-type] # names of arrays


def saying(truth_N: np.ndarray, wrong: int) -> np.ndarray:
    """Probabilities whose likeliest class is wrong in every `wrong`-th window."""
    called_N = np.where(np.arange(len(truth_N)) % wrong == 0, (truth_N + 1) % 4, truth_N)
    found: np.ndarray = np.eye(4)[called_N] * 0.9 + 0.025
    return found


def write_night(out: Path, subject: str, seed: int, gains: bool, unseen: bool = False) -> None:
    """A client whose personal head is better than the model for all, which is better than Base; or none better."""
    random = np.random.default_rng(seed)
    truth = {
        "validation": random.integers(0, 4, 0 if unseen else WINDOWS),
        "test": random.integers(0, 4, WINDOWS),
    }

    def of(wrong: int) -> dict[str, np.ndarray]:
        return {split: saying(values, wrong) for split, values in truth.items()}

    if unseen:
        write(out, subject, "fedavg", truth, {"common": of(3)})
        return
    write(out, subject, "base", truth, {"own": of(2)})
    write(out, subject, "fedavg", truth, {"common": of(3), "own": of(30 if gains else 3)})
    write(out, subject, "fedper", truth, {"own": of(2)})


def run(strategy: StrategyName, **others: Any) -> tuple[Path, Run]:
    exchanges = [Traffic("train", 4000, 4000, 2, 2)] * 2
    terms = {"loss": {1: 1.0, 2: 0.5}, "traffic": exchanges, "epsilon": None, **others}
    return Path("/somewhere/private/a/best"), Run(strategy, ArrayRecord(), **terms)


def stages_outcome(out: Path) -> Outcome:
    write_night(out, EVIL, 0, gains=True)
    write_night(out, "other", 1, gains=False)
    return outcome(
        out,
        load_task("sleep_watch_hr_4"),
        STAGES,
        [assigned("a", [EVIL]), assigned("b", ["other"], seen=["other"])],
        [run("fedavg", epsilon=3.25), run("fedper", refused=["its sensor is missing"])],
        config(out, ["base", "fedavg", "fedper"]),
    )


def pressures_outcome(out: Path) -> tuple[Outcome, Task]:
    random = np.random.default_rng(0)
    for subject in ("one", "two"):
        truth = {
            s: random.normal([120, 80], [15, 10], (WINDOWS, 2)) for s in ("validation", "test")
        }
        truth["test"][::4, 1] = np.nan
        said = {
            model: {s: np.nan_to_num(v, nan=80) + random.normal(1, sd, v.shape) for s, v in truth.items()}
            for model, sd in (("common", 8), ("own", 2))
        }  # fmt: skip
        write(out, subject, "ditto", truth, said)
    task = load_task("hemodynamics_pressure")
    found = outcome(
        out, task, ("SBP", "DBP"), [assigned("a", ["one", "two"])], [run("ditto")], config(out, ["ditto"])
    )  # fmt: skip
    return found, task


def parsed(page: Path) -> ET.Element:
    """By a strict parser: whatever is not well-formed raises."""
    return ET.fromstring(page.read_text())


def sections(root: ET.Element) -> dict[str, ET.Element]:
    """By their headlines."""
    return {"".join(s.find("h2").itertext()): s for s in root.iter("section")}  # type: ignore[union-attr] # has one


def text(element: ET.Element) -> str:
    return " ".join(element.itertext())


def cells(section: ET.Element, first: str) -> list[str]:
    """The line of a table that begins so."""
    for line in section.iter("tr"):
        found = ["".join(cell.itertext()) for cell in line]
        if found[0] == first:
            return found
    raise AssertionError(f"no line {first}")


def test_the_page_says_what_was_done_and_who_gained(tmp_path: Path) -> None:
    found = stages_outcome(tmp_path)
    page, markdown = federated_report(
        tmp_path / "report", found, [Section("Provenance", ["That."])]
    )
    root = parsed(page)
    assert not list(root.iter("script"))
    assert "49" not in "".join(s for s in root.itertext() if "alert" in s)
    by_title = sections(root)
    assert list(by_title) == [
        "What was done", "Strategies", "The rule of no harm", "Rounds and bytes",
        f"Client {EVIL}", "Client other†", "Provenance",
    ]  # fmt: skip
    whole = text(root)
    assert "These people are synthetic." in whole
    assert "1 of the 2 people judged were" in whole
    assert "blocks of 10 minutes" in whole
    assert "Left out: short (no window of test)" in whole
    assert "private" not in whole
    fedavg = found.summary[1]
    accuracy = fedavg.figures["used accuracy"]
    assert accuracy is not None
    assert accuracy.text() in cells(by_title["Strategies"], "fedavg")
    rule = by_title["The rule of no harm"]
    assert cells(rule, "fedavg")[1:5] == ["1 of 2", "1", "0", "0 (0 %)"]
    assert "95 % confidence" in text(rule)
    assert "fedper: 0 of 2 adopted, 0 harmed" in text(rule)
    assert cells(by_title["Rounds and bytes"], "fedavg")[2:] == [
        "2",
        "4 of 4",
        "2.0",
        "2.0",
        "3.25",
    ]
    assert "fedavg from 1.000 to 0.500" in text(by_title["Rounds and bytes"])
    assert markdown.read_text().count("pictures/") == 6


def test_a_client_sees_every_model_and_a_night_by_the_best_on_validation(tmp_path: Path) -> None:
    found = stages_outcome(tmp_path)
    page, _ = federated_report(tmp_path / "report", found)
    client = sections(parsed(page))[f"Client {EVIL}"]
    row = found.clients.filter((pl.col("subject") == EVIL) & (pl.col("strategy") == "fedavg"))
    line = cells(client, "fedavg")
    for place, model in enumerate(("common", "own", "used"), start=1):
        values = [row[f"{model} {name}"].item() for name in ("accuracy", "macro_f1", "kappa")]
        assert line[place] == " / ".join(f"{value:.2f}" for value in values)
    assert line[4] == "personalised"
    assert line[5] == f"{row['test gain'].item():+.3f}"
    assert cells(client, "base")[1:] == ["–", "–", cells(client, "fedper")[3], "Base", "–"]
    assert best_on_validation(found, EVIL) == "fedavg"
    captions = [text(caption) for caption in client.iter("figcaption")]
    assert captions[0].startswith("Confusion matrix on test: 58 of 60 cases right")
    assert captions[1].startswith(f"Hypnogram of {EVIL}; truth above, fedavg below")
    assert all("its model in use (personalised)" in caption for caption in captions)


def test_the_numbers_are_beside_the_page(tmp_path: Path) -> None:
    found = stages_outcome(tmp_path)
    out = tmp_path / "report"
    federated_report(out, found)

    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is no JSON")

    raw = (out / "federated.json").read_text()
    plain = json.loads(raw, parse_constant=refuse)
    assert "private" not in raw
    assert plain["clients"] == found.clients.to_dicts()
    fedavg = plain["strategies"][1]
    assert fedavg["strategy"] == "fedavg"
    assert (
        fedavg["figures"]["used kappa"]["value"]
        == found.clients.filter(pl.col("strategy") == "fedavg")["used kappa"].mean()
    )
    assert fedavg["harmed_share"] == 0
    assert plain["encoders"][1] == {
        "encoder": "b/best", "judges": ["other"], "seen": ["other"], "clients": ["other"],
        "left_out": {"short": "no window of test"},
    }  # fmt: skip
    assert plain["config"]["division"]["block_s"] == 2 * BLOCK_S
    assert pl.read_parquet(out / "clients.parquet").equals(found.clients)
    assert (
        pl.read_csv(out / "clients.csv")["subject"].to_list() == found.clients["subject"].to_list()
    )


def test_quantities_have_errors_and_agreement(tmp_path: Path) -> None:
    found, _ = pressures_outcome(tmp_path)
    page, _ = federated_report(tmp_path / "report", found)
    by_title = sections(parsed(page))
    tables = list(by_title["Client one"].iter("table"))
    assert len(tables) == 2
    told = found.told["one", "ditto"]
    errors = (told.kept.own or {})["test"][:, 1] - np.asarray(told.kept.truth["test"], float)[:, 1]
    errors = errors[np.isfinite(errors)]
    bias, half = errors.mean(), 1.96 * errors.std(ddof=1)
    expected = f"{np.abs(errors).mean():.2f}; {bias:+.2f} ({bias - half:.2f} to {bias + half:.2f})"
    assert cells(tables[1], "ditto")[2] == cells(tables[1], "ditto")[3] == expected
    captions = [text(caption) for caption in by_title["Client one"].iter("figcaption")]
    assert len(captions) == 2
    assert "Bland–Altman plot of DBP" in captions[1]
    assert "6 pieces, 45 records" in captions[1]
    figure = found.summary[0].figures["used mae SBP"]
    assert figure is not None
    assert figure.text(2) in cells(by_title["Strategies"], "ditto")
    assert "MAE SBP (mmHg)" in text(by_title["Strategies"])
    assert "below 0 is better" in text(by_title["Strategies"])


def test_too_few_pieces_have_no_limits_with_intervals(tmp_path: Path) -> None:
    found, _ = pressures_outcome(tmp_path)
    longer = replace(found.config, division=DivisionConfig(block_s=2400))
    page, _ = federated_report(tmp_path / "report", replace(found, config=longer))
    client = sections(parsed(page))["Client one"]
    assert not list(client.iter("figcaption"))
    assert "fewer than 3 pieces of 20 minutes" in text(client)


def test_of_people_who_took_no_part_there_is_nothing_to_adopt(tmp_path: Path) -> None:
    for number, subject in enumerate(("one", "two")):
        write_night(tmp_path, subject, number, gains=False, unseen=True)
    found = outcome(
        tmp_path,
        load_task("sleep_watch_hr_4"),
        STAGES,
        [assigned("a", ["one", "two"])],
        [run("fedavg", loss={})],
        config(tmp_path, ["fedavg"], "unseen"),
    )
    page, _ = federated_report(tmp_path / "report", found)
    by_title = sections(parsed(page))
    assert "took no part" in text(by_title["Client one"])
    assert cells(by_title["Client one"], "fedavg")[2] == "–"
    assert "nothing to choose between" in text(by_title["The rule of no harm"])
    assert len(list(by_title["Strategies"].iter("table"))) == 3
    assert not list(by_title["Rounds and bytes"].iter("figure"))


def test_of_many_clients_those_who_gain_most_and_least_have_a_section(tmp_path: Path) -> None:
    people = [f"person {number:02d}" for number in range(MOST_CLIENTS + 6)]
    for number, subject in enumerate(people):
        write_night(tmp_path, subject, number, gains=number >= 10)
    found = outcome(
        tmp_path,
        load_task("sleep_watch_hr_4"),
        STAGES,
        [assigned("a", people)],
        [],
        config(tmp_path, ["base", "fedavg"]),
    )
    shown, why = shown_clients(found)
    assert len(shown) == len(set(shown)) == MOST_CLIENTS
    assert f"{MOST_CLIENTS} of {len(people)} clients" in why
    assert set(people[:10]) < set(shown)
    assert shown[:12] == people[10:22]
    assert shown_clients(replace(found, clients=found.clients.head(4)))[0] == people[:2]


def test_the_terminal_gets_a_line_a_strategy(tmp_path: Path) -> None:
    lines = overview(stages_outcome(tmp_path)).splitlines()
    assert lines[0].startswith("accuracy, the mean over clients")
    assert [line.split()[0] for line in lines[1:]] == ["base", "fedavg", "fedper"]
    assert lines[2].endswith("1 of 2 adopted, 0 harmed")


def test_what_went_wrong_and_what_is_private_is_said(tmp_path: Path) -> None:
    plain = config(tmp_path, ["fedavg"])
    assert reality_words(plain).startswith("Nothing was simulated to go wrong.")
    wrong = RealityConfig(
        participation=0.5, dropout=0.1, stragglers=0.2, few_labels=0.3, labels=7, missing=("ppg",),
        lacking=0.4, poisoned=2,
    )  # fmt: skip
    said = reality_words(replace(plain, reality=wrong, aggregation="krum"))
    for word in ("50 %", "10 %", "20 %", "30 %", "7 labelled", "40 %", "ppg", "2 poisoned", "Krum"):
        assert word in said
    assert "no ε" in privacy_words(plain)
    central = replace(plain, privacy=PrivacyConfig(central_noise=1.5, delta=1e-4))
    assert "noise of 1.5 times" in privacy_words(central)
    assert "δ = 0.0001" in privacy_words(central)
    local = replace(plain, privacy=PrivacyConfig(local_epsilon=4.0))
    assert "ε 4 of one release" in privacy_words(local)
    secure = replace(plain, privacy=PrivacyConfig(secure_aggregation=True))
    assert "sees the sum of the updates" in privacy_words(secure)


@pytest.mark.parametrize(
    ("kind", "word"),
    [
        ("blocks", "blocks of 30 minutes"),
        ("chronological", "first half"),
        ("recordings", "Whole recordings"),
        ("random", "dealt at random"),
        ("unseen", "cold start"),
    ],
)
def test_every_division_is_told(kind: Any, word: str) -> None:
    assert word in division_words(DivisionConfig(kind=kind))


def test_a_random_division_is_warned_of(tmp_path: Path) -> None:
    found = stages_outcome(tmp_path)
    random = replace(
        found.config, division=DivisionConfig(kind="random", block_s=2 * BLOCK_S, guard_s=0)
    )
    page, _ = federated_report(tmp_path / "report", replace(found, config=random))
    assert "all figures flatter the models" in text(parsed(page))


def test_long_lists_of_names_end() -> None:
    assert names([]) == "–"
    assert names([f"p{i}" for i in range(14)]).endswith("p11 and 2 more")
