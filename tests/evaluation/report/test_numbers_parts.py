"""Parts of the report's numbers against independent arithmetic: classes, trust, subgroups, nights."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray
from sklearn.metrics import brier_score_loss, cohen_kappa_score, roc_auc_score

from biofm.evaluation.report.abstention import abstention
from biofm.evaluation.report.by_subject import by_subject
from biofm.evaluation.report.case import Case, plain
from biofm.evaluation.report.nights import nights, of_nights
from biofm.evaluation.report.per_class import per_class
from biofm.evaluation.report.quantities import agreement, pressure
from biofm.evaluation.report.subgroup import subgroups
from biofm.evaluation.report.trust import calibration, scaled
from biofm.evaluation.rounds import Truth
from biofm.evaluation.scaling import fit_temperature
from biofm.evaluation.scores import Scores
from biofm.evaluation.tasks import Task

N = 400
PEOPLE = np.array([f"p{i // 2:03d}" for i in range(N)])
RNG = np.random.default_rng(0)


def task(kind: str, metrics: tuple[str, ...], **other: Any) -> Task:
    values: dict[str, Any] = {"title": "t", "datasets": ("ptbxl",), "label_set": "x", "kind": kind}
    loss = {"multilabel": "bce", "multiclass": "cross_entropy", "regression": "mae"}[kind]
    return Task(**values | {"metrics": metrics, "loss": loss} | other)


def truth_of(values: NDArray[Any], classes: tuple[str, ...], **facts: Any) -> Truth:
    basic = {"age": np.arange(N) % 90 * 1.0, "onset_s": np.arange(N) * 30.0}
    return Truth(values, classes, PEOPLE, PEOPLE, pl.DataFrame(basic | facts), np.zeros(N, int))


def case_of(what: Task, test: Truth, *seeds: Scores, validation: Truth | None = None) -> Case:
    return Case(what, test, validation or test, test, {"model": seeds}, "model")


def labels(sharper: float = 1.0) -> tuple[Truth, Scores]:
    """Labels drawn from probabilities, which the scores then state `sharper` than they are."""
    logits = RNG.normal(0, 2, (N, 3)) - [0.0, 1.0, 5.5]
    there = RNG.random(logits.shape) < 1 / (1 + np.exp(-logits))
    there[:, 2] = np.arange(N) < 8  # four people
    said = 1 / (1 + np.exp(-sharper * logits))
    return truth_of(there, ("a", "b", "rare")), Scores(said, said, 0.0)


def test_classes_have_counts_and_figures_where_they_count() -> None:
    test, scores = labels()
    part = per_class(case_of(task("multilabel", ("auroc",)), test, scores))
    assert part is not None
    for k, name in enumerate("ab"):
        of = part.plain[name]
        assert of["test_records"] == test.values[:, k].sum()
        assert of["test_subjects"] == len(set(PEOPLE[test.values[:, k]]))
        assert of["prevalence"] == pytest.approx(test.values[:, k].mean())
        expected = roc_auc_score(test.values[:, k], scores.test[:, k])
        assert of["figures"]["auroc"]["value"] == pytest.approx(expected)
    assert part.plain["rare"]["figures"] == {}
    assert [row[-1] for row in part.section.tables[0].rows][-1] == "–"
    assert "1 of 3 classes have fewer than 10 subjects" in part.section.paragraphs[1]


def test_scaling_on_validation_mends_what_is_too_sure() -> None:
    test, scores = labels(sharper=4.0)
    case = case_of(task("multilabel", ("auroc",)), test, scores)
    part = calibration(case)
    assert part is not None
    assert part.plain["temperature"] == pytest.approx(4.0, rel=0.2)
    before = np.mean([brier_score_loss(test.values[:, k], scores.test[:, k]) for k in (0, 1)])
    assert part.plain["as given"]["brier"]["value"] == pytest.approx(before)
    after, _ = scaled(case, scores, fit_temperature)
    expected = np.mean([brier_score_loss(test.values[:, k], after[:, k]) for k in (0, 1)])
    assert part.plain["temperature"] > 1
    assert part.plain["after temperature"]["brier"]["value"] == pytest.approx(expected)
    change = part.plain["brier_change"]["after temperature"]
    assert change["value"] == pytest.approx(expected - before)
    assert change["high"] < 0
    assert part.plain["after temperature"]["ece"]["value"] < part.plain["as given"]["ece"]["value"]


def test_in_a_cross_validation_each_round_is_scaled_by_its_own_validation() -> None:
    # The second round's model is twice as sure of itself as the first's.
    half = np.arange(N) * 2 // N
    logits = RNG.normal(0, 2, (N, 2))
    values = RNG.random((N, 2)) < 1 / (1 + np.exp(-logits))
    said = 1 / (1 + np.exp(-logits * np.where(half, 2.0, 1.0)[:, None]))
    test = replace(truth_of(values, ("a", "b")), round=half)
    scores = Scores(said, said, 0.0)
    case = case_of(task("multilabel", ("auroc",)), test, scores)
    found, _ = scaled(case, scores, fit_temperature)
    np.testing.assert_allclose(found, 1 / (1 + np.exp(-logits)), atol=0.12)
    for number in (0, 1):
        rows = np.flatnonzero(half == number)
        alone = fit_temperature(values[rows], np.log(said[rows] / (1 - said[rows])))
        expected = 1 / (1 + (1 / said[rows] - 1) ** (1 / alone.value))
        np.testing.assert_allclose(found[rows], expected, atol=1e-9)


def test_what_is_no_probability_is_left_out_and_said_to_be() -> None:
    values = RNG.integers(0, 3, N)
    test = truth_of(values, ("a", "b", "c"))
    right = np.eye(3)[values]
    what = task("multiclass", ("kappa",))
    for wrong in (right * 1.2 - 0.1, right * 0.9):  # below 0; rows that sum to 0.9
        case = case_of(what, test, Scores(wrong, wrong, 0.0))
        for part in (calibration(case), abstention(case)):
            assert part is not None
            assert not part.section.tables
            assert "they are no probabilities" in part.section.paragraphs[0]
            assert list(part.plain) == ["left_out"]
    number = task("regression", ("mae",))
    quantity = truth_of(RNG.normal(size=(N, 1)), ("x",))
    given = case_of(number, quantity, Scores(quantity.values, quantity.values, 0.0))
    assert calibration(given) is None
    assert abstention(given) is None


def test_sets_hold_what_they_promise_on_the_records_they_were_made_with() -> None:
    test, scores = labels()
    part = abstention(case_of(task("multilabel", ("auroc",)), test, scores))
    assert part is not None
    assert list(part.plain["sets"]) == ["mean of the classes", "a", "b"]
    for of in part.plain["sets"].values():
        assert 0.9 <= of["covered_present"]["value"] <= 0.92
        assert 0.9 <= of["covered_absent"]["value"] <= 0.92
        parts = (of[name]["value"] for name in ("one_answer", "undecided", "neither"))
        assert sum(parts) == pytest.approx(1.0)
    values = RNG.integers(0, 3, N)
    said = 0.5 * np.eye(3)[values] + 0.5 * RNG.dirichlet(np.ones(3), N)
    exclusive = truth_of(values, ("a", "b", "c"))
    part = abstention(case_of(task("multiclass", ("kappa",)), exclusive, Scores(said, said, 0.0)))
    assert part is not None
    lac = part.plain["sets"]["LAC"]
    assert 0.9 <= lac["coverage"]["value"] <= 0.92
    single = (1 - said <= np.sort(1 - said[np.arange(N), values])[360]).sum(axis=1) == 1
    assert lac["one_answer"]["value"] == pytest.approx(single.mean())


def test_groups_stand_beside_everybody_on_the_classes_they_have() -> None:
    test, scores = labels()
    values = test.values[:, :2].copy()
    sex = np.where(np.arange(N) // 2 % 2, "male", "female")
    values[sex == "male", 1] = False  # no man has b
    site = np.where(np.arange(N) < 12, "small", "large")
    given = truth_of(values, ("a", "b"), sex=sex, site=site, device=[None] * N)
    said = Scores(scores.test[:, :2], scores.test[:, :2], 0.0)
    part = subgroups(case_of(task("multilabel", ("auroc",)), given, said), "macro auroc")
    assert part is not None
    groups = {(g["column"], g["value"]): g for g in part.plain["groups"]}
    male, female = groups["sex", "male"], groups["sex", "female"]
    each = [roc_auc_score(values[:, k], said.test[:, k]) for k in (0, 1)]
    assert male["classes"] == ["a"]
    assert male["everybody"] == pytest.approx(each[0])
    rows = sex == "male"
    assert male["figure"]["value"] == pytest.approx(
        roc_auc_score(values[rows, 0], said.test[rows, 0])
    )
    assert female["classes"] is None
    assert female["everybody"] == pytest.approx(np.mean(each))
    assert groups["site", "small"]["figure"] is None
    assert not any(column == "device" for column, _ in groups)
    text = " ".join(part.section.paragraphs)
    assert "Not shown by site: small (6 subjects: below the least of 10)" in text
    ages = [row[0] for row in part.section.tables[0].rows if row[0].startswith("age")]
    assert ages[0].endswith("under 18")


def test_a_group_that_lacks_a_class_has_a_kappa_all_the_same() -> None:
    sex = np.where(np.arange(N) // 2 % 2, "male", "female")
    values = np.where(sex == "male", RNG.integers(0, 2, N), RNG.integers(0, 3, N))
    test = truth_of(values, ("a", "b", "c"), sex=sex, age=[50.0] * N)
    said = RNG.dirichlet(np.ones(3), N) + np.eye(3)[values]
    part = subgroups(
        case_of(task("multiclass", ("kappa",)), test, Scores(said, said, 0.0)), "kappa"
    )
    assert part is not None
    for group in part.plain["groups"]:
        rows = sex == group["value"]
        expected = cohen_kappa_score(values[rows], said[rows].argmax(axis=1))
        assert group["figure"]["value"] == pytest.approx(expected)


@pytest.mark.parametrize("quantity", ["SBP", "DBP"])
def test_a_group_of_whom_a_quantity_is_not_stated_breaks_nothing(quantity: str) -> None:
    values = RNG.normal(100, 10, (N, 2))
    half = np.arange(N) < N // 2
    values[half, ("SBP", "DBP").index(quantity)] = np.nan
    site = np.where(half, "here", "there").tolist()
    test = truth_of(values, ("SBP", "DBP"), site=site)
    said = np.nan_to_num(values, nan=90.0) + 3.0
    part = subgroups(
        case_of(task("regression", ("mae",)), test, Scores(said, said, 0.0)), "mae SBP"
    )
    assert part is not None
    groups = {of["value"]: of for of in part.plain["groups"] if of["column"] == "site"}
    assert groups["there"]["figure"]["value"] == pytest.approx(3.0)
    if quantity == "SBP":
        assert groups["here"]["reason"] == "SBP is not stated of them"
    else:
        assert groups["here"]["figure"]["value"] == pytest.approx(3.0)


def test_without_facts_there_are_no_subgroups() -> None:
    test, scores = labels()
    nothing = replace(test, facts=test.facts.with_columns(age=pl.lit(None, pl.Float64)))
    assert (
        subgroups(case_of(task("multilabel", ("auroc",)), nothing, scores), "macro auroc") is None
    )


def test_figures_by_subject_are_scikit_learns_and_skip_what_is_undefined() -> None:
    values = RNG.integers(0, 2, N)
    people = np.repeat(["p1", "p2", "p3", "p4"], N // 4)
    values[people == "p4"] = 0
    called = np.where(RNG.random(N) < 0.7, values, 1 - values)
    called[people == "p4"] = 0
    test = replace(truth_of(values, ("W", "sleep")), subjects=people)
    said = np.eye(2)[called]
    what = task("multiclass", ("kappa", "accuracy"), anchor="stage", datasets=("mesa",))
    part = by_subject(case_of(what, test, Scores(said, said, 0.0)))
    assert part is not None
    expected = {
        p: cohen_kappa_score(values[people == p], called[people == p]) for p in ("p1", "p2", "p3")
    }
    told = part.plain["subjects"]
    assert {p: told[p]["kappa"] for p in expected} == pytest.approx(expected)
    assert told["p4"] == {"windows": N // 4, "kappa": None, "accuracy": 1.0}
    assert "kappa: left out for subjects" in part.section.paragraphs[1]
    assert part.section.tables[0].rows[0][-1] == "3"


def hypnogram(seed: int) -> NDArray[np.int64]:
    """A night of 100 epochs: wake, then sleep with a waking in it."""
    awake = np.random.default_rng(seed).integers(5, 20)
    return np.repeat([0, 1, 0, 1], np.array([awake, 50, 5, 45 - awake]))


def test_nights_are_put_together_from_epochs_in_any_order_with_gaps() -> None:
    stages = np.concatenate([hypnogram(s) for s in range(4)])
    records = np.repeat([f"n{i}" for i in range(4)], 100)
    output = stages.copy()
    output[np.flatnonzero(records == "n1")[:60]] = 0  # asleep an hour later
    shuffled = np.random.default_rng(0).permutation(N)
    kept = shuffled[~np.isin(shuffled, [70, 71])]  # two epochs of the first night are unscored
    test = Truth(
        stages[kept],
        ("W", "sleep"),
        records[kept],
        records[kept],
        pl.DataFrame({"onset_s": kept % 100 * 30.0 + 7}),
        np.zeros(len(kept), int),
    )
    subjects, truths, outputs = of_nights(test, output[kept])
    assert subjects.tolist() == ["n0", "n1", "n2", "n3"]
    awake = int((hypnogram(1) == 0).argmin())
    # Total sleep, efficiency, latency, wake after onset: minutes, and a share.
    assert truths[1].tolist() == [(95 - awake) / 2, (95 - awake) / 100, awake / 2, 2.5]
    assert outputs[1][2] == (60 + int(hypnogram(1)[60:].argmax())) / 2
    np.testing.assert_array_equal(truths[0], outputs[0])
    scored = hypnogram(0)[[i for i in range(100) if i not in (70, 71)]]
    assert truths[0][0] == scored.sum() / 2
    assert truths[0][1] == pytest.approx(scored.mean())

    what = task("multiclass", ("kappa", "night_errors"), anchor="stage", datasets=("mesa",))
    said = np.eye(2)[output[kept]]
    part = nights(case_of(what, test, Scores(said, said, 0.0)))
    assert part is not None
    error = (outputs - truths)[:, 0]
    assert part.plain["total_sleep_min"]["bias"]["value"] == pytest.approx(error.mean())
    assert part.plain["total_sleep_min"]["mae"] == pytest.approx(np.abs(error).mean())
    limit = error.mean() + 1.96 * error.std(ddof=1)
    assert part.plain["total_sleep_min"]["upper"]["value"] == pytest.approx(limit)
    assert nights(case_of(task("multiclass", ("kappa",)), test, Scores(said, said, 0.0))) is None
    twice = replace(test, facts=test.facts.with_columns(onset_s=pl.lit(0.0)))
    with pytest.raises(ValueError, match="n0: two epochs within 30 s"):
        of_nights(twice, output[kept])


def test_a_night_in_which_the_model_finds_no_sleep_has_no_onset() -> None:
    stages = np.concatenate([hypnogram(s) for s in range(4)])
    records = np.repeat([f"n{i}" for i in range(4)], 100)
    test = replace(
        truth_of(stages, ("W", "sleep"), onset_s=np.tile(np.arange(100) * 30.0, 4)),
        records=records,
        subjects=records,
    )
    said = np.eye(2)[np.where(records == "n2", 0, stages)]
    what = task("multiclass", ("kappa", "night_errors"), anchor="stage", datasets=("mesa",))
    part = nights(case_of(what, test, Scores(said, said, 0.0)))
    assert part is not None
    assert [row[1] for row in part.section.tables[0].rows] == ["4", "4", "3", "3"]
    assert "In 1 nights the model finds no sleep at all" in part.section.paragraphs[1]
    assert part.plain["onset_latency_min"]["mae"] == 0.0


def test_agreement_and_grades_are_of_each_quantity_where_it_is_stated() -> None:
    values = RNG.normal(120, 10, (N, 3))
    error = RNG.normal(1, 4, (N, 3))
    values[::2, 1] = np.nan
    values[4:, 2] = np.nan  # two people
    test = truth_of(values, ("sbp", "dbp", "map"))
    what = task("regression", ("mae", "bland_altman", "pressure_grades"))
    said = np.nan_to_num(values) + error
    case = case_of(what, test, Scores(said, said, 0.0))
    agreed, grades = agreement(case), pressure(case)
    assert agreed is not None
    assert grades is not None
    assert list(agreed.plain) == ["sbp", "dbp"]
    assert agreed.section.tables[0].rows[2][:4] == ["map (mmHg)", "2", "4", "–"]
    assert agreed.plain["dbp"]["bias"]["value"] == pytest.approx(error[1::2, 1].mean())
    assert grades.plain["sbp"]["mean_error"] == pytest.approx(error[:, 0].mean())
    assert grades.plain["sbp"]["sd_error"] == pytest.approx(error[:, 0].std(ddof=1))
    assert grades.plain["sbp"]["within"][0] == pytest.approx((np.abs(error[:, 0]) <= 5).mean())
    assert grades.plain["map"]["records"] == 4
    assert "too few subjects" in grades.section.paragraphs[1]
    without = case_of(task("regression", ("mae",)), test, Scores(said, said, 0.0))
    assert agreement(without) is None
    assert pressure(without) is None


def test_plain_values_hold_nothing_that_json_does_not_know() -> None:
    given = {"a": np.float64(1.5), "b": [np.nan, np.int64(2)], "c": (np.bool_(True), float("inf"))}
    assert plain(given) == {"a": 1.5, "b": [None, 2], "c": [True, None]}
    assert type(plain(np.float32(2.0))) is float
