"""Pictures show the numbers they are given, say them in words, and hide no label behind another."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing
from matplotlib.text import Text
from sklearn.metrics import average_precision_score, cohen_kappa_score, roc_auc_score

from biofm.evaluation.agreement import bland_altman
from biofm.evaluation.calibration import reliability
from biofm.evaluation.comparison import Comparison, Row
from biofm.evaluation.figure import Figure
from biofm.evaluation.report.pictures import drawing
from biofm.evaluation.report.pictures.agreement import bland_altman_plot
from biofm.evaluation.report.pictures.confusion import confusion_matrix
from biofm.evaluation.report.pictures.curves import precision_recall_curves, roc_curves
from biofm.evaluation.report.pictures.efficiency import label_efficiency
from biofm.evaluation.report.pictures.forest import forest
from biofm.evaluation.report.pictures.gains import Gain, gains
from biofm.evaluation.report.pictures.hypnograms import hypnogram, hypnograms
from biofm.evaluation.report.pictures.reliability import reliability_curves
from biofm.evaluation.report.pictures.rounds import loss_by_round
from biofm.evaluation.report.section import Picture
from biofm.evaluation.rounds import Truth
from biofm.evaluation.scores import Scores

STAGES = ("W", "N1", "N2", "N3", "R")
NAMES = ("a pretrained encoder of a long name, frozen", "another one", "a third, as a reference")


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> list[Drawing]:
    """The figures that are drawn in a test: as they are, not yet as SVG."""
    caught: list[Drawing] = []

    def catch(figure: Drawing) -> str:
        caught.append(figure)
        return ""

    monkeypatch.setattr(drawing, "svg_of", catch)
    return caught


def scores(test: np.ndarray) -> Scores:
    return Scores(test, np.zeros((0, test.shape[1])), 0.5)


def truth(values: np.ndarray, classes: tuple[str, ...], subjects: np.ndarray) -> Truth:
    onset_s = np.zeros(len(values))
    for subject in np.unique(subjects):
        onset_s[subjects == subject] = 30.0 * np.arange((subjects == subject).sum())
    facts = pl.DataFrame({"onset_s": onset_s})
    return Truth(values, classes, subjects, subjects, facts, np.zeros(len(values), np.intp))


def labels(count: int = 5, records: int = 120, seed: int = 0) -> tuple[Truth, Scores]:
    rng = np.random.default_rng(seed)
    values = rng.random((records, count)) < np.linspace(0.15, 0.5, count)
    said = np.clip(0.25 + 0.3 * values + rng.normal(0, 0.2, values.shape), 0, 1)
    names = tuple(f"CLASS{k}" for k in range(count))
    return truth(values, names, np.arange(records).astype(str)), scores(said)


def nights(subjects: int = 5, epochs: int = 60) -> tuple[Truth, Scores]:
    """Each subject is scored worse than the one before."""
    rng = np.random.default_rng(0)
    values = np.repeat(rng.integers(0, 5, subjects * epochs // 6), 6)
    ids = np.repeat([f"s{i}" for i in range(subjects)], epochs)
    wrong = rng.random(len(values)) < np.repeat(np.linspace(0.1, 0.8, subjects), epochs)
    called = np.where(wrong, (values + 1) % 5, values)
    return truth(values, STAGES, ids), scores(np.eye(5)[called])


def rates(records: int) -> tuple[Truth, Scores]:
    rng = np.random.default_rng(1)
    values = rng.normal(80, 12, (records, 1))
    ids = np.array([f"s{i % 7}" for i in range(records)])
    return truth(values, ("hr",), ids), scores(values + rng.normal(2, 5, values.shape))


def compared() -> Comparison:
    values = [
        Figure(0.87, 0.845, 0.891, 0.95, 438),
        Figure(0.83, 0.8, 0.86),
        Figure(0.8705, 0.8, 0.9),
    ]
    gaps = [Figure(0.04, 0.02, 0.054), Figure(-0.0005, -0.012, 0.01)]
    rows = [
        Row(n, s, 0.8, {"macro auroc": v}) for n, s, v in zip(NAMES, (3, 1, 2), values, strict=True)
    ]
    return Comparison(rows, {n: {"macro auroc": g} for n, g in zip(NAMES[1:], gaps, strict=True)})


def efficiency() -> Picture:
    at = [
        (share, round(1367 * share), 0.8 + 0.02 * i)
        for i, share in enumerate((1.0, 0.01, 0.05, 0.1, 0.25))
    ]
    points = [(share, n, Figure(value, value - 0.02, value + 0.02)) for share, n, value in at]
    return label_efficiency(dict.fromkeys(NAMES, points), "macro auroc")


def curves(count: int) -> Callable[[], Picture]:
    def make() -> Picture:
        test, said = labels(count)
        return roc_curves(test, {name: [said] for name in NAMES}, np.arange(count))

    return make


def gained(people: int, methods: int = 5) -> dict[str, list[Gain]]:
    """Of every three, one adopts and gains, one adopts and is harmed, one keeps the fallback."""
    values = [(0.01 * i if i % 3 else 0.0) * (-1) ** (i % 3 - 1) for i in range(people)]
    each = [
        Gain(
            f"a rather long name of person {i}",
            v,
            v - 0.1 * bool(v),
            v + 0.1 * bool(v),
            bool(i % 3),
        )
        for i, v in enumerate(values)
    ]
    return {f"method {m}": each for m in range(methods)}


def losses() -> Picture:
    by_round = {r: 1 / r for r in range(1, 41)}
    return loss_by_round(dict.fromkeys(NAMES, by_round), "Of all.")


ALL: dict[str, Callable[[], Picture]] = {
    "forest": lambda: forest(compared()),
    "efficiency": efficiency,
    "roc": curves(5),
    "roc of many": curves(15),
    "precision": lambda: precision_recall_curves(labels()[0], {"one": [labels()[1]]}, np.arange(5)),
    "confusion": lambda: confusion_matrix(*nights()),
    "reliability": lambda: reliability_curves(
        labels()[0], dict.fromkeys(NAMES, labels()[1].test), np.arange(5)
    ),
    "agreement": lambda: bland_altman_plot(*rates(200), 0, "bpm"),
    "agreement of many": lambda: bland_altman_plot(*rates(4000), 0, "bpm"),
    "hypnograms": lambda: hypnograms(*nights()),
    "one hypnogram": lambda: hypnogram(*nights(), "s3", "a model"),
    "gains": lambda: gains(gained(16), "share of windows right"),
    "gains of one method": lambda: gains(gained(3, 1), "share of windows right"),
    "gains of many people": lambda: gains(gained(1000, 7), "share of windows right"),
    "losses": losses,
}


def texts(figure: Drawing) -> list[Text]:
    """What is really drawn: ticks beyond an axis's ends have labels too, which are not."""
    beyond = {
        label
        for axes in figure.findobj(Axes)
        if isinstance(axes, Axes)
        for axis in (axes.xaxis, axes.yaxis)
        for tick in axis.get_major_ticks()
        for label in (tick.label1, tick.label2)
        if not min(axis.get_view_interval()) <= tick.get_loc() <= max(axis.get_view_interval())
        or not axes.get_visible()
    }
    found = [t for t in figure.findobj(Text) if isinstance(t, Text) and t not in beyond]
    return [t for t in found if t.get_visible() and t.get_text()]


@pytest.mark.parametrize("name", ALL)
def test_labels_are_inside_large_enough_and_apart(name: str, figures: list[Drawing]) -> None:
    ALL[name]()
    (figure,) = figures
    # As `svg_of` does: once for the labels, once with their sizes known.
    figure.draw_without_rendering()
    figure.draw_without_rendering()
    shown = texts(figure)
    assert len(shown) > 5
    boxes = [(t.get_text(), t.get_window_extent(), float(t.get_fontsize())) for t in shown]
    page = figure.bbox
    for text, box, size in boxes:
        assert size >= 8, text
        assert box.x0 > page.x0 - 1, text
        assert box.x1 < page.x1 + 1, text
        assert box.y0 > page.y0 - 1, text
        assert box.y1 < page.y1 + 1, text
    for (one, a, _), (other, b, _) in itertools.combinations(boxes, 2):
        wide = min(a.x1, b.x1) - max(a.x0, b.x0)
        high = min(a.y1, b.y1) - max(a.y0, b.y0)
        assert wide < 1 or high < 1, f"{one!r} and {other!r} overlap"


@pytest.mark.parametrize("name", ["forest", "roc", "agreement of many", "gains"])
def test_the_same_numbers_give_the_same_bytes(name: str) -> None:
    first, second = ALL[name](), ALL[name]()
    assert first == second
    assert "<dc:date>" not in first.svg


def lines(axis: Axes, points: int) -> list[np.ndarray]:
    return [
        np.asarray(line.get_xydata())
        for line in axis.lines
        if len(np.asarray(line.get_xydata())) == points
    ]


def test_forest_shows_intervals_and_fills_what_excludes_nothing(figures: list[Drawing]) -> None:
    told = forest(compared()).caption
    left, right = figures[0].axes[:2]
    ends = [(line[0, 0], line[1, 0]) for line in lines(left, 2)]
    assert ends == [(0.845, 0.891), (0.8, 0.86), (0.8, 0.9)]
    dots = [line for line in right.lines if line.get_marker() == "o"]
    assert [line.get_markerfacecolor() == "none" for line in dots] == [False, True]
    for text in (
        "438 subjects",
        "0.870 (0.845–0.891) (mean of 3 seeds)",
        "+0.040 (+0.020 to +0.054)",
        "−0.001 (−0.012 to +0.010)",
    ):
        assert text in told


def test_efficiency_is_drawn_by_share_and_says_how_many_people(figures: list[Drawing]) -> None:
    told = efficiency().caption
    axis = figures[0].axes[0]
    assert axis.get_xscale() == "log"
    assert lines(axis, 5)[0][:, 0].tolist() == [0.01, 0.05, 0.1, 0.25, 1.0]
    assert axis.get_xticklabels()[0].get_text() == "1 %\n14"
    assert "0.820 (0.800–0.840) at 1 % (14 subjects)" in told


def test_curves_say_the_area_that_others_compute(figures: list[Drawing]) -> None:
    test, said = labels()
    _, other = labels(seed=4)
    rows = {"first": [said, other], "second": [other]}
    roc = roc_curves(test, rows, np.arange(5)).caption
    precision = precision_recall_curves(test, rows, np.arange(5)).caption
    for told, figure in ((roc, roc_auc_score), (precision, average_precision_score)):
        for k in range(5):
            both = [figure(test.values[:, k], s.test[:, k]) for s in (said, other)]
            wanted = (
                f"CLASS{k} ({test.values[:, k].sum()} of 120) {np.mean(both):.3f} / {both[1]:.3f}"
            )
            assert wanted in told
    # The area under the steps that are drawn is the average precision that is printed.
    drawn_lines = [np.asarray(line.get_xydata()) for line in figures[1].axes[0].lines[1:]]
    area = -np.sum(np.diff(drawn_lines[0][:, 0]) * drawn_lines[0][:-1, 1])
    assert area == pytest.approx(average_precision_score(test.values[:, 0], said.test[:, 0]))


def test_of_many_classes_the_most_frequent_are_shown_and_the_rest_counted(
    figures: list[Drawing],
) -> None:
    test, said = labels(15)
    test.values[:, 14] = False
    told = roc_curves(test, {"one": [said]}, np.arange(15)).caption
    titles = [axis.get_title(loc="left") for axis in figures[0].axes if axis.get_visible()]
    counts = test.values.sum(axis=0)
    kept = np.sort(np.argsort(-counts[:14], kind="stable")[:12])
    assert titles == [f"CLASS{k}: {counts[k]} of 120" for k in kept]
    assert "The 12 classes with the most cases are shown, 2 are not." in told
    assert "1 without cases on both sides have no curve." in told


def test_confusion_counts_by_truth(figures: list[Drawing]) -> None:
    test, said = nights()
    told = confusion_matrix(test, said).caption
    called = said.test.argmax(axis=1)
    cells = {t.get_text() for t in figures[0].axes[0].texts}
    for k, name in enumerate(STAGES):
        of, right = (test.values == k).sum(), ((test.values == k) & (called == k)).sum()
        assert f"of {of} {name} {right} called {name}" in told
        assert f"{100 * right / of:.0f} %\n{right}" in cells
    assert f"{(called == test.values).sum()} of {len(called)} cases right" in told


def test_a_stage_that_nobody_had_is_an_empty_row(figures: list[Drawing]) -> None:
    test, said = nights()
    test.values[test.values == 1] = 2
    confusion_matrix(test, said)
    assert len(figures[0].axes[0].texts) == 20


def test_reliability_says_its_error_for_each_and_refuses_scores(figures: list[Drawing]) -> None:
    test, said = labels()
    told = reliability_curves(
        test, {"raw": said.test, "half": said.test / 2}, np.array([1, 3])
    ).caption
    for k in (1, 3):
        errors = [
            reliability(test.values[:, k], p).ece for p in (said.test[:, k], said.test[:, k] / 2)
        ]
        assert f"CLASS{k} {errors[0]:.3f} / {errors[1]:.3f}" in told
    assert [a.get_title(loc="left")[:6] for a in figures[0].axes] == ["CLASS1", "CLASS3"]
    with pytest.raises(ValueError, match="probabilities from 0 to 1"):
        reliability_curves(test, {"raw": said.test - 0.5}, np.array([1]))
    exclusive, calls = nights()
    reliability_curves(exclusive, {"raw": calls.test}, np.arange(5))
    assert figures[1].axes[0].get_title(loc="left") == "the likeliest class"


def test_agreement_draws_the_limits_it_prints(figures: list[Drawing]) -> None:
    test, said = rates(200)
    test.values[:9] = np.nan  # not stated, so not drawn
    told = bland_altman_plot(test, said, 0, "bpm").caption
    found = bland_altman(test.values[9:, 0], said.test[9:, 0], test.subjects[9:])
    levels = sorted(float(np.asarray(line.get_ydata())[0]) for line in figures[0].axes[0].lines)
    assert levels == pytest.approx(
        sorted([0.0, found.lower.value, found.bias.value, found.upper.value])
    )
    assert f"Bias {found.bias.text(2)} bpm" in told
    assert "7 subjects, 191 records" in told


def test_hypnograms_are_of_the_best_the_median_and_the_worst(figures: list[Drawing]) -> None:
    test, said = nights()
    told = hypnograms(test, said).caption
    called = said.test.argmax(axis=1)
    for name, subject in (("Best", "s0"), ("Median", "s2"), ("Worst", "s4")):
        mine = test.subjects == subject
        kappa = cohen_kappa_score(test.values[mine], called[mine])
        assert f"{name}: {subject}, kappa {kappa:.2f}" in told
    above = figures[0].axes[0]
    assert [t.get_text() for t in above.get_yticklabels()] == ["W", "R", "N1", "N2", "N3"]


def test_a_hypnogram_steps_at_each_change_and_breaks_where_epochs_are_missing(
    figures: list[Drawing],
) -> None:
    stages = np.array([0, 0, 2, 2, 4, 4])
    facts = pl.DataFrame({"onset_s": [60.0, 90.0, 120.0, 300.0, 330.0, 360.0]})
    ids = np.array(["s"] * 6)
    test = Truth(stages, STAGES, ids, ids, facts, np.zeros(6, np.intp))
    called = np.array([0, 0, 2, 2, 4, 0])
    hypnograms(test, scores(np.eye(5)[called]))
    x, y = np.asarray(figures[0].axes[0].lines[0].get_xydata()).T
    hours = np.array([0, 60, 60, 90, np.nan, 240, 270, 270, 330]) / 3600
    np.testing.assert_allclose(x, hours)
    np.testing.assert_allclose(y, [0, 0, 3, 3, np.nan, 3, 3, 1, 1])  # W, N2, gap, N2, R
    marks = np.asarray(figures[0].axes[1].lines[1].get_xydata())[:2, 0]
    np.testing.assert_allclose(marks, np.array([300, 330]) / 3600)


def test_a_single_hypnogram_is_of_the_subject_asked_for(figures: list[Drawing]) -> None:
    test, said = nights()
    told = hypnogram(test, said, "s3", "a model").caption
    mine = test.subjects == "s3"
    alike = np.mean(said.test.argmax(axis=1)[mine] == test.values[mine])
    assert "Hypnogram of s3; truth above, a model below" in told
    assert f"{100 * alike:.3g} % of 60 epochs alike" in told
    assert len(figures[0].axes) == 2


def test_gains_are_sorted_and_say_who_was_harmed(figures: list[Drawing]) -> None:
    people = [
        Gain("kept", 0.0, 0.0, 0.0, adopted=False),
        Gain("harmed", -0.25, -0.5, 0.0, adopted=True),
        Gain("gained", 0.5, None, None, adopted=True),
    ]
    told = gains({"one": people, "other": people[:1]}, "share of windows right").caption
    assert "one: 2 of 3 adopted, 1 harmed, from −0.250 to +0.500" in told
    assert "other: 0 of 1 adopted, 0 harmed, from +0.000 to +0.000" in told
    first = figures[0].axes[0]
    assert [t.get_text() for t in first.get_yticklabels()] == ["gained", "kept", "harmed"]
    squares = [line for line in first.lines if line.get_marker() == "s"]
    np.testing.assert_array_equal(np.asarray(squares[0].get_xydata()), [[-0.25, 2.0]])
    hollow = [line for line in first.lines if line.get_markerfacecolor() == "none"]
    np.testing.assert_array_equal(np.asarray(hollow[0].get_xydata()), [[0.0, 1.0]])


def test_hypnograms_need_times() -> None:
    test, said = labels()
    facts = pl.DataFrame({"onset_s": pl.Series([None] * len(test), dtype=pl.Float64)})
    with pytest.raises(ValueError, match="onset_s"):
        hypnograms(replace(test, facts=facts), said)
    with pytest.raises(ValueError, match="onset_s"):
        hypnogram(replace(test, facts=facts), said, "0", "a model")
