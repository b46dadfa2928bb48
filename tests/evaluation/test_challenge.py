"""The Challenges' score: a case by hand, a slow scorer written apart, and tables that are refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from biofm.datasets.snomed import SCORED_2020, SCORED_2021
from biofm.evaluation.arrays import Bools, Floats
from biofm.evaluation.challenge import SINUS_RHYTHM, challenge_score, read_weights

AF, PAC, SVPB = "164889003", "284470004", "63593006"
CLASSES = {"AF": [AF], "PAC|SVPB": [PAC, SVPB], "NSR": [SINUS_RHYTHM]}
BY_HAND = f""",{SINUS_RHYTHM},{AF},{PAC}|{SVPB}
{SINUS_RHYTHM},1,0.25,0.4
{AF},0.3,1,0.35
{PAC}|{SVPB},0.5,0.2,1
"""


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "weights.csv"
    path.write_text(BY_HAND)
    return path


def slow_score(truth: Bools, output: Bools, weights: Floats, sinus: int) -> float:
    """One record, label and output after the other, as the rules say it."""

    def total(given: Bools) -> float:
        matrix = np.zeros_like(weights)
        for labels, answers in zip(truth, given, strict=True):
            size = max(sum(a or b for a, b in zip(labels, answers, strict=True)), 1)
            for j in np.flatnonzero(labels):
                for k in np.flatnonzero(answers):
                    matrix[j, k] += 1 / size
        return float((weights * matrix).sum())

    always = np.zeros_like(truth)
    always[:, sinus] = True
    observed, correct, inactive = total(output), total(truth), total(always)
    return 0.0 if correct == inactive else (observed - inactive) / (correct - inactive)


def test_a_case_worked_by_hand(table: Path) -> None:
    weights = read_weights(table, CLASSES)
    assert weights.sinus == 2
    # Rows by label, columns by output, in the order of CLASSES: AF, PAC, NSR.
    assert weights.weights.tolist() == [[1, 0.35, 0.3], [0.2, 1, 0.5], [0.25, 0.4, 1]]
    truth = np.array([[1, 1, 0], [0, 0, 1]], dtype=bool)
    output = np.array([[1, 0, 0], [1, 0, 1]], dtype=bool)
    # Record 1 earns (1 + 0.2) / 2, sinus rhythm (0.3 + 0.5) / 3, the truth (1 + .35 + .2 + 1) / 2.
    # Record 2 earns (0.25 + 1) / 2, sinus rhythm and the truth 1.
    observed, inactive, correct = 0.6 + 0.625, 0.8 / 3 + 1, 1.275 + 1
    expected = (observed - inactive) / (correct - inactive)
    assert challenge_score(truth, output, weights) == pytest.approx(expected)


@pytest.mark.parametrize("seed", range(5))
def test_it_equals_a_slow_scorer_alone_and_in_draws(table: Path, seed: int) -> None:
    weights = read_weights(table, CLASSES)
    random = np.random.default_rng(seed)
    truth, output = random.random((30, 3)) < 0.4, random.random((30, 3)) < 0.4
    expected = slow_score(truth, output, weights.weights, weights.sinus)
    assert challenge_score(truth, output, weights) == pytest.approx(expected)
    draws = random.integers(0, 3, size=(4, 30))
    values = challenge_score(truth, output, weights, draws.astype(float))
    for value, counts in zip(values, draws, strict=True):
        rows = np.repeat(np.arange(30), counts)
        expected = slow_score(truth[rows], output[rows], weights.weights, weights.sinus)
        assert value == pytest.approx(expected)


def test_the_ends_of_its_scale(table: Path) -> None:
    weights = read_weights(table, CLASSES)
    truth = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, 0]], dtype=bool)
    sinus = np.zeros_like(truth)
    sinus[:, 2] = True
    assert challenge_score(truth, truth, weights) == 1.0
    assert challenge_score(truth, sinus, weights) == 0.0
    assert challenge_score(truth, np.zeros_like(truth), weights) < 0


def test_where_sinus_rhythm_is_right_throughout_the_score_is_0(table: Path) -> None:
    weights = read_weights(table, CLASSES)
    truth = np.zeros((7, 3), dtype=bool)
    truth[:, 2] = True
    assert challenge_score(truth, ~truth, weights) == 0.0
    assert challenge_score(truth, truth, weights) == 0.0


def test_without_the_official_table_it_is_refused(tmp_path: Path) -> None:
    for path in (None, tmp_path / "nowhere.csv"):
        with pytest.raises(FileNotFoundError, match=r"physionetchallenges/evaluation-2021"):
            read_weights(path, CLASSES)


@pytest.mark.parametrize("scored", [SCORED_2020, SCORED_2021])
def test_tables_of_both_years_fit_their_classes(
    tmp_path: Path, scored: dict[str, list[str]]
) -> None:
    # 2020 gives each code of a merged pair a row; 2021 names them together.
    apart = scored is SCORED_2020
    rows = (
        [[code] for codes in scored.values() for code in codes] if apart else list(scored.values())
    )
    place = {code: i for i, codes in enumerate(scored.values()) for code in codes}
    random = np.random.default_rng(0)
    values = random.random((len(scored), len(scored)))
    names = ["|".join(codes) for codes in rows]
    lines = [",".join(["", *names])]
    for row, name in zip(rows, names, strict=True):
        cells = [repr(float(values[place[row[0]], place[column[0]]])) for column in rows]
        lines.append(",".join([name, *cells]))
    path = tmp_path / "weights.csv"
    path.write_text("\n".join(lines))
    weights = read_weights(path, scored)
    assert len(rows) == (27 if apart else 26)
    np.testing.assert_array_equal(weights.weights, values)
    assert list(scored)[weights.sinus] == "NSR"
    other = SCORED_2021 if apart else SCORED_2020
    with pytest.raises(ValueError, match="the classes differ from the task's"):
        read_weights(path, other)


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        ("", "equal names"),
        (BY_HAND.replace(f"\n{AF}", "\n1"), "equal names"),
        (BY_HAND.replace("0.35", "x"), "expected numbers"),
        (BY_HAND.replace("0.35", "nan"), "finite numbers"),
        (BY_HAND.replace(SINUS_RHYTHM, "123"), "the classes differ"),
    ],
)
def test_another_file_is_named_and_refused(tmp_path: Path, broken: str, message: str) -> None:
    path = tmp_path / "weights.csv"
    path.write_text(broken)
    with pytest.raises(ValueError, match=message) as error:
        read_weights(path, CLASSES)
    assert str(path) in str(error.value)


def test_one_diagnosis_with_two_weights_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.csv"
    names = [PAC, SVPB, SINUS_RHYTHM]
    rows = ["1,1,0.3", "1,1,0.4", "0.3,0.3,1"]
    path.write_text(
        "\n".join([",".join(["", *names]), *(f"{n},{r}" for n, r in zip(names, rows, strict=True))])
    )
    with pytest.raises(ValueError, match="rows 1 and 2 are one diagnosis"):
        read_weights(path, {"PAC": [PAC, SVPB], "NSR": [SINUS_RHYTHM]})
