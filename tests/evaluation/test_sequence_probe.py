"""The sequence probe: reads what only neighbours tell, stops at gaps, and does not hide labels that moved."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from biofm.evaluation import candidates
from biofm.evaluation import sequence_probe as module
from biofm.evaluation.probes import Part, Probe, fit_probe, goodness
from biofm.evaluation.sequence_probe import (
    STRETCH,
    Recurrent,
    SequenceProbe,
    Series,
    SeriesPart,
    fit_sequence_probe,
    runs,
    stretches,
)

EPOCH_S = 30.0
Ints = NDArray[np.int64]


def nights(count: int, length: int, seed: int) -> tuple[Series, Ints]:
    """Features of nights in a shuffled order of windows; and the bit [N] that the first feature shows."""
    rng = np.random.default_rng(seed)
    bits = rng.integers(0, 2, (count, length))
    x = rng.normal(size=(count, length, 4))
    x[..., 0] = bits + 0.1 * rng.normal(size=bits.shape)
    records = np.repeat([f"night/{n}" for n in range(count)], length)
    onset_s = np.tile(60 + EPOCH_S * np.arange(length), count)
    order = rng.permutation(count * length)
    series = Series(x.reshape(-1, 4)[order], records[order], onset_s[order])
    return series, bits.ravel()[order]


def moved(series: Series, values: Ints, epochs: int) -> Ints:
    """The values of the window so many epochs later in the same night, 0 beyond its end."""
    at = {(r, t): v for r, t, v in zip(series.records, series.onset_s, values, strict=True)}
    return np.array(
        [
            at.get((r, t + epochs * EPOCH_S), 0)
            for r, t in zip(series.records, series.onset_s, strict=True)
        ]
    )


def both_neighbours(series: Series, bits: Ints) -> Ints:
    """A class that the bits before and after tell, and the window's own does not."""
    return moved(series, bits, -1) + 2 * moved(series, bits, 1)


def kappa(probe: SequenceProbe, series: Series, values: Ints, classes: int) -> float:
    return goodness("multiclass", values, probe.predict(series)[:, :classes])


def fit(train: SeriesPart, validation: SeriesPart, classes: int) -> SequenceProbe:
    return fit_sequence_probe("multiclass", classes, "balanced_cross_entropy", train, validation)


def linear(train: SeriesPart, validation: SeriesPart, classes: int) -> Probe:
    each = [Part(np.asarray(p.series.features, float), p.values) for p in (train, validation)]
    return fit_probe("multiclass", classes, "logistic", *each)


TRAIN, VALIDATION, TEST = nights(12, 100, 0), nights(4, 100, 1), nights(4, 150, 2)


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """One small head for not so many steps: there is not so much to learn here."""
    monkeypatch.setattr(module, "SETTINGS", module.SETTINGS[:1])
    monkeypatch.setattr(module, "HIDDEN", 16)
    monkeypatch.setattr(candidates, "LEAST_STEPS", 150)
    monkeypatch.setattr(candidates, "EPOCHS", 1)
    monkeypatch.setattr(candidates, "LOOKS", 5)


def test_what_only_neighbours_tell_is_read_from_them() -> None:
    train, validation, test = (
        SeriesPart(series, both_neighbours(series, bits))
        for series, bits in (TRAIN, VALIDATION, TEST)
    )
    probe = fit(train, validation, 4)
    assert kappa(probe, test.series, test.values, 4) > 0.9
    assert kappa(probe, validation.series, validation.values, 4) == probe.validation
    alone = linear(train, validation, 4)
    said = alone.predict(np.asarray(test.series.features, float))
    assert abs(goodness("multiclass", test.values, said)) < 0.1


def test_labels_that_moved_by_one_epoch_are_noticed() -> None:
    train, validation, test = (SeriesPart(*of) for of in (TRAIN, VALIDATION, TEST))
    late_train, late_validation, late_test = (
        SeriesPart(series, moved(series, bits, -1)) for series, bits in (TRAIN, VALIDATION, TEST)
    )
    sequence, alone = fit(train, validation, 2), linear(train, validation, 2)
    assert kappa(sequence, test.series, test.values, 2) > 0.95
    # Those of the test split alone.
    assert abs(kappa(sequence, late_test.series, late_test.values, 2)) < 0.15
    # Of all splits alike: the linear probe cannot follow, the sequence probe can, as its module says.
    x = np.asarray(TEST[0].features, float)
    assert goodness("multiclass", test.values, alone.predict(x)) > 0.95
    late_alone = linear(late_train, late_validation, 2)
    assert abs(goodness("multiclass", late_test.values, late_alone.predict(x))) < 0.15
    late_sequence = fit(late_train, late_validation, 2)
    assert kappa(late_sequence, late_test.series, late_test.values, 2) > 0.9


def test_sequences_are_of_one_recording_in_order_and_end_at_gaps() -> None:
    onsets: dict[str, list[float]] = {
        "a": [0, 30, 60, 150, 180],
        "b": [15, 45, 75.5],
        "c": [0],
    }
    records = np.array([name for name, times in onsets.items() for _ in times])
    times = np.array([t for each in onsets.values() for t in each])
    order = np.random.default_rng(0).permutation(len(times))
    found = runs(Series(np.zeros((9, 1)), records[order], times[order]))
    told = [[(records[order][at], times[order][at]) for at in run] for run in found]
    assert told == [
        [("a", 0), ("a", 30), ("a", 60)],
        [("a", 150), ("a", 180)],
        [("b", 15), ("b", 45), ("b", 75.5)],
        [("c", 0)],
    ]
    with pytest.raises(ValueError, match="a: two windows at 30 s"):
        runs(Series(np.zeros((3, 1)), np.array(["a"] * 3), np.array([0.0, 30.0, 30.0])))
    with pytest.raises(ValueError, match="expected an onset of every window"):
        runs(Series(np.zeros((2, 1)), np.array(["a"] * 2), np.array([0.0, np.nan])))


def test_nothing_passes_a_gap_or_another_recording() -> None:
    train, validation = (
        SeriesPart(series, both_neighbours(series, bits)) for series, bits in (TRAIN, VALIDATION)
    )
    probe = fit(train, validation, 4)
    series, _ = nights(2, 20, 5)
    near = series.onset_s < 60 + 10 * EPOCH_S
    first = (series.records == "night/0") & near
    later = Series(
        series.features, series.records, series.onset_s + np.where(near, 0.0, 2 * EPOCH_S)
    )
    changed = np.where(first[:, None], series.features, 9.0)
    apart = Series(changed, later.records, later.onset_s)
    np.testing.assert_array_equal(probe.predict(apart)[first], probe.predict(later)[first])
    joined = Series(changed, series.records, series.onset_s)
    assert not np.allclose(probe.predict(joined)[first], probe.predict(series)[first])


def test_stretches_hold_every_window_once_and_end_elsewhere_each_time() -> None:
    of = [torch.arange(5), torch.arange(5, 405), torch.arange(405, 500)]
    epochs = [stretches(of) for _ in range(2)]
    for batches in epochs:
        assert max(batch.shape[1] for batch in batches) <= STRETCH
        rows = [row[row >= 0] for batch in batches for row in batch]
        assert sorted(torch.cat(rows).tolist()) == list(range(500))
        assert all((row.diff() == 1).all() for row in rows)
    ends = [{int(row.max()) for batch in batches for row in batch} for batches in epochs]
    assert ends[0] != ends[1]


def test_a_sequence_in_a_batch_is_what_it_is_alone() -> None:
    torch.manual_seed(0)
    head = Recurrent(3, 2, 0.5).eval()
    x_BTF = torch.randn(3, 9, 3)
    lengths_B = torch.tensor([4, 9, 1])
    together = head(x_BTF, lengths_B)
    for b, length in enumerate(lengths_B.tolist()):
        states, _ = head.gru(x_BTF[b : b + 1, :length])
        alone = head.linear(torch.cat([states, x_BTF[b : b + 1, :length]], dim=2))
        torch.testing.assert_close(together[b, :length], alone[0])


def test_the_same_seed_gives_the_same_probe_and_leaves_the_world_alone() -> None:
    state = torch.random.get_rng_state()
    small, other = (SeriesPart(*nights(2, 20, seed)) for seed in (7, 8))
    said = [
        fit_sequence_probe("multiclass", 2, "cross_entropy", small, other, seed=seed).predict(
            other.series
        )
        for seed in (0, 0, 1)
    ]
    np.testing.assert_array_equal(said[0], said[1])
    assert not np.array_equal(said[0], said[2])
    assert torch.equal(state, torch.random.get_rng_state())
