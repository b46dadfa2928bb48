"""Who is a client, with which windows; and what is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from biofm.evaluation.embeddings import on
from biofm.federated.cohort import Cohort, cohort_of, standardised
from biofm.federated.configuration import DivisionConfig, FederatedConfig, RealityConfig
from biofm.federated.division import TEST, TRAIN, VALIDATION
from biofm.models.pretrained import load_model
from biofm.signals.types import MISSING
from biofm.signals.windows import Windows


def of(config: FederatedConfig) -> Cohort:
    return cohort_of(config, load_model(config.models[0]))


def test_clients_are_subjects_with_windows_in_each_part(
    small_cohort: Cohort, subjects: list[str]
) -> None:
    assert list(small_cohort.clients) == subjects[:4]
    assert not small_cohort.left_out
    places = np.concatenate([c.places for c in small_cohort.clients.values()])
    assert sorted(places) == list(range(len(small_cohort.truth.values)))
    for subject, client in small_cohort.clients.items():
        assert set(small_cohort.truth.subjects[client.places]) == {subject}
        assert all(len(client.of(role)) for role in (TRAIN, VALIDATION, TEST))


def test_who_has_no_window_of_a_part_is_left_out(small_config: FederatedConfig) -> None:
    with pytest.raises(ValueError, match=r"no window of .*choose shorter blocks .*now 7200 s"):
        of(replace(small_config, division=DivisionConfig(block_s=7200, guard_s=0)))


def test_embeddings_are_those_of_the_streams(small_cohort: Cohort) -> None:
    with torch.no_grad():
        made = small_cohort.model(on(small_cohort.streams, torch.device("cpu")))
    np.testing.assert_allclose(small_cohort.embeddings, made, rtol=0, atol=1e-4)


def test_few_labels_leave_the_tested_ones_as_they_are(
    small_config: FederatedConfig, small_cohort: Cohort
) -> None:
    few = of(replace(small_config, reality=RealityConfig(few_labels=1.0, labels=5)))
    for subject, client in few.clients.items():
        before = small_cohort.clients[subject]
        for role in (TRAIN, VALIDATION):
            assert len(client.of(role)) == 5
            assert set(client.of(role)) <= set(before.of(role))
        assert np.array_equal(client.of(TEST), before.of(TEST))


def test_names_that_there_are_not_are_refused(small_config: FederatedConfig) -> None:
    """Somebody meant to be left out would stay in, and nobody would lack a sensor."""
    with pytest.raises(ValueError, match="nobody is called somebody"):
        of(replace(small_config, excluded=("somebody",)))
    misspelt = RealityConfig(missing=("heart_rate",), lacking=0.5)
    with pytest.raises(ValueError, match="heart_rate not among the windows' modalities: hr"):
        of(replace(small_config, reality=misspelt))
    with pytest.raises(ValueError, match="both or none"):
        RealityConfig(missing=("hr",))
    with pytest.raises(ValueError, match="name each folder once"):
        replace(small_config, models=small_config.models * 2)


def test_who_lacks_a_sensor_has_no_samples_of_it(
    small_config: FederatedConfig, small_cohort: Cohort
) -> None:
    lacking = of(replace(small_config, reality=RealityConfig(missing=("hr",), lacking=0.5)))
    without = [c for c in lacking.clients.values() if c.lacking]
    assert len(without) == 2
    for client in lacking.clients.values():
        rows = torch.from_numpy(client.places)
        assert [w.modality for w in lacking.streams.values()] == ["hr"]
        for windows in lacking.streams.values():
            assert bool((windows.samples[rows] == MISSING).all()) == client.lacking
        same = np.array_equal(
            lacking.embeddings[client.places], small_cohort.embeddings[client.places]
        )
        assert same != client.lacking
        assert np.isfinite(lacking.embeddings[client.places]).all()


def test_a_task_of_several_labels_is_refused(small_config: FederatedConfig) -> None:
    with pytest.raises(
        ValueError, match="ptbxl_all: heads of a federation tell one class of several"
    ):
        of(replace(small_config, task="ptbxl_all"))


def test_raw_signals_are_scaled_by_what_is_there_of_the_windows_learned_from() -> None:
    random = np.random.default_rng(0)
    x = random.normal(60.0, 5.0, (6, 2, 40)).round(1)
    x[3:] += 30
    missing = random.random(x.shape) < 0.3
    samples = np.where(missing, MISSING, (x * 10).round()).astype(np.int16)
    windows = Windows(
        "hr",
        1.0,
        ("hr", "dhr"),
        torch.from_numpy(samples),
        torch.full((6, 2), 0.1),
        torch.zeros(6, 2),
    )
    learned, rows = np.array([0, 1, 2]), np.array([4, 0])
    found = standardised(windows, learned, rows).numpy()
    for channel in range(2):
        there = x[learned, channel][~missing[learned, channel]]
        expected = (x[rows, channel] - there.mean()) / there.std()
        expected[missing[rows, channel]] = 0.0
        assert found[:, channel] == pytest.approx(expected, abs=1e-4)
